// Attention over the KV cache in pages of 64 positions, `pool[page][2][kv_heads][PAGE][D]` (keys
// first). A new token's attention comes in parts: over the prefix that it shares with other rows
// (many rows a tile) and over splits of its own tokens, both by `decode_attention`, joined by
// `merge_parts`. A prompt's own attention is the first of these with a causal mask
// (`prefill_attention`). Where splits begin depends on positions alone, and parts are joined in
// order: a row's result does not depend on the rows beside it.
//
// The rows of `qkv` are [queries | keys | values], `qkv_stride` numbers apart; queries are turned.
// `scale` includes log2(e): exponentials are powers of 2, and so is what `lse` is the logarithm of.
// D is 32, 64 or 128; heads / kv_heads (the group) is 1 to 16. A window of INT_MAX is none.
#include <climits>
#include "device.h"
#include "functions.h"

// Where 8 numbers of a row of keys, values or queries lie in shared memory: exchanged within the
// row, so that the 8 rows that ldmatrix reads at once are in different banks.
template <int D>
__device__ __forceinline__ int place(int row, int chunk) {
  // A row of 32 numbers is half as long as all banks together: neighbours lie in different halves.
  int key = D == 32 ? row >> 1 & 3 : row & 7;
  return row * D + ((chunk ^ key) << 3);
}

// Blocks that a multiprocessor is to hold at once, of the kernels on tensor cores; registers are
// shared out accordingly. Shared memory holds no more with heads of 128. The suffix's keys
// and values are read once, so there the copies in flight are what counts.
#define PREFIX_BLOCKS(D) ((D) == 128 ? 2 : 3)
#define SUFFIX_BLOCKS(D) ((D) == 128 ? 2 : 4)

template <int D>
__device__ __forceinline__ size_t page_size(int kv_heads) {
  return size_t(2) * kv_heads * PAGE * D;
}

// Scores of a row's keys become weights: `top` and `sum` are of all keys so far, `old` is what sums
// so far must be multiplied with. A row of which nothing is visible yet stays at -inf and 0.
struct Softmax {
  float top = -INFINITY;
  float sum = 0;

  // The lane's own largest score in, for the four lanes that share a row.
  __device__ __forceinline__ float raise(float high) {
    high = fmaxf(top, warp_reduce(high, Larger(), 4));
    float old = top == high ? 1.0f : exp2_fast(top - high);
    sum *= old;
    top = high;
    return old;
  }

  // What scores are taken relative to.
  __device__ __forceinline__ float base() const {
    return top == -INFINITY ? 0.0f : top;
  }
};

// ---- many rows over one prefix ------------------------------------------------------------------

// 64 pairs of a row and a query head, of those that share a key head, and the prefix that they
// attend to. Pair m is row first_row + m / group and head m % group of its group.
struct PrefixTile {
  int pages;        // where the prefix's pages begin in the list of all
  int length;       // its positions
  int first_row;    // the rows of the step that attend to it,
  int rows;         // and how many
  int first_query;  // the tile's first pair
};

