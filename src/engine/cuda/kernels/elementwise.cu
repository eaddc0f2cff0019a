// The row by row parts of the decoder: embedding, norms, biases, RoPE and the gate. Arithmetic is
// in f32 whatever the rows are stored in.
//
// All kernels: 256 threads, no dynamic shared memory, one row a block (`blockIdx.x`). Rows of bf16
// are a multiple of 8 numbers wide and begin on 16 bytes; rows of f32 are of any width.
#include "device.h"
#include "functions.h"

constexpr int THREADS = 256;

// ---- embedding ----------------------------------------------------------------------------------

// x[r] = table[token of r]: the token is inputs[r], or the one last drawn for slots[r] where
// inputs[r] is negative, or 0 where the row is padding (no slot either). Grid: (rows).
template <class T>
__device__ __forceinline__ void embed(
    const T* table, const int* inputs, const int* slots, const int* tokens, float* x, int width) {
  constexpr int N = VECTOR<T>;
  int row = blockIdx.x;
  int token = inputs[row];
  if (token < 0) token = slots[row] >= 0 ? tokens[slots[row]] : 0;
  const T* from = table + size_t(token) * width;
  float* to = x + size_t(row) * width;
  for (int i = threadIdx.x * N; i < width; i += THREADS * N) {
    float numbers[N];
    load(from + i, numbers);
    store(to + i, numbers);
  }
}

