// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/calibrate.h"

namespace vibee {
namespace {

struct ColumnSums {
  std::vector<double> squares;  ///< [matrices][columns]
  std::vector<uint64_t> counts;
};

/// Adds the squares of a step's rows, this thread's columns of them.
void add_squares(const TrainPlan& plan, const CalibrationProduct& p, uint32_t rows, uint32_t tid, uint32_t threads,
                 ColumnSums* sums) {
  const Range mine = share(uint32_t(p.columns), tid, threads);
  const float* const x = plan.floats(p.rows);
  const auto add = [&](uint64_t row, uint64_t matrix) {
    const float* from = x + row * p.columns;
    double* to = sums->squares.data() + matrix * p.columns;
    for (uint32_t i = mine.begin; i < mine.end; ++i) to[i] += double(from[i]) * from[i];
    if (tid == 0) ++sums->counts[matrix];
  };
  for (uint64_t r = 0; r < rows; ++r) {
    if (p.chosen == 0) add(r, 0);
    for (uint32_t j = 0; j < p.chosen; ++j)
      add(p.pairwise ? r * p.chosen + j : r, uint64_t(plan.floats(p.route)[r * 2 * p.chosen + j]));
  }
}

}  // namespace

Result<Importance> calibrate(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                             const CalibrateOptions& options) {
  VIBEE_ASSIGN(CalibrationRun run, CalibrationRun::open(file, config, tokens, options));
  const auto& products = run.products();
  std::vector<std::vector<ColumnSums>> sums;  // by node
  for (const auto& of_node : products) {
    sums.emplace_back();
    for (const CalibrationProduct& p : of_node)
      sums.back().push_back({std::vector<double>(p.matrices * p.columns), std::vector<uint64_t>(p.matrices)});
  }
  VIBEE_TRY(run.run([&](size_t node, uint32_t rows, uint32_t tid, Team&) {
    for (size_t i = 0; i < products[node].size(); ++i)
      add_squares(run.plan(), products[node][i], rows, tid, options.threads, &sums[node][i]);
  }));
  Importance out;
  for (size_t node = 0; node < products.size(); ++node) {
    for (size_t i = 0; i < products[node].size(); ++i) {
      const ColumnSums& s = sums[node][i];
      const CalibrationProduct& p = products[node][i];
      std::vector<float> squares(s.squares.begin(), s.squares.end());
      if (p.order)
        for (uint64_t c = 0; c < p.columns; ++c)
          squares[uint64_t(run.plan().floats(*p.order)[c])] = float(s.squares[c]);
      out.add(p.tensor, {std::move(squares), std::vector<float>(s.counts.begin(), s.counts.end())});
    }
  }
  return out;
}

}  // namespace vibee
