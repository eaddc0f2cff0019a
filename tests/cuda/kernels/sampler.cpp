// Tests of sampler.cu: the token, the mass and the normaliser are those of src/engine/sampler.rs,
// which is written out here as it stands there, except that rows are cut by sorting them whole.
#include "sampler.cu"
#include <algorithm>
#include "test.h"

using namespace test;

template <>
constexpr bool test::HOLDS_ADDRESSES<SampleRow> = true;

namespace reference {

struct Settings {
  float temperature = 1;
  int top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float penalty = 1;
};

static int weight_bits(int n) {
  int width = 0;
  while (n > 1 && (unsigned(n) - 1) >> width) ++width;
  return std::min(62 - width, 51);
}

static float exp_negative(float x) {
  const float round = 12582912.0f;
  x = x >= -87.0f ? x : -87.0f;
  float shifted = x * 1.44269504088896340736f + round;
  float whole = shifted - round;
  float r = x - whole * 0.6933594f - whole * -2.1219444e-4f;
  float p = 1.0f / 5040.0f;
  for (float c : {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f}) {
    p = p * r + c;
  }
  int exponent = int(__float_as_uint(shifted) - __float_as_uint(round));
  return p * __uint_as_float(unsigned(exponent + 127) << 23);
}

static u64 weight(float x, float high, float temperature, int bits) {
  double y = double(exp_negative((x - high) / temperature)) * double(u64(1) << bits);
  return u64(std::nearbyint(y));
}

static std::vector<float> penalise(
    std::vector<float> logits, const std::vector<bool>& seen, float penalty) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!seen[i]) continue;
    float y = logits[i] < 0 ? logits[i] * penalty : logits[i] / penalty;
    logits[i] = std::min(std::max(y, -F32_MAX), F32_MAX);
  }
  return logits;
}

static SampleDraw draw(
    const std::vector<float>& row, const Settings& s, const std::vector<bool>& seen, u64 key,
    u64 position) {
  int n = int(row.size());
  int bits = weight_bits(n);
  float top = *std::max_element(row.begin(), row.end());
  std::vector<float> logits = s.penalty == 1 ? row : penalise(row, seen, s.penalty);
  float high = *std::max_element(logits.begin(), logits.end());
  SampleDraw draw{0, 0, top, 1, 0, 0};
  for (float x : row) draw.normaliser += weight(x, top, 1, bits);
  if (s.temperature == 0) {
    draw.token = unsigned(std::find(logits.begin(), logits.end(), high) - logits.begin());
    draw.logit = row[draw.token];
    return draw;
  }
  std::vector<u64> weights(n);
  std::vector<int> order(n);
  for (int i = 0; i < n; ++i) {
    weights[i] = weight(logits[i], high, s.temperature, bits);
    order[i] = i;
  }
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  if (s.top_k > 0 && s.top_k < n) order.resize(s.top_k);
  u64 total = 0;
  for (int i : order) total += weights[i];
  u64 target = u64(std::ceil(double(s.top_p) * double(total)));
  target = std::clamp(target, u64(1), total);
  u64 least = u64(std::ceil(double(s.min_p) * double(u64(1) << bits)));
  std::vector<u64> kept(n);
  u64 mass = 0;
  for (int i : order) {
    if (s.top_p < 1 && mass >= target) break;
    mass += weights[i];
    if (weights[i] >= least) kept[i] = weights[i];
  }
  for (u64 w : kept) draw.mass += w;
  uint4 random = philox(key, position);
  u64 point = u64((unsigned __int128)(random.x | u64(random.y) << 32) * draw.mass >> 64);
  u64 before = 0;
  while (before + kept[draw.token] <= point) before += kept[draw.token++];
  draw.logit = row[draw.token];
  return draw;
}

}  // namespace reference

using reference::Settings;

static bool is_same(const SampleDraw& a, const SampleDraw& b) {
  return a.token == b.token && a.logit == b.logit && a.max == b.max && a.finite == b.finite &&
         a.mass == b.mass && a.normaliser == b.normaliser;
}

