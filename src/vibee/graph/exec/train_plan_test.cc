// SPDX-License-Identifier: Apache-2.0
// What a plan of a training graph refuses, and its loss over more rows than it holds logits of. (Whole models:
// model/arch/gradient_test.cc.)
#include "vibee/graph/exec/train_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/base/random/philox.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/graph/exec/interpret.h"
#include "vibee/graph/pass/round_products.h"

namespace vibee {
namespace {

Graph parse(const std::string& body) {
  auto g = parse_graph("graph g {\n" + body + "}\n");
  EXPECT_TRUE(g.ok()) << g.status().message() << body;
  return g.ok() ? std::move(*g) : Graph();
}
const std::string kLoss =
    "  %0:i32[T] = input {name=\"tokens\"}\n  %1:i32[T] = input {name=\"documents\"}\n"
    "  %2:i32[T] = input {name=\"targets\"}\n  %3:f32[T,1] = input {name=\"loss_weights\"}\n"
    "  %4:f32[7,8] = weight {name=\"table\"}\n  %5:f32[T,8] = embed(%0, %4)\n"
    "  %6:f32[T,8], %7:f32[T,1] = self_attention(%5, %5, %5, %1) {heads=1, kv_heads=1, head_dim=8}\n"
    "  %8:f32[1], %9:f32[T,1] = cross_entropy(%6, %4, %2, %3)\n  return %8\n";

struct Step {
  std::vector<int32_t> tokens = {1, 2, 3}, documents = {0, 0, 2}, targets = {2, -1, 6};
  std::vector<float> factors = {1, 1, 1};
  Status run(TrainPlan& plan, uint32_t threads = 1) const {
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
        {"tokens", tokens}, {"documents", documents}, {"targets", targets}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
    Team team(threads);
    return plan.run(team, {integers, floats});
  }
};

std::string refusal(const std::string& body) {
  float w[64] = {};
  return TrainPlan::compile(parse(body), [&](std::string_view) { return w; }, {4, 1, Isa::scalar}).status().message();
}

TEST(TrainPlan, RefusesGraphsThatItCannotRun) {
  const std::string x = "  %0:f32[T,1] = input {name=\"x\"}\n";
  EXPECT_NE(refusal(x + "  %1:f32[T,1] = exp(%0)\n  return %1\n").find("node 1: [exp] has no kernel for training"),
            std::string::npos);
  EXPECT_NE(refusal("  %0:i32[T] = input {name=\"a\"}\n  %1:f32[4,32] = weight {name=\"w\"}\n"
                    "  %2:f32[T,32] = embed(%0, %1)\n  %3:q8_0[2,32] = weight {name=\"u\"}\n"
                    "  %4:f32[T,2] = moe_route(%2, %3) {k=1}\n  return %4\n")
                .find("[moe_route] does not read q8_0[2,32] as input 1"),
            std::string::npos);
  EXPECT_NE(refusal(x + "  %1:f32[1] = weight {name=\"w\"}\n  %2:f32[T,1] = mul(%0, %1)\n  return %2\n")
                .find("multiplies rows of one shape"),
            std::string::npos);
  EXPECT_NE(refusal("  %0:i32[T] = input {name=\"a\"}\n  %1:i32[T] = input {name=\"b\"}\n"
                    "  %2:f32[4,8] = weight {name=\"w\"}\n  %3:f32[T,8] = embed(%0, %2)\n"
                    "  %4:f32[T,8], %5:f32[T,1] = self_attention(%3, %3, %3, %0) {heads=1, kv_heads=1, head_dim=8}\n"
                    "  %6:f32[T,8], %7:f32[T,1] = self_attention(%3, %3, %3, %1) {heads=1, kv_heads=1, head_dim=8}\n"
                    "  return %4, %6\n")
                .find("documents are one input of the graph"),
            std::string::npos);
  EXPECT_NE(refusal("  %0:i32[T] = input {name=\"a\"}\n  %1:f32[4,8] = weight {name=\"w\"}\n"
                    "  %2:f32[T,8] = embed(%0, %1)\n  %3:f32[4,2] = weight {name=\"u\"}\n"
                    "  %4:f32[T,2] = embed(%0, %3)\n  %5:f32[2,4,8] = weight {name=\"e\"}\n"
                    "  %6:f32[T,4] = moe_gated(%2, %4, %5, %5) {k=1, gate=\"silu\"}\n  return %6\n")
                .find("takes the result of moe_route"),
            std::string::npos);
  EXPECT_NE(TrainPlan::compile(parse(kLoss), [](std::string_view) { return nullptr; }, {})
                .status()
                .message()
                .find("no weight 'table' was given"),
            std::string::npos);
  EXPECT_NE(TrainPlan::arena_bytes(parse(kLoss), {0, 1, Isa::scalar}).status().message().find("has 1 to 1048576 rows"),
            std::string::npos);
}

TEST(TrainPlan, RefusesInputsBeforeItReadsThem) {
  std::vector<float> table(56, 0.5f);
  auto plan = TrainPlan::compile(parse(kLoss), [&](std::string_view) { return table.data(); }, {3, 1, Isa::scalar});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_TRUE(Step().run(**plan).ok());
  EXPECT_NEAR((*plan)->output(0)[0], 2 * std::log(7.0), 1e-5);  // equal rows: every token is as likely
  const auto refused = [&](auto change) {
    Step step;
    change(step);
    return step.run(**plan).message();
  };
  EXPECT_EQ(refused([](Step& s) { s.tokens[1] = 7; }), "input 'tokens': 7 in row 1 is not in 0 to 6");
  EXPECT_EQ(refused([](Step& s) { s.tokens[1] = -1; }), "input 'tokens': -1 in row 1 is not in 0 to 6");
  EXPECT_EQ(refused([](Step& s) { s.targets[2] = 7; }), "input 'targets': 7 in row 2 is not in -1 to 6");
  EXPECT_EQ(refused([](Step& s) { s.documents[2] = 1; }),
            "input 'documents': row 2 cannot be of a document that begins at row 1");
  EXPECT_EQ(refused([](Step& s) { s.documents[0] = -5; }),
            "input 'documents': row 0 cannot be of a document that begins at row -5");
  EXPECT_EQ(refused([](Step& s) { s.factors.pop_back(); }), "input 'loss_weights' has 2 numbers, the step has 3 rows");
  EXPECT_EQ(refused([](Step& s) {
              s.tokens.push_back(1), s.documents.push_back(3), s.targets.push_back(1), s.factors.push_back(1);
            }),
            "a step of 4 rows; the plan runs 1 to 3");
  Team team(1);
  EXPECT_EQ((*plan)->run(team, {{}, {}}).message(), "no input 'tokens' was given");
}

/// The loss in chunks: more rows than it holds logits of, some without a target.
class LossOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Products, LossOf, testing::Values("f32", "bf16"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(LossOf, ManyChunksIsWhatTheInterpreterSays) {
  const std::string body =
      "  %0:f32[T,6] = weight {name=\"x\"}\n  %1:f32[9000,6] = weight {name=\"head\"}\n"
      "  %2:f32[9000] = weight {name=\"bias\"}\n  %3:i32[T] = input {name=\"targets\"}\n"
      "  %4:f32[T,1] = input {name=\"loss_weights\"}\n"
      "  %5:f32[1], %6:f32[T,1] = cross_entropy(%0, %1, %3, %4, %2) {soft_cap=4.0}\n  return %5\n";
  EXPECT_EQ(loss_rows(300000), 16u);
  EXPECT_EQ(loss_rows(9000), 256u);
  auto joint = differentiate(parse(body), std::vector<std::string>{"x", "head", "bias"});
  ASSERT_TRUE(joint.ok()) << joint.status().message();
  round_products(&*joint, *find_product_recipe(GetParam()), {});
  constexpr int64_t kRowsOfStep = 270;
  RandomStream random(14, Purpose::test);
  std::map<std::string, std::vector<float>, std::less<>> weights;
  FileWeights files;
  for (const auto& [name, count] :
       {std::pair{"x", kRowsOfStep * 6}, {"head", int64_t(54000)}, {"bias", int64_t(9000)}}) {
    for (int64_t i = 0; i < count; ++i) weights[name].push_back(random.normal());
    files[name].resize(size_t(count) * 4);
    std::memcpy(files[name].data(), weights[name].data(), files[name].size());
  }
  InterpretInputs in;
  for (int64_t r = 0; r < kRowsOfStep; ++r) {
    in.integers["targets"].push_back(r % 90 == 3 ? -1 : int32_t(random.below(9000)));
    in.floats["loss_weights"].push_back(float(1 + random.below(3)) / 512);
  }
  auto want = interpret(*joint, in, files, {kRowsOfStep, 0});
  ASSERT_TRUE(want.ok()) << want.status().message();
  std::vector<std::vector<float>> first;
  // A slope in the middle of two numbers of bf16 may be rounded to the other one.
  const double close = std::string_view(GetParam()) == "bf16" ? 0x1p-9 : 2e-5;
  for (const auto& [isa, threads] : {std::pair{detected_isa(), 1u}, {detected_isa(), 3u}, {Isa::scalar, 2u}}) {
    auto plan = TrainPlan::compile(*joint, [&](std::string_view name) { return weights.find(name)->second.data(); },
                                   {uint32_t(kRowsOfStep), threads, isa});
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {{"targets", in.integers["targets"]}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", in.floats["loss_weights"]}};
    Team team(threads);
    const Status status = (*plan)->run(team, {integers, floats});
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t o = 0; o < want->size(); ++o) {
      const std::span<const float> got = (*plan)->output(o);
      ASSERT_EQ(got.size(), (*want)[o].f.size());
      double size = 0;
      for (float x : (*want)[o].f) size = std::max(size, std::fabs(double(x)));
      for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], (*want)[o].f[i], close * size) << o << " " << i;
      if (first.size() <= o) first.emplace_back(got.begin(), got.end());
      EXPECT_EQ(0, std::memcmp(first[o].data(), got.data(), got.size() * 4));
    }
  }
}

/// Gradients that are computed with the loss, and those that cannot be because theirs is no constant.
TEST(TrainPlan, TheLossAndItsGradientsAtOnceOrOneByOne) {
  std::string body =
      "  %0:f32[T,6] = weight {name=\"x\"}\n  %1:f32[3000,6] = weight {name=\"head\"}\n"
      "  %2:i32[T] = input {name=\"targets\"}\n  %3:f32[T,1] = input {name=\"loss_weights\"}\n"
      "  %4:f32[1] = weight {name=\"one\"}\n  %5:f32[3000] = weight {name=\"bias\"}\n"
      "  %6:f32[1], %7:f32[T,1] = cross_entropy(%0, %1, %2, %3, %5) {soft_cap=4.0}\n"
      "  %8:f32[1] = add(%4, %4)\n  %9:f32[1] = weight {name=\"two\"}\n";
  const std::string with = " = cross_entropy_dx(%0, %1, %2, %3, %7, %9, %5) {soft_cap=4.0}\n",
                    alone = " = cross_entropy_dx(%0, %1, %2, %3, %7, %8, %5) {soft_cap=4.0}\n";
  const auto dw = [](std::string call) { return call.replace(call.find("_dx"), 3, "_dw"); };
  body += "  %10:f32[T,6]" + with + "  %11:f32[3000,6], %12:f32[3000]" + dw(with) + "  %13:f32[T,6]" + alone +
          "  %14:f32[3000,6], %15:f32[3000]" + dw(alone) + "  return %6, %10, %11, %12, %13, %14, %15\n";
  constexpr uint32_t kRowsOfStep = 530;
  RandomStream random(15, Purpose::test);
  std::map<std::string, std::vector<float>, std::less<>> weights = {{"one", {1}}, {"two", {2}}};
  for (const auto& [name, count] : {std::pair{"x", kRowsOfStep * 6}, {"head", 18000u}, {"bias", 3000u}})
    for (uint32_t i = 0; i < count; ++i) weights[name].push_back(random.normal());
  std::vector<int32_t> targets;
  for (uint32_t r = 0; r < kRowsOfStep; ++r) targets.push_back(r % 90 == 3 ? -1 : int32_t(random.below(3000)));
  std::vector<float> factors(kRowsOfStep, 1.0f / 512);
  auto plan = TrainPlan::compile(parse(body), [&](std::string_view name) { return weights.find(name)->second.data(); },
                                 {kRowsOfStep, 2, detected_isa()});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const auto step = [&](auto run) {
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {{"targets", targets}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
    Team team(2);
    const Status status = run(team, TrainInputs{integers, floats});
    ASSERT_TRUE(status.ok()) << status.message();
  };
  const auto same = [&] {
    for (size_t o = 1; o <= 3; ++o) {
      const std::span<const float> a = (*plan)->output(o), b = (*plan)->output(o + 3);
      EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * 4)) << o;
    }
  };
  step([&](Team& team, const TrainInputs& in) { return (*plan)->run(team, in); });
  same();
  const float loss = (*plan)->output(0)[0];
  const std::vector<float> dx((*plan)->output(1).begin(), (*plan)->output(1).end());
  factors.assign(kRowsOfStep, 1.0f / 256);
  step([&](Team& team, const TrainInputs& in) { return (*plan)->run_loss(team, in); });
  EXPECT_EQ((*plan)->output(0)[0], 2 * loss);
  EXPECT_EQ(0, std::memcmp(dx.data(), (*plan)->output(1).data(), dx.size() * 4));  // nothing was computed there
  targets.assign(kRowsOfStep, -1);
  step([&](Team& team, const TrainInputs& in) { return (*plan)->run(team, in); });
  same();
  EXPECT_EQ((*plan)->output(0)[0], 0);
  for (size_t o = 1; o <= 3; ++o)
    for (float value : (*plan)->output(o)) ASSERT_EQ(value, 0);
}

