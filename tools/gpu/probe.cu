// SPDX-License-Identifier: Apache-2.0
// What a device reaches, measured: read bandwidth, peaks of mma.sync and wgmma, what a launch and a node of a graph
// cost, copies of pinned memory. Prints one JSON object. Not part of the build; made by hand:
//   nvcc -std=c++17 -O3 -arch=sm_90a --cudart=static -Xcompiler -static-libstdc++ -Xcompiler -static-libgcc -o probe
//   tools/gpu/probe.cu
// For -arch=sm_80 there is no wgmma, and null in its place. It has not run on a device yet.
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(call)                                                                                              \
  do {                                                                                                           \
    const cudaError_t error_ = (call);                                                                           \
    if (error_ != cudaSuccess) {                                                                                 \
      std::fprintf(stderr, "probe: %s: %s (%s)\n", #call, cudaGetErrorName(error_), cudaGetErrorString(error_)); \
      std::exit(1);                                                                                              \
    }                                                                                                            \
  } while (0)

__global__ void nothing() {}

/// Sums `n` vectors of 16 bytes; eight loads in flight a thread.
__global__ void read_all(const uint4* __restrict__ data, size_t n, uint32_t* out) {
  constexpr int kFlight = 8;
  const size_t step = size_t(gridDim.x) * blockDim.x;
  uint32_t sum = 0;
  for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += kFlight * step) {
    uint4 v[kFlight];
#pragma unroll
    for (int j = 0; j < kFlight; ++j) v[j] = i + j * step < n ? data[i + j * step] : uint4{0, 0, 0, 0};
#pragma unroll
    for (int j = 0; j < kFlight; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x12345678) *out = sum;  // keeps the loads
}

/// m16n8k16 of bf16, eight independent accumulators a warp. 4096 operations each.
__global__ void mma_sync_peak(int rounds, float* out) {
  constexpr int kAccumulators = 8;
  float d[kAccumulators][4] = {};
  const uint32_t a = 0x3f803f80u + threadIdx.x, b = 0x3f803f80u - threadIdx.x;
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int i = 0; i < kAccumulators; ++i)
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
          : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
          : "r"(a), "r"(b));
  }
  float sum = 0;
  for (auto& row : d) sum += row[0] + row[1] + row[2] + row[3];
  if (sum == 1.2345f) *out = sum;
}

/// m64n128k16 of bf16 from shared memory, a warp group each; 262144 operations. Contents do not matter, layout without
/// swizzle: descriptor fields in units of 16 bytes (PTX ISA, "Matrix descriptor").
__global__ void __launch_bounds__(128) wgmma_peak(int rounds, float* out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __shared__ __align__(128) uint16_t tiles[(64 + 128) * 16];
  for (int i = threadIdx.x; i < (64 + 128) * 16; i += blockDim.x) tiles[i] = 0x3f80;
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const auto descriptor = [](const void* at) {
    const uint64_t address = uint64_t(__cvta_generic_to_shared(at));
    return ((address & 0x3ffff) >> 4) | (uint64_t(128 >> 4) << 16) | (uint64_t(256 >> 4) << 32);
  };
  const uint64_t a = descriptor(tiles), b = descriptor(tiles + 64 * 16);
  float d[64] = {};
  for (int r = 0; r < rounds; ++r) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#define D(i)                                                                                                  \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
    for (int k = 0; k < 4; ++k)
      asm volatile(
          "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
          "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,"
          "%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,"
          "%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, 1, 1, 1, 0, 0;"
          : D(0), D(8), D(16), D(24), D(32), D(40), D(48), D(56)
          : "l"(a), "l"(b));
#undef D
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  float sum = 0;
  for (float v : d) sum += v;
  if (sum == 1.2345f) *out = sum;
#endif
}

/// Median of the device's times, seconds.
template <class F>
double timed(cudaStream_t stream, int repetitions, F&& work) {
  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i <= repetitions; ++i) {
    CHECK(cudaEventRecord(begin, stream));
    work();
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(end, stream));
    CHECK(cudaEventSynchronize(end));
    float ms = 0;
    CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i > 0) times.push_back(ms);
  }
  CHECK(cudaEventDestroy(begin));
  CHECK(cudaEventDestroy(end));
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2] * 1e-3;
}

