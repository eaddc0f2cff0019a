// Tests of attention.cu.
#include "attention.cu"
#include <algorithm>
#include "test.h"

using namespace test;

constexpr double LOG2_E = 1.44269504088896340736;

struct Shape {
  int heads;
  int kv_heads;
  int dim;

  int group() const {
    return heads / kv_heads;
  }
  int stride() const {
    return (heads + 2 * kv_heads) * dim;
  }
};

// `scale` of the kernels on tensor cores.
static float scale_of(Shape shape) {
  return float(LOG2_E / std::sqrt(double(shape.dim)));
}

// decode_attention with no block for own tokens: prefixes into part 0.
static void launch_prefix(
    Shape shape, unsigned blocks, const Array<bf16>& qkv, const bf16* pool,
    const Array<PrefixTile>& tiles, const Array<int>& tile_count, const Array<int>& pages,
    const Array<int>& positions, Array<float>& parts, Array<float>& lse, int rows, int window) {
  const int* none = nullptr;
  launch(text("decode_attention_%d", shape.dim), {blocks}, 128, 768 * shape.dim, qkv.data(),
         shape.stride(), pool, tiles.data(), tile_count.data(), pages.data(), positions.data(),
         none, 0, none, parts.data(), lse.data(), rows, shape.heads, shape.kv_heads, PAGE,
         int(blocks), window, scale_of(shape));
}

// decode_attention with no block for prefixes: own tokens into the parts from 1 on.
static void launch_suffix(
    Shape shape, int splits, const Array<bf16>& qkv, const bf16* pool, const Array<int>& tables,
    int table_width, const Array<int>& lengths, Array<float>& parts, Array<float>& lse, int chunk,
    int window) {
  const PrefixTile* no_tiles = nullptr;
  const int* none = nullptr;
  int rows = int(lengths.size());
  launch(text("decode_attention_%d", shape.dim), {unsigned(rows * shape.kv_heads * splits)}, 128,
         768 * shape.dim, qkv.data(), shape.stride(), pool, no_tiles, none, none, none,
         tables.data(), table_width, lengths.data(), parts.data(), lse.data(), rows, shape.heads,
         shape.kv_heads, chunk, 0, window, scale_of(shape));
}

// Where one sequence's KV cache lies.
struct Sequence {
  std::vector<int> pages;
  int written = 0;
};

// Pages in a scattered order; what no sequence has written is NaN.
template <class T>
class Pool {
 public:
  Pool(Shape shape, int pages) : shape_(shape) {
    numbers_ = poison<T>(size_t(pages) * 2 * shape.kv_heads * PAGE * shape.dim);
    for (int page = 0; page < pages; ++page) free_.push_back(page);
    shuffle(free_);
  }

  // Pages that hold positions before `from` alone are none (-1) any more.
  Sequence sequence(int length, int from = 0) {
    Sequence sequence;
    for (int position = 0; position < length; position += PAGE) {
      if (position + PAGE <= from) {
        sequence.pages.push_back(-1);
        continue;
      }
      sequence.pages.push_back(free_.back());
      free_.pop_back();
    }
    for (int position = from / PAGE * PAGE; position < length; ++position) {
      for (int which = 0; which < 2; ++which) {
        for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
          T* row = const_cast<T*>(at(sequence, position, which, kv_head));
          for (int d = 0; d < shape_.dim; ++d) narrow(normal(), row[d]);
        }
      }
    }
    sequence.written = length;
    return sequence;
  }

  const T* at(const Sequence& sequence, int position, int which, int kv_head) const {
    size_t page = sequence.pages[position / PAGE];
    size_t plane = (page * 2 + which) * shape_.kv_heads + kv_head;
    return &numbers_[(plane * PAGE + position % PAGE) * shape_.dim];
  }

  T* data() {
    return numbers_.data();
  }

 private:
  Shape shape_;
  Array<T> numbers_;
  std::vector<int> free_;
};

