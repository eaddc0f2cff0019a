// What the kernels' tests share: launches over the emulation, random numbers, comparisons.
//
// A test is a program of its own. It includes the kernels' source, launches them with many shapes,
// compares with plain loops in double, prints a line a case, and fails if any case does. With the
// argument `small` it takes fewer and smaller shapes, for a sanitizer.
#pragma once
#include <climits>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>
#include "device.h"

extern "C" int emu_launch(
    const char* name, const unsigned grid[3], const unsigned block[3], size_t shared,
    void* const* arguments);
extern "C" const char* emu_error();
extern "C" double emu_bank_cycles();
extern "C" void emu_options(int order, int early, uint64_t seed);

namespace test {

struct Grid {
  unsigned x;
  unsigned y = 1;
  unsigned z = 1;
};

// Launches a kernel; what the emulation reports ends the test.
template <class... A>
void launch(const std::string& name, Grid grid, unsigned threads, size_t shared, A... arguments) {
  unsigned blocks[3] = {grid.x, grid.y, grid.z};
  unsigned block[3] = {threads, 1, 1};
  void* addresses[] = {&arguments...};
  if (emu_launch(name.c_str(), blocks, block, shared, addresses)) {
    printf("%s: reported: %s\n", name.c_str(), emu_error());
    exit(1);
  }
}

inline std::mt19937_64 generator{1};

inline int uniform(int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(generator);
}

inline float normal() {
  return std::normal_distribution<float>()(generator);
}

inline float as_float(bf16 x) {
  return to_float(x);
}

inline float as_float(float x) {
  return x;
}

// Normal numbers as T can hold them.
template <class T>
std::vector<T> normals(size_t count) {
  std::vector<T> numbers(count);
  for (T& x : numbers) narrow(normal(), x);
  return numbers;
}

// What nobody wrote: NaN.
template <class T>
std::vector<T> poison(size_t count) {
  T nan;
  memset(&nan, 0xFF, sizeof nan);
  return std::vector<T>(count, nan);
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

inline int failures = 0;
inline int cases = 0;

// The worst and the mean error of the numbers of a case.
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

// One line: the case, its worst error, and whether that is at most 1.
inline void report(const std::string& what, const Errors& errors) {
  bool fails = !(errors.worst() <= 1);
  cases += 1;
  failures += fails;
  printf("%-78s %8.2e%s\n", what.c_str(), errors.worst(), fails ? "  WRONG" : "");
}

inline std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
inline std::string text(const char* format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  return line;
}

inline int finish(const char* what) {
  printf("%s: %d cases, %d wrong\n", what, cases, failures);
  return failures != 0;
}

inline bool is_small(int count, char** arguments) {
  return count > 1 && std::string(arguments[1]) == "small";
}

}  // namespace test
