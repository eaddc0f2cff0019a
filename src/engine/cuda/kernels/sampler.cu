// Draws one token a row, a block a row: the arithmetic of src/engine/sampler.rs and row.rs, to the
// bit. Compiled with -fmad=false (nvcc) or -ffp-contract=off (the host's compiler): what is fused
// here is fused because its result is the same.
//
// Weights are whole multiples of 2^-bits, whose sums depend on no order. They are not kept: there
// are three passes over a row's logits, and each computes the weights that it needs.
//   1. The largest and the smallest logit, and each chunk's largest.
//   2. The normaliser, the mass, and the weights of the logits of each step below the largest.
//   3. Of chunks that reach the step in which the nucleus ends: the sums of what is surely kept,
//      and the tokens of that step, among which the nucleus's last one is found.
// The drawn token is then found from the chunks' sums. A row that keeps every token needs no third
// pass; top-k is two passes more, which count.
#include "device.h"
#include "philox.h"

struct SampleRow {
  u64 logits;  // device address of the row's logits (f32)
  u64 key;
  u64 position;
  float temperature;  // 0: the largest logit
  float top_p;
  float min_p;
  float penalty;  // 1: none
  int top_k;      // 0: all
  int slot;       // where the token goes, and whose tokens are penalised
  int draw;       // 0: nothing is drawn
  int pad;
};

struct SampleDraw {
  unsigned token;
  float logit;       // of the token, unpenalised, as are the next two
  float max;         // the row's largest
  unsigned finite;   // 0: some logit is not finite, and no token was drawn
  u64 mass;          // of what the token was drawn from
  u64 normaliser;    // the sum of exp(logit - max), in multiples of 2^-bits
};

constexpr int MAX_VOCABULARY = 1 << 18;
// Tokens whose kept weights are summed together: eight for each lane of a warp.
constexpr int CHUNK = 256;
constexpr int CHUNKS = MAX_VOCABULARY / CHUNK;
// Steps into which the range of logits is divided. Any number gives the same token.
constexpr int STEPS = 2048;
// Tokens of one step that are put in order at once.
constexpr int EDGE = 1024;
constexpr int MAX_WARPS = 32;
constexpr float LN_2 = 0.693147180559945309417232f;
constexpr float F32_MAX = 3.402823466e38f;

// 64-bit sums, by steps, in two native 32-bit additions.
struct StepSums {
  unsigned low[STEPS];
  unsigned high[STEPS];
};

// The sampler's dynamic shared memory: less than 48 KiB, whatever the vocabulary.
struct Shared {
  union {
    // What steps hold.
    StepSums steps;
    // Afterwards, logits of 128 tokens for each warp.
    float queues[MAX_WARPS][128];
    // In the end, which of the tokens of the edge the cut may be at.
    unsigned finalists[EDGE];
  };
  float chunk_highest[CHUNKS];
  u64 chunk_sums[CHUNKS];
  unsigned edge_ids[EDGE];
  float edge_logits[EDGE];
  u64 edge_weights[EDGE];
  u64 sums[2][MAX_WARPS];
  float highest[2][MAX_WARPS];
  float lowest[MAX_WARPS];
  u64 left;
  int edge;
  unsigned edge_count;
  float cut_logit;
  int cut_id;
  int token;
  // Written and read by the first thread alone: what is known of the draw so far.
  SampleDraw draw;
};
constexpr int SHARED_BYTES = 48 << 10;
static_assert(sizeof(Shared) <= SHARED_BYTES, "what a block has without asking for more");

// ---- weights ------------------------------------------------------------------------------------

