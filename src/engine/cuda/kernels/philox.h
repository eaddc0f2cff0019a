// Counter-based random bits, the same as the crate's `Philox`.
#pragma once
#include "device.h"

// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
__device__ __forceinline__ uint4 philox(u64 key, u64 counter) {
  // Multipliers and Weyl increments of the paper, section 4.3.
  constexpr u64 M0 = 0xD2511F53u;
  constexpr u64 M1 = 0xCD9E8D57u;
  uint4 c = make_uint4(unsigned(counter), unsigned(counter >> 32), 0, 0);
  unsigned k0 = unsigned(key);
  unsigned k1 = unsigned(key >> 32);
  for (int round = 0; round < 10; ++round) {
    u64 p0 = M0 * c.x;
    u64 p1 = M1 * c.z;
    c = make_uint4(unsigned(p1 >> 32) ^ c.y ^ k0, unsigned(p1),
                   unsigned(p0 >> 32) ^ c.w ^ k1, unsigned(p0));
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// A number in 0..bound from the first 64 bits at a counter.
__device__ __forceinline__ u64 random_below(u64 key, u64 counter, u64 bound) {
  uint4 bits = philox(key, counter);
  return __umul64hi(bits.x | u64(bits.y) << 32, bound);
}
