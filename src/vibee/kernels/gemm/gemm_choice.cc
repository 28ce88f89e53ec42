// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/gemm_choice.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/random/philox.h"
#include "vibee/core/measure/measure.h"
#include "vibee/kernels/gemm/cutlass_gemm.h"

namespace vibee {
namespace {

// Times of one problem: at least so many of each implementation, more of a small one.
constexpr size_t kLeastRounds = 7, kMostRounds = 60;
constexpr double kSeconds = 0.02;
// Clocks rise when there is work.
constexpr double kWarmUp = 0.02;

bool same_sizes(const GemmProblem& a, const GemmProblem& b) {
  return a.m == b.m && a.n == b.n && a.k == b.k && a.a.transposed == b.a.transposed &&
         a.b.transposed == b.b.transposed && a.a.element == b.a.element && a.b.element == b.b.element &&
         a.grouping == b.grouping && a.batch == b.batch;
}

/// Operands of a problem, and what libraries are compared with.
struct Operands {
  GemmProblem problem;
  GemmPlan plan;
  HugeBuffer a, b, d, ours, workspace;

  static Result<Operands> make(const GemmProblem& shape, uint32_t threads, Isa isa) {
    GemmProblem p = shape;
    p.goes_on = false;  // the same work, from zero
    p.a.ld = p.b.ld = p.d.ld = 0;
    p.a.stride = p.b.stride = p.d.stride = {};
    VIBEE_ASSIGN(p, checked(p));
    VIBEE_ASSIGN(const GemmPlan plan, GemmPlan::make(p, threads, isa));
    Operands out{p, plan, {}, {}, {}, {}, {}};
    VIBEE_ASSIGN(out.a, HugeBuffer::allocate(4 * out.a_size() + 64));
    VIBEE_ASSIGN(out.b, HugeBuffer::allocate(4 * out.b_size() + 64));
    VIBEE_ASSIGN(out.d, HugeBuffer::allocate(4 * out.d_size() + 64));
    VIBEE_ASSIGN(out.ours, HugeBuffer::allocate(4 * out.d_size() + 64));
    VIBEE_ASSIGN(out.workspace, HugeBuffer::allocate(out.plan.workspace() + 64));
    // Some random numbers, again and again.
    RandomStream random(1688, Purpose::workload);
    std::vector<float> some(65521);
    for (float& x : some) x = random.normal();
    for (uint64_t i = 0; i < out.a_size(); ++i) out.a.as<float>()[i] = some[i % some.size()];
    for (uint64_t i = 0; i < out.b_size(); ++i) out.b.as<float>()[i] = some[(i + 1000) % some.size()];
    return out;
  }
  uint64_t a_size() const { return uint64_t(problem.m) * problem.k; }
  uint64_t b_size() const { return uint64_t(problem.k) * problem.n; }
  uint64_t d_size() const { return uint64_t(problem.m) * problem.n; }

  Status run(const VendorGemm* library, Team& team, HugeBuffer& to) {
    GemmData data;
    data.a = std::span<const float>(a.as<float>(), a_size());
    data.b = std::span<const float>(b.as<float>(), b_size());
    data.d = {to.as<float>(), d_size()};
    if (library == nullptr) return plan.run(data, team, {workspace.data(), plan.workspace()});
    VIBEE_TRY(check_operands(problem, data));
    team.run([&](uint32_t tid) { library->run_thread(problem, data, tid, team.size()); });
    return {};
  }

