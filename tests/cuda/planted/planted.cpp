// Runs a kernel of planted.cu: planted KERNEL ORDER COPIES
//
// ORDER is 0 (forward), 1 (backward) or 2 (shuffled); COPIES 0 (late) or 1 (early). Exits with 0 if
// the sums are right, 3 if the emulation reported a mistake (which it prints), 4 if they are wrong.
#include "planted.cu"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int emu_launch(const char*, const unsigned*, const unsigned*, size_t, void* const*);
extern "C" const char* emu_error();
extern "C" void emu_options(int, int, uint64_t);

int main(int count, char** arguments) {
  if (count != 4) return 2;
  std::string name = arguments[1];
  emu_options(atoi(arguments[2]), atoi(arguments[3]), 7);
  // Long enough for both stages to be used again.
  int chunks = 5;
  std::vector<float> x(size_t(chunks) * CHUNK + 4);
  for (size_t i = 0; i < x.size(); ++i) x[i] = float(i * 7 % 64);
  std::vector<float> sums(THREADS);
  float* x_address = x.data();
  float* sums_address = sums.data();
  void* addresses[] = {&x_address, &sums_address, &chunks};
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {THREADS, 1, 1};
  if (emu_launch(name.c_str(), grid, block, 0, addresses)) {
    printf("reported: %s\n", emu_error());
    return 3;
  }
  bool by_warps = name.compare(0, 5, "warps") == 0;
  for (int tid = 0; tid < THREADS; ++tid) {
    int other = by_warps ? tid / 32 * 32 + (tid + 5) % 32 : (tid + 37) % THREADS;
    float wanted = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const float* from = &x[size_t(chunk) * CHUNK + size_t(other) * NUMBERS];
      wanted += (from[0] + from[1]) + (from[2] + from[3]);
    }
    if (!(sums[size_t(tid)] == wanted)) {
      printf("wrong: thread %d has %g instead of %g\n", tid, sums[size_t(tid)], wanted);
      return 4;
    }
  }
  return 0;
}
