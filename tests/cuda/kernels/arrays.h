// Arrays that kernels see: where they lie, which of them live, and a hash of what is in them.
#pragma once
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#ifdef ON_DEVICE
#include "device_run.h"
#else
#include "emulation_run.h"
#endif

namespace test {

// A running hash of bytes, eight at a time.
class Hash {
 public:
  void add(const void* bytes, size_t count) {
    auto* from = static_cast<const unsigned char*>(bytes);
    add(count);
    for (; count >= 8; count -= 8, from += 8) {
      uint64_t word;
      memcpy(&word, from, 8);
      add(word);
    }
    uint64_t rest = 0;
    memcpy(&rest, from, count);
    add(rest);
  }

  void add(uint64_t word) {
    // Each step can be undone: words that differ once give another hash.
    value_ = (value_ ^ word) * 0x9E3779B97F4A7C15u;
    value_ ^= value_ >> 29;
  }

  uint64_t value() const {
    return value_;
  }

 private:
  uint64_t value_ = 0xCBF29CE484222325u;
};

// A live array. Its number says when it was made: addresses are not the same from run to run.
struct Live {
  char* bytes;
  size_t count;
  bool is_hashed;
};

inline uint64_t arrays_made = 0;
inline std::map<uint64_t, Live> live_arrays;
inline std::map<const char*, uint64_t> live_by_address;

// The live array that an address lies in, or null.
inline const Live* live_at(const void* address) {
  auto* at = static_cast<const char*>(address);
  auto found = live_by_address.upper_bound(at);
  if (found == live_by_address.begin()) return nullptr;
  const Live& live = live_arrays[(--found)->second];
  return at < live.bytes + live.count ? &live : nullptr;
}

// Of types that hold addresses, which are other ones every time, no hash is taken.
template <class T>
constexpr bool HOLDS_ADDRESSES = false;

template <class T>
struct Visible {
  using value_type = T;

  Visible() = default;
  template <class U>
  Visible(const Visible<U>&) {}

  T* allocate(size_t count) {
    char* bytes = static_cast<char*>(runner::take(count * sizeof(T)));
    memset(bytes, 0, count * sizeof(T));
    live_by_address[bytes] = ++arrays_made;
    live_arrays[arrays_made] = {bytes, count * sizeof(T), !HOLDS_ADDRESSES<T>};
    return reinterpret_cast<T*>(bytes);
  }

  void deallocate(T* array, size_t) {
    auto found = live_by_address.find(reinterpret_cast<char*>(array));
    live_arrays.erase(found->second);
    live_by_address.erase(found);
    runner::give_back(array);
  }

  template <class U>
  bool operator==(const Visible<U>&) const {
    return true;
  }
  template <class U>
  bool operator!=(const Visible<U>&) const {
    return false;
  }
};

// What a kernel may be given. It does not grow: `visible` makes one of a list that did.
template <class T>
using Array = std::vector<T, Visible<T>>;

template <class T>
Array<T> visible(const std::vector<T>& list) {
  return Array<T>(list.begin(), list.end());
}

}  // namespace test
