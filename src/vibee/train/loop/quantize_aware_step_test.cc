// SPDX-License-Identifier: Apache-2.0
// Steps whose weights are learnt for a format: plans beside the interpreter, over threads, ranks, parts and resumes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/graph/exec/interpret.h"
#include "vibee/graph/exec/sample.h"
#include "vibee/graph/pass/quantize_aware.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_training.h"
#include "vibee/train/loop/run_state.h"

namespace vibee {
namespace {

class LearntFor : public testing::TestWithParam<Format> {};
std::string name_of(const testing::TestParamInfo<Format>& f) { return std::string(info(f.param).name); }
INSTANTIATE_TEST_SUITE_P(Formats, LearntFor,
                         testing::Values(Format::q4_0, Format::q5_1, Format::q8_0, Format::mxfp4, Format::i4z32,
                                         Format::qoq32, Format::atom32, Format::e2m3s32, Format::lut3, Format::f16),
                         name_of);

TrialTraining trial(Format format) {
  TrialTraining t;
  t.options.precision.stored = {format};
  t.steps = 6;
  return t;
}

/// A linear and its gradients by a plan beside the interpreter, whose sums are exact; weights lie in f32 or bf16.
TEST_P(LearntFor, PlansComputeWhatTheInterpreterSays) {
  constexpr int64_t kOut = 70, kIn = 96, kTokens = 45;
  for (const Format lies : {Format::f32, Format::bf16}) {
    Graph g;
    const auto weight = [&](const char* name, Format f, int64_t n, int64_t k) {
      return g.source(Op::weight, {{Elem::stored, f}, {Dim{n}, Dim{k}}}, {{"name", std::string(name)}});
    };
    const ValueId ids = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("ids")}});
    const ValueId x = g.add(Op::embed, {ids, weight("x", Format::f32, kTokens, kIn)});
    const ValueId dy = g.add(Op::embed, {ids, weight("dy", Format::f32, kTokens, kOut)});
    const ValueId w = weight("w", lies, kOut, kIn), other = weight("other", lies, kOut, kIn);
    g.outputs = {g.add(Op::linear, {x, w}), g.add(Op::linear_dx, {dy, w}), g.add(Op::linear_dw, {dy, x}),
                 g.add(Op::linear, {x, other}), g.add(Op::linear_dx, {dy, other})};
    ASSERT_TRUE(g.status().ok());
    const Format format = GetParam();
    quantize_aware(&g, {&format, 1}, {"other"});
    const auto again = parse_graph(print(g));
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(print(*again), print(g));
    const auto made = SampleWeights::make(g, Isa::scalar, 3);
    ASSERT_TRUE(made.ok()) << made.status().message();
    FileWeights files = made->files();
    std::vector<int32_t> all(kTokens);
    for (int32_t i = 0; i < int32_t(kTokens); ++i) all[size_t(i)] = i;
    InterpretInputs inputs;
    inputs.integers["ids"] = all;
    const auto want = interpret(g, inputs, files, {kTokens, 1});
    ASSERT_TRUE(want.ok()) << want.status().message();
    std::vector<std::vector<float>> first;
    for (const Isa isa : {Isa::scalar, detected_isa()})
      for (const uint32_t threads : {1u, 3u}) {
        auto plan = TrainPlan::compile(g, [&](std::string_view name) { return files.find(name)->second.data(); },
                                       {uint32_t(kTokens) + 5, threads, isa});
        ASSERT_TRUE(plan.ok()) << plan.status().message();
        Team team(threads);
        const std::pair<std::string_view, std::span<const int32_t>> given[] = {{"ids", all}};
        ASSERT_TRUE((*plan)->run(team, {given, {}}).ok());
        for (size_t o = 0; o < g.outputs.size(); ++o) {
          const std::vector<float> got((*plan)->output(o).begin(), (*plan)->output(o).end());
          if (first.size() <= o) first.push_back(got);
          EXPECT_EQ(0, std::memcmp(got.data(), first[o].data(), 4 * got.size())) << o << " " << name(isa) << threads;
          double off = 0, size = 0;
          for (size_t i = 0; i < got.size(); ++i)
            off += std::pow(double(got[i]) - double((*want)[o].f[i]), 2), size += std::pow(double(got[i]), 2);
          EXPECT_LE(std::sqrt(off / size), 0x1p-20) << o;  // roundings of sums of 96 in f32
        }
      }
  }
}

