// SPDX-License-Identifier: Apache-2.0
// Our declarations of cuBLASLt against those of a toolkit: compiled where there is one, nothing runs.
#include <cublasLt.h>

#include <cstddef>
#include <type_traits>

#include "vibee/core/device/cublaslt.h"

namespace vibee {
namespace {

// Enumerations are our own, of the same size; so are structs. All else is the same type.
template <class T>
struct Seen {
  using type = T;
};
template <class T>
requires std::is_enum_v<T>
struct Seen<T> {
  static_assert(sizeof(T) == sizeof(int));
  using type = int;
};
#define VIBEE_SEEN(theirs, ours) \
  template <>                    \
  struct Seen<theirs> {          \
    using type = ours;           \
  };
VIBEE_SEEN(cublasLtMatmulDescOpaque_t, CublasMatmulDesc)
VIBEE_SEEN(cublasLtMatrixLayoutOpaque_t, CublasLayout)
VIBEE_SEEN(cublasLtMatmulPreferenceOpaque_t, CublasPreference)
VIBEE_SEEN(cublasLtMatmulAlgo_t, CublasAlgo)
VIBEE_SEEN(cublasLtMatmulHeuristicResult_t, CublasHeuristic)
#undef VIBEE_SEEN
template <class T>
struct Seen<const T> {
  using type = const typename Seen<T>::type;
};
template <class T>
struct Seen<T*> {
  using type = typename Seen<T>::type*;
};
template <class R, class... P>
struct Seen<R (*)(P...)> {
  using type = typename Seen<R>::type (*)(typename Seen<P>::type...);
};
template <class A, class B>
inline constexpr bool kAlike = std::is_same_v<typename Seen<A>::type, typename Seen<B>::type>;

// A check that cannot fail is worth nothing.
static_assert(!kAlike<decltype(&cublasLtCreate), decltype(&cublasLtDestroy)>);
static_assert(!kAlike<decltype(&cublasLtMatmulDescDestroy), decltype(&cublasLtMatrixLayoutDestroy)>);

#define VIBEE_CUBLASLT_CALL(field, symbol, ...) \
  static_assert(kAlike<decltype(&symbol), decltype(CublasLt::field.function)>, #symbol);
#include "vibee/core/device/cublaslt_calls.inc"
#undef VIBEE_CUBLASLT_CALL

static_assert(sizeof(CublasAlgo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(CublasHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(CublasHeuristic, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(CublasHeuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(offsetof(CublasHeuristic, waves) == offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));

#define VIBEE_IS(ours, theirs) static_assert(int64_t(ours) == int64_t(theirs), #theirs)
VIBEE_IS(CublasResult::not_initialized, CUBLAS_STATUS_NOT_INITIALIZED);
VIBEE_IS(CublasResult::alloc_failed, CUBLAS_STATUS_ALLOC_FAILED);
VIBEE_IS(CublasResult::invalid_value, CUBLAS_STATUS_INVALID_VALUE);
VIBEE_IS(CublasResult::arch_mismatch, CUBLAS_STATUS_ARCH_MISMATCH);
VIBEE_IS(CublasResult::execution_failed, CUBLAS_STATUS_EXECUTION_FAILED);
VIBEE_IS(CublasResult::internal_error, CUBLAS_STATUS_INTERNAL_ERROR);
VIBEE_IS(CublasResult::not_supported, CUBLAS_STATUS_NOT_SUPPORTED);
VIBEE_IS(CublasType::f32, CUDA_R_32F);
VIBEE_IS(CublasType::f16, CUDA_R_16F);
VIBEE_IS(CublasType::bf16, CUDA_R_16BF);
VIBEE_IS(CublasCompute::f32, CUBLAS_COMPUTE_32F);
VIBEE_IS(CublasCompute::f32_tf32, CUBLAS_COMPUTE_32F_FAST_TF32);
VIBEE_IS(CublasOperation::as_stored, CUBLAS_OP_N);
VIBEE_IS(CublasOperation::transposed, CUBLAS_OP_T);
VIBEE_IS(CublasDescAttribute::compute, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE);
VIBEE_IS(CublasDescAttribute::scale_type, CUBLASLT_MATMUL_DESC_SCALE_TYPE);
VIBEE_IS(CublasDescAttribute::pointer_mode, CUBLASLT_MATMUL_DESC_POINTER_MODE);
VIBEE_IS(CublasDescAttribute::transpose_a, CUBLASLT_MATMUL_DESC_TRANSA);
VIBEE_IS(CublasDescAttribute::transpose_b, CUBLASLT_MATMUL_DESC_TRANSB);
VIBEE_IS(CublasDescAttribute::epilogue, CUBLASLT_MATMUL_DESC_EPILOGUE);
VIBEE_IS(CublasDescAttribute::bias, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
VIBEE_IS(CublasDescAttribute::bias_stride, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE);
VIBEE_IS(CublasDescAttribute::aux, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER);
VIBEE_IS(CublasDescAttribute::aux_ld, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD);
VIBEE_IS(CublasDescAttribute::aux_stride, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE);
VIBEE_IS(CublasLayoutAttribute::type, CUBLASLT_MATRIX_LAYOUT_TYPE);
VIBEE_IS(CublasLayoutAttribute::order, CUBLASLT_MATRIX_LAYOUT_ORDER);
VIBEE_IS(CublasLayoutAttribute::rows, CUBLASLT_MATRIX_LAYOUT_ROWS);
VIBEE_IS(CublasLayoutAttribute::columns, CUBLASLT_MATRIX_LAYOUT_COLS);
VIBEE_IS(CublasLayoutAttribute::ld, CUBLASLT_MATRIX_LAYOUT_LD);
VIBEE_IS(CublasLayoutAttribute::batch, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
VIBEE_IS(CublasLayoutAttribute::stride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
VIBEE_IS(CublasPreferenceAttribute::workspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
VIBEE_IS(CublasPreferenceAttribute::reductions, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
VIBEE_IS(CublasPreferenceAttribute::align_a, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
VIBEE_IS(CublasPreferenceAttribute::align_b, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
VIBEE_IS(CublasPreferenceAttribute::align_c, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
VIBEE_IS(CublasPreferenceAttribute::align_d, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
VIBEE_IS(CublasEpilogue::none, CUBLASLT_EPILOGUE_DEFAULT);
VIBEE_IS(CublasEpilogue::relu, CUBLASLT_EPILOGUE_RELU);
VIBEE_IS(CublasEpilogue::bias, CUBLASLT_EPILOGUE_BIAS);
VIBEE_IS(CublasEpilogue::relu_bias, CUBLASLT_EPILOGUE_RELU_BIAS);
VIBEE_IS(CublasEpilogue::relu_aux, CUBLASLT_EPILOGUE_RELU_AUX);
VIBEE_IS(CublasEpilogue::relu_aux_bias, CUBLASLT_EPILOGUE_RELU_AUX_BIAS);
VIBEE_IS(CublasEpilogue::drelu, CUBLASLT_EPILOGUE_DRELU);
VIBEE_IS(CublasEpilogue::drelu_bgrad, CUBLASLT_EPILOGUE_DRELU_BGRAD);
VIBEE_IS(CublasEpilogue::gelu, CUBLASLT_EPILOGUE_GELU);
VIBEE_IS(CublasEpilogue::gelu_bias, CUBLASLT_EPILOGUE_GELU_BIAS);
VIBEE_IS(CublasEpilogue::gelu_aux, CUBLASLT_EPILOGUE_GELU_AUX);
VIBEE_IS(CublasEpilogue::gelu_aux_bias, CUBLASLT_EPILOGUE_GELU_AUX_BIAS);
VIBEE_IS(CublasEpilogue::dgelu, CUBLASLT_EPILOGUE_DGELU);
VIBEE_IS(CublasEpilogue::dgelu_bgrad, CUBLASLT_EPILOGUE_DGELU_BGRAD);
VIBEE_IS(CublasEpilogue::bgrad_a, CUBLASLT_EPILOGUE_BGRADA);
VIBEE_IS(CublasEpilogue::bgrad_b, CUBLASLT_EPILOGUE_BGRADB);

}  // namespace
}  // namespace vibee
