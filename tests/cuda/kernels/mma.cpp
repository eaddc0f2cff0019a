// The emulation's exact sum of a tensor core, against MMA-Sim's own words in doubles
// (arXiv 2511.10909, arithmetic.py: extract_significand_exponent, fused_sum, nv_fused_dot_add).
#include "test.h"

using namespace test;

struct Split {
  double significand;
  int exponent;
};

static Split split(double x) {
  constexpr int LEAST = -126;
  Split s;
  s.significand = std::frexp(x, &s.exponent) * 2;
  s.exponent -= 1;
  if (s.exponent < LEAST) {
    s.significand = std::ldexp(s.significand, s.exponent - LEAST);
    s.exponent = LEAST;
  }
  if (s.significand == 0) s.exponent = LEAST;
  return s;
}

static float number(uint16_t half) { return __uint_as_float(uint32_t(half) << 16); }

static float model(const uint16_t* a, const uint16_t* b, float c) {
  Split terms[17];
  int top = INT_MIN;
  for (int i = 0; i < 16; ++i) {
    Split x = split(number(a[i]));
    Split y = split(number(b[i]));
    terms[i] = {x.significand * y.significand, x.exponent + y.exponent};
  }
  terms[16] = split(c);
  for (const Split& term : terms) top = std::max(top, term.exponent);
  double sum = 0;
  for (const Split& term : terms) {
    double aligned = term.significand * std::ldexp(1.0, 25 + term.exponent - top);
    sum += std::trunc(aligned) * std::ldexp(1.0, -25);
  }
  Split result = split(sum * std::ldexp(1.0, top));
  double cut = std::trunc(result.significand * 8388608.0) / 8388608.0;
  return float(cut * std::ldexp(1.0, result.exponent));
}

// Halves of any sign and fraction, with exponents spread over `span`; now and then zero.
static uint16_t spread(int span) {
  if (uniform(0, 8) == 0) return 0;
  int exponent = 127 - span / 2 + uniform(0, span - 1);
  return uint16_t((generator() & 0x807F) | unsigned(exponent) << 7);
}

static void sums_case(const char* what, int count, int span) {
  Errors errors;
  for (int i = 0; i < count; ++i) {
    uint16_t a[16];
    uint16_t b[16];
    for (int k = 0; k < 16; ++k) {
      bf16 x;
      bf16 y;
      narrow(normal(), x);
      narrow(normal(), y);
      a[k] = span ? spread(span) : x.bits;
      b[k] = span ? spread(span) : y.bits;
    }
    float c = std::ldexp(normal(), span ? uniform(-30, 30) : 2);
    float got = emu::fused_dot(a, b, c);
    float wanted = model(a, b, c);
    // Of a zero the sign is not compared.
    errors.differ(__float_as_uint(got) != __float_as_uint(wanted) && !(got == 0 && wanted == 0));
  }
  report(what, errors);
}

int main(int count, char** arguments) {
  int cases = is_small(count, arguments) ? 1000 : 50000;
  sums_case("exact sums of normal numbers", cases, 0);
  sums_case("exact sums, exponents spread over 20", cases, 20);
  sums_case("exact sums, exponents spread over 60", cases, 60);
  return finish("mma");
}
