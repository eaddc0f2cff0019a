// What the kernels' tests share: launches, random numbers, comparisons, hashes.
//
// A test is a program of its own. It includes the kernels' source, launches them with many shapes,
// compares with plain loops in double, prints a line a case, and fails if any case does.
//
//   PROGRAM [small | hashes] [--hashes FILE | --write-hashes FILE] [--ptx DIR] [--exact]
//
// `small` takes few and small shapes, for a sanitizer; `hashes` those of the stored hashes.
//
// A case's hash is of all that its kernels were given and made: the bytes of every array that a launch
// was given, after it, and of all live arrays in the end. Numbers are ours from the seed on, so it is
// the same on every machine that does the same arithmetic: `--hashes` compares with stored ones,
// `--write-hashes` stores them (compiled with EMU_EXACT_MMA and EXACT_FUNCTIONS).
//
// Compiled with ON_DEVICE the launches go to a GPU, with the PTX files of `--ptx`. Every launch is done
// twice from the same bytes: what differs then is a race. Hashes of kernels in which special functions
// play a part are compared only with `--exact`: with PTX made with EXACT_FUNCTIONS.
#pragma once
#include <climits>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>
#include "arrays.h"
#include "device.h"

extern "C" double emu_bank_cycles();
extern "C" void emu_options(int order, int early, uint64_t seed);

namespace test {

// Kernels whose results depend on how exponentials, logarithms, reciprocals or sines are computed
// (functions.h). All others are sums, products, square roots and quotients as IEEE 754 rounds them, in
// a fixed order, or sums of whole numbers, in any.
constexpr const char* WITH_SPECIAL_FUNCTIONS[] = {
    "decode_attention_", "prefill_attention_", "merge_parts_", "plain_attention_", "silu_mul_",
    "fill_random_"};

inline bool has_special_functions(const std::string& kernel) {
  for (const char* name : WITH_SPECIAL_FUNCTIONS) {
    if (kernel.compare(0, strlen(name), name) == 0) return true;
  }
  return false;
}

// ---- numbers, the same on every machine ---------------------------------------------------------

inline std::mt19937_64 generator{1};

// From 0 up to, not including, 1.
inline double unit() {
  return double(generator() >> 11) / 9007199254740992.0;
}

inline int uniform(int low, int high) {
  uint64_t count = uint64_t(int64_t(high) - low + 1);
  return int(low + int64_t((generator() >> 32) * count >> 32));
}

// About normal: the sum of four numbers in 0..65536, as one of deviation 1. (A logarithm's last bit
// would be the library's.)
inline float normal() {
  constexpr float DEVIATION = 37837.23f;
  uint64_t bits = generator();
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += int(bits >> 16 * i & 0xFFFF);
  return float(sum - 2 * 65535) / DEVIATION;
}

// In a random order (Fisher and Yates).
template <class List>
void shuffle(List& list) {
  for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[size_t(uniform(0, int(i) - 1))]);
}

inline float as_float(bf16 x) {
  return to_float(x);
}

inline float as_float(float x) {
  return x;
}

// Normal numbers as T can hold them.
template <class T>
Array<T> normals(size_t count) {
  Array<T> numbers(count);
  for (T& x : numbers) narrow(normal(), x);
  return numbers;
}

// What nobody wrote: NaN.
template <class T>
Array<T> poison(size_t count) {
  T nan;
  memset(&nan, 0xFF, sizeof nan);
  return Array<T>(count, nan);
}

template <class T>
const char* name_of() {
  return sizeof(T) == 2 ? "bf16" : "f32";
}

// The unit of rounding of T.
template <class T>
double rounding() {
  return sizeof(T) == 2 ? 1.0 / 256 : 1.0 / (1 << 23);
}

// ---- launches -----------------------------------------------------------------------------------

struct Grid {
  unsigned x;
  unsigned y = 1;
  unsigned z = 1;
};

// What is known of the case that runs.
struct Case {
  Hash hash;
  int launches = 0;
  bool has_special_functions = false;
  // A kernel that the device does not have.
  std::string missing;
  // A kernel whose results were not the same twice.
  std::string moved;
};

inline Case current;

inline void fold(const Live& live) {
  if (live.is_hashed) current.hash.add(live.bytes, live.count);
}

// Into the case's hash, what all live arrays hold. (A case's end does it.)
inline void fold_all() {
  for (const auto& [number, live] : live_arrays) fold(live);
}

template <class... A>
void launch(const std::string& name, Grid grid, unsigned threads, size_t shared, A... arguments) {
  current.launches += 1;
  current.has_special_functions |= has_special_functions(name);
  if (!runner::has(name)) {
    current.missing = name;
    return;
  }
  std::vector<Live> reached;
  auto reach = [&](auto argument) {
    if constexpr (std::is_pointer_v<decltype(argument)>) {
      if (const Live* live = live_at(argument)) reached.push_back(*live);
    }
  };
  (reach(arguments), ...);
  unsigned blocks[3] = {grid.x, grid.y, grid.z};
  void* addresses[] = {&arguments...};
  auto bytes_of_all = [&] {
    std::vector<std::vector<char>> all;
    for (const Live& live : reached) all.emplace_back(live.bytes, live.bytes + live.count);
    return all;
  };
  if (runner::IS_DEVICE) {
    auto before = bytes_of_all();
    runner::run(name, blocks, threads, shared, addresses);
    auto after = bytes_of_all();
    for (size_t i = 0; i < reached.size(); ++i) {
      memcpy(reached[i].bytes, before[i].data(), reached[i].count);
    }
    runner::run(name, blocks, threads, shared, addresses);
    if (bytes_of_all() != after) current.moved = name;
  } else {
    runner::run(name, blocks, threads, shared, addresses);
  }
  for (const Live& live : reached) fold(live);
}