  /// Euclidean lengths of the rows of op(A), or of the columns of op(B).
  static std::vector<double> lengths(const float* x, uint32_t count, uint32_t k, bool along) {
    std::vector<double> out(count);
    for (uint64_t i = 0; i < count; ++i) {
      for (uint64_t j = 0; j < k; ++j) {
        const double v = along ? x[i * k + j] : x[j * count + i];
        out[i] += v * v;
      }
      out[i] = std::sqrt(out[i]);
    }
    return out;
  }
  /// Whether D is as near to ours as two orders of summation can be: each errs by at most k eps / 2 * sum |a| |b|
  /// (Higham 2002, section 3.1), which is at most k eps / 2 times the lengths of the row and the column; half of what
  /// is allowed is for more than one rounding a term.
  bool agrees() {
    const std::vector<double> rows = lengths(a.as<float>(), problem.m, problem.k, !problem.a.transposed),
                              columns = lengths(b.as<float>(), problem.n, problem.k, problem.b.transposed);
    for (uint64_t i = 0; i < problem.m; ++i)
      for (uint64_t j = 0; j < problem.n; ++j) {
        const uint64_t at = i * problem.n + j;
        const double apart = std::fabs(double(d.as<float>()[at]) - ours.as<float>()[at]);
        if (!(apart <= 4.0 * (problem.k + 2) * 0x1p-24 * rows[i] * columns[j])) return false;
      }
    return true;
  }
};

}  // namespace

std::string gemm_signature(const GemmProblem& p, uint32_t threads) {
  const auto operand = [](const GemmLayout& l) {
    return fmt::format("{}{}", info(l.element).name, l.transposed ? " t" : "");
  };
  return fmt::format("gemm {} x {} {} {} {}, {} threads", operand(p.a), operand(p.b), p.m, p.n, p.k, threads);
}

Result<GemmChoice> GemmChoice::open(GemmPolicy policy) {
  GemmChoice out;
  out.policy_ = policy;
  if (policy == GemmPolicy::native) return out;
  std::string missing;
  for (const GemmVendor vendor : kGemmVendors) {
    auto library = VendorGemm::open(vendor, 1);
    if (library.ok()) {
      out.libraries_.push_back(std::move(*library));
    } else {
      missing += fmt::format("{}{}", missing.empty() ? "" : "; ", library.status().message());
    }
  }
  if (policy == GemmPolicy::vendor && out.libraries_.empty())
    return error(Code::not_found, "no library for dense products: {}; install libopenblas0-pthread or libdnnl2",
                 missing);
  return out;
}

/// Seconds of ours, then of each library: those that do not take the problem, or come to another result, have none (0).
Result<std::vector<double>> GemmChoice::measure(const GemmProblem& problem, Team& team, Isa isa, bool warm_up) const {
  VIBEE_ASSIGN(Operands o, Operands::make(problem, team.size(), isa));
  std::vector<const VendorGemm*> all = {nullptr};
  for (const VendorGemm& library : libraries_) all.push_back(&library);
  VIBEE_TRY(o.run(nullptr, team, o.ours));
  std::vector<std::vector<double>> seconds(all.size());
  std::vector<bool> takes(all.size(), true);
  for (size_t i = 1; i < all.size(); ++i) {
    takes[i] = all[i]->takes(o.problem).ok();
    if (!takes[i]) continue;
    VIBEE_TRY(o.run(all[i], team, o.d));
    takes[i] = o.agrees();
  }
  for (const Timer warm; warm_up && warm.seconds() < kWarmUp;) VIBEE_TRY(o.run(nullptr, team, o.d));
  // In turn, so that a drift of the machine favours none.
  const Timer all_rounds;
  while (seconds[0].size() < kLeastRounds || (seconds[0].size() < kMostRounds && all_rounds.seconds() < kSeconds))
    for (size_t i = 0; i < all.size(); ++i) {
      if (!takes[i]) continue;
      const Timer timer;
      VIBEE_TRY(o.run(all[i], team, o.d));
      seconds[i].push_back(timer.seconds());
    }
  std::vector<double> out;
  out.reserve(seconds.size());
  for (const std::vector<double>& s : seconds) out.push_back(s.empty() ? 0 : median(s));
  return out;
}

Status GemmChoice::choose(std::span<const GemmProblem> problems, Team& team, Isa isa, Records* records,
                          const std::function<bool(size_t, size_t)>& progress) {
  if (libraries_.empty()) return {};
  std::vector<std::string> names = {fmt::format("cutlass_gemm {} {}", kCutlassGemmVersion, name(isa))};
  for (const VendorGemm& library : libraries_) names.push_back(library.description());
  size_t measured = 0;
  for (size_t at = 0; at < problems.size(); ++at) {
    if (progress && !progress(at, problems.size())) return error(Code::cancelled, "stopped");
    GemmProblem p;
    VIBEE_ASSIGN(p, checked(problems[at]));
    if (std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) { return same_sizes(row.problem, p); })) continue;
    Row row{p};
    std::vector<double> seconds(names.size());
    const std::string signature = gemm_signature(p, team.size());
    const auto takes = [&](const VendorGemm& library) { return library.takes(p).ok(); };
    if (std::none_of(libraries_.begin(), libraries_.end(), takes)) continue;  // ours alone
    bool known = true;
    for (size_t i = 0; i < names.size() && known; ++i) {
      if (i > 0 && !takes(libraries_[i - 1])) continue;
      const auto found = records->seconds(signature, names[i]);
      known = found.has_value();
      seconds[i] = found.value_or(0);
    }
    if (!known) {
      VIBEE_ASSIGN(seconds, measure(p, team, isa, measured++ == 0));
      row.measured = true;
      for (size_t i = 0; i < names.size(); ++i)
        if (seconds[i] > 0)
          if (Status kept = records->add(signature, names[i], seconds[i]); !kept.ok())
            record_trouble_ = std::move(kept);
    }
    row.ours = row.seconds = seconds[0];
    const double least = policy_ == GemmPolicy::vendor ? 1e9 : row.ours * (1 - kGemmGain);
    for (size_t i = 1; i < seconds.size(); ++i)
      if (seconds[i] > 0 && seconds[i] < (row.library < 0 ? least : row.seconds)) {
        row.library = int(i) - 1;
        row.seconds = seconds[i];
      }
    rows_.push_back(row);
  }
  return {};
}

const VendorGemm* GemmChoice::find(const GemmProblem& problem) const {
  for (const Row& row : rows_)
    if (same_sizes(row.problem, problem)) return row.library < 0 ? nullptr : &libraries_[size_t(row.library)];
  return nullptr;
}

std::string GemmChoice::summary() const {
  size_t ours = 0, measured = 0;
  std::vector<size_t> theirs(libraries_.size());
  for (const Row& row : rows_) {
    ++(row.library < 0 ? ours : theirs[size_t(row.library)]);
    measured += row.measured ? 1 : 0;
  }
  std::string out = fmt::format("{} of {} kinds of product by cutlass_gemm", ours, rows_.size());
  for (size_t i = 0; i < theirs.size(); ++i)
    if (theirs[i] > 0) out += fmt::format(", {} by {}", theirs[i], libraries_[i].description());
  return out + (measured > 0 ? fmt::format(" ({} measured now)", measured) : "");
}

}  // namespace vibee
