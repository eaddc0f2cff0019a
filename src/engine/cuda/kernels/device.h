// What kernels may use: CUDA's own words where nvcc compiles, the emulation of emu.h elsewhere, and
// the few instructions that need inline PTX as functions with both bodies.
#pragma once
#ifdef __CUDACC__
#include <cmath>
#include <cstdint>
#define KERNEL(name)
#define NOINLINE __noinline__
#define SHARED(T, name, count) __shared__ T name[count]
#define SHARED_MEMORY(T, name)                                     \
  extern __shared__ __align__(128) unsigned char name##_bytes[];   \
  T* name = reinterpret_cast<T*>(name##_bytes)
#else
#include "emu.h"
#define NOINLINE __attribute__((noinline))
#endif

typedef unsigned long long u64;

constexpr uint32_t ALL_LANES = ~0u;

// Positions of a page of the KV cache.
constexpr int PAGE = 64;

// ---- bf16, two in a word (the low half is the first) --------------------------------------------

struct bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(bf16 x) {
  return __uint_as_float(uint32_t(x.bits) << 16);
}

__device__ __forceinline__ float to_float(float x) {
  return x;
}

__device__ __forceinline__ float2 to_float2(uint32_t x) {
  return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xFFFF0000u));
}

// To nearest, ties to even; NaN stays NaN (the hardware's is 0x7FFF).
__device__ __forceinline__ uint32_t narrow2(float low, float high) {
#ifdef __CUDACC__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  auto one = [](float x) -> uint32_t {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFu;
    return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
  };
  return one(low) | one(high) << 16;
#endif
}

__device__ __forceinline__ void narrow(float x, bf16& out) {
  out.bits = uint16_t(narrow2(x, 0.0f));
}

__device__ __forceinline__ void narrow(float x, float& out) {
  out = x;
}

// ---- vectors of numbers in memory: as many as 16 bytes of bf16, or one f32 ----------------------

template <class T>
constexpr int VECTOR = sizeof(T) == 2 ? 8 : 1;

__device__ __forceinline__ void load(const bf16* from, float (&x)[8]) {
  uint4 words = *reinterpret_cast<const uint4*>(from);
  uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float2 pair = to_float2(word[i]);
    x[2 * i] = pair.x;
    x[2 * i + 1] = pair.y;
  }
}

__device__ __forceinline__ void load(const float* from, float (&x)[8]) {
  float4 low = *reinterpret_cast<const float4*>(from);
  float4 high = *reinterpret_cast<const float4*>(from + 4);
  x[0] = low.x;
  x[1] = low.y;
  x[2] = low.z;
  x[3] = low.w;
  x[4] = high.x;
  x[5] = high.y;
  x[6] = high.z;
  x[7] = high.w;
}

__device__ __forceinline__ void load(const float* from, float (&x)[4]) {
  float4 numbers = *reinterpret_cast<const float4*>(from);
  x[0] = numbers.x;
  x[1] = numbers.y;
  x[2] = numbers.z;
  x[3] = numbers.w;
}

__device__ __forceinline__ void load(const bf16* from, float (&x)[2]) {
  float2 pair = to_float2(*reinterpret_cast<const uint32_t*>(from));
  x[0] = pair.x;
  x[1] = pair.y;
}

__device__ __forceinline__ void load(const float* from, float (&x)[2]) {
  float2 pair = *reinterpret_cast<const float2*>(from);
  x[0] = pair.x;
  x[1] = pair.y;
}

template <class T>
__device__ __forceinline__ void load(const T* from, float (&x)[1]) {
  x[0] = to_float(*from);
}

__device__ __forceinline__ void store(bf16* to, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(
      narrow2(x[0], x[1]), narrow2(x[2], x[3]), narrow2(x[4], x[5]), narrow2(x[6], x[7]));
}