// The attention of one query over some positions of some sequences, by its definition.
template <class T>
class Reference {
 public:
  Reference(const Pool<T>& pool, Shape shape, const T* query, int kv_head)
      : pool_(pool), shape_(shape), query_(query), kv_head_(kv_head) {}

  void see(const Sequence& sequence, int from, int to) {
    for (int position = from; position < to; ++position) {
      const T* key = pool_.at(sequence, position, 0, kv_head_);
      double dot = 0;
      for (int d = 0; d < shape_.dim; ++d) dot += double(as_float(query_[d])) * as_float(key[d]);
      scores_.push_back(dot / std::sqrt(double(shape_.dim)));
      values_.push_back(pool_.at(sequence, position, 1, kv_head_));
    }
  }

  // The natural logarithm of the sum of exponentials.
  double logarithm() const {
    double high = -INFINITY;
    for (double score : scores_) high = std::fmax(high, score);
    double sum = 0;
    for (double score : scores_) sum += std::exp(score - high);
    return high + std::log(sum);
  }

  std::vector<double> output() const {
    std::vector<double> sums(shape_.dim);
    double total = scores_.empty() ? 0 : logarithm();
    for (size_t i = 0; i < scores_.size(); ++i) {
      double weight = std::exp(scores_[i] - total);
      for (int d = 0; d < shape_.dim; ++d) sums[d] += weight * as_float(values_[i][d]);
    }
    return sums;
  }

  bool is_empty() const {
    return scores_.empty();
  }

 private:
  const Pool<T>& pool_;
  Shape shape_;
  const T* query_;
  int kv_head_;
  std::vector<double> scores_;
  std::vector<const T*> values_;
};

// The error of a head's output, relative to its length.
template <class T>
static void compare(Errors& errors, const T* got, const std::vector<double>& wanted, double scale) {
  double difference = 0;
  double length = 0;
  for (size_t d = 0; d < wanted.size(); ++d) {
    difference += (as_float(got[d]) - wanted[d]) * (as_float(got[d]) - wanted[d]);
    length += wanted[d] * wanted[d];
  }
  errors.add(std::sqrt(difference), 0, scale * (std::sqrt(length) + 1e-6));
}

// Weights are rounded to bf16 before they are multiplied with values.
constexpr double BF16_ERROR = 1e-2;

static std::string window_text(int window) {
  return window == INT_MAX ? "none" : std::to_string(window);
}

// Rows of one prefix: its length, and each row's position.
struct Rows {
  int length;
  std::vector<int> positions;
};

