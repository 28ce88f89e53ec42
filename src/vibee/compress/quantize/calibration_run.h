// SPDX-License-Identifier: Apache-2.0
// A model's training graph that runs forward in f32 over the windows of a text, and shows what its products read.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/model/layer/config.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {

/// Windows of text below which what is measured is noise.
inline constexpr uint32_t kLeastWindows = 8;

struct CalibrateOptions {
  uint32_t context = 512;  ///< tokens of a window; windows do not overlap, what is left over is not read
  uint32_t windows = 0;    ///< at most; 0: all
  int32_t bos = -1;        ///< in the place of each window's first token; -1: none
  uint32_t threads = 1;
  Isa isa = detected_isa();
  std::function<bool(uint64_t done, uint64_t of)> progress = nullptr;  ///< in windows; false stops
};

/// What a product reads: input rows, and for each the matrices of a tensor that multiply it.
struct CalibrationProduct {
  std::string tensor;
  ValueId rows;
  uint64_t columns, matrices;
  uint32_t chosen = 0;                ///< experts a row; 0: one matrix multiplies all
  ValueId route = 0;                  ///< which
  bool pairwise = false;              ///< a row a row and expert
  std::optional<ValueId> order = {};  ///< in which the rows have their columns; empty: as they are
};

class CalibrationRun {
 public:
  /// Reads the weights. Refuses a text of less than kLeastWindows windows; `tokens` must outlive this.
  static Result<CalibrationRun> open(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                                     CalibrateOptions options);
  CalibrationRun(CalibrationRun&&) noexcept;
  ~CalibrationRun();

  const TrainPlan& plan() const;
  const CalibrateOptions& options() const { return options_; }
  uint64_t windows() const { return windows_; }
  /// Rows of the largest step.
  uint32_t most_rows() const;
  /// Of every node, in the graph's order; the parts of a tensor that are multiplied apart are one product.
  const std::vector<std::vector<CalibrationProduct>>& products() const { return products_; }

  /// Runs all windows. `on_rows(node, rows, tid, team)` is called on every thread of the team for each node that has
  /// products, and for attention; so many rows of what it reads stand in the plan until all threads have returned.
  /// Refuses ids that the model does not have.
  using OnRows = std::function<void(size_t node, uint32_t rows, uint32_t tid, Team& team)>;
  Status run(const OnRows& on_rows);

 private:
  class StoredWeights;
  CalibrationRun(CalibrateOptions options, std::span<const int32_t> tokens);
  CalibrateOptions options_;
  std::span<const int32_t> tokens_;
  uint64_t windows_ = 0;
  std::unique_ptr<StoredWeights> weights_;
  std::unique_ptr<TrainPlan> plan_;
  std::vector<std::vector<CalibrationProduct>> products_;
};

}  // namespace vibee
