// Powers, logarithms, sines: what a special function unit approximates, or a library computes.
//
// With EXACT_FUNCTIONS they are sums and products alone, whose bits are the same on every machine:
// not what is shipped, but what lets all else of a kernel be compared with a GPU bit for bit
// (tests/cuda/kernels).
#pragma once
#include "device.h"

#ifdef EXACT_FUNCTIONS

// 2^x to 2 units in the last place; 0 where that is below the smallest normal number.
__device__ __forceinline__ float exp2_fast(float x) {
  constexpr float ROUND = 12582912.0f;
  if (x != x) return x;
  if (x < -126.0f) return 0.0f;
  if (x >= 128.0f) return INFINITY;
  float shifted = x + ROUND;
  float r = x - (shifted - ROUND);
  // Of exp(r ln 2), by Taylor.
  float p = 1.5252734e-5f;
  p = fmaf(p, r, 1.5403530e-4f);
  p = fmaf(p, r, 1.3333558e-3f);
  p = fmaf(p, r, 9.6181291e-3f);
  p = fmaf(p, r, 5.5504109e-2f);
  p = fmaf(p, r, 2.4022651e-1f);
  p = fmaf(p, r, 6.9314718e-1f);
  p = fmaf(p, r, 1.0f);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

__device__ __forceinline__ float exp_of(float x) {
  constexpr float LOG2_E = 1.44269502f;
  constexpr float LOG2_E_REST = 1.92596299e-8f;
  constexpr float LN_2 = 0.69314718f;
  float whole = x * LOG2_E;
  // What the rounded product lacks. (Of an infinite one there is no rest.)
  float rest = fmaf(x, LOG2_E_REST, fmaf(x, LOG2_E, -whole));
  float power = exp2_fast(whole);
  return power > 0.0f && power < INFINITY ? fmaf(power, rest * LN_2, power) : power;
}

__device__ __forceinline__ float reciprocal_fast(float x) {
  return 1.0f / x;
}

// ln x = exponent · ln 2 + `rest`, for a normal x.
__device__ __forceinline__ float split_logarithm(float x, float* rest) {
  constexpr uint32_t ROOT_HALF = 0x3F3504F3u;
  uint32_t above = __float_as_uint(x) - ROOT_HALF;
  int exponent = int(above) >> 23;
  float m = __uint_as_float((above & 0x7FFFFFu) + ROOT_HALF);
  // ln m = 2 artanh((m - 1) / (m + 1)).
  float s = (m - 1.0f) / (m + 1.0f);
  float square = s * s;
  float p = 2.0f / 11.0f;
  p = fmaf(p, square, 2.0f / 9.0f);
  p = fmaf(p, square, 2.0f / 7.0f);
  p = fmaf(p, square, 2.0f / 5.0f);
  p = fmaf(p, square, 2.0f / 3.0f);
  *rest = fmaf(p * square, s, 2.0f * s);
  return float(exponent);
}

__device__ __forceinline__ float log_of(float x) {
  float rest;
  float exponent = split_logarithm(x, &rest);
  return fmaf(exponent, 0.69314718f, rest);
}

__device__ __forceinline__ float log2_of(float x) {
  float rest;
  float exponent = split_logarithm(x, &rest);
  return fmaf(rest, 1.44269502f, exponent);
}

__device__ __forceinline__ void sincos_turns(float turns, float* sine, float* cosine) {
  constexpr float ROUND = 12582912.0f;
  // An eighth of a turn at most is left of the nearest quarter.
  float shifted = turns * 4.0f + ROUND;
  float angle = fmaf(shifted - ROUND, -0.25f, turns) * 6.28318531f;
  float square = angle * angle;
  float s = fmaf(square, 2.7557319e-6f, -1.9841270e-4f);
  s = fmaf(s, square, 8.3333333e-3f);
  s = fmaf(s, square, -1.6666667e-1f);
  s = fmaf(s * square, angle, angle);
  float c = fmaf(square, 2.4801587e-5f, -1.3888889e-3f);
  c = fmaf(c, square, 4.1666667e-2f);
  c = fmaf(c, square, -0.5f);
  c = fmaf(c, square, 1.0f);
  uint32_t quarter = __float_as_uint(shifted) & 3;
  bool is_turned = quarter & 1;
  float a = is_turned ? c : s;
  float b = is_turned ? s : c;
  *sine = quarter & 2 ? -a : a;
  *cosine = (quarter + 1) & 2 ? -b : b;
}

#else

// 2^x to 2 units in the last place (the emulation's is exact to 1).
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}

__device__ __forceinline__ float exp_of(float x) {
  return expf(x);
}

// 1 / x to 1 unit in the last place; 0 for infinity.
__device__ __forceinline__ float reciprocal_fast(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

__device__ __forceinline__ float log_of(float x) {
  return logf(x);
}

__device__ __forceinline__ float log2_of(float x) {
  return log2f(x);
}

// Sine and cosine of so many turns.
__device__ __forceinline__ void sincos_turns(float turns, float* sine, float* cosine) {
#ifdef __CUDACC__
  sincospif(2.0f * turns, sine, cosine);
#else
  double angle = 6.283185307179586476925 * double(turns);
  *sine = float(std::sin(angle));
  *cosine = float(std::cos(angle));
#endif
}

#endif
