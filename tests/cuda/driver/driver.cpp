// The fake driver keeps the rules of the real one: what it computes, what it refuses, what it
// counts. Linked with libcuda.so.1 and libcublas.so.13 as build_fake.sh makes them of planted.cu.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

using Address = uint64_t;
using Handle = void*;
extern "C" {
int cuInit(unsigned);
int cuDeviceGetCount(int*);
int cuDevicePrimaryCtxRetain(Handle*, int);
int cuCtxSetCurrent(Handle);
int cuCtxSynchronize();
int cuMemGetInfo_v2(size_t*, size_t*);
int cuMemAlloc_v2(Address*, size_t);
int cuMemFree_v2(Address);
int cuMemAllocAsync(Address*, size_t, Handle);
int cuMemFreeAsync(Address, Handle);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemFreeHost(void*);
int cuMemcpyHtoDAsync_v2(Address, const void*, size_t, Handle);
int cuMemcpyDtoHAsync_v2(void*, Address, size_t, Handle);
int cuMemcpyDtoDAsync_v2(Address, Address, size_t, Handle);
int cuMemcpyDtoH_v2(void*, Address, size_t);
int cuMemsetD8Async(Address, unsigned char, size_t, Handle);
int cuMemsetD32Async(Address, unsigned, size_t, Handle);
int cuStreamCreate(Handle*, unsigned);
int cuStreamDestroy_v2(Handle);
int cuStreamSynchronize(Handle);
int cuStreamWaitEvent(Handle, Handle, unsigned);
int cuStreamBeginCapture_v2(Handle, int);
int cuStreamEndCapture(Handle, Handle*);
int cuGraphInstantiateWithFlags(Handle*, Handle, unsigned long long);
int cuGraphUpload(Handle, Handle);
int cuGraphLaunch(Handle, Handle);
int cuGraphDestroy(Handle);
int cuGraphExecDestroy(Handle);
int cuEventCreate(Handle*, unsigned);
int cuEventDestroy_v2(Handle);
int cuEventRecord(Handle, Handle);
int cuEventSynchronize(Handle);
int cuEventQuery(Handle);
int cuModuleLoadData(Handle*, const void*);
int cuModuleGetFunction(Handle*, Handle, const char*);
int cuFuncSetAttribute(Handle, int, int);
int cuLaunchKernel(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   Handle, void**, void**);
int cuLaunchHostFunc(Handle, void (*)(void*), void*);
int cublasCreate_v2(Handle*);
int cublasDestroy_v2(Handle);
int cublasSetStream_v2(Handle, Handle);
int cublasGemmEx(Handle, int, int, int, int, int, const void*, const void*, int, int, const void*,
                 int, int, const void*, void*, int, int, int, int);
long fake_count(const char*);
void fake_counts(long*);
void fake_clear_error();
}

enum { OUT_OF_MEMORY = 2, INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_FOUND = 500 };
enum { NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900 };
enum { CAPTURE_INVALIDATED = 901, CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905 };

static int failures = 0;
static void expect(long long wanted, long long got, const char* what, int line) {
  if (wanted == got) return;
  ++failures;
  printf("line %d: %s is %lld instead of %lld\n", line, what, got, wanted);
}
#define EXPECT(wanted, got) expect((long long)(wanted), (long long)(got), #got, __LINE__)
#define FINE(call) EXPECT(0, call)

static const char* PTX =
    ".version 8.4\n.target sm_80\n.address_size 64\n"
    ".visible .entry add_number(\n.param .u64 x,\n.param .u32 count,\n.param .f32 number\n)\n"
    ".maxntid 64, 1, 1\n{\nret;\n}\n"
    ".visible .entry stages(\n.param .u64 x,\n.param .u32 sums\n)\n{\nret;\n}\n"
    ".visible .entry divergent_barrier(\n.param .u64 x,\n.param .u64 sums,\n.param .u32 n\n)\n"
    "{\nret;\n}\n";

static Handle add_number;