// A row sees position p if p < length, p <= positions[row] and p > positions[row] - window. Pages
// of which no row of a tile sees anything are not looked at.
//
// Block: 128 threads, 4 warps with 16 pairs each. Dynamic shared memory:
// (64 + 2 * 2 * 64) * D * 2 bytes, for the queries and two stages of 64 positions of K and V. Any number
// of blocks: they stride over tile_count * kv_heads pieces of work.
template <int D, bool FINAL>
__device__ __forceinline__ void attend_to_prefixes(
    int block, int blocks, const bf16* qkv, int qkv_stride, const bf16* pool, const PrefixTile* tiles,
    const int* tile_count, const int* pages, const int* positions, float* parts, float* lse,
    bf16* out, int heads, int kv_heads, int window, float scale) {
  constexpr int M = 64;
  constexpr int N = PAGE;
  constexpr int CHUNKS = D / 8;
  constexpr int STAGES = 2;
  constexpr int THREADS = 128;
  SHARED_MEMORY(bf16, memory);
  bf16* queries = memory;
  bf16* keys = queries + M * D;
  bf16* values = keys + STAGES * N * D;
  int tid = threadIdx.x;
  int warp = tid / 32;
  int lane = tid % 32;
  int g = lane / 4;
  int t = lane % 4;
  int group = heads / kv_heads;
  int work_count = *tile_count * kv_heads;

  for (int work = block; work < work_count; work += blocks) {
    const PrefixTile tile = tiles[work / kv_heads];
    int kv_head = work % kv_heads;
    int first_head = kv_head * group;
    // Pairs of this tile; what is beyond is padding.
    int pairs = min(M, tile.rows * group - tile.first_query);
    auto row_of = [&](int m) { return tile.first_row + (tile.first_query + m) / group; };
    auto head_of = [&](int m) { return first_head + (tile.first_query + m) % group; };
    auto visible_from = [&](int m) {
      return m < pairs ? max(0, positions[row_of(m)] - window + 1) : 0;
    };
    auto visible_to = [&](int m) {
      return m < pairs ? min(tile.length, positions[row_of(m)] + 1) : 0;
    };

    // Positions that some row sees, the same in all warps.
    int begin = INT_MAX;
    int end = 0;
#pragma unroll
    for (int m = lane; m < M; m += 32) {
      int from = visible_from(m);
      int to = visible_to(m);
      if (from < to) {
        begin = min(begin, from);
        end = max(end, to);
      }
    }
    begin = warp_reduce(begin, Smaller());
    end = warp_reduce(end, Larger());
    int first_tile = begin / N;
    int last_tile = begin < end ? (end + N - 1) / N : first_tile;

    auto fetch_queries = [&] {
      for (int i = tid; i < M * CHUNKS; i += THREADS) {
        int m = i / CHUNKS;
        int chunk = i % CHUNKS;
        bool valid = m < pairs;
        size_t from = valid ? size_t(row_of(m)) * qkv_stride + head_of(m) * D + chunk * 8 : 0;
        copy_async16(queries + place<D>(m, chunk), qkv + from, valid);
      }
    };
    // What no row of the tile sees may never have been written: zeros, lest it be NaN.
    auto fetch = [&](int key_tile) {
      size_t page = pages[tile.pages + key_tile];
      const bf16* from = pool + page * page_size<D>(kv_heads) + size_t(kv_head) * N * D;
      int stage = key_tile % STAGES * N * D;
      for (int i = tid; i < N * CHUNKS; i += THREADS) {
        int n = i / CHUNKS;
        int chunk = i % CHUNKS;
        bool valid = key_tile * N + n < end;
        const bf16* key = from + n * D + chunk * 8;
        copy_async16(keys + stage + place<D>(n, chunk), key, valid);
        copy_async16(values + stage + place<D>(n, chunk), key + size_t(kv_heads) * N * D, valid);
      }
      copy_commit();
    };
    if (first_tile < last_tile) {
      fetch_queries();
      fetch(first_tile);
    }

    int from[2];
    int to[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      int m = warp * 16 + g + 8 * r;
      from[r] = visible_from(m);
      to[r] = visible_to(m);
    }
    int all_from = max(from[0], from[1]);
    int all_to = min(to[0], to[1]);
    float o[D / 8][4] = {};
    Softmax softmax[2];
    for (int key_tile = first_tile; key_tile < last_tile; ++key_tile) {
      if (key_tile + 1 < last_tile) {
        fetch(key_tile + 1);
      } else {
        copy_commit();
      }
      copy_wait<1>();
      __syncthreads();
      const bf16* k = keys + key_tile % STAGES * N * D;
      const bf16* v = values + key_tile % STAGES * N * D;
      float s[N / 8][4] = {};
#pragma unroll
      for (int kk = 0; kk < D / 16; ++kk) {
        uint32_t a[4];
        load_tiles(a, queries + place<D>(warp * 16 + (lane & 15), kk * 2 + (lane >> 4)));
#pragma unroll
        for (int n = 0; n < N / 16; ++n) {
          uint32_t b[4];
          int key = n * 16 + (lane & 7) + (lane >> 4) * 8;
          load_tiles(b, k + place<D>(key, kk * 2 + (lane >> 3 & 1)));
          mma_bf16(s[2 * n], a, b[0], b[1]);
          mma_bf16(s[2 * n + 1], a, b[2], b[3]);
        }
      }

      float high[2] = {-INFINITY, -INFINITY};
      bool whole = key_tile * N >= all_from && key_tile * N + N <= all_to;
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] *= scale;
      }
      if (!whole) {
#pragma unroll
        for (int n = 0; n < N / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            int p = key_tile * N + n * 8 + 2 * t + (i & 1);
            if (p < from[i >> 1] || p >= to[i >> 1]) s[n][i] = -INFINITY;
          }
        }
      }
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) high[i >> 1] = fmaxf(high[i >> 1], s[n][i]);
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float old = softmax[r].raise(high[r]);
#pragma unroll
        for (int d = 0; d < D / 8; ++d) {
          o[d][2 * r] *= old;
          o[d][2 * r + 1] *= old;
        }
      }
      float base[2] = {softmax[0].base(), softmax[1].base()};
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[n][i] = exp2_fast(s[n][i] - base[i >> 1]);
          softmax[i >> 1].sum += s[n][i];
        }
      }
      // The scores' accumulators are the other product's left-hand side as they stand.
