// SPDX-License-Identifier: Apache-2.0
// Our declarations of CUDA's driver API against those of a toolkit: compiled where there is one, nothing runs.
#include <cuda.h>

#include <cstddef>
#include <type_traits>

#include "vibee/core/device/tensor_map.h"

namespace vibee {
namespace {

// Enumerations are our own, of the same size; two structs as well. All else is the same type.
template <class T>
struct Plain {
  using type = T;
};
template <class T>
requires std::is_enum_v<T>
struct Plain<T> {
  static_assert(sizeof(T) == sizeof(int));
  using type = int;
};
template <>
struct Plain<CUuuid> {
  using type = CudaUuid;
};
template <>
struct Plain<CUgraphExecUpdateResultInfo> {
  using type = CudaGraphUpdate;
};
template <>
struct Plain<CUtensorMap> {
  using type = TensorMap;
};
template <class T>
struct Plain<T*> {
  using type = typename Plain<T>::type*;
};
template <class R, class... P>
struct Plain<R (*)(P...)> {
  using type = typename Plain<R>::type (*)(typename Plain<P>::type...);
};
template <class A, class B>
inline constexpr bool kSame = std::is_same_v<typename Plain<A>::type, typename Plain<B>::type>;

// A check that cannot fail is worth nothing.
static_assert(!kSame<decltype(&cuInit), decltype(&cuDeviceGetCount)>);
static_assert(!kSame<int (*)(unsigned*), int (*)(int*)>);

// cuEventElapsedTime is a macro of cuda.h 13 for its second version, whose parameters are the same.
#define VIBEE_CUDA_CALL(field, symbol, ...) \
  static_assert(kSame<decltype(&symbol), decltype(CudaDriver::field.function)>, #symbol);
#include "vibee/core/device/cuda_calls.inc"
#undef VIBEE_CUDA_CALL

static_assert(sizeof(CudaUuid) == sizeof(CUuuid));
static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) == alignof(CUtensorMap));
static_assert(int(TensorElement::f16) == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 &&
              int(TensorElement::bf16) == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
static_assert(sizeof(CudaGraphUpdate) == sizeof(CUgraphExecUpdateResultInfo));
static_assert(offsetof(CudaGraphUpdate, error_node) == offsetof(CUgraphExecUpdateResultInfo, errorNode));
static_assert(offsetof(CudaGraphUpdate, error_from_node) == offsetof(CUgraphExecUpdateResultInfo, errorFromNode));
static_assert(kCudaStreamNonBlocking == CU_STREAM_NON_BLOCKING && kCudaEventDisableTiming == CU_EVENT_DISABLE_TIMING);

template <class A, class B>
constexpr bool equal(A ours, B theirs) {
  return int(ours) == int(theirs);
}

using R = CudaResult;
static_assert(equal(R::success, CUDA_SUCCESS) && equal(R::invalid_value, CUDA_ERROR_INVALID_VALUE));
static_assert(equal(R::out_of_memory, CUDA_ERROR_OUT_OF_MEMORY) && equal(R::no_device, CUDA_ERROR_NO_DEVICE));
static_assert(equal(R::invalid_device, CUDA_ERROR_INVALID_DEVICE) && equal(R::invalid_image, CUDA_ERROR_INVALID_IMAGE));
static_assert(equal(R::invalid_context, CUDA_ERROR_INVALID_CONTEXT));
static_assert(equal(R::no_binary_for_gpu, CUDA_ERROR_NO_BINARY_FOR_GPU));
static_assert(equal(R::ecc_uncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE));
static_assert(equal(R::nvlink_uncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE));
static_assert(equal(R::unsupported_ptx_version, CUDA_ERROR_UNSUPPORTED_PTX_VERSION));
static_assert(equal(R::invalid_handle, CUDA_ERROR_INVALID_HANDLE) && equal(R::not_found, CUDA_ERROR_NOT_FOUND));
static_assert(equal(R::not_ready, CUDA_ERROR_NOT_READY) && equal(R::illegal_address, CUDA_ERROR_ILLEGAL_ADDRESS));
static_assert(equal(R::launch_out_of_resources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES));
static_assert(equal(R::launch_timeout, CUDA_ERROR_LAUNCH_TIMEOUT) && equal(R::assert_failed, CUDA_ERROR_ASSERT));
static_assert(equal(R::hardware_stack_error, CUDA_ERROR_HARDWARE_STACK_ERROR));
static_assert(equal(R::illegal_instruction, CUDA_ERROR_ILLEGAL_INSTRUCTION));
static_assert(equal(R::misaligned_address, CUDA_ERROR_MISALIGNED_ADDRESS));
static_assert(equal(R::invalid_address_space, CUDA_ERROR_INVALID_ADDRESS_SPACE));
static_assert(equal(R::invalid_pc, CUDA_ERROR_INVALID_PC) && equal(R::launch_failed, CUDA_ERROR_LAUNCH_FAILED));
static_assert(equal(R::capture_unsupported, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
static_assert(equal(R::capture_invalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
static_assert(equal(R::capture_unmatched, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED));
static_assert(equal(R::capture_unjoined, CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
static_assert(equal(R::graph_update_failed, CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE));
static_assert(equal(R::unknown, CUDA_ERROR_UNKNOWN));

using A = CudaAttribute;
static_assert(equal(A::clock_khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE));
static_assert(equal(A::multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
static_assert(equal(A::integrated, CU_DEVICE_ATTRIBUTE_INTEGRATED) && equal(A::ecc, CU_DEVICE_ATTRIBUTE_ECC_ENABLED));
static_assert(equal(A::memory_clock_khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE));
static_assert(equal(A::memory_bus_bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH));
static_assert(equal(A::l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
static_assert(equal(A::major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
static_assert(equal(A::minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
static_assert(equal(A::shared_per_multiprocessor, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR));
static_assert(equal(A::shared_per_block, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));

using F = CudaFunctionAttribute;
static_assert(equal(F::max_threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
static_assert(equal(F::static_shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES));
static_assert(equal(F::local_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES));
static_assert(equal(F::registers, CU_FUNC_ATTRIBUTE_NUM_REGS));
static_assert(equal(F::max_dynamic_shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));

using M = CudaCaptureMode;
static_assert(equal(M::every_thread, CU_STREAM_CAPTURE_MODE_GLOBAL) &&
              equal(M::relaxed, CU_STREAM_CAPTURE_MODE_RELAXED));
static_assert(equal(M::this_thread, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));

}  // namespace
}  // namespace vibee
