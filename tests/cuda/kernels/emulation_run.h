// How a kernel's test runs over the emulation (the other way is device_run.h).
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" int emu_launch(
    const char* name, const unsigned grid[3], const unsigned block[3], size_t shared,
    void* const* arguments);
extern "C" const char* emu_error();

namespace runner {

constexpr bool IS_DEVICE = false;

// Whether hashes can be compared: with sums of tensor cores as Hopper's are, and with functions that
// are the same on every machine.
#if defined(EMU_EXACT_MMA) && defined(EXACT_FUNCTIONS)
constexpr bool IS_EXACT = true;
#else
constexpr bool IS_EXACT = false;
#endif

inline void open(const std::string&) {}

inline void* take(size_t bytes) {
  return ::operator new(bytes);
}

inline void give_back(void* bytes) {
  ::operator delete(bytes);
}

// Every kernel that a test includes.
inline bool has(const std::string&) {
  return true;
}

// What the emulation reports ends the test.
inline void run(
    const std::string& name, const unsigned (&grid)[3], unsigned threads, size_t shared,
    void** arguments) {
  unsigned block[3] = {threads, 1, 1};
  if (emu_launch(name.c_str(), grid, block, shared, arguments)) {
    printf("%s: reported: %s\n", name.c_str(), emu_error());
    exit(1);
  }
}

}  // namespace runner