#pragma unroll
      for (int kk = 0; kk < N / 16; ++kk) {
        uint32_t a[4] = {narrow2(s[2 * kk][0], s[2 * kk][1]), narrow2(s[2 * kk][2], s[2 * kk][3]),
                         narrow2(s[2 * kk + 1][0], s[2 * kk + 1][1]),
                         narrow2(s[2 * kk + 1][2], s[2 * kk + 1][3])};
#pragma unroll
        for (int d = 0; d < D / 16; ++d) {
          uint32_t b[4];
          load_tiles_transposed(b, v + place<D>(kk * 16 + (lane & 15), d * 2 + (lane >> 4)));
          mma_bf16(o[2 * d], a, b[0], b[1]);
          mma_bf16(o[2 * d + 1], a, b[2], b[3]);
        }
      }
      // Before the stage (in the last round: the queries too) is written again.
      __syncthreads();
    }
    copy_wait<0>();

#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = warp_reduce(softmax[r].sum, Sum(), 4);
      int m = warp * 16 + g + 8 * r;
      if (m >= pairs) continue;
      size_t at = size_t(row_of(m)) * heads + head_of(m);
      float over = sum > 0 ? 1.0f / sum : 0.0f;
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        float pair[2] = {o[d][2 * r] * over, o[d][2 * r + 1] * over};
        if (FINAL) {
          store(out + at * D + d * 8 + 2 * t, pair);
        } else {
          float2* to = reinterpret_cast<float2*>(parts + at * D + d * 8 + 2 * t);
          *to = make_float2(pair[0], pair[1]);
        }
      }
      if (!FINAL && t == 0) lse[at] = sum > 0 ? softmax[r].top + log2_of(sum) : -INFINITY;
    }
  }
}