/// Beyond f16's range: what is said is the rounding, not what reads it.
TEST(TrainPlan, NamesTheCastThatOverflows) {
  float table[8] = {1, 2, 70000, 3, 1, 1, 1, 1}, w[4] = {1, 0, 0, 1};
  auto plan =
      TrainPlan::compile(parse("  %0:i32[T] = input {name=\"tokens\"}\n  %1:f32[4,2] = weight {name=\"table\"}\n"
                               "  %2:f32[T,2] = embed(%0, %1)\n  %3:f16[T,2] = cast(%2) {to=\"f16\"}\n"
                               "  %4:f32[2,2] = weight {name=\"w\"}\n  %5:f32[T,2] = linear(%3, %4)\n"
                               "  return %5\n"),
                         [&](std::string_view name) { return name == "w" ? w : table; }, {2, 2, Isa::scalar});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  Team team(2);
  for (const int32_t token : {0, 1}) {
    const std::vector<int32_t> tokens = {3, token};
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {{"tokens", tokens}};
    const auto found = (*plan)->first_not_finite(team, {integers, {}});
    ASSERT_TRUE(found.ok()) << found.status().message();
    if (token == 0)
      EXPECT_FALSE(*found) << **found;
    else
      EXPECT_EQ(*found, "behind table, cast to f16 of the forward pass: row 1, column 0 is inf");
  }
}

