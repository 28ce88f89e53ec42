// SPDX-License-Identifier: Apache-2.0
// The device's Block (core/device/block.h): inline wrappers of CUDA and PTX, nothing else. For *_cuda.cu alone.
#pragma once

#include "vibee/core/device/cuda_hopper.cuh"

namespace vibee {

class CudaBlock {
 public:
  template <class T>
  struct Shared {
    T* base;
  };

  __device__ __forceinline__ explicit CudaBlock(unsigned char* static_shared) : static_(static_shared) {}

  __device__ __forceinline__ uint32_t thread() const { return threadIdx.x; }
  __device__ __forceinline__ uint32_t threads() const { return blockDim.x; }
  __device__ __forceinline__ uint32_t lane() const { return threadIdx.x % kWarp; }
  __device__ __forceinline__ uint32_t warp() const { return threadIdx.x / kWarp; }
  __device__ __forceinline__ uint32_t warps() const { return blockDim.x / kWarp; }
  __device__ __forceinline__ uint32_t block_x() const { return blockIdx.x; }
  __device__ __forceinline__ uint32_t block_y() const { return blockIdx.y; }
  __device__ __forceinline__ uint32_t block_z() const { return blockIdx.z; }
  __device__ __forceinline__ uint32_t grid_x() const { return gridDim.x; }
  __device__ __forceinline__ uint32_t grid_y() const { return gridDim.y; }
  __device__ __forceinline__ uint32_t grid_z() const { return gridDim.z; }

  template <class T>
  __device__ __forceinline__ Shared<T> shared(uint32_t n) {
    T* const base = reinterpret_cast<T*>(static_ + static_at_);
    static_at_ += (n * uint32_t(sizeof(T)) + 15) / 16 * 16;
    return {base};
  }
  template <class T>
  __device__ __forceinline__ Shared<T> dynamic_shared(uint32_t n) {
    extern __shared__ __align__(128) unsigned char vibee_dynamic_shared[];
    T* const base = reinterpret_cast<T*>(vibee_dynamic_shared + dynamic_at_);
    dynamic_at_ += (n * uint32_t(sizeof(T)) + 15) / 16 * 16;
    return {base};
  }

  template <class T>
  __device__ __forceinline__ T load(const T* p, uint64_t i) const {
    return p[i];
  }
  template <class T>
  __device__ __forceinline__ void store(T* p, uint64_t i, T v) const {
    p[i] = v;
  }
  template <class T>
  __device__ __forceinline__ T load(Shared<T> s, uint32_t i) const {
    return s.base[i];
  }
  template <class T>
  __device__ __forceinline__ void store(Shared<T> s, uint32_t i, T v) const {
    s.base[i] = v;
  }
  template <class T>
  __device__ __forceinline__ Vector16<T> load16(const T* p, uint64_t i) const {
    return from_words<T>(*reinterpret_cast<const uint4*>(p + i));
  }
  template <class T>
  __device__ __forceinline__ void store16(T* p, uint64_t i, const Vector16<T>& v) const {
    *reinterpret_cast<uint4*>(p + i) = to_words(v);
  }
  template <class T>
  __device__ __forceinline__ Vector16<T> load16(Shared<T> s, uint32_t i) const {
    return load16(s.base, i);
  }
  template <class T>
  __device__ __forceinline__ void store16(Shared<T> s, uint32_t i, const Vector16<T>& v) const {
    store16(s.base, i, v);
  }

  __device__ __forceinline__ void sync() const { __syncthreads(); }
  __device__ __forceinline__ void sync_warp(uint32_t mask = kAllLanes) const { __syncwarp(mask); }
  template <class T>
  __device__ __forceinline__ T shuffle(T v, uint32_t lane, uint32_t mask = kAllLanes) const {
    return __shfl_sync(mask, v, int(lane));
  }
  template <class T>
  __device__ __forceinline__ T shuffle_xor(T v, uint32_t bits, uint32_t mask = kAllLanes) const {
    return __shfl_xor_sync(mask, v, int(bits));
  }
  template <class T>
  __device__ __forceinline__ T shuffle_down(T v, uint32_t by, uint32_t mask = kAllLanes) const {
    return __shfl_down_sync(mask, v, by);
  }
  __device__ __forceinline__ uint32_t ballot(bool p, uint32_t mask = kAllLanes) const { return __ballot_sync(mask, p); }