// out: [rows][heads * D], finished.
#define PREFILL_ATTENTION(D)                                                                    \
  extern "C" __global__ void __launch_bounds__(128, PREFIX_BLOCKS(D)) prefill_attention_##D(    \
      const bf16* qkv, int qkv_stride, const bf16* pool, const PrefixTile* tiles,               \
      const int* tile_count, const int* pages, const int* positions, bf16* out, int rows,       \
      int heads, int kv_heads, int window, float scale) {                                       \
    attend_to_prefixes<D, true>(blockIdx.x, gridDim.x, qkv, qkv_stride, pool, tiles, tile_count, pages, positions,     \
                                nullptr, nullptr, out, heads, kv_heads, window, scale);         \
  }                                                                                             \
  KERNEL(prefill_attention_##D)

PREFILL_ATTENTION(32)
PREFILL_ATTENTION(64)
PREFILL_ATTENTION(128)

// ---- single rows over their own tokens ----------------------------------------------------------

// A row sees its own token i < lengths[row] if i > lengths[row] - 1 - window; token i lies in page
// tables[row * table_width + i / PAGE]. Split z takes the tokens [z * chunk, (z + 1) * chunk);
// chunk is a multiple of 16. Splits of which nothing is visible write an lse of -inf and no `out`.
// out: [splits][rows][heads][D], normalised; lse: [splits][rows][heads].
//
// The query heads of a group, padded to 16, are the left-hand side of the tensor cores' product.
// Every warp works through keys of its own, with no barrier before the end.
// Block: 128 threads. Dynamic shared memory: 4 warps * 3 stages * 2 * 16 * D * 2 bytes (768 * D),
// more than joining the warps takes. A block a row, key head and split.
template <int D>
__device__ __forceinline__ void attend_to_suffix(
    int row, int kv_head, int split, const bf16* qkv, int qkv_stride, const bf16* pool, const int* tables, int table_width,
    const int* lengths, float* out, float* lse, int rows, int heads, int kv_heads, int chunk,
    int window, float scale) {
  constexpr int WARPS = 4;
  constexpr int THREADS = 32 * WARPS;
  constexpr int STAGES = 3;
  constexpr int N = 16;
  constexpr int CHUNKS = D / 8;
  static_assert(WARPS * STAGES * 2 * N * D * 2 >= WARPS * 16 * (D + 2) * 4, "joining fits");
  SHARED_MEMORY(bf16, memory);
  int tid = threadIdx.x;
  int warp = tid / 32;
  int lane = tid % 32;
  int g = lane / 4;
  int t = lane % 4;
  int group = heads / kv_heads;
  int length = lengths[row];
  int begin = split * chunk;
  int end = min(length, begin + chunk);
  int visible = max(begin, length - window);
  size_t first = (size_t(split) * rows + row) * heads + kv_head * group;
  if (visible >= end) {
    // The whole block leaves together.
    for (int h = tid; h < group; h += THREADS) lse[first + h] = -INFINITY;
    return;
  }

  // Warps take turns of 16 keys; turns begin at the split's first token, whatever the window.
  auto turn_begin = [&](int tile) { return begin + (tile * WARPS + warp) * N; };
  auto is_turn_visible = [&](int at) { return at < end && at + N > visible; };
  bf16* stages = memory + warp * STAGES * 2 * N * D;
  auto fetch = [&](int tile) {
    bf16* k = stages + tile % STAGES * 2 * N * D;
    bf16* v = k + N * D;
    int at = turn_begin(tile);
    if (is_turn_visible(at)) {
      size_t page = tables[size_t(row) * table_width + at / PAGE];
      const bf16* head = pool + page * page_size<D>(kv_heads) + size_t(kv_head) * PAGE * D;
      const bf16* from = head + at % PAGE * D;
      // What follows the row's last token may never have been written: zeros, lest it be NaN.
#pragma unroll
      for (int i = lane; i < N * CHUNKS; i += 32) {
        int n = i / CHUNKS;
        int c = i % CHUNKS;
        bool valid = at + n < end;
        const bf16* key = from + n * D + c * 8;
        copy_async16(k + place<D>(n, c), key, valid);
        copy_async16(v + place<D>(n, c), key + size_t(kv_heads) * PAGE * D, valid);
      }
    }
    copy_commit();
  };
  int first_tile = (visible - begin) / (WARPS * N);
  int last_tile = (end - begin + WARPS * N - 1) / (WARPS * N);
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    if (first_tile + stage < last_tile) {
      fetch(first_tile + stage);
    } else {
      copy_commit();
    }
  }

  // Queries straight into fragments: row g is head g of the group, row g + 8 head g + 8.
  const bf16* queries = qkv + size_t(row) * qkv_stride + kv_head * group * D;
  uint32_t a[D / 16][4];
#pragma unroll
  for (int kk = 0; kk < D / 16; ++kk) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int h = g + 8 * (i & 1);
      const bf16* pair = queries + h * D + kk * 16 + 2 * t + 8 * (i >> 1);
      a[kk][i] = h < group ? *reinterpret_cast<const uint32_t*>(pair) : 0u;
    }
  }

  float o[D / 8][4] = {};
  Softmax softmax[2];
  for (int tile = first_tile; tile < last_tile; ++tile) {
    if (tile + STAGES - 1 < last_tile) {
      fetch(tile + STAGES - 1);
    } else {
      copy_commit();
    }
    copy_wait<STAGES - 1>();
    __syncwarp();
    int at = turn_begin(tile);
    // The same for all lanes.
    if (is_turn_visible(at)) {
      const bf16* k = stages + tile % STAGES * 2 * N * D;
      const bf16* v = k + N * D;
      float s[2][4] = {};
#pragma unroll
      for (int kk = 0; kk < D / 16; ++kk) {
        uint32_t b[4];
        load_tiles(b, k + place<D>((lane & 7) + (lane >> 4) * 8, kk * 2 + (lane >> 3 & 1)));
        mma_bf16(s[0], a[kk], b[0], b[1]);
        mma_bf16(s[1], a[kk], b[2], b[3]);
      }
      float high[2] = {-INFINITY, -INFINITY};
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int p = at + n * 8 + 2 * t + (i & 1);
          s[n][i] = p < end && p >= visible ? s[n][i] * scale : -INFINITY;
          high[i >> 1] = fmaxf(high[i >> 1], s[n][i]);
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float old = softmax[r].raise(high[r]);
#pragma unroll
        for (int d = 0; d < D / 8; ++d) {
          o[d][2 * r] *= old;
          o[d][2 * r + 1] *= old;
        }
      }
      // Finite: each of these keys' rows sees at least one of them.
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[n][i] = exp2_fast(s[n][i] - softmax[i >> 1].top);
          softmax[i >> 1].sum += s[n][i];
        }
      }
      uint32_t p[4] = {narrow2(s[0][0], s[0][1]), narrow2(s[0][2], s[0][3]),
                       narrow2(s[1][0], s[1][1]), narrow2(s[1][2], s[1][3])};
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        uint32_t b[4];
        load_tiles_transposed(b, v + place<D>(lane & 15, d * 2 + (lane >> 4)));
        mma_bf16(o[2 * d], p, b[0], b[1]);
        mma_bf16(o[2 * d + 1], p, b[2], b[3]);
      }
    }
    // Before the stage is written again.
    __syncwarp();
  }
  copy_wait<0>();

  // The warps' parts, joined in a fixed order.
  __syncthreads();
  float* sums = reinterpret_cast<float*>(memory);
  float* tops = sums + WARPS * 16 * D;
  float* totals = tops + WARPS * 16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = warp_reduce(softmax[r].sum, Sum(), 4);
    int h = g + 8 * r;
    if (h >= group) continue;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      float2* to = reinterpret_cast<float2*>(sums + (warp * 16 + h) * D + d * 8 + 2 * t);
      *to = make_float2(o[d][2 * r], o[d][2 * r + 1]);
    }
    if (t == 0) {
      tops[warp * 16 + h] = softmax[r].top;
      totals[warp * 16 + h] = sum;
    }
  }
  __syncthreads();
  for (int i = tid; i < group * D; i += THREADS) {
    int h = i / D;
    int d = i % D;
    float high = -INFINITY;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) high = fmaxf(high, tops[w * 16 + h]);
    float total = 0;
    float x = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) {
      float factor = exp2_fast(tops[w * 16 + h] - high);
      total += factor * totals[w * 16 + h];
      x += factor * sums[(w * 16 + h) * D + d];
    }
    out[(first + h) * D + d] = x / total;
    if (d == 0) lse[first + h] = high + log2_of(total);
  }
}