static Handle new_stream() {
  Handle stream;
  FINE(cuStreamCreate(&stream, 1));
  return stream;
}
static Address new_memory(size_t bytes) {
  Address at = 0;
  FINE(cuMemAlloc_v2(&at, bytes));
  return at;
}
static float* new_pinned(size_t count) {
  void* at = nullptr;
  FINE(cuMemHostAlloc(&at, count * sizeof(float), 0));
  return static_cast<float*>(at);
}
static int add(Address x, int count, float number, Handle stream, unsigned threads = 64) {
  void* arguments[] = {&x, &count, &number};
  unsigned blocks = (unsigned(count) + 63) / 64;
  return cuLaunchKernel(add_number, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, nullptr);
}
// From one stream to another, as by cudarc: the event is gone when it is waited for.
static void order(Handle before, Handle after) {
  Handle event;
  FINE(cuEventCreate(&event, 2));
  FINE(cuEventRecord(event, before));
  FINE(cuStreamWaitEvent(after, event, 0));
  FINE(cuEventDestroy_v2(event));
}

// Work is done when it is waited for, and not before.
static void streams_are_late() {
  Handle stream = new_stream();
  Address x = new_memory(100 * sizeof(float));
  float* out = new_pinned(100);
  FINE(cuMemsetD8Async(x, 0, 100 * sizeof(float), stream));
  FINE(add(x, 100, 2.5f, stream));
  FINE(cuMemcpyDtoHAsync_v2(out, x, 100 * sizeof(float), stream));
  Handle event;
  FINE(cuEventCreate(&event, 2));
  FINE(cuEventRecord(event, stream));
  EXPECT(1, std::isnan(out[99]));
  EXPECT(NOT_READY, cuEventQuery(event));
  FINE(cuEventSynchronize(event));
  EXPECT(1, out[99] == 2.5f);
  FINE(cuEventQuery(event));
  // What was queued before an event is done, not what came later.
  FINE(add(x, 100, 1, stream));
  FINE(cuEventRecord(event, stream));
  FINE(cuMemsetD32Async(x, 0x40400000, 100, stream));
  FINE(cuMemcpyDtoHAsync_v2(out, x, 4, stream));
  FINE(cuEventSynchronize(event));
  EXPECT(1, out[0] == 2.5f);
  FINE(cuStreamSynchronize(stream));
  EXPECT(1, out[0] == 3.0f);
  FINE(cuEventDestroy_v2(event));
  FINE(cuStreamDestroy_v2(stream));
  FINE(cuMemFree_v2(x));
  FINE(cuMemFreeHost(out));
}

// Pageable memory: read at once, written after a wait.
static void pageable_copies_block() {
  Handle stream = new_stream();
  Address x = new_memory(12);
  float in[3] = {1, 2, 3};
  float out[3] = {};
  FINE(cuMemcpyHtoDAsync_v2(x, in, sizeof in, stream));
  in[0] = 9;
  long before = fake_count("synchronisations");
  FINE(cuMemcpyDtoHAsync_v2(out, x, sizeof out, stream));
  EXPECT(1, fake_count("synchronisations") - before);
  EXPECT(1, out[0] == 1 && out[2] == 3);
  EXPECT(INVALID_VALUE, cuMemcpyDtoHAsync_v2(out, x + 4, sizeof out, stream));
  FINE(cuStreamDestroy_v2(stream));
  FINE(cuMemFree_v2(x));
}