// Prefixes with rows of their own, in one launch. Every fourth row belongs to none.
static void prefix_case(
    Shape shape, const std::vector<Rows>& prefixes, int window, unsigned blocks, bool is_final) {
  int group = shape.group();
  Pool<bf16> pool(shape, 64);
  std::vector<Sequence> sequences;
  std::vector<PrefixTile> tile_list;
  std::vector<int> page_list = {-1, -1, -1};
  std::vector<int> position_list;
  std::vector<int> owners;
  for (const Rows& prefix : prefixes) {
    int least = INT_MAX;
    int most = -1;
    for (int position : prefix.positions) {
      least = std::min(least, position);
      most = std::max(most, position);
    }
    int from = window == INT_MAX ? 0 : std::max(0, least - window + 1);
    int written = std::min(prefix.length, most + 1);
    sequences.push_back(pool.sequence(written, std::min(from, written)));
    int count = int(prefix.positions.size());
    for (int first = 0; first < count * group; first += 64) {
      tile_list.push_back({int(page_list.size()), prefix.length, int(position_list.size()), count, first});
    }
    for (int page : sequences.back().pages) page_list.push_back(page);
    // Beyond what is written there are no pages.
    while (int(page_list.size()) % 5) page_list.push_back(-1);
    for (int position : prefix.positions) {
      position_list.push_back(position);
      owners.push_back(int(sequences.size()) - 1);
    }
    position_list.push_back(-1);
    owners.push_back(-1);
  }
  int rows = int(position_list.size());
  Array<int> tile_count(1, int(tile_list.size()));
  // Tiles beyond the count are not looked at.
  tile_list.push_back({INT_MAX / 2, 64, 0, 1000, 0});
  auto tiles = visible(tile_list);
  auto pages = visible(page_list);
  auto positions = visible(position_list);
  auto qkv = normals<bf16>(size_t(rows) * shape.stride());
  size_t outputs = size_t(rows) * shape.heads;
  auto parts = poison<float>(outputs * shape.dim);
  auto lse = poison<float>(outputs);
  auto out = poison<bf16>(outputs * shape.dim);
  if (is_final) {
    size_t shared = size_t(64 + 2 * 2 * 64) * shape.dim * 2;
    launch(text("prefill_attention_%d", shape.dim), {blocks}, 128, shared, qkv.data(),
           shape.stride(), pool.data(), tiles.data(), tile_count.data(), pages.data(),
           positions.data(), out.data(), rows, shape.heads, shape.kv_heads, window,
           scale_of(shape));
  } else {
    launch_prefix(shape, blocks, qkv, pool.data(), tiles, tile_count, pages, positions, parts, lse,
                  rows, window);
  }

  Errors errors;
  for (int row = 0; row < rows; ++row) {
    for (int head = 0; head < shape.heads; ++head) {
      size_t at = size_t(row) * shape.heads + head;
      if (owners[row] < 0) {
        errors.differ(!std::isnan(lse[at]) || !std::isnan(parts[at * shape.dim]));
        errors.differ(!std::isnan(as_float(out[at * shape.dim])));
        continue;
      }
      const bf16* query = &qkv[size_t(row) * shape.stride() + head * shape.dim];
      Reference<bf16> reference(pool, shape, query, head / group);
      int from = window == INT_MAX ? 0 : std::max(0, positions[row] - window + 1);
      int to = std::min(prefixes[owners[row]].length, positions[row] + 1);
      reference.see(sequences[owners[row]], from, to);
      if (is_final) {
        compare(errors, &out[at * shape.dim], reference.output(), BF16_ERROR);
      } else {
        compare(errors, &parts[at * shape.dim], reference.output(), BF16_ERROR);
        if (reference.is_empty()) {
          errors.differ(lse[at] != -INFINITY);
        } else {
          errors.add(lse[at], reference.logarithm() * LOG2_E, 1e-4);
        }
      }
    }
  }
  report(text("%s_attention_%d prefixes, heads %d/%d rows %d tiles %d blocks %u window %s",
              is_final ? "prefill" : "decode", shape.dim, shape.heads, shape.kv_heads, rows,
              tile_count[0], blocks, window_text(window).c_str()),
         errors);
}

// Rows that decode: behind the prefix, one exactly behind, some at whose windows end within it.
static Rows decoding(int length, int rows) {
  Rows prefix{length, {}};
  for (int row = 0; row < rows; ++row) prefix.positions.push_back(length + row * row % 90);
  return prefix;
}

// Rows of a prompt, of which `from` were computed before; there may be more to come.
static Rows prompt(int from, int rows, int more = 0) {
  Rows prefix{from + rows + more, {}};
  for (int row = 0; row < rows; ++row) prefix.positions.push_back(from + row);
  return prefix;
}

