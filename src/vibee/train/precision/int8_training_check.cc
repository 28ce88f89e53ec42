// SPDX-License-Identifier: Apache-2.0
// v1738: products of a training graph beside their definition in integers, what a row's own scale is worth where there
// are outliers, and the bytes of whole steps.
#include "vibee/train/precision/int8_training.h"

#include <cmath>
#include <cstring>

#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/int8_gemm.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

constexpr uint32_t kTokens = 45, kOut = 70, kIn = 52;

std::vector<float> numbers(uint64_t n, uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<float> x(n);
  for (float& v : x) v = random.normal();
  return x;
}

/// y, dx and dw of one linear, by a plan.
struct Products {
  std::vector<float> y, dx, dw;
};
Result<Products> products(const ProductRecipe& recipe, std::vector<float> w, const std::vector<float>& x,
                          const std::vector<float>& g, const RunSettings& settings) {
  Graph graph;
  // Rows of known content: a table that is looked up.
  const auto weight = [&](const char* name, int64_t n, int64_t k) {
    return graph.source(Op::weight, {kF32, {Dim{n}, Dim{k}}}, {{"name", std::string(name)}});
  };
  const ValueId ids = graph.source(Op::input, {kI32, {kRows}}, {{"name", std::string("ids")}});
  const ValueId rows = graph.add(Op::embed, {ids, weight("x", kTokens, kIn)});
  const ValueId gradient = graph.add(Op::embed, {ids, weight("g", kTokens, kOut)});
  const ValueId matrix = weight("w", kOut, kIn);
  graph.outputs = {graph.add(Op::linear, {rows, matrix}), graph.add(Op::linear_dx, {gradient, matrix}),
                   graph.add(Op::linear_dw, {gradient, rows})};
  if (!graph.status().ok()) return error(Code::invalid, "{}", graph.status().message());
  round_products(&graph, recipe, {});
  std::vector<float> tables[2] = {x, g};
  const auto place = [&](std::string_view name) -> void* {
    return name == "w" ? w.data() : tables[name == "g"].data();
  };
  VIBEE_ASSIGN(const auto plan, TrainPlan::compile(graph, place, {kTokens, settings.threads, settings.isa}));
  Team team(settings.threads);
  std::vector<int32_t> all(kTokens);
  for (uint32_t i = 0; i < kTokens; ++i) all[i] = int32_t(i);
  const std::pair<std::string_view, std::span<const int32_t>> inputs[] = {{"ids", all}};
  VIBEE_TRY(plan->run(team, {inputs, {}}));
  const auto copy = [&](size_t i) { return std::vector<float>(plan->output(i).begin(), plan->output(i).end()); };
  return Products{copy(0), copy(1), copy(2)};
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), 4 * a.size()) == 0;
}

/// The relative error of a product of rows of which some numbers are outliers, whose scale is a row's or one for all.
double outlier_error(Int8Scale kind) {
  std::vector<float> x = numbers(uint64_t(kTokens) * kIn, 4), exact(x.size());
  for (uint32_t i = 0; i < 3; ++i) x[(i * 13 + 2) * kIn + 7 * i] = 200;
  std::vector<int8_t> q(x.size());
  std::vector<float> s(kTokens);
  int8_codes_reference({x.data(), Format::f32, kIn, false, kTokens, kIn}, kind, q.data(), s.data());
  double off = 0, all = 0;
  for (uint32_t r = 0; r < kTokens; ++r) {
    if (r == 2 || r == 15 || r == 28) continue;  // rows without one
    for (uint32_t k = 0; k < kIn; ++k) {
      const double v = x[r * kIn + k], e = v - double(q[r * kIn + k]) * s[r];
      off += e * e, all += v * v;
    }
  }
  return std::sqrt(off / all);
}

}  // namespace