  template <class T>
  __device__ __forceinline__ T atomic_add(T* p, uint64_t i, T v) const {
    return atomicAdd(p + i, v);
  }
  template <class T>
  __device__ __forceinline__ T atomic_add(Shared<T> s, uint32_t i, T v) const {
    return atomicAdd(s.base + i, v);
  }
  template <class T>
  __device__ __forceinline__ T atomic_max(T* p, uint64_t i, T v) const {
    return atomicMax(p + i, v);
  }
  template <class T>
  __device__ __forceinline__ T atomic_max(Shared<T> s, uint32_t i, T v) const {
    return atomicMax(s.base + i, v);
  }
  template <class T>
  __device__ __forceinline__ T atomic_compare_swap(T* p, uint64_t i, T from, T to) const {
    return atomicCAS(p + i, from, to);
  }
  template <class T>
  __device__ __forceinline__ T atomic_compare_swap(Shared<T> s, uint32_t i, T from, T to) const {
    return atomicCAS(s.base + i, from, to);
  }
  __device__ __forceinline__ void fence() const { __threadfence(); }

  template <class T>
  __device__ __forceinline__ void copy_async16(Shared<T> s, uint32_t i, const T* p, uint64_t j, bool in = true) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(s.base + i)),
                 "l"(__cvta_generic_to_global(p + j)), "r"(in ? 16 : 0)
                 : "memory");
  }
  __device__ __forceinline__ void commit_async() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <uint32_t N>
  __device__ __forceinline__ void wait_async(Groups<N>) const {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
  }

  template <class T>
  __device__ __forceinline__ void load_matrices(uint32_t (&r)[1], Shared<T> s, uint32_t i) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address(s.base + i))
                 : "memory");
  }
  template <class T>
  __device__ __forceinline__ void load_matrices(uint32_t (&r)[2], Shared<T> s, uint32_t i) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address(s.base + i))
                 : "memory");
  }
  template <class T>
  __device__ __forceinline__ void load_matrices(uint32_t (&r)[4], Shared<T> s, uint32_t i) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address(s.base + i))
                 : "memory");
  }
  template <class T>
  __device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[1], Shared<T> s, uint32_t i) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address(s.base + i))
                 : "memory");
  }
  template <class T>
  __device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[2], Shared<T> s, uint32_t i) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address(s.base + i))
                 : "memory");
  }
  template <class T>
  __device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], Shared<T> s, uint32_t i) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address(s.base + i))
                 : "memory");
  }

  __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Bf16) const {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Half) const {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  __device__ __forceinline__ void mma(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int8_t) const {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }

  __device__ __forceinline__ void barrier_init(Shared<PhaseBarrier> s, uint32_t i, uint32_t arrivals) const {
    hopper::barrier_init(address(s.base + i), arrivals);
  }
  __device__ __forceinline__ void barrier_publish() const { hopper::barrier_publish(); }
  __device__ __forceinline__ void barrier_arrive(Shared<PhaseBarrier> s, uint32_t i) const {
    hopper::barrier_arrive(address(s.base + i));
  }
  __device__ __forceinline__ void barrier_expect(Shared<PhaseBarrier> s, uint32_t i, uint32_t bytes) const {
    hopper::barrier_expect(address(s.base + i), bytes);
  }
  __device__ __forceinline__ void barrier_wait(Shared<PhaseBarrier> s, uint32_t i, uint32_t parity) const {
    while (!hopper::barrier_try_wait(address(s.base + i), parity)) {
    }
  }
  template <class T>
  __device__ __forceinline__ void copy_tile(Shared<T> to, uint32_t i, const TensorMap& map, uint32_t column,
                                            uint32_t row, Shared<PhaseBarrier> s, uint32_t j) const {
    hopper::copy_tile(address(to.base + i), &map, column, row, address(s.base + j));
  }
  /// A matrix descriptor (PTX ISA 9.0, 9.7.16.5.1.2): address / 16, 1024 bytes / 16 from eight rows to the next, 128B
  /// swizzle. The leading dimension is not read where a row is as long as the pattern.
  template <class T>
  __device__ __forceinline__ uint64_t tile_rows(Shared<T> s, uint32_t i) const {
    return uint64_t(address(s.base + i) >> 4 & 0x3fff) | uint64_t(1) << 16 | uint64_t(64) << 32 | uint64_t(1) << 62;
  }
  __device__ __forceinline__ void group_fence() const { hopper::group_fence(); }
  __device__ __forceinline__ void group_commit() const { hopper::group_commit(); }
  template <uint32_t N>
  __device__ __forceinline__ void group_wait(Groups<N>) const {
    hopper::group_wait<N>();
  }
  template <uint32_t N, class Tag>
  __device__ __forceinline__ void group_mma(float (&d)[N], uint64_t a, uint64_t b, bool add, Tag tag) const {
    hopper::group_mma(d, a, b, add, tag);
  }
  template <uint32_t N>
  __device__ __forceinline__ void give_registers(Groups<N>) const {
    hopper::give_registers<N>();
  }
  template <uint32_t N>
  __device__ __forceinline__ void take_registers(Groups<N>) const {
    hopper::take_registers<N>();
  }
  template <class T>
  __device__ __forceinline__ uint32_t offset(Shared<T> s) const {
    return address(s.base);
  }

  __device__ __forceinline__ float to_float(float v) const { return v; }
  // By PTX: the headers of CUDA's half types take longer to read than most files of kernels to compile.
  __device__ __forceinline__ float to_float(Half v) const {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
  }
  __device__ __forceinline__ float to_float(Bf16 v) const { return __uint_as_float(uint32_t(v.bits) << 16); }
  __device__ __forceinline__ float from_float(float v, float) const { return v; }
  __device__ __forceinline__ Half from_float(float v, Half) const {
    Half h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(v));
    return h;
  }
  __device__ __forceinline__ Bf16 from_float(float v, Bf16) const {
    Bf16 h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h.bits) : "f"(v));
    return h;
  }

  __device__ __forceinline__ float fma(float a, float b, float c) const { return __fmaf_rn(a, b, c); }
  __device__ __forceinline__ float sqrt(float x) const { return __fsqrt_rn(x); }
  __device__ __forceinline__ float exp(float x) const { return expf(x); }
  __device__ __forceinline__ float log(float x) const { return logf(x); }
  __device__ __forceinline__ float tanh(float x) const { return tanhf(x); }
  __device__ __forceinline__ float erfc(float x) const { return erfcf(x); }
  __device__ __forceinline__ float rsqrt(float x) const { return rsqrtf(x); }
  __device__ __forceinline__ void sincos(double x, double* s, double* c) const { ::sincos(x, s, c); }

 private:
  template <class T>
  __device__ __forceinline__ static Vector16<T> from_words(uint4 words) {
    union {
      uint4 words;
      Vector16<T> vector;
    } both = {words};
    return both.vector;
  }
  template <class T>
  __device__ __forceinline__ static uint4 to_words(const Vector16<T>& vector) {
    return *reinterpret_cast<const uint4*>(&vector);
  }
  __device__ __forceinline__ static uint32_t address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

  unsigned char* static_;
  uint32_t static_at_ = 0, dynamic_at_ = 0;
};

}  // namespace vibee

// How many registers a thread may have: what blocks of so many threads leave. A file whose kernels need more than the
// assembler then thinks worth their occupancy says `threads, 1` instead.
#define VIBEE_BLOCK_BOUNDS(threads) threads
// A row of <stem>_block.inc, which namespace vibee includes, as the kernel of a device.
#define VIBEE_BLOCK_KERNEL(name, heat, threads, shared, Args, program, ...)                                           \
  extern "C" __global__ void __launch_bounds__(VIBEE_BLOCK_BOUNDS(threads)) name(const __grid_constant__ Args args) { \
    __shared__ __align__(16) unsigned char room[(shared) > 0 ? (shared) : 16];                                        \
    CudaBlock block(room);                                                                                            \
    program<CudaBlock __VA_OPT__(, ) __VA_ARGS__>(block, args);                                                       \
  }