TEST_P(LearntFor, BytesDoNotDependOnThreadsRanksOrInstructionSet) {
  TrialTraining t = trial(GetParam());
  const auto runs = t.elsewhere();
  ASSERT_TRUE(runs.ok()) << runs.status().message();
  for (const auto& [what, same] : runs->same) EXPECT_TRUE(same) << what;
  t.options.shares = 2;
  t.options.precision.products_skip = {"blk.0."};
  EXPECT_NE(t.run(0)->state, runs->state);
}

/// What is learnt for a format loses less by it than what is rounded afterwards.
TEST(QuantizeAware, LosesLessByTheFormatThatItIsLearntFor) {
  TrialTraining t;
  ASSERT_TRUE(t.tell_stories(1 << 16).ok());
  t.model.dim = 256, t.model.layers = 1;
  t.steps = 60, t.held_out = 16;
  t.options.optimiser.rate = 3e-3;
  const auto floats = t.run(0);
  ASSERT_TRUE(floats.ok()) << floats.status().message();
  t.options.precision.stored = {Format::tq2_0};  // three values
  const auto aware = t.run(0);
  ASSERT_TRUE(aware.ok()) << aware.status().message();
  t.start = floats->state, t.done = t.steps, t.steps = 0;
  const auto rounded = t.run(0);
  ASSERT_TRUE(rounded.ok()) << rounded.status().message();
  EXPECT_GT(rounded->held_out, floats->held_out);
  EXPECT_LT(aware->held_out - floats->held_out, 0.7 * (rounded->held_out - floats->held_out));
}

TEST(QuantizeAware, GoesOnFromACheckpointWithTheSameBytes) {
  const TempFolder folder;
  TrialTraining t = trial(Format::q4_0);
  t.options.max_rows = t.rows * t.length;
  const auto file = new_checkpoint(t.model, {});
  ASSERT_TRUE(file.ok());
  const auto config = read_config(*file);
  const auto begin = [&] { return std::move(*TrainStep::create(*file, *config, t.options)); };
  const auto bytes = [](TrainStep& step) {
    std::vector<uint8_t> all;
    for (const StatePart& part : step.state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
    return all;
  };
  TrialTraining::Run ignored;
  auto whole = begin();
  ASSERT_TRUE(t.learn(*whole, &ignored).ok());
  const std::string path = folder.path() + "/a.run";
  ASSERT_TRUE(save_run(path, *whole, {whole->steps(), 1, ""}).ok());
  auto other = begin();
  const std::vector<int32_t> tokens = {1, 2, 3}, documents(3, 0);
  const std::vector<float> weights(3, 0.3f);
  ASSERT_TRUE(other->evaluate({tokens, tokens, documents, weights}).ok());  // weights are stored once already
  const auto state = load_run(path, other.get());
  ASSERT_TRUE(state.ok()) << state.status().message();
  ASSERT_TRUE(t.learn(*whole, &ignored).ok());
  ASSERT_TRUE(t.learn(*other, &ignored).ok());
  EXPECT_EQ(bytes(*other), bytes(*whole));
}

TEST(QuantizeAware, RefusesWhatHasNoProduct) {
  const auto refusal = [](const std::string& format, Op op) {
    Graph g;
    const auto weight = [&](const char* name, int64_t n, int64_t k) {
      return g.source(Op::weight, {kF32, {Dim{n}, Dim{k}}}, {{"name", std::string(name)}});
    };
    const ValueId ids = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("ids")}});
    const ValueId x = g.add(Op::embed, {ids, weight("x", 9, 48)}), w = weight("w", 48, 48);
    g.outputs = {op == Op::linear ? g.add(op, {x, w}) : g.add(op, {x, x})};
    g.nodes.back().attrs.emplace_back("format", format);
    auto plan = TrainPlan::compile(g, [](std::string_view) -> void* { return nullptr; }, {9, 1, Isa::scalar});
    return plan.ok() ? std::string("none") : plan.status().message();
  };
  EXPECT_NE(refusal("q4_0", Op::linear).find("rows of 48 are no blocks of 32"), std::string::npos);
  EXPECT_NE(refusal("q9", Op::linear).find("q9"), std::string::npos);
  EXPECT_NE(refusal("f16", Op::linear_dw).find("no product by a weight"), std::string::npos);
}

}  // namespace
}  // namespace vibee