static void prefix_cases(Shape shape, bool small) {
  int group = shape.group();
  int many = small ? 70 / group + 1 : 150 / group + 2;
  for (int window : {INT_MAX, 1, 40, 100}) {
    if (small && window != INT_MAX && window != 40) continue;
    std::vector<Rows> decode = {decoding(200, many), decoding(1, 3), decoding(64, 1)};
    if (!small) decode.push_back(decoding(300, 2));
    std::vector<Rows> prefill = {prompt(0, 70), prompt(0, 1)};
    if (!small) {
      prefill.push_back(prompt(50, 90, 100));
      prefill.push_back(prompt(0, 64));
    }
    for (unsigned blocks : {1u, 5u, 64u}) {
      if (small && blocks != 1) continue;
      prefix_case(shape, decode, window, blocks, false);
      prefix_case(shape, prefill, window, blocks, true);
    }
  }
  if (!small) prefix_case(shape, {}, INT_MAX, 4, false);
}

// Own tokens in splits, then joined with each other.
static void suffix_case(
    Shape shape, const std::vector<int>& length_list, int chunk, int splits, int window) {
  auto lengths = visible(length_list);
  int rows = int(lengths.size());
  int group = shape.group();
  Pool<bf16> pool(shape, 64);
  int table_width = 0;
  for (int length : lengths) table_width = std::max(table_width, (length + PAGE - 1) / PAGE);
  table_width += 1;
  Array<int> tables(rows * table_width, -1);
  Array<int> slots(rows);
  std::vector<Sequence> sequences;
  auto first_visible = [&](int row) {
    return window == INT_MAX ? 0 : std::max(0, lengths[row] - window);
  };
  for (int row = 0; row < rows; ++row) {
    sequences.push_back(pool.sequence(lengths[row], first_visible(row)));
    const std::vector<int>& pages = sequences[row].pages;
    std::copy(pages.begin(), pages.end(), tables.begin() + row * table_width);
    slots[row] = lengths[row] ? row : -1;
  }
  auto qkv = normals<bf16>(size_t(rows) * shape.stride());
  size_t outputs = size_t(rows) * shape.heads;
  auto parts = poison<float>((1 + splits) * outputs * shape.dim);
  auto lse = poison<float>((1 + splits) * outputs);
  auto out = poison<bf16>(outputs * shape.dim);
  launch_suffix(shape, splits, qkv, pool.data(), tables, table_width, lengths, parts, lse, chunk,
                window);
  launch(text("merge_parts_%d", shape.dim), {unsigned(rows)}, 256, 0, &parts[outputs * shape.dim],
         &lse[outputs], out.data(), slots.data(), rows, shape.heads, splits);

  Errors errors;
  for (int row = 0; row < rows; ++row) {
    for (int head = 0; head < shape.heads; ++head) {
      const bf16* query = &qkv[size_t(row) * shape.stride() + head * shape.dim];
      Reference<bf16> whole(pool, shape, query, head / group);
      whole.see(sequences[row], first_visible(row), lengths[row]);
      for (int split = 0; split < splits; ++split) {
        Reference<bf16> part(pool, shape, query, head / group);
        int from = std::max(split * chunk, first_visible(row));
        int to = std::min((split + 1) * chunk, lengths[row]);
        part.see(sequences[row], from, to);
        size_t at = (size_t(1 + split) * rows + row) * shape.heads + head;
        if (part.is_empty()) {
          errors.differ(lse[at] != -INFINITY);
        } else {
          compare(errors, &parts[at * shape.dim], part.output(), BF16_ERROR);
          errors.add(lse[at], part.logarithm() * LOG2_E, 1e-4);
        }
      }
      size_t at = size_t(row) * shape.heads + head;
      compare(errors, &out[at * shape.dim], whole.output(), BF16_ERROR);
    }
  }
  report(text("decode_attention_%d own tokens, heads %d/%d rows %d chunk %d splits %d window %s", shape.dim,
              shape.heads, shape.kv_heads, rows, chunk, splits, window_text(window).c_str()),
         errors);
}

