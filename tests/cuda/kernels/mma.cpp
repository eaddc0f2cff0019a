// The emulation's exact sum of a tensor core, against MMA-Sim's own words in doubles
// (arXiv 2511.10909, arithmetic.py: extract_significand_exponent, fused_sum, nv_fused_dot_add). And the
// tensor cores' product itself, whose hashes are of such sums.
#include "products.cu"
#include <algorithm>
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

// By their hashes the same sums; here to what may be cut off.
static void products_case(int count, int span) {
  Array<uint16_t> a(size_t(count) * 256);
  Array<uint16_t> b(size_t(count) * 128);
  Array<float> c(size_t(count) * 128);
  auto d = poison<float>(c.size());
  for (auto* list : {&a, &b}) {
    for (uint16_t& x : *list) {
      bf16 number;
      narrow(normal(), number);
      x = span ? spread(span) : number.bits;
    }
  }
  for (float& x : c) x = std::ldexp(normal(), span ? uniform(-30, 30) : 2);
  launch("mma_products", {unsigned(count)}, 32, 0, reinterpret_cast<uint32_t*>(a.data()),
         reinterpret_cast<uint32_t*>(b.data()), c.data(), d.data());
  Errors errors;
  for (size_t i = 0; i < d.size(); ++i) {
    const uint16_t* row = &a[i / 8 * 16];
    const uint16_t* column = &b[(i / 128 * 8 + i % 8) * 16];
    double sum = c[i];
    double largest = std::fabs(sum);
    for (int k = 0; k < 16; ++k) {
      double product = double(number(row[k])) * number(column[k]);
      sum += product;
      largest = std::fmax(largest, std::fabs(product));
    }
    errors.add(d[i], sum, largest * 0x1p-19);
  }
  report(text("mma_products, %d, exponents spread over %d", count, span), errors);
}

int main(int count, char** arguments) {
  int cases = begin(count, arguments) == Size::FULL ? 50000 : 1000;
  sums_case("exact sums of normal numbers", cases, 0);
  sums_case("exact sums, exponents spread over 20", cases, 20);
  sums_case("exact sums, exponents spread over 60", cases, 60);
  for (int span : {0, 20, 60}) products_case(cases / 10, span);
  return finish("mma");
}
