// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/train_gemm.h"

#include "vibee/kernels/gemm/cutlass_gemm.h"

namespace vibee {
namespace {

GemmPlan plan_for(const GemmProblem& problem, uint32_t threads, Isa isa) {
  auto plan = GemmPlan::make(problem, threads, isa);
  VIBEE_CHECK(plan.ok(), "{}", plan.status().message());  // the graph's types have been verified
  return std::move(*plan);
}

}  // namespace

void dense_product(const TrainWorker& w, const DenseOperand& a, const DenseOperand& b, uint32_t m, uint32_t n,
                   uint32_t k, float* d, uint64_t d_row, bool goes_on) {
  GemmProblem problem{m, n, k, {a.element, a.transposed, a.ld}, {b.element, b.transposed, b.ld}, {}};
  problem.d.ld = d_row;
  problem.goes_on = goes_on;
  GemmData data;
  data.a = {a.p, 0, a.element};  // what check_operands would read more of is known to be there
  data.b = {b.p, 0, b.element};
  data.d = {d, size_t(m - 1) * d_row + n};
  const GemmChoice* const choice = w.plan.options().products;
  if (const VendorGemm* const library = choice == nullptr ? nullptr : choice->find(problem))
    return library->run_thread(problem, data, w.tid, w.threads);
  const GemmPlan plan = plan_for(problem, w.threads, w.plan.options().isa);
  plan.run_thread(data, w.tid, w.team, w.plan.products());
}

uint64_t dense_workspace(uint32_t m, uint32_t n, uint32_t k, const TrainOptions& options) {
  return plan_for({m, n, k, {}, {}, {}}, options.threads, options.isa).workspace();
}

void grouped_product(const TrainWorker& w, GemmGroups grouping, std::span<const uint32_t> groups, const DenseOperand& a,
                     const DenseOperand& b, uint32_t m, uint32_t n, uint32_t k, float* d, bool goes_on) {
  GemmProblem problem{m, n, k, {a.element, a.transposed, a.ld}, {b.element, b.transposed, b.ld}, {}};
  problem.grouping = grouping;
  problem.groups = uint32_t(groups.size());
  problem.goes_on = goes_on;
  const GemmPlan plan = plan_for(problem, w.threads, w.plan.options().isa);
  GemmData data;
  data.a = {a.p, 0, a.element};
  data.b = {b.p, 0, b.element};
  data.d = {d, size_t(m) * n * (grouping == GemmGroups::depth ? groups.size() : 1)};
  data.groups = groups;
  plan.run_thread(data, w.tid, w.team, w.plan.products());
}

uint64_t grouped_workspace(GemmGroups grouping, uint32_t groups, uint32_t m, uint32_t n, uint32_t k,
                           const TrainOptions& options) {
  GemmProblem problem{m, n, k, {}, {}, {}};
  problem.grouping = grouping;
  problem.groups = groups;
  return plan_for(problem, options.threads, options.isa).workspace();
}

}  // namespace vibee
