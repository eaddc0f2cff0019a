// The tensor cores' product by itself: what attention's are made of, for comparison bit for bit.
#include "device.h"

// d[i] = a[i] b[i] + c[i] of matrices of 16 x 16, 16 x 8 and 16 x 8 numbers: bf16, two in a word, b by
// columns; c and d are f32. Block: a warp. Grid: (matrices).
extern "C" __global__ void __launch_bounds__(32) mma_products(
    const uint32_t* a, const uint32_t* b, const float* c, float* d) {
  int g = threadIdx.x / 4;
  int t = threadIdx.x % 4;
  a += blockIdx.x * 128;
  b += blockIdx.x * 64;
  c += blockIdx.x * 128;
  d += blockIdx.x * 128;
  uint32_t left[4];
  float sums[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    left[i] = a[(g + 8 * (i & 1)) * 8 + t + 4 * (i >> 1)];
    sums[i] = c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)];
  }
  mma_bf16(sums, left, b[g * 8 + t], b[g * 8 + t + 4]);
#pragma unroll
  for (int i = 0; i < 4; ++i) d[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)] = sums[i];
}
KERNEL(mma_products)