// One launch of some rows, each with settings of its own; slots in a mixed order.
class Batch {
 public:
  explicit Batch(int n) : n_(n), words_((n + 31) / 32) {}

  void add(const std::vector<float>& logits, const Settings& settings, u64 position) {
    logits_.push_back(logits);
    settings_.push_back(settings);
    SampleRow row{};
    row.key = 9;
    row.position = position;
    row.temperature = settings.temperature;
    row.top_p = settings.top_p;
    row.min_p = settings.min_p;
    row.penalty = settings.penalty;
    row.top_k = settings.top_k;
    row.draw = 1;
    rows_.push_back(row);
  }

  int size() const {
    return int(rows_.size());
  }

  void check(Errors& errors, unsigned threads) {
    int count = size();
    int slots = count + 2;
    std::vector<int> order(slots);
    for (int i = 0; i < slots; ++i) order[i] = i;
    shuffle(order);
    Array<float> memory(size_t(count) * (n_ + 6));
    Array<unsigned> seen(size_t(slots) * words_);
    std::vector<std::vector<bool>> is_seen(count, std::vector<bool>(n_));
    for (int r = 0; r < count; ++r) {
      // Off 16 bytes, for some.
      float* logits = &memory[size_t(r) * (n_ + 6) / 4 * 4 + r % 3];
      std::copy(logits_[r].begin(), logits_[r].end(), logits);
      rows_[r].logits = u64(reinterpret_cast<uintptr_t>(logits));
      rows_[r].slot = order[r];
      // Of others nobody looks at what was seen.
      if (settings_[r].penalty == 1) continue;
      std::vector<int> list = {-1, n_, n_ - 1};
      for (int i = 0; i < n_ / 3; ++i) list.push_back(uniform(0, n_ - 1));
      for (int token : list) {
        if (token >= 0 && token < n_) is_seen[r][token] = true;
      }
      int half = int(list.size()) / 2;
      auto tokens = visible(list);
      launch("seen_tokens", {1}, 128, 0, seen.data(), tokens.data(), half, order[r], n_, 1);
      launch("seen_tokens", {1}, 128, 0, seen.data(), tokens.data() + half,
             int(list.size()) - half, order[r], n_, 0);
    }
    // Two more that draw nothing.
    auto rows = rows_;
    rows.push_back(rows[0]);
    rows.back().draw = 0;
    rows.push_back(rows[0]);
    rows.back().slot = -1;
    SampleDraw untouched;
    memset(&untouched, 0xFF, sizeof untouched);
    auto shown = visible(rows);
    Array<SampleDraw> draws(rows.size(), untouched);
    Array<int> tokens(slots, -7);
    auto before = seen;
    launch("sample_rows", {unsigned(rows.size())}, threads, SHARED_BYTES, n_, shown.data(),
           tokens.data(), draws.data(), seen.data(), reference::weight_bits(n_));
    for (int r = 0; r < count; ++r) {
      SampleDraw wanted = reference::draw(
          logits_[r], settings_[r], is_seen[r], rows_[r].key, rows_[r].position);
      bool same = is_same(draws[r], wanted) && tokens[order[r]] == int(wanted.token);
      errors.differ(!same);
      if (!same) {
        const Settings& s = settings_[r];
        printf("n %d temperature %g top_k %d top_p %g min_p %g penalty %g: token %u, wanted %u\n",
               n_, s.temperature, s.top_k, s.top_p, s.min_p, s.penalty, draws[r].token,
               wanted.token);
      }
      if (settings_[r].penalty != 1) {
        before[size_t(order[r]) * words_ + wanted.token / 32] |= 1u << (wanted.token % 32);
      }
    }
    errors.differ(before != seen);
    errors.differ(tokens[order[count]] != -7 || tokens[order[count + 1]] != -7);
    errors.differ(memcmp(&draws[count], &untouched, sizeof untouched) != 0);
    errors.differ(memcmp(&draws[count + 1], &untouched, sizeof untouched) != 0);
    fold_all();
  }

 private:
  int n_;
  int words_;
  std::vector<std::vector<float>> logits_;
  std::vector<Settings> settings_;
  std::vector<SampleRow> rows_;
};