// Both halves in one launch give the bits that each gives by itself, whatever the blocks.
static void both_case(Shape shape, int window) {
  int group = shape.group();
  int rows = 70 / group + 4;
  int length = 150;
  int splits = 3;
  int chunk = 48;
  Pool<bf16> pool(shape, 8 + 3 * rows);
  Sequence prefix = pool.sequence(length);
  int table_width = 3;
  Array<int> tables(rows * table_width, -1);
  Array<int> lengths(rows);
  Array<int> positions(rows);
  for (int row = 0; row < rows; ++row) {
    // Some rows are padding, at the end as in a step.
    lengths[row] = row + 2 < rows ? 1 + 17 * row % 140 : 0;
    positions[row] = length + lengths[row] - 1;
    Sequence own = pool.sequence(lengths[row]);
    std::copy(own.pages.begin(), own.pages.end(), tables.begin() + row * table_width);
  }
  std::vector<PrefixTile> tile_list;
  int live = rows - 2;
  for (int first = 0; first < live * group; first += 64) {
    tile_list.push_back({0, length, 0, live, first});
  }
  auto tiles = visible(tile_list);
  auto pages = visible(prefix.pages);
  Array<int> tile_count(1, int(tiles.size()));
  auto qkv = normals<bf16>(size_t(rows) * shape.stride());
  size_t outputs = size_t(rows) * shape.heads;
  auto wanted = poison<float>((1 + splits) * outputs * shape.dim);
  auto wanted_lse = poison<float>((1 + splits) * outputs);
  launch_prefix(shape, 3, qkv, pool.data(), tiles, tile_count, pages, positions, wanted, wanted_lse,
                rows, window);
  launch_suffix(shape, splits, qkv, pool.data(), tables, table_width, lengths, wanted, wanted_lse,
                chunk, window);
  for (int prefix_blocks : {1, 7}) {
    auto parts = poison<float>((1 + splits) * outputs * shape.dim);
    auto lse = poison<float>((1 + splits) * outputs);
    launch(text("decode_attention_%d", shape.dim),
           {unsigned(prefix_blocks + rows * shape.kv_heads * splits)}, 128, 768 * shape.dim,
           qkv.data(), shape.stride(), pool.data(), tiles.data(), tile_count.data(), pages.data(),
           positions.data(), tables.data(), table_width, lengths.data(), parts.data(), lse.data(),
           rows, shape.heads, shape.kv_heads, chunk, prefix_blocks, window, scale_of(shape));
    Errors errors;
    errors.differ(memcmp(parts.data(), wanted.data(), parts.size() * sizeof(float)) != 0);
    errors.differ(memcmp(lse.data(), wanted_lse.data(), lse.size() * sizeof(float)) != 0);
    report(text("decode_attention_%d both, group %d blocks %d window %s", shape.dim, group,
                prefix_blocks, window_text(window).c_str()),
           errors);
  }
}

// A row's result does not depend, in any bit, on the rows beside it, nor on where its tile begins.
static void invariance_case(Shape shape, int window) {
  int group = shape.group();
  int rows = 90 / group + 3;
  int length = 150;
  Pool<bf16> pool(shape, 8);
  Sequence prefix = pool.sequence(length);
  Array<int> positions(rows);
  for (int row = 0; row < rows; ++row) positions[row] = length + 7 * row % 60;
  auto qkv = normals<bf16>(size_t(rows) * shape.stride());
  size_t outputs = size_t(rows) * shape.heads;
  auto pages = visible(prefix.pages);
  auto run = [&](const std::vector<PrefixTile>& list, Array<float>& out, Array<float>& lse) {
    Array<int> tile_count(1, int(list.size()));
    launch_prefix(shape, 3, qkv, pool.data(), visible(list), tile_count, pages, positions, out, lse,
                  rows, window);
  };
  auto out = poison<float>(outputs * shape.dim);
  auto lse = poison<float>(outputs);
  std::vector<PrefixTile> tiles;
  for (int first = 0; first < rows * group; first += 64) {
    tiles.push_back({0, length, 0, rows, first});
  }
  run(tiles, out, lse);
  Errors errors;
  for (int row : {0, rows / 2, rows - 1}) {
    auto own_out = poison<float>(outputs * shape.dim);
    auto own_lse = poison<float>(outputs);
    run({{0, length, row, 1, 0}}, own_out, own_lse);
    size_t at = size_t(row) * shape.heads;
    size_t count = shape.heads;
    errors.differ(memcmp(&lse[at], &own_lse[at], count * sizeof(float)) != 0);
    at *= shape.dim;
    count *= shape.dim;
    errors.differ(memcmp(&out[at], &own_out[at], count * sizeof(float)) != 0);
  }
  report(text("decode_attention_%d group %d window %s, rows alone", shape.dim, group,
              window_text(window).c_str()),
         errors);
}

