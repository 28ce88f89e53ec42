// SPDX-License-Identifier: Apache-2.0
// v1689: dense products by cuBLASLt, found at run time (NVIDIA, "cuBLAS Library", cublasLtMatmul).
//
// Our matrices lie by rows, the library's by columns, so that a matrix of ours is the transpose of what the library
// sees in the same memory. D = op(A) op(B) is therefore asked for as D^T = op(B)^T op(A)^T: the library's A is our B,
// its B our A, transposes and leading dimensions stay as they are, and m and n change places. Its vectors a row of D^T
// (bias, gradient of a bias) are ours a column.
//
// What holds of bytes: an algorithm that is pinned (one CublasAlgo for all calls of a plan) gives the same bytes for
// the same problem. Between problems of other m the library promises nothing, even with one algorithm, so that a row's
// bytes may depend on how many rows are beside it. Our own kernels, which promise that they do not, are the default.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "vibee/core/device/cublaslt.h"
#include "vibee/core/device/cuda_device.h"
#include "vibee/kernels/gemm/gemm_shape.h"

namespace vibee {

/// A product by rows, in what the library can do. Counts are of elements; pointers are of the device.
struct CublasProduct {
  GemmOperand operand = GemmOperand::bf16;  ///< of A and B: bf16, f16 or f32
  GemmOutput output = GemmOutput::f32;      ///< of D and C, of bias, gradient of bias and the input of a gelu
  bool transposed_a = false, transposed_b = false;
  bool tf32 = false;  ///< operands of f32 may be rounded to 10 bits
  uint32_t m = 0, n = 0, k = 0, batch = 1;
  uint64_t ld_a = 0, ld_b = 0, ld_d = 0;
  uint64_t stride_a = 0, stride_b = 0, stride_d = 0;  ///< from one item of the batch to the next
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  void* d = nullptr;
  float alpha = 1, beta = 0;  ///< C is read where beta is not 0
  CublasEpilogue epilogue = CublasEpilogue::none;
  /// Read by epilogues with `bias`, written by `bgrad`: n values an item, of `bgrad_b` m.
  void* bias = nullptr;
  uint64_t stride_bias = 0;
  /// What a gelu was given, [m, n] by rows, or a bit an element that says that a relu's input was above 0: written
  /// forwards, read by gradients. ld and stride are multiples of 8 elements, of 128 bits.
  void* aux = nullptr;
  uint64_t ld_aux = 0, stride_aux = 0;
};

/// The library's product for a launch of ours, or which part of it the library has not: a gated product, scales, silu
/// and gelu by erf, bias beside a D of 16 bits, empty products.
Result<CublasProduct> cublas_product(const GemmSizes& sizes, const GemmArgs& args);

/// A handle of the library for a device, in whose context it is used; without one, of a library of the host.
class CublasHandle {
 public:
  static Result<std::shared_ptr<const CublasHandle>> create(std::shared_ptr<const CublasLt> library,
                                                            std::shared_ptr<CudaDevice> device = nullptr);
  ~CublasHandle();
  CublasHandle(const CublasHandle&) = delete;
  CublasHandle& operator=(const CublasHandle&) = delete;
  const CublasLt& library() const { return *library_; }
  cublasLtContext* get() const { return handle_; }
  /// Runs `work`, which answers a Status, where calls with the handle belong.
  template <class Work>
  Status in_context(const Work& work) const {
    return device_ ? device_->with_context(work) : work();
  }

 private:
  CublasHandle(std::shared_ptr<const CublasLt> library, std::shared_ptr<CudaDevice> device)
      : library_(std::move(library)), device_(std::move(device)) {}
  std::shared_ptr<const CublasLt> library_;
  std::shared_ptr<CudaDevice> device_;
  cublasLtContext* handle_ = nullptr;
};

/// The library's descriptors of a product. They need no device.
class CublasDescriptors {
 public:
  static Result<CublasDescriptors> make(std::shared_ptr<const CublasLt> library, const CublasProduct& product);
  CublasMatmulDesc* matmul() const { return matmul_.get(); }
  CublasLayout* a() const { return a_.get(); }  ///< the library's A: our B
  CublasLayout* b() const { return b_.get(); }
  CublasLayout* d() const { return d_.get(); }  ///< of C as well

 private:
  explicit CublasDescriptors(std::shared_ptr<const CublasLt> library);
  std::shared_ptr<const CublasLt> library_;  // outlives what it made
  CublasOwned<CublasMatmulDesc> matmul_;
  CublasOwned<CublasLayout> a_, b_, d_;
};

/// The bytes, up to 256, that every one of an operand's rows and items begins at a multiple of.
uint32_t cublas_alignment(const void* data, uint64_t ld, uint64_t stride, uint32_t batch, uint32_t element_bytes);

/// A product with its descriptors: what may compute it, and running it.
class CublasPlan {
 public:
  static Result<CublasPlan> make(std::shared_ptr<const CublasHandle> handle, const CublasProduct& product);

  /// At most `most` algorithms with a workspace of at most `workspace` bytes for the alignments of the product's
  /// operands, the likeliest first; `unsupported` with the constraints where there is none. `whole_sums`: only such as
  /// do not cut the depth into sums that are added later, whose number goes with m.
  Result<std::vector<CublasHeuristic>> candidates(uint64_t workspace, bool whole_sums = false, int most = 32) const;
  /// Queues the product. The workspace is of the device and lives until the stream has run.
  Status run(const CublasAlgo& algo, void* workspace, uint64_t workspace_bytes, CUstream_st* stream) const;
  const CublasProduct& product() const { return product_; }
  const CublasLt& library() const { return handle_->library(); }

 private:
  CublasPlan(std::shared_ptr<const CublasHandle> handle, const CublasProduct& product, CublasDescriptors descriptors)
      : handle_(std::move(handle)), product_(product), descriptors_(std::move(descriptors)) {}
  std::shared_ptr<const CublasHandle> handle_;
  CublasProduct product_;
  CublasDescriptors descriptors_;
};

/// Of candidates that were timed: the one with the least workspace within 1 % of the quickest; `times` are of the
/// candidates in order, not positive where one failed. `not_found` where all did.
Result<size_t> choose_cublas(std::span<const CublasHeuristic> candidates, std::span<const double> times);

}  // namespace vibee