// row.rs's exp_negative. Where a product is exact (`whole * LN2_HIGH`), or where a power of two
// multiplies a normal result, one instruction does the work of two.
__device__ __forceinline__ float exp_negative(float x) {
  constexpr float ROUND = 12582912.0f;
  constexpr float LN2_HIGH = 0.6933594f;
  constexpr float LN2_LOW = -2.1219444e-4f;
  constexpr float LOG2_E = 1.44269504088896340736f;
  // Of NaN, too, -87.
  x = fmaxf(x, -87.0f);
  float shifted = x * LOG2_E + ROUND;
  float whole = shifted - ROUND;
  float r = fmaf(whole, -LN2_HIGH, x) - whole * LN2_LOW;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // ROUND's own bits are shifted out.
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

// x · 2^bits to the nearest whole number, for a normal x up to 1 and at most 51 bits.
__device__ __forceinline__ u64 fixed_point(float x, int bits) {
  constexpr double ROUND = 4503599627370496.0;
  // The double's bits, with `bits` more in the exponent.
  uint32_t word = __float_as_uint(x);
  uint32_t high = (word >> 3) + (uint32_t(1023 - 127 + bits) << 20);
  double rounded = double_of(high, word << 29) + ROUND;
  // The significand's bits, without the exponent that ROUND gives it.
  return u64(__double_as_longlong(rounded)) & 0xFFFFFFFFFFFFFull;
}

// exp(x - high) in multiples of 2^-bits: row.rs's weights at temperature 1.
struct UnitWeight {
  float high;
  int bits;

  __device__ __forceinline__ u64 operator()(float x) const {
    return fixed_point(exp_negative(x - high), bits);
  }
};

// exp((x - high) / temperature) in multiples of 2^-bits, with IEEE's division.
struct Weight {
  float high;
  int bits;
  float divisor;
  float reciprocal;
  float shift;

  __device__ Weight(float high, float temperature, int bits) : high(high), bits(bits) {
    // Both sides of the division are multiplied with a power of two that keeps the divisor, its
    // reciprocal and remainders far from the ends of f32. Differences that underflow are of weight
    // 1 (as all below 2^-26 are), those that overflow count as -87.
    shift = temperature < 0x1p-40f ? 0x1p64f : temperature > 0x1p100f ? 0x1p-64f : 1.0f;
    divisor = temperature * shift;
    reciprocal = 1.0f / divisor;
  }

  // x / divisor, rounded to nearest: with the nearest reciprocal, the second of two corrections
  // always gives it (Markstein, "Computation of elementary functions on the IBM RISC System/6000
  // processor", 1990, theorem 7). NaN where the quotient overflows.
  __device__ __forceinline__ float divide(float x) const {
    x *= shift;
    float quotient = x * reciprocal;
    quotient = fmaf(fmaf(-divisor, quotient, x), reciprocal, quotient);
    return fmaf(fmaf(-divisor, quotient, x), reciprocal, quotient);
  }

  __device__ __forceinline__ u64 operator()(float x) const {
    return fixed_point(exp_negative(divide(x - high)), bits);
  }
};

// How far logits lie below the largest, in steps; larger logits never get a larger step.
struct Steps {
  float high;
  float scale;

  __device__ Steps(float high, float range) : high(high) {
    scale = fminf(float(STEPS - 1) / fminf(range, F32_MAX), F32_MAX);
  }

  // The last step holds everything farther down (and what is NaN: infinity times 0).
  __device__ __forceinline__ float distance(float x) const {
    return fminf((high - x) * scale, float(STEPS - 1));
  }

  // The nearest step.
  __device__ __forceinline__ unsigned operator()(float x) const {
    return __float_as_uint(distance(x) + 8388608.0f) - 0x4B000000u;
  }

  // The part of its step in which a number lies, of as many parts as there are steps.
  __device__ __forceinline__ unsigned part(float x, unsigned step) const {
    float within = distance(x) - (float(step) - 0.5f);
    return unsigned(fminf(fmaxf(within * float(STEPS), 0.0f), float(STEPS - 1)));
  }
};

// The last token that is kept when a row is ordered by falling logit and rising id (-0 is 0).
struct Cut {
  float logit;
  int id;

  __device__ __forceinline__ bool keeps(float x, int i) const {
    return x > logit || (x == logit && i <= id);
  }
};

// ---- a row --------------------------------------------------------------------------------------

// sampler.rs's penalise. Called, since few logits are.
__device__ NOINLINE float penalised(float x, float penalty) {
  float y = x < 0.0f ? x * penalty : x / penalty;
  return fminf(fmaxf(y, -F32_MAX), F32_MAX);
}

struct Row {
  const float* logits;
  int n;
  bool is_aligned;
  // Bits of the tokens that are penalised, or null.
  const unsigned* seen;
  float penalty;

  // Four logits from a multiple of four on; what is beyond the end weighs nothing and is not kept.
  __device__ __forceinline__ void load4(int i, float (&x)[4]) const {
    if (is_aligned && i + 4 <= n) {
      float4 numbers = __ldg(reinterpret_cast<const float4*>(logits + i));
      x[0] = numbers.x;
      x[1] = numbers.y;
      x[2] = numbers.z;
      x[3] = numbers.w;
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] = i + j < n ? __ldg(logits + i + j) : -INFINITY;
    }
  }

  __device__ __forceinline__ void penalise4(int i, float (&x)[4]) const {
    if (!seen || i >= n) return;
    unsigned bits = seen[i / 32] >> (i % 32);
    if (!(bits & 15)) return;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (bits >> j & 1) x[j] = penalised(x[j], penalty);
    }
  }
};