// ---- both in one launch --------------------------------------------------------------------------

// Prefixes into part 0 of `parts` and `lse`, splits of own tokens into the parts after it:
// [1 + splits][rows][heads][D], normalised, and [1 + splits][rows][heads]. Part 0 of rows that no tile
// has stays as it is. Both halves wait for memory most of the time: side by side they take little
// longer than the longer one. The first `prefix_blocks` blocks look at prefixes, the others at own
// tokens, all rows of a key head and split one after the other.
// Block: 128 threads. Dynamic shared memory: 768 * D bytes, the larger of the two. Grid:
// (prefix_blocks + rows * kv_heads * splits).
template <int D>
__device__ __forceinline__ void attend_to_both(
    const bf16* qkv, int qkv_stride, const bf16* pool, const PrefixTile* tiles,
    const int* tile_count, const int* pages, const int* positions, const int* tables,
    int table_width, const int* lengths, float* parts, float* lse, int rows, int heads,
    int kv_heads, int chunk, int prefix_blocks, int window, float scale) {
  int block = blockIdx.x;
  if (block < prefix_blocks) {
    attend_to_prefixes<D, false>(block, prefix_blocks, qkv, qkv_stride, pool, tiles, tile_count,
                                 pages, positions, parts, lse, nullptr, heads, kv_heads, window,
                                 scale);
    return;
  }
  block -= prefix_blocks;
  int row = block % rows;
  int kv_head = block / rows % kv_heads;
  int split = block / rows / kv_heads;
  size_t part = size_t(rows) * heads;
  attend_to_suffix<D>(row, kv_head, split, qkv, qkv_stride, pool, tables, table_width, lengths,
                      parts + part * D, lse + part, rows, heads, kv_heads, chunk, window, scale);
}

