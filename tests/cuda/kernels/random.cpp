// Tests of random.cu and philox.h.
#include "random.cu"
#include "test.h"

using namespace test;

// Known-answer vectors published with the authors' Random123 library (kat_vectors), those with the
// upper half of the counter 0, and what src/contract/random.rs makes of others.
static void philox_case() {
  Errors errors;
  uint4 zero = philox(0, 0);
  errors.differ(zero.x != 0x6627e8d5 || zero.y != 0xe169c58d);
  errors.differ(zero.z != 0xbc57ac4c || zero.w != 0x9b00dbd8);
  report("philox, known answers", errors);
}

template <class T>
static void random_case(u64 count, unsigned blocks, u64 key, float deviation) {
  auto out = poison<T>(count + 1);
  launch(text("fill_random_%s", name_of<T>()), {blocks}, 256, 0, out.data(), count, key, deviation);
  Errors errors;
  double sum = 0;
  double squares = 0;
  for (u64 i = 0; i < count; ++i) {
    // src/model/random.rs's normal_pair.
    uint4 bits = philox(key, i / 2);
    double u = (double(bits.x) + 0.5) / 4294967296.0;
    double v = double(bits.y) / 4294967296.0;
    double radius = std::sqrt(-2 * std::log(u));
    double angle = 6.283185307179586476925 * v;
    double wanted = deviation * radius * (i % 2 ? std::sin(angle) : std::cos(angle));
    // In f32, u below 1 is known to 2^-25, and so is the logarithm.
    double spread = deviation * (6e-8 / std::fmax(radius, 3e-4) + 4e-7 * (radius + 1));
    errors.add(as_float(out[i]), wanted, rounding<T>() * std::fabs(wanted) + spread);
    sum += wanted;
    squares += wanted * wanted;
  }
  errors.differ(!std::isnan(as_float(out[count])));
  if (count > 1000) {
    errors.differ(std::fabs(sum / count) > 5 * deviation / std::sqrt(double(count)));
    errors.differ(std::fabs(std::sqrt(squares / count) / deviation - 1) > 0.05);
  }
  report(text("fill_random_%s count %llu blocks %u", name_of<T>(), count, blocks), errors);
}

template <class T>
static void fill_case(u64 count, unsigned blocks, float value) {
  auto out = poison<T>(count + 1);
  launch(text("fill_%s", name_of<T>()), {blocks}, 256, 0, out.data(), count, value);
  Errors errors;
  T wanted;
  narrow(value, wanted);
  for (u64 i = 0; i < count; ++i) errors.differ(as_float(out[i]) != as_float(wanted));
  errors.differ(!std::isnan(as_float(out[count])));
  report(text("fill_%s count %llu blocks %u", name_of<T>(), count, blocks), errors);
}

template <class T>
static void cases_of() {
  for (u64 count : {1, 2, 511, 512, 513, 20001}) {
    for (unsigned blocks : {1, 7}) {
      random_case<T>(count, blocks, 0x123456789abcdefull + count, 0.02f);
      fill_case<T>(count, blocks, 1.1f);
    }
  }
}

int main(int count, char** arguments) {
  begin(count, arguments);
  philox_case();
  cases_of<bf16>();
  cases_of<float>();
  return finish("random");
}