int main() {
  int driver = 0;
  CHECK(cudaDriverGetVersion(&driver));
  cudaDeviceProp prop;
  CHECK(cudaGetDeviceProperties(&prop, 0));
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const int blocks = prop.multiProcessorCount;
  const size_t bytes = std::min<size_t>(size_t(4) << 30, prop.totalGlobalMem / 4) / 16 * 16;
  char* memory;
  float* sink;
  CHECK(cudaMalloc(&memory, bytes));
  CHECK(cudaMalloc(&sink, 16));
  CHECK(cudaMemset(memory, 1, bytes));

  const double read = timed(stream, 9, [&] {
    read_all<<<blocks * 8, 256, 0, stream>>>(reinterpret_cast<const uint4*>(memory), bytes / 16,
                                             reinterpret_cast<uint32_t*>(sink));
  });
  constexpr int kRounds = 20000;
  const double mma = timed(stream, 5, [&] { mma_sync_peak<<<blocks * 2, 256, 0, stream>>>(kRounds, sink); });
  const double mma_flops = double(blocks) * 2 * (256 / 32) * kRounds * 8 * 4096;
  cudaFuncAttributes attributes;
  CHECK(cudaFuncGetAttributes(&attributes, wgmma_peak));
  double wgmma_tflops = 0;
  if (attributes.sharedSizeBytes > 0) {  // the code of sm_90a
    const double t = timed(stream, 5, [&] { wgmma_peak<<<blocks * 2, 128, 0, stream>>>(kRounds, sink); });
    wgmma_tflops = double(blocks) * 2 * kRounds * 4 * 2.0 * 64 * 128 * 16 / t / 1e12;
  }

  constexpr int kLaunches = 1000;
  const double launch = timed(stream, 9, [&] {
    for (int i = 0; i < kLaunches; ++i) nothing<<<1, 32, 0, stream>>>();
  });
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; ++i) nothing<<<1, 32, 0, stream>>>();
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiateWithFlags(&executable, graph, 0));
  const double replay = timed(stream, 9, [&] { CHECK(cudaGraphLaunch(executable, stream)); });
  std::vector<double> empty;
  for (int i = 0; i < 101; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    nothing<<<1, 32, 0, stream>>>();
    CHECK(cudaStreamSynchronize(stream));
    empty.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(empty.begin(), empty.begin() + 50, empty.end());

  constexpr size_t kCopy = size_t(256) << 20;
  void* pinned;
  CHECK(cudaMallocHost(&pinned, kCopy));
  const double in =
      timed(stream, 9, [&] { CHECK(cudaMemcpyAsync(memory, pinned, kCopy, cudaMemcpyHostToDevice, stream)); });
  const double out =
      timed(stream, 9, [&] { CHECK(cudaMemcpyAsync(pinned, memory, kCopy, cudaMemcpyDeviceToHost, stream)); });

  std::printf(
      "{\"device\": \"%s\", \"capability\": \"%d.%d\", \"multiprocessors\": %d, \"driver\": %d, \"read_bytes\": %zu, "
      "\"read_gb_s\": %.1f, \"mma_sync_bf16_tflops\": %.1f, \"wgmma_bf16_tflops\": ",
      prop.name, prop.major, prop.minor, blocks, driver, bytes, bytes / read / 1e9, mma_flops / mma / 1e12);
  wgmma_tflops > 0 ? std::printf("%.1f", wgmma_tflops) : std::printf("null");
  std::printf(
      ", \"launch_us\": %.3f, \"graph_node_us\": %.3f, \"launch_and_wait_us\": %.2f, \"to_device_gb_s\": %.2f, "
      "\"to_host_gb_s\": %.2f}\n",
      launch / kLaunches * 1e6, replay / kLaunches * 1e6, empty[50] * 1e6, kCopy / in / 1e9, kCopy / out / 1e9);
  return 0;
}