#define DECODE_ATTENTION(D)                                                                     \
  extern "C" __global__ void __launch_bounds__(128, PREFIX_BLOCKS(D)) decode_attention_##D(     \
      const bf16* qkv, int qkv_stride, const bf16* pool, const PrefixTile* tiles,               \
      const int* tile_count, const int* pages, const int* positions, const int* tables,         \
      int table_width, const int* lengths, float* parts, float* lse, int rows, int heads,       \
      int kv_heads, int chunk, int prefix_blocks, int window, float scale) {                    \
    attend_to_both<D>(qkv, qkv_stride, pool, tiles, tile_count, pages, positions, tables,       \
                      table_width, lengths, parts, lse, rows, heads, kv_heads, chunk,           \
                      prefix_blocks, window, scale);                                            \
  }                                                                                             \
  KERNEL(decode_attention_##D)

DECODE_ATTENTION(32)
DECODE_ATTENTION(64)
DECODE_ATTENTION(128)

// ---- the parts of a row, joined -----------------------------------------------------------------

// parts: [count][rows][heads][D]; lse: [count][rows][heads], -inf for a part that has nothing;
// out: [rows][heads * D]. Rows without a slot (padding) and without any part become zeros. A warp
// works on a head at a time. Block: 256 threads, no shared memory. Grid: (rows, any number of parts
// of the heads).
template <int D>
__device__ __forceinline__ void merge_parts(
    const float* parts, const float* lse, bf16* out, const int* slots, int rows, int heads,
    int count) {
  constexpr int N = D / 32;
  int row = blockIdx.x;
  int lane = threadIdx.x % 32;
  bool is_padding = slots[row] < 0;
  if (is_padding) count = 0;
  int warps = blockDim.x / 32;
  int first = blockIdx.y * warps + threadIdx.x / 32;
  for (int head = first; head < heads; head += gridDim.y * warps) {
    auto index = [&](int part) { return (size_t(part) * rows + row) * heads + head; };
    float high = -INFINITY;
    for (int part = 0; part < count; ++part) high = fmaxf(high, lse[index(part)]);
    float total = 0;
    float x[N] = {};
    for (int part = 0; part < count; ++part) {
      float own = lse[index(part)];
      if (own == -INFINITY) continue;
      float factor = exp2_fast(own - high);
      float y[N];
      load(parts + index(part) * D + lane * N, y);
      total += factor;
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = fmaf(factor, y[i], x[i]);
    }
    float over = total > 0 ? 1.0f / total : 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] *= over;
    store(out + (size_t(row) * heads + head) * D + lane * N, x);
  }
}