// ---- cases --------------------------------------------------------------------------------------

// The worst error of the numbers of a case.
class Errors {
 public:
  // Compared with `scale`, an error that counts as 1.
  void add(double got, double wanted, double scale) {
    double error = std::fabs(got - wanted) / scale;
    // NaN is worst of all.
    if (!(error <= worst_)) worst_ = std::isnan(error) ? INFINITY : error;
  }

  void differ(bool wrong) {
    if (wrong) worst_ = INFINITY;
  }

  double worst() const {
    return worst_;
  }

 private:
  double worst_ = 0;
};

inline std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
inline std::string text(const char* format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  return line;
}

enum class Size { FULL, SMALL, HASHES };

// What the arguments ask for, and what came of the cases so far.
struct State {
  Size size = Size::FULL;
  // By case, as written in a file: "HASH CASE".
  std::map<std::string, std::string> stored;
  bool compares = false;
  bool is_exact = false;
  std::string written_to;
  std::string written;
  int cases = 0;
  int wrong = 0;
  int comparable = 0;
  int equal = 0;
  int races = 0;
  int missing = 0;
  double worst = 0;
};

inline State state;

// For what a program finds wrong beside its cases.
inline void fail(const std::string& what) {
  state.wrong += 1;
  printf("%s\n", what.c_str());
}

// One line: the case, its worst error and whether that is at most 1, its hash and whether that is the
// stored one. The next case's numbers do not depend on this one's.
inline void report(const std::string& what, const Errors& errors) {
  fold_all();
  std::string hash = text("%016llx", (unsigned long long)current.hash.value());
  std::string remark;
  state.cases += 1;
  if (!current.missing.empty()) {
    state.missing += 1;
    remark = "  not on the device: " + current.missing;
  } else {
    if (!(errors.worst() <= 1)) {
      state.wrong += 1;
      remark += "  WRONG";
    }
    if (!(errors.worst() <= state.worst)) state.worst = errors.worst();
    if (!current.moved.empty()) {
      state.races += 1;
      remark += "  RACE: " + current.moved + " gave other bits the second time";
    }
    // Others are of the host alone.
    if (current.launches) {
      if (state.size == Size::HASHES && state.written.find(" " + what + "\n") != std::string::npos) {
        fail("two cases have one name: " + what);
      }
      state.written += hash + " " + what + "\n";
      if (state.compares && (state.is_exact || !current.has_special_functions)) {
        auto stored = state.stored.find(what);
        std::string wanted = stored == state.stored.end() ? "none" : stored->second;
        state.comparable += 1;
        if (wanted == hash) {
          state.equal += 1;
        } else {
          remark += "  OTHER BITS: stored is " + wanted;
        }
      }
    }
  }
  printf("%-78s %8.2e %s%s\n", what.c_str(), errors.worst(), hash.c_str(), remark.c_str());
  current = Case();
  generator.seed(uint64_t(state.cases) + 1);
}

inline int usage(const std::string& why) {
  printf("%s\nPROGRAM [small | hashes] [--hashes FILE | --write-hashes FILE] [--ptx DIR] [--exact]\n",
         why.c_str());
  exit(2);
}

inline void read_hashes(const std::string& path) {
  std::ifstream file(path);
  if (!file) usage("cannot read " + path);
  for (std::string line; std::getline(file, line);) {
    size_t space = line.find(' ');
    if (space == std::string::npos) usage(path + ": not a hash and a case: " + line);
    state.stored[line.substr(space + 1)] = line.substr(0, space);
  }
}

// Reads the arguments of a program.
inline Size begin(int count, char** arguments) {
  std::string ptx;
  bool has_exact_functions = false;
  for (int i = 1; i < count; ++i) {
    std::string argument = arguments[i];
    auto value = [&] {
      if (i + 1 == count) usage(argument + " wants a value");
      return std::string(arguments[++i]);
    };
    if (argument == "small") {
      state.size = Size::SMALL;
    } else if (argument == "hashes") {
      state.size = Size::HASHES;
    } else if (argument == "--hashes") {
      read_hashes(value());
      state.compares = true;
    } else if (argument == "--write-hashes") {
      state.written_to = value();
    } else if (argument == "--ptx") {
      ptx = value();
    } else if (argument == "--exact") {
      has_exact_functions = true;
    } else {
      usage("unknown: " + argument);
    }
  }
  if (!runner::IS_EXACT && (state.compares || !state.written_to.empty())) {
    usage("hashes are of programs compiled with EMU_EXACT_MMA and EXACT_FUNCTIONS");
  }
  if (runner::IS_DEVICE && !state.written_to.empty()) usage("hashes are stored by the emulation");
  state.is_exact = has_exact_functions || !runner::IS_DEVICE;
  runner::open(ptx);
  return state.size;
}

// The last line, and the exit status.
inline int finish(const char* what) {
  bool is_partial = false;
  if (!state.written_to.empty()) {
    std::ofstream file(state.written_to);
    file << state.written;
    if (!file.flush()) usage("cannot write " + state.written_to);
  }
  printf("%s: %d cases, %d wrong, worst error %.2f", what, state.cases, state.wrong, state.worst);
  if (state.compares) {
    printf(", equal bits %d of %d", state.equal, state.comparable);
    // Without exact functions some cases are not looked for; all others must have been.
    int hashed = int(state.stored.size());
    is_partial = state.is_exact && !state.missing && state.comparable != hashed;
    if (is_partial) printf(" (%d are stored)", hashed);
  }
  if (runner::IS_DEVICE) {
    printf(", races %d, not on the device %d", state.races, state.missing);
  }
  printf("\n");
  return state.wrong || state.races || state.equal != state.comparable || is_partial;
}

}  // namespace test
