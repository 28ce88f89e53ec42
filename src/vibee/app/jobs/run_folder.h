// SPDX-License-Identifier: Apache-2.0
// The folder of a run of training: which checkpoints are there, which go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

class RunFolder {
 public:
  /// Makes the folder and its checkpoints/.
  static Result<RunFolder> open(const std::string& path);
  std::string model() const { return path_ + "/model.gguf"; }
  std::string adapter() const { return path_ + "/adapter.gguf"; }
  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string page() const { return path_ + "/report.html"; }
  /// A model or an adapter as it is on the way, for as long as it is asked for texts.
  std::string sampled() const { return path_ + "/checkpoints/sampled.gguf"; }
  std::string best() const { return path_ + "/checkpoints/best.run"; }
  std::string checkpoint(uint64_t step) const;
  /// Steps of the checkpoints that are there, in order.
  std::vector<uint64_t> checkpoints() const;
  /// Removes all but the last `keep`.
  void prune(uint32_t keep) const;

 private:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace vibee
