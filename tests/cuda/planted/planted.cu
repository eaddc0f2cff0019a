// Kernels with a mistake each, which the emulation or a sanitizer must report, beside the same
// kernels without. They do nothing useful.
#include "device.h"

enum Mistake {
  NOTHING,
  NO_FIRST_BARRIER,
  NO_SECOND_BARRIER,
  NO_WARP_BARRIER,
  SHORT_WAIT,
  SHORT_ARRAY,
};

constexpr int THREADS = 64;
constexpr int NUMBERS = 4;
constexpr int CHUNK = THREADS * NUMBERS;
constexpr int STAGES = 2;

__device__ __forceinline__ float sum_of(float4 x) {
  return (x.x + x.y) + (x.z + x.w);
}

// sums[thread]: of what thread + 37 copied of each chunk, through two stages of shared memory.
template <int MISTAKE>
__device__ __forceinline__ void sum_by_stages(const float* x, float* sums, int chunks) {
  constexpr int SIZE = MISTAKE == SHORT_ARRAY ? STAGES * CHUNK - NUMBERS : STAGES * CHUNK;
  SHARED(float, stages, SIZE);
  int tid = threadIdx.x;
  int other = (tid + 37) % THREADS;
  auto fetch = [&](int chunk) {
    float* to = stages + chunk % STAGES * CHUNK + tid * NUMBERS;
    copy_async16(to, x + chunk * CHUNK + tid * NUMBERS);
    copy_commit();
  };
  fetch(0);
  float sum = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    if (chunk + 1 < chunks) {
      fetch(chunk + 1);
    } else {
      copy_commit();
    }
    copy_wait<MISTAKE == SHORT_WAIT ? STAGES : STAGES - 1>();
    if (MISTAKE != NO_FIRST_BARRIER) __syncthreads();
    const float* from = stages + chunk % STAGES * CHUNK + other * NUMBERS;
    sum += sum_of(*reinterpret_cast<const float4*>(from));
    // Before the stage is written again.
    if (MISTAKE != NO_SECOND_BARRIER) __syncthreads();
  }
  copy_wait<0>();
  sums[tid] = sum;
}

// The same within a warp, each with stages of its own.
template <int MISTAKE>
__device__ __forceinline__ void sum_by_warps(const float* x, float* sums, int chunks) {
  SHARED(float, stages, STAGES * CHUNK);
  int tid = threadIdx.x;
  int other = tid / 32 * 32 + (tid + 5) % 32;
  auto fetch = [&](int chunk) {
    float* to = stages + chunk % STAGES * CHUNK + tid * NUMBERS;
    copy_async16(to, x + chunk * CHUNK + tid * NUMBERS);
    copy_commit();
  };
  fetch(0);
  float sum = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    if (chunk + 1 < chunks) {
      fetch(chunk + 1);
    } else {
      copy_commit();
    }
    copy_wait<STAGES - 1>();
    __syncwarp();
    const float* from = stages + chunk % STAGES * CHUNK + other * NUMBERS;
    sum += sum_of(*reinterpret_cast<const float4*>(from));
    if (MISTAKE != NO_WARP_BARRIER) __syncwarp();
  }
  copy_wait<0>();
  sums[tid] = sum;
}

#define PLANTED(NAME, BODY, MISTAKE)                                                     \
  extern "C" __global__ void __launch_bounds__(64) NAME(const float* x, float* sums, int chunks) { \
    BODY<MISTAKE>(x, sums, chunks);                                                      \
  }                                                                                      \
  KERNEL(NAME)

PLANTED(stages, sum_by_stages, NOTHING)
PLANTED(stages_no_first_barrier, sum_by_stages, NO_FIRST_BARRIER)
PLANTED(stages_no_second_barrier, sum_by_stages, NO_SECOND_BARRIER)
PLANTED(stages_short_wait, sum_by_stages, SHORT_WAIT)
PLANTED(stages_short_array, sum_by_stages, SHORT_ARRAY)
PLANTED(warps, sum_by_warps, NOTHING)
PLANTED(warps_no_barrier, sum_by_warps, NO_WARP_BARRIER)

// A barrier that a part of the block never reaches.
extern "C" __global__ void divergent_barrier(const float* x, float* sums, int chunks) {
  if (threadIdx.x < 40) __syncthreads();
  sums[threadIdx.x] = x[chunks];
}
KERNEL(divergent_barrier)

// Barriers at two places, of which every thread reaches one.
extern "C" __global__ void two_barriers(const float* x, float* sums, int chunks) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  sums[threadIdx.x] = x[chunks];
}
KERNEL(two_barriers)

// A shuffle that a part of its lanes never reaches.
extern "C" __global__ void divergent_shuffle(const float* x, float* sums, int chunks) {
  float own = x[threadIdx.x];
  if (threadIdx.x < 7) own = __shfl_xor_sync(ALL_LANES, own, 1);
  sums[threadIdx.x] = own;
}
KERNEL(divergent_shuffle)

// A shuffle from a lane that does not take part.
extern "C" __global__ void shuffle_outside(const float* x, float* sums, int chunks) {
  float own = x[threadIdx.x];
  if (threadIdx.x % 32 < 16) own = __shfl_sync(0xFFFFu, own, 20);
  sums[threadIdx.x] = own;
}
KERNEL(shuffle_outside)

// Copies that are still on their way when the thread ends.
extern "C" __global__ void never_waited(const float* x, float* sums, int chunks) {
  SHARED(float, stage, CHUNK);
  copy_async16(stage + threadIdx.x * NUMBERS, x + threadIdx.x * NUMBERS);
  copy_commit();
  sums[threadIdx.x] = 0;
}
KERNEL(never_waited)

// A copy of 16 bytes from an address on 4.
extern "C" __global__ void misaligned_copy(const float* x, float* sums, int chunks) {
  SHARED(float, stage, CHUNK);
  copy_async16(stage + threadIdx.x * NUMBERS, x + threadIdx.x * NUMBERS + 1);
  copy_commit();
  copy_wait<0>();
  sums[threadIdx.x] = stage[threadIdx.x * NUMBERS];
}
KERNEL(misaligned_copy)

// ---- for the driver's test ----------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(64) add_number(float* x, int count, float number) {
  int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) x[i] += number;
}
KERNEL(add_number)