static void suffix_cases(Shape shape, bool small) {
  // With 512, a warp has more turns than stages.
  for (int chunk : {64, 128, 512}) {
    if (small && chunk != 512) continue;
    std::vector<int> lengths = {1, 63, 200, 0, 321, 64};
    if (small) lengths = {70, 0, 380};
    for (int window : {INT_MAX, 1, 50, 150}) {
      if (small && window != INT_MAX && window != 150) continue;
      suffix_case(shape, lengths, chunk, small ? 2 : 6, window);
    }
  }
}

// Parts that are made up, in numbers and -inf.
static void merge_case(int dim, int heads, int rows, int count) {
  size_t outputs = size_t(rows) * heads;
  auto parts = poison<float>(count * outputs * dim);
  Array<float> lse(count * outputs, -INFINITY);
  Array<int> slots(rows);
  for (size_t at = 0; at < lse.size(); ++at) {
    if (uniform(0, 2) == 0) continue;
    lse[at] = 20 * normal();
    for (int d = 0; d < dim; ++d) parts[at * dim + d] = normal();
  }
  for (int row = 0; row < rows; ++row) slots[row] = row % 4 == 3 ? -1 : row;
  auto out = poison<bf16>(outputs * dim);
  launch(text("merge_parts_%d", dim), {unsigned(rows)}, 256, 0, parts.data(), lse.data(),
         out.data(), slots.data(), rows, heads, count);
  Errors errors;
  for (size_t output = 0; output < outputs; ++output) {
    double high = -INFINITY;
    for (int p = 0; p < count; ++p) high = std::fmax(high, lse[p * outputs + output]);
    std::vector<double> wanted(dim);
    double total = 0;
    for (int p = 0; p < count; ++p) {
      size_t at = p * outputs + output;
      if (lse[at] == -INFINITY) continue;
      double weight = std::exp2(lse[at] - high);
      total += weight;
      for (int d = 0; d < dim; ++d) wanted[d] += weight * parts[at * dim + d];
    }
    bool is_zero = total == 0 || slots[output / heads] < 0;
    for (int d = 0; d < dim; ++d) {
      double x = is_zero ? 0 : wanted[d] / total;
      errors.add(as_float(out[output * dim + d]), x, std::fabs(x) / 256 + 1e-5 * !is_zero + 1e-30);
    }
  }
  report(text("merge_parts_%d heads %d rows %d parts %d", dim, heads, rows, count), errors);
}