#define EMBED(T)                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS) embed_##T(                      \
      const T* table, const int* inputs, const int* slots, const int* tokens, float* x, \
      int width) {                                                                      \
    embed<T>(table, inputs, slots, tokens, x, width);                                   \
  }                                                                                     \
  KERNEL(embed_##T)

// ---- residual add and RMS norm ------------------------------------------------------------------

// out[r] = rms_norm(x[s]) * weight for the row s = index[r] of the residual stream, or r without an
// index; an update, if there is one, is first added to x[s] and stays there. The index names no row
// twice; where it is negative nothing is computed. Grid: (rows of out).
template <class T>
__device__ __forceinline__ void add_rms_norm(
    float* x, const T* update, const float* weight, T* out, const int* index, int width,
    float eps) {
  constexpr int N = VECTOR<T>;
  // What stays in registers between the sum of squares and the scaling; wider rows are read again.
  constexpr int KEPT = 4;
  SHARED(float, parts, THREADS / 32);
  int row = index ? index[blockIdx.x] : blockIdx.x;
  if (row < 0) return;
  x += size_t(row) * width;
  if (update) update += size_t(row) * width;
  out += size_t(blockIdx.x) * width;

  float squares = 0;
  auto gather = [&](int i, float (&numbers)[N]) {
    load(x + i, numbers);
    if (update) {
      float change[N];
      load(update + i, change);
#pragma unroll
      for (int j = 0; j < N; ++j) numbers[j] += change[j];
      store(x + i, numbers);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) squares = fmaf(numbers[j], numbers[j], squares);
  };
  float kept[KEPT][N];
#pragma unroll
  for (int k = 0; k < KEPT; ++k) {
    int i = (k * THREADS + threadIdx.x) * N;
    if (i < width) gather(i, kept[k]);
  }
  for (int i = (KEPT * THREADS + threadIdx.x) * N; i < width; i += THREADS * N) {
    float numbers[N];
    gather(i, numbers);
  }

  squares = block_reduce(squares, Sum(), parts);
  float scale = 1.0f / sqrtf(squares / float(width) + eps);
  auto emit = [&](int i, float (&numbers)[N]) {
    float weights[N];
    load(weight + i, weights);
#pragma unroll
    for (int j = 0; j < N; ++j) numbers[j] = numbers[j] * scale * weights[j];
    store(out + i, numbers);
  };
#pragma unroll
  for (int k = 0; k < KEPT; ++k) {
    int i = (k * THREADS + threadIdx.x) * N;
    if (i < width) emit(i, kept[k]);
  }
  for (int i = (KEPT * THREADS + threadIdx.x) * N; i < width; i += THREADS * N) {
    float numbers[N];
    load(x + i, numbers);
    emit(i, numbers);
  }
}

#define ADD_RMS_NORM(T)                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS) add_rms_norm_##T(                       \
      float* x, const T* update, const float* weight, T* out, const int* index, int width,      \
      float eps) {                                                                              \
    add_rms_norm<T>(x, update, weight, out, index, width, eps);                                 \
  }                                                                                             \
  KERNEL(add_rms_norm_##T)

// ---- biases -------------------------------------------------------------------------------------

// x[r] += bias. Grid: (rows).
template <class T>
__device__ __forceinline__ void add_bias(T* x, const float* bias, int width) {
  constexpr int N = VECTOR<T>;
  x += size_t(blockIdx.x) * width;
  for (int i = threadIdx.x * N; i < width; i += THREADS * N) {
    float numbers[N];
    float change[N];
    load(x + i, numbers);
    load(bias + i, change);
#pragma unroll
    for (int j = 0; j < N; ++j) numbers[j] += change[j];
    store(x + i, numbers);
  }
}

#define ADD_BIAS(T)                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) add_bias_##T(  \
      T* x, const float* bias, int width) {                            \
    add_bias<T>(x, bias, width);                                       \
  }                                                                    \
  KERNEL(add_bias_##T)

// ---- Q and K: bias, norm and RoPE; K and V into their page of the KV cache ----------------------

// The rows of `qkv` are [queries | keys | values]; queries are turned in place, keys (turned) and
// values go to offsets[r] of page pages[r] of the pool, [page][2][kv_heads][PAGE][head_dim]. A row
// with a negative page keeps nothing. Bias and norms are left out where their address is null; the
// norms' weights are [head_dim]. `cos` and `sin` are [positions][head_dim / 2], for the pairs
// (i, i + head_dim / 2). Heads are of an even width up to 256, in bf16 of a multiple of 4.
// A warp works on a head at a time. Grid: (rows, any number of parts of the heads).
template <class T>
__device__ __forceinline__ void qkv_rope(
    T* qkv, const float* bias, const float* q_norm, const float* k_norm, const float* cos,
    const float* sin, const int* positions, T* pool, const int* pages, const int* offsets,
    int heads, int kv_heads, int head_dim, float eps) {
  constexpr int N = sizeof(T) == 2 ? 2 : 1;
  constexpr int STEPS = 128 / (32 * N);
  int row = blockIdx.x;
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int half = head_dim / 2;
  int all = heads + 2 * kv_heads;
  int page = pages[row];
  int offset = offsets[row];
  const float* cosines = cos + size_t(positions[row]) * half;
  const float* sines = sin + size_t(positions[row]) * half;
  constexpr int WARPS = THREADS / 32;
  for (int head = blockIdx.y * WARPS + warp; head < all; head += gridDim.y * WARPS) {
    bool is_query = head < heads;
    bool is_value = head >= heads + kv_heads;
    T* from = qkv + (size_t(row) * all + head) * head_dim;
    float low[STEPS][N];
    float high[STEPS][N];
    float squares = 0;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      int i = (step * 32 + lane) * N;
      if (i >= half) break;
      load(from + i, low[step]);
      load(from + half + i, high[step]);
      if (bias) {
        float change[N];
        load(bias + head * head_dim + i, change);
#pragma unroll
        for (int j = 0; j < N; ++j) low[step][j] += change[j];
        load(bias + head * head_dim + half + i, change);
#pragma unroll
        for (int j = 0; j < N; ++j) high[step][j] += change[j];
      }
#pragma unroll
      for (int j = 0; j < N; ++j) {
        squares = fmaf(low[step][j], low[step][j], squares);
        squares = fmaf(high[step][j], high[step][j], squares);
      }
    }

    const float* norm = is_value ? nullptr : is_query ? q_norm : k_norm;
    if (norm) {
      float mean = warp_reduce(squares, Sum()) / float(head_dim);
      float scale = 1.0f / sqrtf(mean + eps);
#pragma unroll
      for (int step = 0; step < STEPS; ++step) {
        int i = (step * 32 + lane) * N;
        if (i >= half) break;
        float weights[N];
        load(norm + i, weights);
#pragma unroll
        for (int j = 0; j < N; ++j) low[step][j] = low[step][j] * scale * weights[j];
        load(norm + half + i, weights);
#pragma unroll
        for (int j = 0; j < N; ++j) high[step][j] = high[step][j] * scale * weights[j];
      }
    }

    T* to = from;
    if (!is_query) {
      if (page < 0) continue;
      int which = is_value ? 1 : 0;
      int kv_head = head - heads - which * kv_heads;
      size_t plane = (size_t(page) * 2 + which) * kv_heads + kv_head;
      to = pool + (plane * PAGE + offset) * head_dim;
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      int i = (step * 32 + lane) * N;
      if (i >= half) break;
      if (!is_value) {
        float c[N];
        float s[N];
        load(cosines + i, c);
        load(sines + i, s);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          float a = low[step][j];
          float b = high[step][j];
          low[step][j] = fmaf(a, c[j], -(b * s[j]));
          high[step][j] = fmaf(a, s[j], b * c[j]);
        }
      }
      store(to + i, low[step]);
      store(to + half + i, high[step]);
    }
  }
}