#define MERGE_PARTS(D)                                                                        \
  extern "C" __global__ void __launch_bounds__(256) merge_parts_##D(                          \
      const float* parts, const float* lse, bf16* out, const int* slots, int rows, int heads, \
      int count) {                                                                            \
    merge_parts<D>(parts, lse, out, slots, rows, heads, count);                               \
  }                                                                                           \
  KERNEL(merge_parts_##D)

MERGE_PARTS(32)
MERGE_PARTS(64)
MERGE_PARTS(128)

// ---- in f32, without tensor cores ---------------------------------------------------------------

// Attention of a row over its prefix (`pages` from prefix_offsets[row] on, seen as by
// `prefix_attention`) and then over its own tokens (as by `suffix_attention`), for any head_dim up
// to 256; `scale` is without log2(e). out: [rows][heads * head_dim]; zeros for a row that sees
// nothing. Made for comparison with other devices, not for speed: a thread a key, then a thread a
// column. Block: 128 threads, no dynamic shared memory. Grid: (rows, heads).
extern "C" __global__ void __launch_bounds__(128) plain_attention_f32(
    const float* qkv, int qkv_stride, const float* pool, const int* prefix_offsets,
    const int* prefix_lengths, const int* pages, const int* tables, int table_width,
    const int* lengths, const int* positions, float* out, int heads, int kv_heads, int head_dim,
    int window, float scale) {
  constexpr int THREADS = 128;
  constexpr int COLUMNS = 2;
  SHARED(float, query, COLUMNS * THREADS);
  SHARED(float, weights, THREADS);
  SHARED(float, parts, THREADS / 32);
  int tid = threadIdx.x;
  int row = blockIdx.x;
  int head = blockIdx.y;
  int kv_head = head / (heads / kv_heads);
  for (int d = tid; d < head_dim; d += THREADS) {
    query[d] = qkv[size_t(row) * qkv_stride + head * head_dim + d];
  }
  __syncthreads();

  float top = -INFINITY;
  float total = 0;
  float sums[COLUMNS] = {};
  auto attend = [&](const int* list, int from, int to) {
    auto at = [&](int position, int which) {
      size_t page = list[position / PAGE];
      size_t plane = (page * 2 + which) * kv_heads + kv_head;
      return pool + (plane * PAGE + position % PAGE) * head_dim;
    };
    for (int begin = from; begin < to; begin += THREADS) {
      int count = min(THREADS, to - begin);
      float score = -INFINITY;
      if (tid < count) {
        const float* key = at(begin + tid, 0);
        float dot = 0;
        for (int d = 0; d < head_dim; ++d) dot = fmaf(query[d], key[d], dot);
        score = dot * scale;
      }
      float high = fmaxf(top, block_reduce(score, Larger(), parts));
      float old = exp_of(top - high);
      weights[tid] = exp_of(score - high);
      top = high;
      total *= old;
#pragma unroll
      for (int c = 0; c < COLUMNS; ++c) sums[c] *= old;
      __syncthreads();
      for (int i = 0; i < count; ++i) {
        float weight = weights[i];
        const float* value = at(begin + i, 1);
        total += weight;
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
          int d = tid + c * THREADS;
          if (d < head_dim) sums[c] = fmaf(weight, value[d], sums[c]);
        }
      }
    }
  };
  int position = positions[row];
  int length = lengths[row];
  attend(pages + prefix_offsets[row], max(0, position - window + 1),
         min(prefix_lengths[row], position + 1));
  attend(tables + size_t(row) * table_width, max(0, length - window), length);

  float over = total > 0 ? 1.0f / total : 0.0f;
#pragma unroll
  for (int c = 0; c < COLUMNS; ++c) {
    int d = tid + c * THREADS;
    if (d < head_dim) out[(size_t(row) * heads + head) * head_dim + d] = sums[c] * over;
  }
}
KERNEL(plain_attention_f32)
