// SPDX-License-Identifier: Apache-2.0
// Which implementation computes a dense product: ours, or a library of others, by what each takes on this machine. The
// times are the machine's records; what is not there is measured, compared with ours first, and kept.
//
// A library sums in an order of its own, so results then depend on it, on threads and on the machine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"
#include "vibee/hw/cost/records.h"
#include "vibee/kernels/gemm/vendor_gemm.h"

namespace vibee {

enum class GemmPolicy : uint8_t {
  native,     ///< cutlass_gemm, whose bytes are the same everywhere
  vendor,     ///< the quickest library that takes the problem
  automatic,  ///< a library where it is quicker than ours by kGemmGain
};
/// What a library has to gain before the same bytes are given up: more than a measurement errs by.
inline constexpr double kGemmGain = 0.03;

class GemmChoice {
 public:
  /// Finds the libraries. For the policy `vendor` there has to be one.
  static Result<GemmChoice> open(GemmPolicy policy);

  /// Decides for problems that are to run on `team`; a problem that is known costs nothing. `progress` gets how many
  /// are decided and how many there are, and stops the work by returning false. What keeps records from being written
  /// is told by record_trouble().
  Status choose(std::span<const GemmProblem> problems, Team& team, Isa isa, Records* records,
                const std::function<bool(size_t, size_t)>& progress = {});

  /// The library that was chosen for a product of these sizes, or null: ours.
  const VendorGemm* find(const GemmProblem& problem) const;

  struct Row {
    GemmProblem problem;
    int library = -1;  ///< of descriptions(), or -1: ours
    double seconds = 0, ours = 0;
    bool measured = false;  ///< now, not read from the records
  };
  std::span<const Row> rows() const { return rows_; }
  const std::string& description(int library) const { return libraries_[size_t(library)].description(); }
  /// "14 of 17 kinds of product by cutlass_gemm, 3 by oneDNN 2.6.3 (measured: 17)".
  std::string summary() const;
  const Status& record_trouble() const { return record_trouble_; }

 private:
  Result<std::vector<double>> measure(const GemmProblem& problem, Team& team, Isa isa, bool warm_up) const;
  GemmPolicy policy_ = GemmPolicy::native;
  std::vector<VendorGemm> libraries_;
  std::vector<Row> rows_;
  Status record_trouble_;
};

/// A problem as records know it, without how rows are spaced: "gemm f32 n x f32 t 2048 576 1536, 2 threads".
std::string gemm_signature(const GemmProblem& problem, uint32_t threads);

}  // namespace vibee
