// SPDX-License-Identifier: Apache-2.0
// The driver API of CUDA as a table of functions that are found at run time, so that one binary runs with and without
// a driver and is built without a toolkit. Declarations are our own, of what is used alone; where a toolkit is found,
// tests/cuda_declarations.cc holds them against its cuda.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "vibee/base/status/status.h"

// Handles are pointers to these; the names are cuda.h's.
struct CUctx_st;
struct CUstream_st;
struct CUevent_st;
struct CUmod_st;
struct CUfunc_st;
struct CUgraph_st;
struct CUgraphNode_st;
struct CUgraphExec_st;

namespace vibee {

struct TensorMap;  // block.h

using CudaAddress = unsigned long long;  ///< CUdeviceptr: memory of a device

/// CUresult, of which these are treated apart; others have a name and a text from the driver.
enum class CudaResult : int {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  no_device = 100,
  invalid_device = 101,
  invalid_image = 200,
  invalid_context = 201,
  no_binary_for_gpu = 209,
  ecc_uncorrectable = 214,
  nvlink_uncorrectable = 220,
  unsupported_ptx_version = 222,
  invalid_handle = 400,
  not_found = 500,
  not_ready = 600,
  illegal_address = 700,
  launch_out_of_resources = 701,
  launch_timeout = 702,
  assert_failed = 710,
  hardware_stack_error = 714,
  illegal_instruction = 715,
  misaligned_address = 716,
  invalid_address_space = 717,
  invalid_pc = 718,
  launch_failed = 719,
  capture_unsupported = 900,
  capture_invalidated = 901,
  capture_unmatched = 903,
  capture_unjoined = 904,
  graph_update_failed = 910,
  unknown = 999,
};

/// CUdevice_attribute.
enum class CudaAttribute : int {
  clock_khz = 13,
  multiprocessors = 16,
  integrated = 18,
  ecc = 32,
  memory_clock_khz = 36,
  memory_bus_bits = 37,
  l2_bytes = 38,
  major = 75,
  minor = 76,
  shared_per_multiprocessor = 81,
  shared_per_block = 97,  ///< with the function's attribute set
};

/// CUfunction_attribute.
enum class CudaFunctionAttribute : int {
  max_threads = 0,
  static_shared = 1,
  local_bytes = 3,
  registers = 4,
  max_dynamic_shared = 8,
};

enum class CudaCaptureMode : int { every_thread = 0, this_thread = 1, relaxed = 2 };

struct CudaUuid {
  unsigned char bytes[16];
};

/// CUgraphExecUpdateResultInfo.
struct CudaGraphUpdate {
  int result = 0;
  CUgraphNode_st *error_node = nullptr, *error_from_node = nullptr;
};

inline constexpr unsigned kCudaStreamNonBlocking = 1, kCudaEventDisableTiming = 2;
/// The oldest CUDA version whose drivers have all functions of cuda_calls.inc, as cuDriverGetVersion writes it.
inline constexpr int kCudaVersionNeeded = 12000;

/// A function of the driver and the name it is exported by.
template <class... P>
struct CudaCall {
  const char* symbol;
  CudaResult (*function)(P...) = nullptr;
  CudaResult operator()(P... parameters) const { return function(parameters...); }
};

struct CudaDriver {
#define VIBEE_CUDA_CALL(field, symbol, ...) CudaCall<__VA_ARGS__> field{#symbol};
#include "vibee/core/device/cuda_calls.inc"
#undef VIBEE_CUDA_CALL
  std::string path;               ///< of the library
  std::shared_ptr<void> library;  ///< keeps it loaded
  int version = 0;                ///< 13000: CUDA 13.0
  int devices = 0;

  /// Name and text of an error, e.g. "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string describe(CudaResult result) const;
};

/// "13.0" of 13000.
std::string cuda_version_text(int version);

/// Asks for the version, initialises the driver and counts devices. `not_found` where there is no device.
Status start_cuda_driver(CudaDriver& driver);

/// The driver in a shared library, started. The Status says what is missing: the library, a function of it (with the
/// version of the driver and the one needed), a device.
Result<std::shared_ptr<const CudaDriver>> load_cuda_driver(const std::string& path = "libcuda.so.1");

/// The process's own, loaded at the first call and kept.
const Result<std::shared_ptr<const CudaDriver>>& cuda_driver();

}  // namespace vibee