/// Products of experts, of their gradients, and what a row's choices give together, against loops over rows and
/// choices.
TEST(TrainPlan, ExpertsAreChainsOverTheirRows) {
  constexpr uint32_t kDim = 7, kFf = 6, kUsed = 2, kRowsOfStep = 60;
  const std::string body =
      "  %0:i32[T] = input {name=\"ids\"}\n  %1:f32[60,7] = weight {name=\"x\"}\n  %2:f32[60,7] = weight {name=\"g\"}\n"
      "  %3:f32[T,7] = embed(%0, %1)\n  %4:f32[T,7] = embed(%0, %2)\n  %5:f32[5,7] = weight {name=\"router\"}\n"
      "  %6:f32[5,6,7] = weight {name=\"gate\"}\n  %7:f32[5,6,7] = weight {name=\"up\"}\n"
      "  %8:f32[5,7,6] = weight {name=\"down\"}\n  %9:f32[T,4] = moe_route(%3, %5) {k=2}\n"
      "  %10:f32[T,12] = moe_gated(%3, %9, %6, %7) {k=2, gate=\"silu\"}\n  %11:f32[T,7] = moe_down(%10, %9, %8) {k=2}\n"
      "  %12:f32[T,12], %13:f32[T,4] = moe_down_dx(%10, %9, %8, %4) {k=2}\n"
      "  %14:f32[5,7,6] = moe_down_dw(%10, %9, %8, %4) {k=2}\n"
      "  %15:f32[T,7] = moe_gated_dx(%3, %9, %6, %7, %12) {k=2, gate=\"silu\"}\n"
      "  %16:f32[5,6,7], %17:f32[5,6,7] = moe_gated_dw(%3, %9, %6, %7, %12) {k=2, gate=\"silu\"}\n"
      "  return %9, %10, %11, %12, %14, %15, %16, %17\n";
  RandomStream random(17, Purpose::test);
  std::map<std::string, std::vector<float>, std::less<>> weights;
  const std::pair<const char*, uint32_t> sizes[] = {{"x", 420},    {"g", 420},  {"router", 35},
                                                    {"gate", 210}, {"up", 210}, {"down", 210}};
  for (const auto& [name, count] : sizes)
    for (uint32_t i = 0; i < count; ++i) weights[name].push_back(random.normal());
  for (uint32_t i = 0; i < kDim; ++i)
    weights["router"][3 * kDim + i] = -9 * weights["router"][2 * kDim + i];  // few rows
  std::vector<int32_t> ids(kRowsOfStep);
  for (uint32_t r = 0; r < kRowsOfStep; ++r) ids[r] = int32_t(r);
  for (const uint32_t threads : {1u, 3u}) {
    auto plan =
        TrainPlan::compile(parse(body), [&](std::string_view name) { return weights.find(name)->second.data(); },
                           {kRowsOfStep, threads, detected_isa()});
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {{"ids", ids}};
    Team team(threads);
    ASSERT_TRUE((*plan)->run(team, {integers, {}}).ok());
    const auto out = [&](size_t o) { return (*plan)->output(o).data(); };
    const float *route = out(0), *h = out(1), *dh = out(3);
    std::vector<float> want_h(kRowsOfStep * kUsed * kFf), want_y(kRowsOfStep * kDim), want_dh(want_h.size()),
        want_dx(want_y.size()), down_dw(210), gate_dw(210), up_dw(210);
    const auto chain = [](const float* a, const float* b, uint32_t n, uint32_t step, float sum = 0) {
      for (uint32_t i = 0; i < n; ++i) sum = std::fma(a[i], b[i * step], sum);
      return sum;
    };
    for (uint32_t r = 0; r < kRowsOfStep; ++r) {
      const float *x = &weights["x"][r * kDim], *g = &weights["g"][r * kDim];
      uint32_t order[kUsed] = {0, 1};
      if (route[r * 4] > route[r * 4 + 1]) std::swap(order[0], order[1]);
      for (const uint32_t j : order) {
        const auto e = uint32_t(route[r * 4 + j]);
        const float by = route[r * 4 + kUsed + j];
        const float *gate = &weights["gate"][e * 42], *up = &weights["up"][e * 42], *down = &weights["down"][e * 42];
        const uint32_t pair = (r * kUsed + j) * kFf;
        float a[kFf], b[kFf], act[kFf], da[kFf], db[kFf];
        for (uint32_t f = 0; f < kFf; ++f)
          a[f] = chain(x, gate + f * kDim, kDim, 1), b[f] = chain(x, up + f * kDim, kDim, 1);
        pointwise_scalar.gated(Gate::silu, a, b, kFf, &want_h[pair]);
        for (uint32_t i = 0; i < kDim; ++i) want_y[r * kDim + i] += by * chain(h + pair, down + i * kFf, kFf, 1);
        for (uint32_t f = 0; f < kFf; ++f) want_dh[pair + f] = chain(g, down + f, kDim, kFf) * by;
        for (uint32_t i = 0; i < kDim; ++i)
          for (uint32_t f = 0; f < kFf; ++f) {
            float& d = down_dw[e * 42 + i * kFf + f];
            d = std::fma(by * g[i], h[pair + f], d);
          }
        pointwise_scalar.activate(Gate::silu, a, kFf, act);
        gradient_kernels_scalar.mul(dh + pair, b, kFf, b);
        gradient_kernels_scalar.activation_dx(Gate::silu, a, b, kFf, da);
        gradient_kernels_scalar.mul(dh + pair, act, kFf, db);
        for (uint32_t i = 0; i < kDim; ++i) {
          const float both = chain(db, up + i, kFf, kDim, chain(da, gate + i, kFf, kDim));
          want_dx[r * kDim + i] = j == order[0] ? both : want_dx[r * kDim + i] + both;
          for (uint32_t f = 0; f < kFf; ++f) {
            float &dg = gate_dw[e * 42 + f * kDim + i], &du = up_dw[e * 42 + f * kDim + i];
            dg = std::fma(da[f], x[i], dg), du = std::fma(db[f], x[i], du);
          }
        }
      }
    }
    const std::vector<float>* wants[] = {&want_h, &want_y, &want_dh, &down_dw, &want_dx, &gate_dw, &up_dw};
    for (size_t o = 0; o < std::size(wants); ++o)
      EXPECT_EQ(0, std::memcmp(out(o + 1), wants[o]->data(), wants[o]->size() * 4)) << o + 1 << ", " << threads;
  }
}