// The rows of sampler.rs's tests: noise in three scales, ties and zeros of both signs, all equal,
// and one far above and one as far below as there is; and more.
static std::vector<std::vector<float>> kinds_of_rows(int n) {
  auto noise = [&](double scale, double shift) {
    std::vector<float> row(n);
    for (float& x : row) x = float(scale * unit() + shift);
    return row;
  };
  std::vector<std::vector<float>> rows = {noise(20, -15), noise(1e-5, 3), noise(1e4, -5e3)};
  rows.push_back(noise(6, -3));
  for (float& x : rows.back()) x = std::trunc(x);
  rows.push_back(std::vector<float>(n, -7.25f));
  rows.push_back(noise(2, 0));
  rows.back()[n / 2] = -F32_MAX;
  rows.back()[n / 3] = 60;
  // Both ends of f32: differences overflow.
  rows.push_back(noise(2, 0));
  rows.back()[n / 2] = -F32_MAX;
  rows.back()[n / 3] = F32_MAX;
  // One above a plain, in which the nucleus may end and which a minimum may cut off.
  rows.push_back(std::vector<float>(n, 1.0f));
  rows.back()[n / 3] = 3;
  // Far below 1, and denormal.
  rows.push_back(noise(1e-38, 0));
  rows.push_back(noise(1e-42, -1e-42));
  return rows;
}

static void settings_case(int n, unsigned threads, bool small) {
  std::vector<float> temperatures = {0, 1e-3f, 0.3f, 1, 1.6f, 50, 1e30f};
  if (!small) temperatures.insert(temperatures.end(), {1e-44f, 1e-30f, 1e-12f, 3e38f});
  std::vector<int> counts = {0, 1, 2, 40, 900};
  struct Cuts {
    float top_p;
    float min_p;
  };
  std::vector<Cuts> cuts = {{1, 0}, {0.95f, 0}, {0.5f, 0}, {1e-9f, 0}, {0.99f, 0.2f}, {1, 0.3f}};
  if (small) {
    temperatures = {0, 1, 1.6f};
    counts = {0, 40};
    cuts = {{1, 0.3f}, {0.99f, 0.3f}};
  }
  Errors errors;
  int draws = 0;
  for (const std::vector<float>& row : kinds_of_rows(n)) {
    Batch batch(n);
    for (float temperature : temperatures) {
      for (int top_k : counts) {
        for (Cuts cut : cuts) {
          for (float penalty : {1.0f, 1.3f}) {
            // Of the penalised ones a third.
            if (penalty != 1 && batch.size() % 3) continue;
            Settings settings{temperature, top_k, cut.top_p, cut.min_p, penalty};
            batch.add(row, settings, u64(draws++));
          }
        }
      }
    }
    batch.check(errors, threads);
  }
  report(text("sample_rows n %d threads %u, %d draws", n, threads, draws), errors);
}

// A bell with a few outliers, as logits are.
static std::vector<float> bell(int n, float deviation) {
  std::vector<float> row(n);
  for (int i = 0; i < n; ++i) row[i] = deviation * normal() + (i % 997 == 0 ? 9.0f : 0.0f);
  return row;
}

static void large_case(int n, unsigned threads) {
  Errors errors;
  Batch batch(n);
  std::vector<Settings> all = {{1.6f, 0, 0.95f, 0, 1},      {1, 0, 1, 0, 1},
                               {1, 0, 0.9f, 0, 1},          {0.7f, 20, 0.8f, 0, 1},
                               {1, 0, 1, 0.05f, 1},         {0.6f, 0, 0.95f, 0.01f, 1.05f},
                               {2, 5000, 0.99f, 1e-3f, 1.2f}, {0, 0, 1, 0, 1}};
  for (float deviation : {2.5f, 0.01f, 1e-6f}) {
    std::vector<float> row = bell(n, deviation);
    for (const Settings& settings : all) batch.add(row, settings, u64(batch.size()));
  }
  batch.check(errors, threads);
  report(text("sample_rows n %d threads %u, %d draws", n, threads, batch.size()), errors);
}