#define QKV_ROPE(T)                                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) qkv_rope_##T(                           \
      T* qkv, const float* bias, const float* q_norm, const float* k_norm, const float* cos,    \
      const float* sin, const int* positions, T* pool, const int* pages, const int* offsets,    \
      int heads, int kv_heads, int head_dim, float eps) {                                       \
    qkv_rope<T>(qkv, bias, q_norm, k_norm, cos, sin, positions, pool, pages, offsets, heads,    \
                kv_heads, head_dim, eps);                                                       \
  }                                                                                             \
  KERNEL(qkv_rope_##T)

// ---- the gate -----------------------------------------------------------------------------------

__device__ __forceinline__ float silu(float x, bf16) {
  constexpr float LOG2_E = 1.44269504088896340736f;
  return x * reciprocal_fast(1.0f + exp2_fast(-x * LOG2_E));
}

__device__ __forceinline__ float silu(float x, float) {
  return x / (1.0f + exp_of(-x));
}

// out[r] = silu(gate) * up of the rows [gate | up] of `gate_up`, each `width` numbers.
// Grid: (rows, width in parts of 2048, rounded up).
template <class T>
__device__ __forceinline__ void silu_mul(const T* gate_up, T* out, int width) {
  constexpr int N = VECTOR<T>;
  constexpr int PART = 8 * THREADS;
  const T* gates = gate_up + size_t(blockIdx.x) * 2 * width;
  const T* ups = gates + width;
  out += size_t(blockIdx.x) * width;
  int begin = blockIdx.y * PART;
  int end = min(width, begin + PART);
  for (int i = begin + threadIdx.x * N; i < end; i += THREADS * N) {
    float gate[N];
    float up[N];
    load(gates + i, gate);
    load(ups + i, up);
#pragma unroll
    for (int j = 0; j < N; ++j) gate[j] = silu(gate[j], T()) * up[j];
    store(out + i, gate);
  }
}

#define SILU_MUL(T)                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) silu_mul_##T(  \
      const T* gate_up, T* out, int width) {                           \
    silu_mul<T>(gate_up, out, width);                                  \
  }                                                                    \
  KERNEL(silu_mul_##T)

// ---- both types, by their names in kernels' names -----------------------------------------------

typedef float f32;

EMBED(bf16)
EMBED(f32)
ADD_RMS_NORM(bf16)
ADD_RMS_NORM(f32)
ADD_BIAS(bf16)
ADD_BIAS(f32)
QKV_ROPE(bf16)
QKV_ROPE(f32)
SILU_MUL(bf16)
SILU_MUL(f32)