__device__ __forceinline__ void store(float* to, const float (&x)[8]) {
  *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
  *reinterpret_cast<float4*>(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
}

__device__ __forceinline__ void store(bf16* to, const float (&x)[4]) {
  *reinterpret_cast<uint2*>(to) = make_uint2(narrow2(x[0], x[1]), narrow2(x[2], x[3]));
}

__device__ __forceinline__ void store(bf16* to, const float (&x)[2]) {
  *reinterpret_cast<uint32_t*>(to) = narrow2(x[0], x[1]);
}

template <class T>
__device__ __forceinline__ void store(T* to, const float (&x)[1]) {
  narrow(x[0], *to);
}

// ---- numbers of lanes and threads ---------------------------------------------------------------

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

// The larger, or the smaller; of a number and NaN the number.
struct Larger {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return fmaxf(a, b);
  }
  __device__ __forceinline__ int operator()(int a, int b) const {
    return a > b ? a : b;
  }
};

struct Smaller {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return fminf(a, b);
  }
  __device__ __forceinline__ int operator()(int a, int b) const {
    return a < b ? a : b;
  }
};

// Joins the numbers of `width` neighbouring lanes (a power of two); all of them get the result.
template <class T, class F>
__device__ __forceinline__ T warp_reduce(T x, F join, int width = 32) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    if (distance < width) x = join(x, __shfl_xor_sync(ALL_LANES, x, distance));
  }
  return x;
}

// Joins the numbers of a block's threads in a fixed order; all of them get the result. `parts`
// holds a number a warp, and may be used again after any barrier.
template <class T, class F>
__device__ __forceinline__ T block_reduce(T x, F join, T* parts) {
  x = warp_reduce(x, join);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  x = parts[0];
  for (int warp = 1; warp < int(blockDim.x / 32); ++warp) x = join(x, parts[warp]);
  return x;
}

// A double from its two words.
__device__ __forceinline__ double double_of(uint32_t high, uint32_t low) {
#ifdef __CUDACC__
  return __hiloint2double(int(high), int(low));
#else
  return __longlong_as_double((long long)(u64(high) << 32 | low));
#endif
}

// ---- cp.async: 16 bytes from global to shared memory; zeros where not valid ---------------------

__device__ __forceinline__ void copy_async16(void* to, const void* from, bool valid = true) {
#ifdef __CUDACC__
  uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               ::"r"(address), "l"(from), "r"(bytes) : "memory");
#else
  emu::async_copy(to, from, 16, valid ? 16 : 0);
#endif
}

__device__ __forceinline__ void copy_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emu::async_commit();
#endif
}

// Waits until at most the last N groups are on their way.
template <int N>
__device__ __forceinline__ void copy_wait() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#else
  emu::async_wait(N);
#endif
}

// ---- ldmatrix: four 8x8 tiles of 16-bit numbers; lane 8i+r brings the address of row r of tile i 