// A capture that forks into another stream and is joined again; what it reads, it reads when run.
static void captures_fork_and_join(Handle context) {
  Handle stream = new_stream();
  Handle side = new_stream();
  Address x = new_memory(64 * sizeof(float));
  Address y = new_memory(64 * sizeof(float));
  float* in = new_pinned(64);
  float* out = new_pinned(128);
  FINE(cuStreamBeginCapture_v2(stream, 1));
  FINE(cuMemcpyHtoDAsync_v2(x, in, 64 * sizeof(float), stream));
  order(stream, side);
  FINE(cuMemcpyDtoDAsync_v2(y, x, 64 * sizeof(float), side));
  FINE(add(y, 64, 10, side));
  order(side, stream);
  FINE(add(x, 64, 1, stream));
  FINE(cuMemcpyDtoHAsync_v2(out, x, 64 * sizeof(float), stream));
  FINE(cuMemcpyDtoHAsync_v2(out + 64, y, 64 * sizeof(float), stream));
  Handle graph;
  Handle executable;
  FINE(cuStreamEndCapture(stream, &graph));
  FINE(cuGraphInstantiateWithFlags(&executable, graph, 1));
  FINE(cuGraphUpload(executable, stream));
  long before[5];
  long after[5];
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 64; ++i) in[i] = float(round * 100 + i);
    fake_counts(before);
    FINE(cuGraphLaunch(executable, stream));
    fake_counts(after);
    EXPECT(0, after[0] - before[0]);
    EXPECT(0, after[1] - before[1]);
    EXPECT(1, after[2] - before[2]);
    EXPECT(0, after[4] - before[4]);
    FINE(cuStreamSynchronize(stream));
    EXPECT(1, out[63] == float(round * 100 + 64));
    EXPECT(1, out[64 + 63] == float(round * 100 + 73));
  }
  FINE(cuGraphExecDestroy(executable));
  FINE(cuGraphDestroy(graph));

  // A branch that nothing waits for; a wait for work outside.
  FINE(cuStreamBeginCapture_v2(stream, 1));
  order(stream, side);
  FINE(add(y, 64, 10, side));
  EXPECT(CAPTURE_UNJOINED, cuStreamEndCapture(stream, &graph));
  Handle event;
  FINE(cuEventCreate(&event, 2));
  FINE(cuEventRecord(event, side));
  FINE(cuStreamBeginCapture_v2(stream, 1));
  EXPECT(CAPTURE_ISOLATION, cuStreamWaitEvent(stream, event, 0));
  EXPECT(CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
  FINE(cuEventDestroy_v2(event));

  // What must not happen while a stream is captured.
  Address taken;
  void* pinned;
  float pageable[4];
  for (int i = 0; i < 6; ++i) {
    FINE(cuStreamBeginCapture_v2(stream, 1));
    int answer = i == 0   ? cuMemAllocAsync(&taken, 16, stream)
                 : i == 1 ? cuMemAlloc_v2(&taken, 16)
                 : i == 2 ? cuMemHostAlloc(&pinned, 16, 0)
                 : i == 3 ? cuMemcpyHtoDAsync_v2(x, pageable, 16, stream)
                 : i == 4 ? cuStreamSynchronize(stream)
                          : cuMemcpyDtoH_v2(pageable, x, 16);
    EXPECT(CAPTURE_UNSUPPORTED, answer);
    EXPECT(CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
  }

  // Another thread's engine goes on meanwhile.
  FINE(cuStreamBeginCapture_v2(stream, 1));
  std::thread([context] {
    FINE(cuCtxSetCurrent(context));
    FINE(cuMemFree_v2(new_memory(16)));
    FINE(cuMemFreeHost(new_pinned(4)));
  }).join();
  FINE(cuStreamEndCapture(stream, &graph));
  FINE(cuGraphDestroy(graph));

  // Branches without order: the graph shows it by running them both ways round.
  FINE(cuStreamBeginCapture_v2(stream, 1));
  FINE(cuMemsetD8Async(x, 0, 64 * sizeof(float), stream));
  order(stream, side);
  FINE(cuMemsetD32Async(x, 0x3F800000, 64, stream));
  FINE(cuMemcpyDtoDAsync_v2(y, x, 64 * sizeof(float), side));
  order(side, stream);
  FINE(cuMemcpyDtoHAsync_v2(out, y, sizeof(float), stream));
  FINE(cuStreamEndCapture(stream, &graph));
  FINE(cuGraphInstantiateWithFlags(&executable, graph, 1));
  FINE(cuGraphLaunch(executable, stream));
  FINE(cuStreamSynchronize(stream));
  float first = out[0];
  FINE(cuGraphLaunch(executable, stream));
  FINE(cuStreamSynchronize(stream));
  EXPECT(1, first != out[0]);
  FINE(cuGraphExecDestroy(executable));
  FINE(cuGraphDestroy(graph));
  FINE(cuStreamDestroy_v2(side));
  FINE(cuStreamDestroy_v2(stream));
  FINE(cuMemFree_v2(x));
  FINE(cuMemFree_v2(y));
  FINE(cuMemFreeHost(in));
  FINE(cuMemFreeHost(out));
}

static void memory_is_bounded_and_counted(size_t total) {
  Handle stream = new_stream();
  size_t left;
  size_t all;
  FINE(cuMemGetInfo_v2(&left, &all));
  EXPECT(total, all);
  EXPECT(total, left);
  long before = fake_count("allocations");
  Address big = 0;
  // Nearly all of it costs nothing until it is written.
  size_t bytes = total - (1 << 20);
  FINE(cuMemAllocAsync(&big, bytes, stream));
  EXPECT(0, big % 256);
  FINE(cuMemGetInfo_v2(&left, &all));
  EXPECT(1 << 20, left);
  EXPECT(1, fake_count("allocations") - before);
  Address more;
  EXPECT(OUT_OF_MEMORY, cuMemAlloc_v2(&more, 2 << 20));
  // Nobody wrote it: NaN.
  float last;
  FINE(cuMemcpyDtoHAsync_v2(&last, big + bytes - 4, 4, stream));
  EXPECT(1, std::isnan(last));
  FINE(cuMemFreeAsync(big, stream));
  FINE(cuStreamSynchronize(stream));
  FINE(cuMemGetInfo_v2(&left, &all));
  EXPECT(total, left);
  EXPECT(INVALID_VALUE, cuMemFree_v2(big));
  // A write behind the end is seen when the block is given back.
  Address small = new_memory(100);
  reinterpret_cast<char*>(small)[100] = 1;
  EXPECT(ILLEGAL_ADDRESS, cuMemFree_v2(small));
  FINE(cuStreamDestroy_v2(stream));
}

static void launches_are_checked(Handle module) {
  Handle stream = new_stream();
  Address x = new_memory(64 * sizeof(float));
  FINE(cuMemsetD8Async(x, 0, 64 * sizeof(float), stream));
  Handle function;
  EXPECT(NOT_FOUND, cuModuleGetFunction(&function, module, "warps"));
  // Other arguments than the source's.
  EXPECT(INVALID_VALUE, cuModuleGetFunction(&function, module, "stages"));
  EXPECT(INVALID_VALUE, cuFuncSetAttribute(add_number, 8, 240000));
  // More threads than the launch bounds.
  EXPECT(INVALID_VALUE, add(x, 64, 1, stream, 128));
  // Memory of the host, found when it runs; then every call says so.
  float host[64];
  FINE(add(Address(host), 64, 1, stream));
  EXPECT(ILLEGAL_ADDRESS, cuStreamSynchronize(stream));
  EXPECT(ILLEGAL_ADDRESS, add(x, 64, 1, stream));
  fake_clear_error();
  FINE(cuModuleGetFunction(&function, module, "divergent_barrier"));
  int n = 0;
  void* arguments[] = {&x, &x, &n};
  FINE(cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, stream, arguments, nullptr));
  EXPECT(LAUNCH_FAILED, cuStreamSynchronize(stream));
  fake_clear_error();
  int called = 0;
  auto call = [](void* data) { ++*static_cast<int*>(data); };
  FINE(cuLaunchHostFunc(stream, call, &called));
  EXPECT(0, called);
  FINE(cuCtxSynchronize());
  EXPECT(1, called);
  FINE(cuStreamDestroy_v2(stream));
  FINE(cuMemFree_v2(x));
}