/// One document under one head is cut for threads that would wait.
TEST(TrainPlan, ThreadsCutALongDocument) {
  auto joint = differentiate(parse(kLoss), std::vector<std::string>{"table"});
  ASSERT_TRUE(joint.ok()) << joint.status().message();
  RandomStream random(16, Purpose::test);
  std::vector<float> table(56);
  for (float& x : table) x = random.normal();
  Step step{{}, {}, {}, {}};
  for (int32_t r = 0; r < 400; ++r) {
    step.tokens.push_back(int32_t(random.below(7))), step.targets.push_back(int32_t(random.below(7)));
    step.documents.push_back(r < 390 ? 0 : 390), step.factors.push_back(1.0f / 400);
  }
  std::vector<float> first;
  for (uint32_t threads : {1u, 2u, 5u}) {
    auto plan =
        TrainPlan::compile(*joint, [&](std::string_view) { return table.data(); }, {400, threads, detected_isa()});
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const Status status = step.run(**plan, threads);
    ASSERT_TRUE(status.ok()) << status.message();
    std::vector<float> got((*plan)->output(1).begin(), (*plan)->output(1).end());
    got.push_back((*plan)->output(0)[0]);
    if (first.empty()) first = got;
    EXPECT_EQ(0, std::memcmp(first.data(), got.data(), got.size() * 4)) << threads;
  }
}

}  // namespace
}  // namespace vibee
