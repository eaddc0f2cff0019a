// Tests of elementwise.cu.
#include "elementwise.cu"
#include "test.h"

using namespace test;

static double square(double x) {
  return x * x;
}

template <class T>
static void embed_case(int rows, int width) {
  int vocabulary = 50;
  int slot_count = 7;
  auto table = normals<T>(size_t(vocabulary) * width);
  Array<int> inputs(rows);
  Array<int> slots(rows);
  Array<int> tokens(slot_count);
  for (int& token : tokens) token = uniform(0, vocabulary - 1);
  for (int r = 0; r < rows; ++r) {
    inputs[r] = uniform(0, 1) ? uniform(0, vocabulary - 1) : -1;
    slots[r] = uniform(-1, slot_count - 1);
  }
  auto x = poison<float>(size_t(rows) * width);
  launch(text("embed_%s", name_of<T>()), {unsigned(rows)}, 256, 0, table.data(), inputs.data(),
         slots.data(), tokens.data(), x.data(), width);
  Errors errors;
  for (int r = 0; r < rows; ++r) {
    int token = inputs[r] >= 0 ? inputs[r] : slots[r] >= 0 ? tokens[slots[r]] : 0;
    for (int i = 0; i < width; ++i) {
      float wanted = as_float(table[size_t(token) * width + i]);
      errors.differ(x[size_t(r) * width + i] != wanted);
    }
  }
  report(text("embed_%s rows %d width %d", name_of<T>(), rows, width), errors);
}

template <class T>
static void norm_case(int rows, int width, bool has_update, bool has_index) {
  int source_rows = has_index ? 2 * rows + 3 : rows;
  auto x = normals<float>(size_t(source_rows) * width);
  auto update = normals<T>(size_t(source_rows) * width);
  auto weight = normals<float>(width);
  auto out = poison<T>(size_t(rows) * width);
  Array<int> index(rows);
  for (int r = 0; r < rows; ++r) index[r] = 2 * rows + 2 - 2 * r;
  float eps = 1e-5f;
  auto before = x;
  launch(text("add_rms_norm_%s", name_of<T>()), {unsigned(rows)}, 256, 0, x.data(),
         has_update ? update.data() : nullptr, weight.data(), out.data(),
         has_index ? index.data() : nullptr, width, eps);
  Errors errors;
  auto sums = before;
  for (int r = 0; r < rows; ++r) {
    size_t row = size_t(has_index ? index[r] : r) * width;
    double squares = 0;
    for (int i = 0; i < width; ++i) {
      if (has_update) sums[row + i] += as_float(update[row + i]);
      squares += square(sums[row + i]);
    }
    double norm = std::sqrt(squares / width + eps);
    for (int i = 0; i < width; ++i) {
      double wanted = sums[row + i] / norm * weight[i];
      double scale = rounding<T>() * 1.01 * std::fabs(wanted) + 4e-7 * (std::fabs(wanted) + 1);
      errors.add(as_float(out[size_t(r) * width + i]), wanted, scale);
    }
  }
  // Other rows of the stream are left alone.
  for (size_t i = 0; i < x.size(); ++i) errors.differ(x[i] != sums[i]);
  report(text("add_rms_norm_%s rows %d width %d update %d index %d", name_of<T>(), rows, width,
              has_update, has_index),
         errors);
}

template <class T>
static void bias_case(int rows, int width) {
  auto x = normals<T>(size_t(rows) * width);
  auto bias = normals<float>(width);
  auto before = x;
  launch(text("add_bias_%s", name_of<T>()), {unsigned(rows)}, 256, 0, x.data(), bias.data(), width);
  Errors errors;
  for (size_t i = 0; i < x.size(); ++i) {
    T wanted;
    narrow(as_float(before[i]) + bias[i % width], wanted);
    errors.differ(as_float(x[i]) != as_float(wanted));
  }
  report(text("add_bias_%s rows %d width %d", name_of<T>(), rows, width), errors);
}

template <class T>
static void silu_case(int rows, int width) {
  auto gate_up = normals<T>(size_t(rows) * 2 * width);
  for (int r = 0; r < rows; ++r) {
    // Far ends, too: the gate shuts to 0, or opens wholly.
    narrow(-200.0f, gate_up[size_t(r) * 2 * width]);
    narrow(200.0f, gate_up[size_t(r) * 2 * width + 1]);
  }
  auto out = poison<T>(size_t(rows) * width);
  launch(text("silu_mul_%s", name_of<T>()), {unsigned(rows), unsigned(width + 2047) / 2048}, 256, 0,
         gate_up.data(), out.data(), width);
  Errors errors;
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < width; ++i) {
      double gate = as_float(gate_up[size_t(r) * 2 * width + i]);
      double up = as_float(gate_up[size_t(r) * 2 * width + width + i]);
      double wanted = gate / (1 + std::exp(-gate)) * up;
      double scale = rounding<T>() * std::fabs(wanted) * 2 + 1e-12;
      errors.add(as_float(out[size_t(r) * width + i]), wanted, scale);
    }
  }
  report(text("silu_mul_%s rows %d width %d", name_of<T>(), rows, width), errors);
}

struct Heads {
  int heads;
  int kv_heads;
  int dim;
};