static float uniform(uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return float(state >> 40) / float(1 << 23) - 1;
}
static uint16_t bf16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return uint16_t(bits >> 16);
}
static float float_of(uint16_t half) {
  uint32_t bits = uint32_t(half) << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// All transpositions and both types, with leading dimensions of their own.
static void products_are_right() {
  Handle stream = new_stream();
  Handle blas;
  FINE(cublasCreate_v2(&blas));
  FINE(cublasSetStream_v2(blas, stream));
  uint64_t state = 5;
  for (int type : {0, 14}) {
    for (int layout = 0; layout < 4; ++layout) {
      for (int n : {1, 5, 9}) {
        int ta = layout & 1;
        int tb = layout >> 1;
        int m = 70;
        int k = 50;
        int lda = (ta ? k : m) + 3;
        int ldb = (tb ? n : k) + 2;
        int ldc = m + 1;
        std::vector<float> a(size_t(lda) * (ta ? m : k));
        std::vector<float> b(size_t(ldb) * (tb ? k : n));
        std::vector<float> c(size_t(ldc) * n);
        auto upload = [&](std::vector<float>& x) {
          std::vector<uint16_t> halves;
          for (auto& each : x) {
            each = uniform(state);
            if (type) each = float_of(bf16_of(each));
            halves.push_back(bf16_of(each));
          }
          size_t bytes = x.size() * (type ? 2 : 4);
          Address at = new_memory(bytes);
          const void* from = type ? static_cast<void*>(halves.data()) : x.data();
          FINE(cuMemcpyHtoDAsync_v2(at, from, bytes, stream));
          return at;
        };
        Address a_at = upload(a);
        Address b_at = upload(b);
        Address c_at = new_memory(c.size() * 4);
        float alpha = 1.5f;
        float beta = 0;
        auto pointer = [](Address at) { return reinterpret_cast<void*>(at); };
        FINE(cublasGemmEx(blas, ta, tb, m, n, k, &alpha, pointer(a_at), type, lda, pointer(b_at),
                          type, ldb, &beta, pointer(c_at), 0, ldc, 68, -1));
        FINE(cuMemcpyDtoHAsync_v2(c.data(), c_at, c.size() * 4, stream));
        int wrong = 0;
        for (int j = 0; j < n; ++j) {
          for (int i = 0; i < m; ++i) {
            double sum = 0;
            for (int l = 0; l < k; ++l) {
              double x = ta ? a[size_t(i) * lda + l] : a[size_t(l) * lda + i];
              sum += x * (tb ? b[size_t(l) * ldb + j] : b[size_t(j) * ldb + l]);
            }
            wrong += !(std::fabs(alpha * sum - c[size_t(j) * ldc + i]) < 1e-4);
          }
        }
        EXPECT(0, wrong);
        FINE(cuMemFree_v2(a_at));
        FINE(cuMemFree_v2(b_at));
        FINE(cuMemFree_v2(c_at));
      }
    }
  }
  FINE(cublasDestroy_v2(blas));
  FINE(cuStreamDestroy_v2(stream));
}

int main() {
  FINE(cuInit(0));
  Address none;
  EXPECT(INVALID_CONTEXT, cuMemAlloc_v2(&none, 16));
  int devices;
  FINE(cuDeviceGetCount(&devices));
  EXPECT(2, devices);
  for (int device = 0; device < devices; ++device) {
    Handle context;
    FINE(cuDevicePrimaryCtxRetain(&context, device));
    FINE(cuCtxSetCurrent(context));
    Handle module;
    FINE(cuModuleLoadData(&module, PTX));
    FINE(cuModuleGetFunction(&add_number, module, "add_number"));
    streams_are_late();
    pageable_copies_block();
    captures_fork_and_join(context);
    memory_is_bounded_and_counted(size_t(80) << 30);
    launches_are_checked(module);
    products_are_right();
  }
  printf("fake driver: %d failures\n", failures);
  return failures != 0;
}