// Calls `body(i, x)` for four tokens from i on and their logits, unpenalised, and `end(chunk)`
// after a chunk's. A warp works on a chunk at a time, but loads AT_ONCE of them together; only one
// by one can those be left out that `skips` says.
template <int AT_ONCE, class Skip, class Body, class End>
__device__ __forceinline__ void for_chunks(const Row& row, Skip skips, Body body, End end) {
  constexpr int PARTS = CHUNK / 128;
  int chunks = (row.n + CHUNK - 1) / CHUNK;
  int warps = blockDim.x / 32;
  int lane_offset = threadIdx.x % 32 * 4;
  for (int first = threadIdx.x / 32; first < chunks; first += AT_ONCE * warps) {
    if (AT_ONCE == 1 && skips(first)) continue;
    float x[AT_ONCE][PARTS][4];
#pragma unroll
    for (int a = 0; a < AT_ONCE; ++a) {
      int from = (first + a * warps) * CHUNK + lane_offset;
#pragma unroll
      for (int p = 0; p < PARTS; ++p) row.load4(from + p * 128, x[a][p]);
    }
#pragma unroll
    for (int a = 0; a < AT_ONCE; ++a) {
      int chunk = first + a * warps;
      if (chunk >= chunks) break;
      int from = chunk * CHUNK + lane_offset;
#pragma unroll
      for (int p = 0; p < PARTS; ++p) body(from + p * 128, x[a][p]);
      end(chunk);
    }
  }
}

struct Never {
  __device__ __forceinline__ bool operator()(int) const {
    return false;
  }
};

// The sum over earlier lanes and this one.
__device__ __forceinline__ u64 warp_scan(u64 x) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    u64 other = __shfl_up_sync(ALL_LANES, x, distance);
    if (lane >= distance) x += other;
  }
  return x;
}

// ---- cuts ---------------------------------------------------------------------------------------

enum class Measure { COUNT, MASS };

// What a token measures before a cut.
template <Measure M>
__device__ __forceinline__ u64 measure(float x, int i, const Weight& weight, Cut kept) {
  if (M == Measure::COUNT) return 1;
  return kept.keeps(x, i) ? weight(x) : 0;
}

__device__ __forceinline__ void clear_steps(Shared& s) {
  for (int step = threadIdx.x; step < STEPS; step += blockDim.x) {
    s.steps.low[step] = 0;
    s.steps.high[step] = 0;
  }
  __syncthreads();
}

__device__ __forceinline__ void add_to_step(Shared& s, unsigned step, u64 weight) {
  unsigned low = unsigned(weight);
  unsigned old = atomicAdd(&s.steps.low[step], low);
  unsigned high = unsigned(weight >> 32) + (old + low < old ? 1 : 0);
  if (high) atomicAdd(&s.steps.high[step], high);
}

// Finds the step in which the sum of steps reaches `target`, and what is left of it there.
__device__ void find_edge(Shared& s, u64 target) {
  int share = STEPS / blockDim.x;
  int first = threadIdx.x * share;
  auto held = [&](int step) { return s.steps.low[step] | u64(s.steps.high[step]) << 32; };
  u64 own = 0;
  for (int i = 0; i < share; ++i) own += held(first + i);
  u64 before = warp_scan(own);
  int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 31) s.sums[0][warp] = before;
  if (threadIdx.x == 0) s.edge_count = 0;
  __syncthreads();
  before -= own;
  for (int w = 0; w < warp; ++w) before += s.sums[0][w];
  if (before < target && target <= before + own) {
    u64 left = target - before;
    int step = first;
    while (held(step) < left) {
      left -= held(step);
      ++step;
    }
    s.edge = step;
    s.left = left;
  }
  __syncthreads();
}

