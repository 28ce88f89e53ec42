// SPDX-License-Identifier: Apache-2.0
// The interface of NVIDIA's cuBLASLt as a table of functions that are found at run time (v1689): half a gigabyte that
// nothing depends on. Declarations are our own, of what is used alone; where a toolkit is found,
// tests/cublaslt_declarations.cc holds them against its cublasLt.h.
//
// The library sees matrices by columns: an element (row, column) lies at row + column * ld.
// Not here: which of our products becomes which of its calls (kernels/gemm/cublas_optimization.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "vibee/base/status/status.h"

// Handles are pointers to these; the first two names are the toolkit's.
struct cublasLtContext;
struct CUstream_st;

namespace vibee {

// Descriptors that the library makes; what they hold is its own.
struct CublasMatmulDesc;
struct CublasLayout;
struct CublasPreference;

/// cublasStatus_t, of which these are treated apart.
enum class CublasResult : int {
  success = 0,
  not_initialized = 1,
  alloc_failed = 3,
  invalid_value = 7,
  arch_mismatch = 8,
  execution_failed = 13,
  internal_error = 14,
  not_supported = 15,
};
/// cudaDataType_t.
enum class CublasType : int { f32 = 0, f16 = 2, bf16 = 14 };
/// cublasComputeType_t; `f32` may not round operands, `f32_tf32` may to 10 bits.
enum class CublasCompute : int { f32 = 68, f32_tf32 = 77 };
enum class CublasOperation : int { as_stored = 0, transposed = 1 };
/// cublasLtMatmulDescAttributes_t.
enum class CublasDescAttribute : int {
  compute = 0,
  scale_type = 1,
  pointer_mode = 2,
  transpose_a = 3,
  transpose_b = 4,
  epilogue = 7,
  bias = 8,
  bias_stride = 10,
  aux = 11,
  aux_ld = 12,
  aux_stride = 13,
};
/// cublasLtMatrixLayoutAttribute_t.
enum class CublasLayoutAttribute : int { type = 0, order = 1, rows = 2, columns = 3, ld = 4, batch = 5, stride = 6 };
/// cublasLtMatmulPreferenceAttributes_t; alignments are bytes.
enum class CublasPreferenceAttribute : int {
  workspace = 1,
  reductions = 3,
  align_a = 5,
  align_b = 6,
  align_c = 7,
  align_d = 8,
};
/// cublasLtEpilogue_t: a bit each for what is done (gradients come as one with their auxiliary input), and the sums of
/// operands over k.
enum class CublasEpilogue : uint32_t {
  none = 1,
  relu = 2,
  bias = 4,
  relu_bias = 2 | 4,
  relu_aux = 2 | 128,
  relu_aux_bias = 2 | 128 | 4,
  drelu = 8 | 128,
  drelu_bgrad = 8 | 128 | 16,
  gelu = 32,
  gelu_bias = 32 | 4,
  gelu_aux = 32 | 128,
  gelu_aux_bias = 32 | 128 | 4,
  dgelu = 64 | 128,
  dgelu_bgrad = 64 | 128 | 16,
  bgrad_a = 256,
  bgrad_b = 512,
};

/// cublasLtMatmulAlgo_t: opaque, and of one version of the library on one kind of device.
struct CublasAlgo {
  uint64_t data[8];
};
/// cublasLtMatmulHeuristicResult_t.
struct CublasHeuristic {
  CublasAlgo algo;
  size_t workspace;  ///< bytes
  CublasResult state;
  float waves;
  int reserved[4];
};

/// The oldest and the newest major version that the declarations are right for.
inline constexpr int kCublasOldest = 12, kCublasNewest = 13;

/// A function of the library and the name it is exported by.
template <class R, class... P>
struct CublasCall {
  const char* symbol;
  R (*function)(P...) = nullptr;
  R operator()(P... parameters) const { return function(parameters...); }
};

struct CublasLt {
#define VIBEE_CUBLASLT_CALL(field, symbol, ...) CublasCall<__VA_ARGS__> field{#symbol};
#include "vibee/core/device/cublaslt_calls.inc"
#undef VIBEE_CUBLASLT_CALL
  std::string path;               ///< of the library
  std::shared_ptr<void> library;  ///< keeps it loaded
  uint64_t version = 0;           ///< 130100: 13.1.0

  std::string version_text() const;
  /// `unsupported` with the call, what it answered and the version.
  Status failed(const char* call, CublasResult result) const;
};

/// Asks for the version, which has to be one that the declarations are right for.
Status start_cublaslt(CublasLt& library);

/// The library in a file, or the Status says what is missing: the file, a function of it, a version.
Result<std::shared_ptr<const CublasLt>> load_cublaslt(const std::string& path);

/// The process's own, loaded at the first call and kept: the file that VIBEE_CUBLASLT names, else libcublasLt.so.13 or
/// .12 where the loader finds them.
const Result<std::shared_ptr<const CublasLt>>& cublaslt();

/// A descriptor, given back at its end.
template <class T>
using CublasOwned = std::unique_ptr<T, CublasResult (*)(T*)>;

}  // namespace vibee
