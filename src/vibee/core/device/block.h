// SPDX-License-Identifier: Apache-2.0
// Block programs: the body of a CUDA kernel as a template over a Block, the instruction policy. CudaBlock
// (core/device/cuda_block.cuh) compiles it for a device; ShimBlock (kit/block_shim.h) runs it on the CPU, a fiber a
// thread, and finds what a device would let pass.
//
//   template <class Block, class In, class Out>
//   VIBEE_BLOCK void rms_norm_block(Block& b, const RmsNormArgs& args);
//
// A program becomes a kernel by a row of <stem>_block.inc:
//
//   VIBEE_BLOCK_KERNEL(name, heat, threads, shared, Args, program, types...)
//
// `name` is that of the __global__ function, of C linkage; it takes one Args by value. `heat` is hot or cold: hot ones
// may not spill (tools/check_cuda). `threads` is the largest block, `shared` the bytes of static shared memory. The
// files of a program see it twice: <stem>_cuda.cu, and kit/host_kernels.h, which finds it by name.
//
// What a Block b offers. Blocks are of one dimension and of whole warps.
//
//   thread() threads() lane() warp() warps()          indices and sizes inside the block
//   block_x() block_y() block_z() grid_x() grid_y() grid_z()
//   load(p, i) store(p, i, v)                         element i of global memory, or of a Shared<T>
//   load16(p, i) store16(p, i, v)                     the 16 bytes from element i on as a Vector16<T>; their address is
//                                                     a multiple of 16
//   shared_array<T>(b, n), dynamic_array<T>(b, n)     the next n elements of static or dynamic shared memory, aligned
//   to
//                                                     16 bytes: all threads ask alike, in the same order
//   sync() sync_warp(mask)                            barriers that order memory: of the block, of the lanes in the
//   mask shuffle(v, lane, mask) shuffle_xor(v, bits, mask) shuffle_down(v, by, mask) ballot(p, mask)
//                                                     exchange of registers; they order no memory (CUDA C++ Programming
//                                                     Guide, warp shuffle functions), sync_warp does
//   atomic_add(p, i, v) atomic_max(p, i, v) atomic_compare_swap(p, i, from, to)   what was there before; relaxed
//   fence()                                           orders this thread's global accesses for the device
//   copy_async16(s, i, p, j, in) commit_async() wait_async(Groups<N>{})
//                                                     cp.async: 16 bytes into shared memory, zeros where not `in`;
//                                                     theirs are to be read after the wait (by others: and a barrier)
//   load_matrices(r, s, i) load_matrices_transposed(r, s, i)
//                                                     ldmatrix .x1 .x2 .x4, by the size of r: 8x8 matrices of 16-bit
//                                                     elements, whose row l % 8 of matrix l / 8 lane l names by i
//   mma(d, a, b, tag)                                 mma.sync m16n8k16 (tag Bf16 or Half, sums in f32) or m16n8k32
//                                                     (tag int8_t, sums in s32): d += a * b
//   to_float(v) from_float(v, T{})                    conversions, to nearest even
//
// On sm_90 alone, where four warps whose first is a multiple of four are a group:
//
//   barrier_init(s, i, arrivals) barrier_publish()    element i of a Shared<PhaseBarrier> ends a phase with so many
//                                                     arrivals; by one thread, then a barrier of the block
//   barrier_arrive(s, i) barrier_expect(s, i, bytes)  an arrival, the latter of somebody whose copies bring so many bytes
//   barrier_wait(s, i, parity)                        until the phase of that parity is over: 0 for the first one
//   copy_tile(t, i, map, column, row, s, j)           a box of a matrix to element i of t, for barrier j of s; zeros where
//                                                     the matrix has ended
//   tile_rows(t, i)                                   a tile as products of groups read it: rows of 128 bytes (64
//                                                     elements), of which vectors of 16 bytes are exchanged as copy_tile
//                                                     leaves them (128B swizzle), from the row and the 16 columns on that
//                                                     element i begins
//   group_fence() group_commit() group_wait(Groups<N>{})   before, behind and until the end of products
//   group_mma(d, a, b, add, tag)                      wgmma m64nNk16: d = a * b^T, or d += it; N is twice d's size
//   give_registers(Groups<N>{}) take_registers(Groups<N>{})   a thread of the group then has N
//   offset(t)                                         where an array begins in shared memory, in bytes
//   fma sqrt exp log tanh erfc rsqrt                  of floats
//   sincos(x, &s, &c)                                 of doubles
//
// VIBEE_UNROLL stands before loops that name registers by their index: arrays that are not unrolled lie in memory.
//
// A device gives the shim's bytes where a program uses add, subtract, multiply, divide, fma, sqrt and conversions
// (nvcc runs without contraction and without flushing subnormals); the other functions agree within the ulps of CUDA's
// table and the C library's, and mma's sums agree up to their order: the shim goes over ascending k, each product
// exact, each sum rounded to nearest, whereas PTX leaves order and rounding open. NaN payloads are anybody's.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define VIBEE_BLOCK __device__ __forceinline__
#define VIBEE_UNROLL _Pragma("unroll")
#define VIBEE_BLOCK_AND_HOST __host__ __device__ inline
#define VIBEE_UNROLL _Pragma("unroll")  // arrays whose indices are known lie in registers
#else
#define VIBEE_BLOCK inline
#define VIBEE_UNROLL
#define VIBEE_BLOCK_AND_HOST inline
#define VIBEE_UNROLL
#endif

namespace vibee {

/// Elements of 16 bits as they lie in memory: IEEE binary16 and bfloat16.
struct Half {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

/// A matrix in global memory as copies of tiles see it (CUtensorMap); tensor_map.h makes it.
struct alignas(128) TensorMap {
  uint64_t words[16];
};
/// An mbarrier.
struct PhaseBarrier {
  uint64_t bits;
};

/// 16 bytes that are moved at once.
template <class T>
struct alignas(16) Vector16 {
  static constexpr uint32_t kCount = 16 / sizeof(T);
  T at[kCount];
};

/// The same 16 bytes as elements of another type.
template <class To, class From>
VIBEE_BLOCK Vector16<To> same_bits(const Vector16<From>& from) {
  union {
    Vector16<From> from;
    Vector16<To> to;
  } both = {from};
  return both.to;
}

/// Of wait_async: at most N of the groups committed last may still be under way.
template <uint32_t N>
struct Groups {};

constexpr uint32_t kWarp = 32, kAllLanes = 0xffffffffu, kGroup = 4 * kWarp;
/// What a block may have of shared memory on sm_90 and sm_100 (227 KB); sm_80 has 166912 bytes.
constexpr uint32_t kMostSharedBytes = 232448;

template <class T, class Block>
VIBEE_BLOCK auto shared_array(Block& b, uint32_t n) {
  return b.template shared<T>(n);
}
template <class T, class Block>
VIBEE_BLOCK auto dynamic_array(Block& b, uint32_t n) {
  return b.template dynamic_shared<T>(n);
}

/// Whether what begins at p may be moved 16 bytes at once, and whether the rows of n elements that begin there may.
template <class T>
VIBEE_BLOCK bool begins_a_vector(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}
template <class T>
VIBEE_BLOCK bool rows_of_vectors(const T* p, uint64_t n) {
  return begins_a_vector(p) && n % Vector16<T>::kCount == 0;
}

}  // namespace vibee