// A prefix that rows share, and their own tokens, in f32; padding and rows of a prefill among them.
static void plain_case(Shape shape, int window) {
  std::vector<int> prefix_of = {0, 0, 1, 1, 2, -1};
  Array<int> prefix_lengths = {130, 130, 1, 1, 300, 0};
  Array<int> lengths = {1, 200, 64, 0, 0, 0};
  Array<int> positions = {130, 329, 64, 0, 211, 0};
  int rows = int(lengths.size());
  int table_width = 5;
  Pool<float> pool(shape, 32);
  std::vector<Sequence> prefixes;
  for (int length : {130, 1, 212}) prefixes.push_back(pool.sequence(length));
  std::vector<int> page_list = {-1};
  std::vector<int> firsts;
  for (const Sequence& prefix : prefixes) {
    firsts.push_back(int(page_list.size()));
    page_list.insert(page_list.end(), prefix.pages.begin(), prefix.pages.end());
  }
  auto pages = visible(page_list);
  Array<int> offsets(rows);
  Array<int> tables(rows * table_width, -1);
  std::vector<Sequence> sequences;
  for (int row = 0; row < rows; ++row) {
    offsets[row] = prefix_of[row] < 0 ? 0 : firsts[prefix_of[row]];
    sequences.push_back(pool.sequence(lengths[row]));
    const std::vector<int>& own = sequences[row].pages;
    std::copy(own.begin(), own.end(), tables.begin() + row * table_width);
  }
  auto qkv = normals<float>(size_t(rows) * shape.stride());
  auto out = poison<float>(size_t(rows) * shape.heads * shape.dim);
  float scale = float(1 / std::sqrt(double(shape.dim)));
  launch("plain_attention_f32", {unsigned(rows), unsigned(shape.heads)}, 128, 0, qkv.data(),
         shape.stride(), pool.data(), offsets.data(), prefix_lengths.data(), pages.data(),
         tables.data(), table_width, lengths.data(), positions.data(), out.data(), shape.heads,
         shape.kv_heads, shape.dim, window, scale);
  Errors errors;
  for (int row = 0; row < rows; ++row) {
    for (int head = 0; head < shape.heads; ++head) {
      const float* query = &qkv[size_t(row) * shape.stride() + head * shape.dim];
      Reference<float> reference(pool, shape, query, head / shape.group());
      int from = window == INT_MAX ? 0 : std::max(0, positions[row] - window + 1);
      if (prefix_of[row] >= 0) {
        int to = std::min(prefix_lengths[row], positions[row] + 1);
        reference.see(prefixes[prefix_of[row]], from, to);
      }
      from = window == INT_MAX ? 0 : std::max(0, lengths[row] - window);
      reference.see(sequences[row], from, lengths[row]);
      size_t at = (size_t(row) * shape.heads + head) * shape.dim;
      compare(errors, &out[at], reference.output(), 2e-6);
    }
  }
  report(text("plain_attention_f32 heads %d/%d of %d window %s", shape.heads, shape.kv_heads,
              shape.dim, window_text(window).c_str()),
         errors);
}

int main(int count, char** arguments) {
  Size size = begin(count, arguments);
  bool small = size != Size::FULL;
  int round = 0;
  for (int dim : {32, 64, 128}) {
    for (int group : {1, 4, 7, 16}) {
      if (size == Size::SMALL && group != 1 && group != 7) continue;
      // Orders of threads and times of copies take turns.
      emu_options(round % 3, round / 3 % 2, 5 + round);
      ++round;
      Shape shape{small ? group : 2 * group, small ? 1 : 2, dim};
      prefix_cases(shape, small);
      suffix_cases(shape, small);
      for (int window : {INT_MAX, 90}) {
        if (size != Size::SMALL) invariance_case(shape, window);
        if (!small || window == INT_MAX) both_case(shape, window);
      }
    }
    merge_case(dim, small ? 3 : 28, 9, 1);
    merge_case(dim, small ? 3 : 28, 9, 5);
  }
  std::vector<Shape> shapes = {{4, 2, 24}, {7, 1, 64}, {3, 3, 200}, {4, 1, 256}};
  if (size == Size::SMALL) shapes = {{2, 1, 24}};
  for (Shape shape : shapes) {
    for (int window : {INT_MAX, 1, 100}) plain_case(shape, window);
  }
  double cycles = emu_bank_cycles();
  printf("%.2f bank cycles an ldmatrix tile\n", cycles);
  if (!(cycles < 1.01)) fail("tiles that ldmatrix reads lie in the same banks");
  return finish("attention");
}
