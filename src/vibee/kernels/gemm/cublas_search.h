// SPDX-License-Identifier: Apache-2.0
// Which of the library's algorithms is the quickest for a product: its first guess is not always. Each is timed by the
// device's own clock, in turn over several copies of the operands, and what was found is kept in the machine's records
// by the library's version and the algorithm's own bytes, so that a record of another version is never found.
#pragma once

#include "vibee/core/device/cuda_stream.h"
#include "vibee/hw/cost/records.h"
#include "vibee/kernels/gemm/cublas_optimization.h"

namespace vibee {

struct CublasSearch {
  void* workspace = nullptr;  ///< of the device
  uint64_t workspace_bytes = 0;
  bool whole_sums = false;  ///< as CublasPlan::candidates
  uint32_t rounds = 10;     ///< timed, behind one that is not
};

struct CublasFound {
  CublasHeuristic algorithm = {};
  double seconds = 0;
  bool measured = false;  ///< now; else read off the records
  size_t candidates = 0, failed = 0;
};

/// What a product's time depends on: sizes, types, leading dimensions, epilogue and alignments.
std::string cublas_signature(const CublasProduct& product, const CublasSearch& search);

/// `copies` are one product with operands of its own each, together more than the device's caches hold, all of the
/// alignments of the first. Waits for the stream. `records` are of the device and may be null.
Result<CublasFound> search_cublas(std::span<const CublasPlan> copies, const CublasSearch& search, CudaStream& stream,
                                  Records* records);

}  // namespace vibee