template <class T>
static void rope_case(int rows, Heads shape, bool has_bias, bool has_norms) {
  auto [heads, kv_heads, dim] = shape;
  int all = heads + 2 * kv_heads;
  int half = dim / 2;
  int position_count = 100;
  int page_count = rows + 1;
  auto qkv = normals<T>(size_t(rows) * all * dim);
  auto bias = normals<float>(all * dim);
  auto q_norm = normals<float>(dim);
  auto k_norm = normals<float>(dim);
  Array<float> cosines(position_count * half);
  Array<float> sines(position_count * half);
  for (int p = 0; p < position_count; ++p) {
    for (int i = 0; i < half; ++i) {
      // Of any angle, by its half's tangent.
      double t = 2 * unit() - 1;
      cosines[p * half + i] = float((1 - t * t) / (1 + t * t));
      sines[p * half + i] = float(2 * t / (1 + t * t));
    }
  }
  Array<int> positions(rows);
  Array<int> pages(rows);
  Array<int> offsets(rows);
  for (int r = 0; r < rows; ++r) {
    positions[r] = uniform(0, position_count - 1);
    pages[r] = r % 5 == 3 ? -1 : page_count - 1 - r;
    offsets[r] = uniform(0, PAGE - 1);
  }
  size_t plane = size_t(kv_heads) * PAGE * dim;
  auto pool = poison<T>(size_t(page_count) * 2 * plane);
  auto wanted_pool = std::vector<double>(pool.size(), NAN);
  auto before = qkv;
  float eps = 1e-6f;
  launch(text("qkv_rope_%s", name_of<T>()), {unsigned(rows)}, 256, 0, qkv.data(),
         has_bias ? bias.data() : nullptr, has_norms ? q_norm.data() : nullptr,
         has_norms ? k_norm.data() : nullptr, cosines.data(), sines.data(), positions.data(),
         pool.data(), pages.data(), offsets.data(), heads, kv_heads, dim, eps);

  Errors errors;
  auto compare = [&](T got, double wanted) {
    double scale = rounding<T>() * std::fabs(wanted) + 4e-6;
    errors.add(as_float(got), wanted, scale);
  };
  for (int r = 0; r < rows; ++r) {
    for (int h = 0; h < all; ++h) {
      std::vector<double> x(dim);
      size_t at = (size_t(r) * all + h) * dim;
      double squares = 0;
      for (int i = 0; i < dim; ++i) {
        x[i] = as_float(before[at + i]) + (has_bias ? double(bias[h * dim + i]) : 0);
        squares += square(x[i]);
      }
      bool is_value = h >= heads + kv_heads;
      const auto& norm = h < heads ? q_norm : k_norm;
      if (has_norms && !is_value) {
        double scale = 1 / std::sqrt(squares / dim + eps);
        for (int i = 0; i < dim; ++i) x[i] *= scale * norm[i];
      }
      for (int i = 0; i < half && !is_value; ++i) {
        double c = cosines[positions[r] * half + i];
        double s = sines[positions[r] * half + i];
        double a = x[i];
        double b = x[i + half];
        x[i] = a * c - b * s;
        x[i + half] = a * s + b * c;
      }
      if (h < heads) {
        for (int i = 0; i < dim; ++i) compare(qkv[at + i], x[i]);
        continue;
      }
      // K and V stay as they were in the row.
      for (size_t i = at; i < at + dim; ++i) errors.differ(as_float(qkv[i]) != as_float(before[i]));
      if (pages[r] < 0) continue;
      int kv_head = is_value ? h - heads - kv_heads : h - heads;
      size_t to = (size_t(pages[r]) * 2 + is_value) * plane;
      to += (size_t(kv_head) * PAGE + offsets[r]) * dim;
      for (int i = 0; i < dim; ++i) wanted_pool[to + i] = x[i];
    }
  }
  // What no row writes stays as it was.
  for (size_t i = 0; i < pool.size(); ++i) {
    if (std::isnan(wanted_pool[i])) {
      errors.differ(!std::isnan(as_float(pool[i])));
    } else {
      compare(pool[i], wanted_pool[i]);
    }
  }
  report(text("qkv_rope_%s rows %d heads %d/%d of %d bias %d norms %d", name_of<T>(), rows, heads,
              kv_heads, dim, has_bias, has_norms),
         errors);
}

template <class T>
static void cases_of(bool small) {
  std::vector<int> widths = {8, 64, 1536, 3584, 8192, 8200, 11008};
  if (small) widths = {8, 8200};
  if (sizeof(T) == 4) widths.push_back(37);
  for (int width : widths) {
    embed_case<T>(small ? 2 : 9, width);
    for (int flags = 0; flags < 4; ++flags) {
      norm_case<T>(small ? 2 : 5, width, flags & 1, flags & 2);
    }
    bias_case<T>(3, width);
    if (width >= 2) silu_case<T>(3, width);
  }
  std::vector<Heads> shapes = {{4, 4, 32}, {14, 2, 64}, {28, 4, 128}, {3, 1, 128}};
  if (small) shapes = {{5, 2, 64}};
  if (sizeof(T) == 4) {
    shapes.push_back({4, 2, 16});
    shapes.push_back({2, 1, 80});
    shapes.push_back({2, 2, 200});
    shapes.push_back({2, 1, 256});
    shapes.push_back({1, 1, 6});
  }
  for (Heads shape : shapes) {
    for (int flags = 0; flags < 4; ++flags) {
      rope_case<T>(small ? 4 : 9, shape, flags & 1, flags & 2);
    }
  }
}

int main(int count, char** arguments) {
  Size size = begin(count, arguments);
  bool small = size == Size::SMALL;
  for (int order = 0; order < 3; ++order) {
    // The order is the emulation's alone.
    if (size == Size::HASHES && order > 0) break;
    emu_options(order, 0, 5);
    cases_of<bf16>(small);
    cases_of<float>(small);
  }
  return finish("elementwise");
}
