// Memory filled with random weights, or with one number.
//
// All kernels: 256 threads, any grid of one dimension (threads stride over it), no dynamic shared
// memory.
#include "device.h"
#include "functions.h"
#include "philox.h"

constexpr int THREADS = 256;

// Numbers 2i and 2i + 1 are normal, with this standard deviation, made of the bits at counter i by
// the method of Box and Muller (1958).
template <class T>
__device__ __forceinline__ void fill_random(T* out, u64 count, u64 key, float deviation) {
  constexpr float UNIT = 1.0f / 4294967296.0f;
  u64 pairs = count / 2 + count % 2;
  u64 stride = u64(gridDim.x) * THREADS;
  for (u64 pair = u64(blockIdx.x) * THREADS + threadIdx.x; pair < pairs; pair += stride) {
    uint4 bits = philox(key, pair);
    // Never 0, so that the logarithm is finite; 1 where that is the nearest number.
    float u = (float(bits.x) + 0.5f) * UNIT;
    float v = float(bits.y) * UNIT;
    float radius = deviation * sqrtf(-2.0f * log_of(u));
    float sine;
    float cosine;
    sincos_turns(v, &sine, &cosine);
    narrow(radius * cosine, out[2 * pair]);
    if (2 * pair + 1 < count) narrow(radius * sine, out[2 * pair + 1]);
  }
}

template <class T>
__device__ __forceinline__ void fill(T* out, u64 count, float value) {
  T stored;
  narrow(value, stored);
  u64 stride = u64(gridDim.x) * THREADS;
  for (u64 i = u64(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride) out[i] = stored;
}

#define FILL(T)                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS) fill_random_##T(  \
      T* out, u64 count, u64 key, float deviation) {                      \
    fill_random<T>(out, count, key, deviation);                           \
  }                                                                       \
  KERNEL(fill_random_##T)                                                 \
  extern "C" __global__ void __launch_bounds__(THREADS) fill_##T(         \
      T* out, u64 count, float value) {                                   \
    fill<T>(out, count, value);                                           \
  }                                                                       \
  KERNEL(fill_##T)

typedef float f32;

FILL(bf16)
FILL(f32)