__device__ __forceinline__ void add_to_edge(Shared& s, float x, int i, u64 measured) {
  unsigned at = atomicAdd(&s.edge_count, 1u);
  if (at >= EDGE) return;
  s.edge_ids[at] = i;
  s.edge_logits[at] = x;
  s.edge_weights[at] = measured;
}

// The cut among the listed tokens of the edge. Ends with a barrier.
__device__ void cut_listed(Shared& s, const Steps& step_of) {
  constexpr unsigned FEW = 48;
  unsigned count = s.edge_count;
  unsigned edge = s.edge;
  u64 left = s.left;
  bool is_divided = count > FEW;
  if (is_divided) {
    // The same once more, within the step.
    clear_steps(s);
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
      add_to_step(s, step_of.part(s.edge_logits[i], edge), s.edge_weights[i]);
    }
    __syncthreads();
    find_edge(s, left);
    unsigned part = s.edge;
    left = s.left;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
      if (step_of.part(s.edge_logits[i], edge) != part) continue;
      s.finalists[atomicAdd(&s.edge_count, 1u)] = i;
    }
    __syncthreads();
    count = s.edge_count;
  }
  // Each token's place follows from what stands before it, without sorting.
  auto finalist = [&](unsigned i) { return is_divided ? s.finalists[i] : i; };
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    unsigned own = finalist(i);
    Cut cut{s.edge_logits[own], int(s.edge_ids[own])};
    u64 upto = 0;
    for (unsigned j = 0; j < count; ++j) {
      unsigned other = finalist(j);
      if (cut.keeps(s.edge_logits[other], s.edge_ids[other])) upto += s.edge_weights[other];
    }
    if (upto >= left && upto - s.edge_weights[own] < left) {
      s.cut_logit = cut.logit;
      s.cut_id = cut.id;
    }
  }
  __syncthreads();
}

// The cut among more tokens than the list holds, nearly equal ones all: by halving the range of
// their logits' bits, then that of ids. Seldom, and never wrong. Ends with a barrier.
template <Measure M>
__device__ void cut_by_halving(
    Shared& s, const Row& row, const Steps& step_of, const Weight& weight, Cut kept) {
  // Rises with the logit; the same for both zeros.
  auto order = [](float x) {
    unsigned bits = x == 0.0f ? 0 : __float_as_uint(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
  };
  unsigned edge = s.edge;
  u64 left = s.left;
  int round = 0;
  // What tokens of the edge above `least` measure, and those at it with ids up to `last`.
  auto measured = [&](unsigned least, int last) {
    u64 sum = 0;
    auto body = [&](int i, float (&x)[4]) {
      row.penalise4(i, x);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (i + j >= row.n || step_of(x[j]) != edge) continue;
        unsigned own = order(x[j]);
        bool counts = own > least || (own == least && i + j <= last);
        if (counts) sum += measure<M>(x[j], i + j, weight, kept);
      }
    };
    for_chunks<1>(row, Never(), body, [](int) {});
    round ^= 1;
    return block_reduce(sum, Sum(), s.sums[round]);
  };
  unsigned low = 0;
  unsigned high = ~0u;
  while (low < high) {
    unsigned middle = low + (high - low) / 2 + 1;
    if (measured(middle, row.n) >= left) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  int first = 0;
  int last = row.n - 1;
  while (first < last) {
    int middle = first + (last - first) / 2;
    if (measured(low, middle) >= left) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    s.cut_logit = __uint_as_float(low >> 31 ? low & 0x7FFFFFFFu : ~low);
    s.cut_id = first;
  }
  __syncthreads();
}

// The cut after the `count` first tokens, where the row has more.
__device__ Cut cut_by_count(Shared& s, const Row& row, float high, float range, int count) {
  const Steps step_of(high, range);
  const Weight unused(high, 1.0f, 0);
  const Cut all{-INFINITY, -1};
  clear_steps(s);
  auto add = [&](int i, float (&x)[4]) {
    row.penalise4(i, x);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (i + j < row.n) atomicAdd(&s.steps.low[step_of(x[j])], 1u);
    }
  };
  for_chunks<1>(row, Never(), add, [](int) {});
  __syncthreads();
  find_edge(s, count);
  unsigned edge = s.edge;
  auto skips = [&](int chunk) { return step_of(s.chunk_highest[chunk]) > edge; };
  auto list = [&](int i, float (&x)[4]) {
    row.penalise4(i, x);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (i + j < row.n && step_of(x[j]) == edge) add_to_edge(s, x[j], i + j, 1);
    }
  };
  for_chunks<1>(row, skips, list, [](int) {});
  __syncthreads();
  if (s.edge_count <= EDGE) {
    cut_listed(s, step_of);
  } else {
    cut_by_halving<Measure::COUNT>(s, row, step_of, unused, all);
  }
  return Cut{s.cut_logit, s.cut_id};
}