Status check_int8_training(CheckContext& context) {
  context.not_built(
      "Jetfire: scales of blocks of 32 x 32, activations between ops and gradients of weights in integers");
  context.not_built("gradients rounded at random; CUDA (cuBLASLt, mma.m16n8k32)");
  if (context.describe_only()) return {};
  const std::vector<float> w = numbers(uint64_t(kOut) * kIn, 1), x = numbers(uint64_t(kTokens) * kIn, 2),
                           g = numbers(uint64_t(kTokens) * kOut, 3);
  VIBEE_ASSIGN(const Products plain, products(*find_product_recipe("f32"), w, x, g, context.settings()));
  for (const char* name : {"int8-switchback", "int8-rows", "int8-forward"}) {
    const ProductRecipe& recipe = *find_product_recipe(name);
    VIBEE_ASSIGN(const Products got, products(recipe, w, x, g, context.settings()));
    const Int8Scale of_w = recipe.forward.b == OperandForm::int8_tensor ? Int8Scale::tensor : Int8Scale::row;
    std::vector<float> y(uint64_t(kTokens) * kOut), dx(uint64_t(kTokens) * kIn);
    int8_product_reference({x.data(), Format::f32, kIn, false, kTokens, kIn},
                           {w.data(), Format::f32, kIn, false, kOut, kIn}, of_w, y.data(), kOut);
    int8_product_reference({g.data(), Format::f32, kOut, false, kTokens, kOut},
                           {w.data(), Format::f32, kIn, true, kIn, kOut}, of_w, dx.data(), kIn);
    const std::string of = std::string(name) + ": ";
    context.equal(of + "y has the bytes of its definition in integers", same(got.y, y), 1);
    context.equal(of + "so has dx, or it is that of floats", same(got.dx, recipe.dx.plain() ? plain.dx : dx), 1);
    context.equal(of + "dw has the bytes of floats", same(got.dw, plain.dw), 1);
    double worst = 0;
    std::vector<int8_t> q(w.size() + x.size());
    std::vector<float> sx(kTokens), sw(kOut);
    int8_codes_reference({x.data(), Format::f32, kIn, false, kTokens, kIn}, Int8Scale::row, q.data(), sx.data());
    int8_codes_reference({w.data(), Format::f32, kIn, false, kOut, kIn}, of_w, q.data(), sw.data());
    for (uint32_t i = 0; i < kTokens; ++i)
      for (uint32_t j = 0; j < kOut; ++j) {
        double exact = 0, bound = 0;
        for (uint32_t k = 0; k < kIn; ++k) {
          const double a = x[i * kIn + k], b = w[j * kIn + k];
          exact += a * b;
          bound += std::fabs(a) * sw[j] / 2 + std::fabs(b) * sx[i] / 2 + double(sx[i]) * sw[j] / 4;
        }
        worst = std::max(worst, std::fabs(got.y[i * kOut + j] - exact) / bound);
      }
    context.at_most(of + "error over sum of |x| sw / 2 + |w| sx / 2 + sx sw / 4", worst, 1);
  }
  context.at_most("error of rows beside some with outliers: a scale a row over one scale",
                  outlier_error(Int8Scale::row) / outlier_error(Int8Scale::tensor), 1.0 / 3);
  if (!context.proceed("training", 0.5)) return error(Code::cancelled, "stopped");

  TrialTraining trial;
  trial.options.isa = context.settings().isa;
  trial.options.precision.products = find_product_recipe("int8-switchback");
  trial.steps = 10;
  VIBEE_ASSIGN(const TrialTraining::Elsewhere runs, trial.elsewhere());
  for (const auto& [what, same] : runs.same) context.equal(fmt::format("10 steps {}: the same bytes", what), same, 1);
  trial.options.shares = 2;
  trial.options.precision.products = nullptr;
  VIBEE_ASSIGN(const TrialTraining::Run floats, trial.run(0));
  context.equal("and not those of products in floats", runs.state != floats.state, 1);
  return {};
}

}  // namespace vibee
