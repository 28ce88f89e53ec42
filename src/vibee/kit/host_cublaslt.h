// SPDX-License-Identifier: Apache-2.0
// A cuBLASLt of the host, for tests and checks: the library's functions with its meaning (matrices by columns,
// epilogues, batches, what it refuses), computed in double over memory of the host at once, whatever the stream. It is
// written after NVIDIA's description of the interface and knows nothing of who calls it, so that a wrong mapping of
// matrices by rows is found on any machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "vibee/core/device/cublaslt.h"

namespace vibee {

/// One at a time in a process: functions of the library have no object.
class HostCublasLt {
 public:
  explicit HostCublasLt(uint64_t version = 130100);
  ~HostCublasLt();
  HostCublasLt(const HostCublasLt&) = delete;

  /// As load_cublaslt answers.
  Result<std::shared_ptr<const CublasLt>> load();
  /// Later calls of this function answer so; an empty name ends it.
  void fail(std::string symbol, CublasResult result);
  uint64_t products() const;
  /// The alignments, in bytes, that the last heuristic was asked for: of the library's A, B, C, D.
  std::vector<uint32_t> alignments() const;
  /// Why the last product was refused; empty where it was not.
  std::string refusal() const;
  /// Handles, descriptors and layouts that nobody gave back.
  int live() const;

 private:
  std::unique_ptr<struct HostCublas> host_;
};

}  // namespace vibee