// ---- the token ----------------------------------------------------------------------------------

// The lowest id of the row's largest logit. Ends with a barrier.
__device__ int find_largest(Shared& s, const Row& row, float high) {
  if (threadIdx.x == 0) s.token = row.n;
  __syncthreads();
  auto skips = [&](int chunk) { return s.chunk_highest[chunk] != high; };
  auto look = [&](int i, float (&x)[4]) {
    row.penalise4(i, x);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (x[j] == high) atomicMin(&s.token, i + j);
    }
  };
  for_chunks<1>(row, skips, look, [](int) {});
  __syncthreads();
  return s.token;
}

// Adds the weights of all tokens at temperature 1, unpenalised, to `normaliser`, and calls
// `add(logit, weight)` with those that they are drawn by, of tokens that a cut by count keeps.
template <class Add, class End>
__device__ __forceinline__ void sum_weights(
    const Row& row, const UnitWeight& unit_weight, const Weight& weight, bool is_tempered, Cut cut,
    bool has_cut, u64& normaliser, Add add, End end) {
  auto body = [&](int i, float (&x)[4]) {
    u64 weights[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      weights[j] = unit_weight(x[j]);
      normaliser += weights[j];
    }
    if (is_tempered) {
      row.penalise4(i, x);
#pragma unroll
      for (int j = 0; j < 4; ++j) weights[j] = weight(x[j]);
    }
    if (has_cut) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (!cut.keeps(x[j], i + j)) weights[j] = 0;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) add(x[j], weights[j]);
  };
  for_chunks<1>(row, Never(), body, end);
}

// The token at a random point of the kept mass, by a warp: the chunk, then the lane's eight tokens,
// then the token. `kept` gives the weights of four tokens. Returns the mass.
template <class Kept>
__device__ u64 draw_token(Shared& s, int n, const SampleRow& settings, Kept kept) {
  int lane = threadIdx.x;
  if (lane == 0) s.token = 0;
  int chunks = (n + CHUNK - 1) / CHUNK;
  int share = (chunks + 31) / 32;
  u64 own = 0;
  for (int i = 0; i < share; ++i) {
    int chunk = lane * share + i;
    own += chunk < chunks ? s.chunk_sums[chunk] : 0;
  }
  u64 upto = warp_scan(own);
  u64 mass = __shfl_sync(ALL_LANES, upto, 31);
  u64 point = random_below(settings.key, settings.position, mass);
  __syncwarp();
  int finder = __ffs(int(__ballot_sync(ALL_LANES, upto > point))) - 1;
  u64 before = upto - own;
  int chunk = lane * share;
  if (lane == finder) {
    while (before + s.chunk_sums[chunk] <= point) before += s.chunk_sums[chunk++];
  }
  chunk = __shfl_sync(ALL_LANES, chunk, finder);
  before = __shfl_sync(ALL_LANES, before, finder);

  int first = chunk * CHUNK + lane * 8;
  u64 weights[8];
  kept(first, weights);
  kept(first + 4, weights + 4);
  own = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) own += weights[j];
  upto = before + warp_scan(own);
  finder = __ffs(int(__ballot_sync(ALL_LANES, upto > point))) - 1;
  if (lane == finder) {
    before = upto - own;
    int token = first;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      before += weights[j];
      if (before <= point) ++token;
    }
    s.token = token;
  }
  __syncwarp();
  return mass;
}