static void not_finite_case() {
  Errors errors;
  for (int n : {1, 5, 300}) {
    for (float bad : {NAN, INFINITY, -INFINITY}) {
      for (int at = 0; at < n; at += 1 + n / 7) {
        for (float penalty : {1.0f, 1.5f}) {
          Array<float> row(n, 1.0f);
          row[at] = bad;
          SampleRow settings{u64(reinterpret_cast<uintptr_t>(row.data())), 1, 0, 1.6f, 0.9f, 0,
                             penalty, 0, 1, 1, 0};
          Array<SampleRow> rows(1, settings);
          Array<unsigned> seen(2 * ((n + 31) / 32), ~0u);
          Array<SampleDraw> draw(1);
          draw[0].finite = 1;
          Array<int> tokens(2, -7);
          launch("sample_rows", {1}, 64, SHARED_BYTES, n, rows.data(), tokens.data(), draw.data(),
                 seen.data(), reference::weight_bits(n));
          errors.differ(draw[0].finite != 0 || tokens[0] != -7 || tokens[1] != 0);
        }
      }
    }
  }
  report("sample_rows, not finite", errors);
}

// What takes the place of instructions of sampler.rs gives the same bits.
static void arithmetic_case(int rounds) {
  Errors errors;
  auto random_float = [](int low, int high) {
    unsigned exponent = unsigned(uniform(low + 127, high + 127)) << 23;
    return __uint_as_float(exponent | (unsigned(generator()) & 0x7FFFFF));
  };
  int bits = 44;
  for (int i = 0; i < rounds; ++i) {
    float temperature = i % 4 == 0 ? random_float(-126, 127) : random_float(-10, 6);
    float x = -random_float(i % 4 == 0 ? -126 : -20, i % 4 == 0 ? 127 : 8);
    // Quotients near a border between two numbers: of numbers with all bits set, and of products.
    if (i % 4 == 1) temperature = __uint_as_float(__float_as_uint(temperature) | 0x7FFF00);
    if (i % 4 == 2) x = -temperature * random_float(-3, 6);
    Weight weight(0.0f, temperature, bits);
    float quotient = x / temperature;
    float own = weight.divide(x);
    // Where weights can tell.
    bool matters = std::fabs(quotient) > 0x1p-30f && std::fabs(quotient) < 100;
    errors.differ(matters && own != quotient);
    errors.differ(weight(x) != reference::weight(x, 0.0f, temperature, bits));
  }
  for (int i = 0; i <= 1000000; i += std::max(1, 1000000 / rounds)) {
    float x = -float(i) / 11000.0f;
    errors.differ(exp_negative(x) != reference::exp_negative(x));
    errors.differ(UnitWeight{0.0f, 51}(x) != reference::weight(x, 0.0f, 1.0f, 51));
    errors.differ(UnitWeight{0.0f, 20}(x) != reference::weight(x, 0.0f, 1.0f, 20));
  }
  report(text("division and weights, %d numbers", rounds), errors);
}

int main(int count, char** arguments) {
  Size size = begin(count, arguments);
  arithmetic_case(size == Size::FULL ? 10000000 : 10000);
  not_finite_case();
  for (int order = 0; order < 3; ++order) {
    // The order is the emulation's alone.
    if (size == Size::HASHES && order > 0) break;
    emu_options(order, 0, 3);
    if (size != Size::FULL) {
      for (int n : {1, 17, 600, 2600}) settings_case(n, 64, true);
      continue;
    }
    const unsigned threads[3] = {64, 128, 32};
    std::vector<int> sizes = {3, 100, 1000};
    if (order == 0) sizes = {1, 2, 17, 100, 5000};
    for (int n : sizes) settings_case(n, threads[order], false);
  }
  if (size == Size::FULL) {
    emu_options(2, 0, 3);
    settings_case(777, 1024, false);
  }
  if (size == Size::HASHES) large_case(12000, 1024);
  if (size == Size::FULL) {
    for (int n : {50257, 102400, 152064, 262144}) large_case(n, n == 102400 ? 256 : 1024);
  }
  return finish("sampler");
}
