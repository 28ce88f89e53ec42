// SPDX-License-Identifier: Apache-2.0
// v1689: the library's algorithms beside each other need a device; without one there is nothing to measure.
#include "vibee/core/device/cuda_driver.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/cublas_optimization.h"

namespace vibee {

Status bench_cublas_optimization(BenchContext&) {
  VIBEE_TRY(cublaslt().status());
  VIBEE_TRY(cuda_driver().status());
  return error(Code::unsupported,
               "cublas_optimization: timing the algorithms of cuBLASLt {} on a device is not built; see `vibee tree "
               "check cublas_optimization`",
               (*cublaslt())->version_text());
}

}  // namespace vibee