// rows: one a block; draws: one a block; tokens: by slot; seen: [slots][n / 32, rounded up] words,
// a bit for each token that a slot has seen, read and written only where there is a penalty. `n` is
// at most MAX_VOCABULARY, `bits` is sampler.rs's weight_bits: 62 less the width of n - 1, at most
// 51. Block: 1024 threads (any power of two from 32 on gives the same). Dynamic shared memory:
// sizeof(Shared), or SHARED_BYTES. Grid: (rows).
extern "C" __global__ void __launch_bounds__(1024) sample_rows(
    int n, const SampleRow* rows, int* tokens, SampleDraw* draws, unsigned* seen, int bits) {
  SHARED_MEMORY(Shared, shared);
  Shared& s = *shared;
  const SampleRow& settings = rows[blockIdx.x];
  if (!settings.draw || settings.slot < 0) return;
  bool is_penalised = settings.penalty != 1.0f;
  unsigned* own_seen = seen + size_t(settings.slot) * ((n + 31) / 32);
  Row row;
  row.logits = reinterpret_cast<const float*>(settings.logits);
  row.n = n;
  row.is_aligned = settings.logits % 16 == 0;
  row.seen = is_penalised ? own_seen : nullptr;
  row.penalty = settings.penalty;

  float top = -INFINITY;
  float high = -INFINITY;
  float low = INFINITY;
  float check = 0;
  float chunk_high = -INFINITY;
  auto look = [&](int i, float (&x)[4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      top = fmaxf(top, x[j]);
      // x · 0 is NaN for what is not finite, and NaN stays in a sum.
      if (i + j < n) check = fmaf(x[j], 0.0f, check);
    }
    row.penalise4(i, x);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      chunk_high = fmaxf(chunk_high, x[j]);
      if (i + j < n) low = fminf(low, x[j]);
    }
  };
  auto end_look = [&](int chunk) {
    high = fmaxf(high, chunk_high);
    float highest = warp_reduce(chunk_high, Larger());
    if (threadIdx.x % 32 == 0) s.chunk_highest[chunk] = highest;
    chunk_high = -INFINITY;
  };
  for_chunks<2>(row, Never(), look, end_look);
  if (check != 0.0f) low = -INFINITY;
  top = block_reduce(top, Larger(), s.highest[0]);
  high = block_reduce(high, Larger(), s.highest[1]);
  low = block_reduce(low, Smaller(), s.lowest);
  if (threadIdx.x == 0) s.draw = SampleDraw{0, 0, top, 1, 0, 0};
  if (low == -INFINITY) {
    if (threadIdx.x == 0) {
      s.draw.finite = 0;
      draws[blockIdx.x] = s.draw;
      tokens[settings.slot] = 0;
    }
    return;
  }

  const UnitWeight unit_weight{top, bits};
  u64 normaliser = 0;
  u64 mass = 0;
  if (settings.temperature == 0.0f) {
    auto add = [&](int, float (&x)[4]) {
#pragma unroll
      for (int j = 0; j < 4; ++j) normaliser += unit_weight(x[j]);
    };
    for_chunks<1>(row, Never(), add, [](int) {});
    normaliser = block_reduce(normaliser, Sum(), s.sums[0]);
    if (threadIdx.x == 0) s.draw.normaliser = normaliser;
    find_largest(s, row, high);
  } else {
    const Weight weight(high, settings.temperature, bits);
    float range = high - low;
    Cut cut{-INFINITY, -1};
    bool has_count = settings.top_k > 0 && settings.top_k < n;
    if (has_count) {
      cut = cut_by_count(s, row, high, range, settings.top_k);
    }
    // Farther down weights are 0, and their order decides nothing.
    float reach = settings.temperature * float(bits + 2) * LN_2;
    const Steps step_of(high, fminf(range, reach));
    double one = double_of(uint32_t(1023 + bits) << 20, 0);
    u64 least = settings.min_p > 0.0f ? u64(ceil(double(settings.min_p) * one)) : 0;
    bool has_nucleus = settings.top_p < 1.0f;
    bool is_tempered = is_penalised || settings.temperature != 1.0f;
    clear_steps(s);

    u64 chunk_sum = 0;
    auto end_sum = [&](int chunk) {
      chunk_sum = warp_reduce(chunk_sum, Sum());
      if (threadIdx.x % 32 == 0) s.chunk_sums[chunk] = chunk_sum;
      chunk_sum = 0;
    };
    if (has_nucleus) {
      auto add = [&](float x, u64 kept) {
        mass += kept;
        add_to_step(s, step_of(x), kept);
      };
      sum_weights(row, unit_weight, weight, is_tempered, cut, has_count, normaliser, add, [](int) {});
    } else {
      auto add = [&](float, u64 kept) { chunk_sum += kept >= least ? kept : 0; };
      sum_weights(row, unit_weight, weight, is_tempered, cut, has_count, normaliser, add, end_sum);
    }
    normaliser = block_reduce(normaliser, Sum(), s.sums[0]);
    if (threadIdx.x == 0) s.draw.normaliser = normaliser;
    mass = block_reduce(mass, Sum(), s.sums[1]);

    if (has_nucleus) {
      u64 target = u64(ceil(double(settings.top_p) * double(mass)));
      target = target < 1 ? 1 : target > mass ? mass : target;
      for (int chunk = threadIdx.x; chunk < CHUNKS; chunk += blockDim.x) s.chunk_sums[chunk] = 0;
      find_edge(s, target);
      unsigned edge = s.edge;
      auto skips = [&](int chunk) { return step_of(s.chunk_highest[chunk]) > edge; };
      // Seldom are many of a warp's tokens kept: they are queued up, so that no lane idles while
      // others compute a weight.
      float* queue = s.queues[threadIdx.x / 32];
      int lane = threadIdx.x % 32;
      auto split = [&](int i, float (&x)[4]) {
        row.penalise4(i, x);
        int count = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          unsigned step = step_of(x[j]);
          bool is_kept = step <= edge && cut.keeps(x[j], i + j);
          unsigned queued = __ballot_sync(ALL_LANES, is_kept && step < edge);
          if (is_kept && step < edge) queue[count + __popc(queued & ((1u << lane) - 1))] = x[j];
          count += __popc(queued);
          if (is_kept && step == edge) add_to_edge(s, x[j], i + j, weight(x[j]));
        }
        __syncwarp();
        for (int k = lane; k < count; k += 32) {
          u64 kept = weight(queue[k]);
          chunk_sum += kept >= least ? kept : 0;
        }
        __syncwarp();
      };
      for_chunks<1>(row, skips, split, end_sum);
      __syncthreads();
      unsigned listed = s.edge_count;
      if (listed <= EDGE) {
        cut_listed(s, step_of);
        cut = Cut{s.cut_logit, s.cut_id};
        for (unsigned i = threadIdx.x; i < listed; i += blockDim.x) {
          u64 kept = s.edge_weights[i];
          if (kept >= least && cut.keeps(s.edge_logits[i], s.edge_ids[i])) {
            atomicAdd(&s.chunk_sums[s.edge_ids[i] / CHUNK], kept);
          }
        }
      } else {
        cut_by_halving<Measure::MASS>(s, row, step_of, weight, cut);
        cut = Cut{s.cut_logit, s.cut_id};
        auto sum = [&](int i, float (&x)[4]) {
          row.penalise4(i, x);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            u64 kept = cut.keeps(x[j], i + j) ? weight(x[j]) : 0;
            chunk_sum += kept >= least ? kept : 0;
          }
        };
        for_chunks<1>(row, skips, sum, end_sum);
      }
      __syncthreads();
    }

    if (threadIdx.x < 32) {
      auto kept = [&](int i, u64* weights) {
        float x[4];
        row.load4(i, x);
        row.penalise4(i, x);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          u64 own = cut.keeps(x[j], i + j) ? weight(x[j]) : 0;
          weights[j] = own >= least ? own : 0;
        }
      };
      mass = draw_token(s, n, settings, kept);
      if (threadIdx.x == 0) s.draw.mass = mass;
    }
  }

  if (threadIdx.x == 0) {
    int token = s.token;
    s.draw.token = token;
    s.draw.logit = row.logits[token];
    draws[blockIdx.x] = s.draw;
    tokens[settings.slot] = token;
    if (is_penalised) own_seen[token / 32] |= 1u << (token % 32);
  }
}
KERNEL(sample_rows)

// Forgets what a slot has seen, if `clear`, then notes the `count` tokens of a list (those outside
// the vocabulary are none). Block: up to 1024 threads. No shared memory. Grid: 1.
extern "C" __global__ void __launch_bounds__(1024) seen_tokens(
    unsigned* seen, const int* list, int count, int slot, int n, int clear) {
  int words = (n + 31) / 32;
  unsigned* own = seen + size_t(slot) * words;
  if (clear) {
    for (int i = threadIdx.x; i < words; i += blockDim.x) own[i] = 0;
    __syncthreads();
  }
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    int token = list[i];
    if (token >= 0 && token < n) atomicOr(&own[token / 32], 1u << (token % 32));
  }
}
KERNEL(seen_tokens)