#ifdef __CUDACC__
__device__ __forceinline__ void load_tiles(uint32_t (&r)[4], const void* row) {
  uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ void load_tiles_transposed(uint32_t (&r)[4], const void* row) {
  uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
#else
namespace emu {

struct Rows {
  const void* mine;
  const void* all[32];
};

inline EMU_UNSEEN void exchange_rows(Rows& rows, const void* mine, int line) {
  rows.mine = mine;
  auto exchange = [](void* const* lanes, uint32_t) EMU_UNSEEN_OP {
    for (int to = 0; to < 32; ++to) {
      for (int from = 0; from < 32; ++from) {
        static_cast<Rows*>(lanes[to])->all[from] = static_cast<Rows*>(lanes[from])->mine;
      }
    }
  };
  meet(~0u, &rows, exchange, "ldmatrix", line, false);
}

// Performance that shows on a CPU: the eight rows of a tile should lie in eight different groups of
// four banks.
inline EMU_UNSEEN void count_bank_cycles(const Rows& rows) {
  for (unsigned tile = 0; tile < 4; ++tile) {
    unsigned seen[8] = {};
    unsigned most = 0;
    for (unsigned row = 0; row < 8; ++row) {
      unsigned banks = reinterpret_cast<uintptr_t>(rows.all[8 * tile + row]) / 16 % 8;
      unsigned count = ++seen[banks];
      most = count > most ? count : most;
    }
    loads += 1;
    bank_cycles += most;
  }
}

// Every lane reads what it gets itself, so that a sanitizer sees who reads what.
inline void load_tiles(uint32_t (&out)[4], const void* row, bool transposed, int line) {
  Rows rows;
  exchange_rows(rows, row, line);
  unsigned lane = self->lane;
  unsigned g = lane / 4;
  unsigned t = lane % 4;
  if (lane == 0) count_bank_cycles(rows);
  for (unsigned tile = 0; tile < 4; ++tile) {
    uint16_t halves[2];
    for (unsigned j = 0; j < 2; ++j) {
      unsigned r = transposed ? 2 * t + j : g;
      unsigned c = transposed ? g : 2 * t + j;
      const void* base = rows.all[8 * tile + r];
      if (reinterpret_cast<uintptr_t>(base) % 16) fail("ldmatrix: a row is not on 16 bytes", line);
      halves[j] = static_cast<const uint16_t*>(base)[c];
    }
    out[tile] = halves[0] | uint32_t(halves[1]) << 16;
  }
}

}  // namespace emu

inline void load_tiles(uint32_t (&r)[4], const void* row, EMU_LINE) {
  emu::load_tiles(r, row, false, line);
}

inline void load_tiles_transposed(uint32_t (&r)[4], const void* row, EMU_LINE) {
  emu::load_tiles(r, row, true, line);
}
#endif

// ---- mma m16n8k16: d += a b, bf16 in, f32 out ---------------------------------------------------
// Lane 4g+t holds (PTX ISA, "Matrix fragments for mma.m16n8k16"):
//   a[0], a[1]: rows g, g+8, columns 2t, 2t+1; a[2], a[3]: the same rows, columns 2t+8, 2t+9
//   b0, b1: rows 2t, 2t+1 and 2t+8, 2t+9 of column g
//   d: (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1)

#ifdef __CUDACC__
__device__ __forceinline__ void mma_bf16(
    float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
namespace emu {

// What Hopper's tensor cores compute, to the bit, by the model of MMA-Sim (arXiv 2511.10909,
// simulator/nv_ptx.py: "Hopper: 25"): the sixteen products and the accumulator are aligned to the
// largest exponent, cut to 25 fractional bits, added exactly and cut to f32. Products are not
// normalised first. Finite numbers only.
inline EMU_UNSEEN_OP float fused_dot(const uint16_t* a, const uint16_t* b, float c) {
  struct Term {
    int64_t significand;
    int exponent;
  };
  Term terms[17];
  int top = -100000;
  auto split = [](uint16_t x, int& exponent) -> int {
    exponent = x >> 7 & 255;
    int significand = x & 127;
    if (exponent) {
      significand |= 128;
    } else {
      exponent = 1;
    }
    exponent -= 127;
    if (!significand) exponent = -126;
    return x & 0x8000 ? -significand : significand;
  };
  for (int i = 0; i < 16; ++i) {
    int exponent_a;
    int exponent_b;
    int significand_a = split(a[i], exponent_a);
    int significand_b = split(b[i], exponent_b);
    // From 14 fractional bits to 25.
    terms[i] = {int64_t(significand_a * significand_b) * 2048, exponent_a + exponent_b};
    if (terms[i].exponent > top) top = terms[i].exponent;
  }
  uint32_t bits = __float_as_uint(c);
  int exponent = bits >> 23 & 255;
  int64_t significand = bits & 0x7FFFFF;
  if (exponent) {
    significand |= 0x800000;
  } else {
    exponent = 1;
  }
  exponent -= 127;
  if (!significand) exponent = -126;
  // From 23 fractional bits to 25.
  terms[16] = {(bits >> 31 ? -significand : significand) * 4, exponent};
  if (exponent > top) top = exponent;
  int64_t sum = 0;
  for (const Term& term : terms) {
    int shift = top - term.exponent;
    if (shift >= 63) continue;
    bool negative = term.significand < 0;
    sum += negative ? -(-term.significand >> shift) : term.significand >> shift;
  }
  // Cut to 24 significant bits (fewer below the smallest normal number), then exact.
  uint64_t size = sum < 0 ? uint64_t(-sum) : uint64_t(sum);
  if (!size) return 0.0f;
  int drop = 64 - __builtin_clzll(size) - 24;
  int least = -149 - (top - 25);
  if (drop < least) drop = least;
  if (drop > 0) size = drop < 64 ? size >> drop << drop : 0;
  float result = float(std::ldexp(double(size), top - 25));
  return sum < 0 ? -result : result;
}

}  // namespace emu

inline EMU_UNSEEN void mma_bf16(
    float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, EMU_LINE) {
  struct Fragment {
    uint32_t a[4];
    uint32_t b[2];
    float* d;
  };
  Fragment mine{{a[0], a[1], a[2], a[3]}, {b0, b1}, d};
  auto multiply = [](void* const* lanes, uint32_t) EMU_UNSEEN_OP {
#ifdef EMU_EXACT_MMA
    using Number = uint16_t;
    auto number = [](uint32_t half) EMU_UNSEEN_OP { return uint16_t(half); };
#else
    using Number = float;
    auto number = [](uint32_t half) EMU_UNSEEN_OP { return __uint_as_float(half << 16); };
#endif
    // a [row][k]; b [k][column], or [column][k] for exact sums: their order of use.
    Number rows[16][16];
    Number columns[8 * 16];
    auto column_at = [](unsigned k, unsigned column) EMU_UNSEEN_OP {
      return sizeof(Number) == 2 ? column * 16 + k : k * 8 + column;
    };
    for (unsigned lane = 0; lane < 32; ++lane) {
      auto* fragment = static_cast<Fragment*>(lanes[lane]);
      unsigned g = lane / 4;
      unsigned t = lane % 4;
      for (unsigned i = 0; i < 4; ++i) {
        Number* to = &rows[g + 8 * (i & 1)][2 * t + 8 * (i >> 1)];
        to[0] = number(fragment->a[i] & 0xFFFF);
        to[1] = number(fragment->a[i] >> 16);
      }
      for (unsigned i = 0; i < 2; ++i) {
        unsigned k = 2 * t + 8 * i;
        columns[column_at(k, g)] = number(fragment->b[i] & 0xFFFF);
        columns[column_at(k + 1, g)] = number(fragment->b[i] >> 16);
      }
    }
#ifndef EMU_EXACT_MMA
    float sums[16][8];
    for (unsigned row = 0; row < 16; ++row) {
      float sum[8] = {};
      for (unsigned k = 0; k < 16; ++k) {
        float x = rows[row][k];
        for (unsigned column = 0; column < 8; ++column) sum[column] += x * columns[k * 8 + column];
      }
      memcpy(sums[row], sum, sizeof sum);
    }
#endif
    for (unsigned lane = 0; lane < 32; ++lane) {
      auto* fragment = static_cast<Fragment*>(lanes[lane]);
      for (unsigned i = 0; i < 4; ++i) {
        unsigned row = lane / 4 + 8 * (i >> 1);
        unsigned column = lane % 4 * 2 + (i & 1);
#ifdef EMU_EXACT_MMA
        float& d = fragment->d[i];
        d = emu::fused_dot(rows[row], columns + 16 * column, d);
#else
        fragment->d[i] += sums[row][column];
#endif
      }
    }
  };
  emu::meet(~0u, &mine, multiply, "mma", line, false);
}
#endif
