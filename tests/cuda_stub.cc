// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 that has no device, for what load_cuda_driver says of libraries. VIBEE_STUB_VERSION is the version it
// answers; a build that renames a symbol is one that lacks it.
#include "vibee/core/device/cuda_driver.h"

#define VIBEE_EXPORT extern "C" __attribute__((visibility("default")))
using namespace vibee;

// The rows that answer something are written below; their generated ones go under other names.
#define cuInit unused_init
#define cuDriverGetVersion unused_version
#define cuGetErrorName unused_error_name
#define cuGetErrorString unused_error_text
#define VIBEE_CUDA_CALL(field, symbol, ...) \
  VIBEE_EXPORT CudaResult symbol(__VA_ARGS__) { return CudaResult::unknown; }
#include "vibee/core/device/cuda_calls.inc"
#undef cuInit
#undef cuDriverGetVersion
#undef cuGetErrorName
#undef cuGetErrorString

// NOLINTBEGIN(readability-identifier-naming): CUDA's names
VIBEE_EXPORT CudaResult cuInit(unsigned) { return CudaResult(VIBEE_STUB_INIT); }
VIBEE_EXPORT CudaResult cuDriverGetVersion(int* version) { return *version = VIBEE_STUB_VERSION, CudaResult::success; }
VIBEE_EXPORT CudaResult cuGetErrorName(CudaResult result, const char** name) {
  if (result != CudaResult::no_device) return CudaResult::invalid_value;
  return *name = "CUDA_ERROR_NO_DEVICE", CudaResult::success;
}
VIBEE_EXPORT CudaResult cuGetErrorString(CudaResult, const char** text) {
  return *text = "text of the stub", CudaResult::success;
}
// NOLINTEND(readability-identifier-naming)
