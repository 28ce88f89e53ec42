// SPDX-License-Identifier: Apache-2.0
// Plans of a device, run by the host's driver under the shim, against the interpreter, against the CPU's plans, and
// against themselves by memcmp.
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/graph/ir/sample_decoder.h"
#include "vibee/kit/trial_device_plan.h"

namespace vibee {
namespace {

class DevicePlanOf : public testing::TestWithParam<Format> {};

TEST_P(DevicePlanOf, ARandomDecoderGivesTheInterpretersLogits) {
  RandomStream random(71, Purpose::test, uint32_t(GetParam()));
  const double rounding = GetParam() == Format::bf16 ? 0x1p-8 : GetParam() == Format::f16 ? 0x1p-10 : 0;
  for (uint32_t rows : {1u, 5u, 18u}) {
    if (kFewer && rows != 5) continue;
    const SampleDecoder decoder = random_decoder(random, GetParam());
    const Graph graph = sample_decoder(decoder);
    auto lowered = lowered_for_device(graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status().message();
    const Work work(rows, decoder.vocab, random);
    auto weights = SampleWeights::make(graph, Isa::scalar, rows);
    ASSERT_TRUE(weights.ok()) << weights.status().message();
    const std::vector<float> want = run_interpreter(graph, *weights, work);
    const double allowed = tolerance(graph, *weights, work, want, 0, rounding);
    EXPECT_LT(allowed, size_of(want) * (GetParam() == Format::f32 ? 2e-3 : 0.15));
    for (const bool passes : {false, true}) {
      TrialRuntime rig(rows);
      auto got = run_device(rig, passes ? *lowered : graph, *weights, {work}, small_options());
      ASSERT_TRUE(got.ok()) << got.status().message();
      EXPECT_LE(distance(*got, want), allowed) << print(graph);
      expect_clean(rig);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DevicePlanOf,
                         testing::Values(Format::f32, Format::bf16, Format::f16, Format::q8_0, Format::q4_0,
                                         Format::q4_1, Format::e4m3s32, Format::mxfp6),
                         [](const auto& row) { return std::string(vibee::info(row.param).name); });

/// A decoder with everything that one may have, and work for two sequences.
struct Sample {
  explicit Sample(Format format, uint32_t rows = 20)
      : random(72, Purpose::test, uint32_t(format)), work(0, 96, random) {
    SampleDecoder d;
    d.layers = 2;
    d.window = 9;
    d.qk_norm = d.post_norms = d.gelu = true;
    d.embed_scale = 8;
    d.attention_cap = 20;
    d.logit_cap = 30;
    d.format = d.value_format = format;
    plain = sample_decoder(d);
    auto lowered = lowered_for_device(plain);
    VIBEE_CHECK(lowered.ok());
    graph = std::move(*lowered);
    work = Work(rows, d.vocab, random);
    weights = std::move(*SampleWeights::make(plain, Isa::scalar, 5));
  }
  RandomStream random;
  Graph plain, graph;
  Work work;
  SampleWeights weights;
};

std::vector<float> run_sample(const Sample& s, const DevicePlanOptions& o, uint32_t repeats = 1, Seen* seen = nullptr,
                              const std::vector<Work>* works = nullptr, bool profile = false) {
  TrialRuntime rig(3);
  auto got = run_device(rig, s.graph, s.weights, works ? *works : std::vector<Work>{s.work}, o, repeats, seen, profile);
  EXPECT_TRUE(got.ok()) << got.status().message();
  expect_clean(rig);
  return got.ok() ? *got : std::vector<float>{};
}
void expect_same_bytes(const std::vector<float>& a, const std::vector<float>& b, std::string_view what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  ASSERT_FALSE(a.empty()) << what;
  EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * 4)) << what;
}

TEST(DevicePlan, GroupsOfAttentionChangeNoByte) {
  const Sample s(Format::f32);
  DevicePlanOptions few = small_options();
  few.part_bytes = 1;
  expect_same_bytes(run_sample(s, small_options()), run_sample(s, few), "a row's parts at a time");
}

TEST(DevicePlan, ARowsBytesDoNotDependOnTheRowsBesideIt) {
  for (const Format format : {Format::f32, Format::bf16, Format::q8_0}) {
    if (kFewer && format != Format::q8_0) continue;
    const Sample s(format);
    const std::vector<float> together = run_sample(s, small_options());
    std::vector<float> apart[2];
    for (size_t i = 0; i < 2; ++i) {
      Work alone = s.work;
      alone.tokens = {s.work.tokens[i]};
      const std::vector<Work> works = {alone};
      apart[i] = run_sample(s, small_options(), 1, nullptr, &works);
    }
    // Of each: two rows of step 1, one of step 2.
    const size_t width = 96;
    ASSERT_EQ(together.size(), 6 * width);
    std::vector<float> both;
    for (size_t i = 0; i < 2; ++i) both.insert(both.end(), apart[i].begin(), apart[i].begin() + 2 * width);
    for (size_t i = 0; i < 2; ++i) both.insert(both.end(), apart[i].begin() + 2 * width, apart[i].end());
    expect_same_bytes(together, both, info(format).name);
  }
}

/// On a device with them: more processors than tiles, so that parts of the depth are blocks of their own, and fewer.
TEST(DevicePlan, ProductsByWarpgroups) {
  for (const Format format : {Format::bf16, Format::f16}) {
    if (kFewer && format == Format::f16) continue;
    const Sample s(format);
    const std::vector<float> want = run_interpreter(s.plain, s.weights, s.work);
    const double allowed = tolerance(s.plain, s.weights, s.work, want, 0, format == Format::bf16 ? 0x1p-8 : 0x1p-10);
    for (const uint32_t processors : {1u, 8u}) {
      DevicePlanOptions o = small_options();
      o.warpgroups = WgmmaDevice{.processors = processors};
      const std::vector<float> together = run_sample(s, o, 2);
      EXPECT_LE(distance(together, want), allowed);
      Work alone = s.work;
      alone.tokens = {s.work.tokens[0]};
      const std::vector<Work> works = {alone};
      const std::vector<float> apart = run_sample(s, o, 1, nullptr, &works);
      ASSERT_GE(apart.size(), 2u * 96);
      EXPECT_EQ(0, std::memcmp(together.data(), apart.data(), 2 * 96 * sizeof(float))) << processors;
    }
  }
}

TEST(DevicePlan, StepsOfOneShapeAreRecordedAndGiveTheSameBytes) {
  const Sample s(Format::f32);
  DevicePlanOptions plain = small_options();
  plain.record = false;
  Seen recorded, not_recorded;
  // The second work has the first one's shape and other tokens: a recorded step reads what is copied in before it.
  Work other = s.work;
  for (auto& tokens : other.tokens) std::reverse(tokens.begin(), tokens.end());
  const std::vector<Work> works = {s.work, other, s.work};
  const auto want = run_sample(s, plain, 1, &not_recorded, &works);
  expect_same_bytes(run_sample(s, small_options(), 3, &recorded, &works), want, "recorded");
  EXPECT_EQ(not_recorded.recorded, 0u);
  EXPECT_EQ(recorded.recorded, 2u * 3 * 2);  // of three equal steps the first is not
}

/// With pages of 16 bits queries and weights of attention are rounded to halves, too.
TEST(DevicePlan, PagesOf16BitsByBothKernels) {
  const Sample s(Format::f32);
  const std::vector<float> want = run_interpreter(s.plain, s.weights, s.work);
  const double allowed = tolerance(s.plain, s.weights, s.work, want, 0, 0x1p-10);
  EXPECT_LT(allowed, 0.15 * size_of(want));
  DevicePlanOptions o = small_options();
  o.kv = KvFormat::f16;
  const auto matrix = run_sample(s, o);
  o.matrix_attention = false;
  const auto fma = run_sample(s, o);
  EXPECT_LE(distance(matrix, want), allowed);
  EXPECT_LE(distance(fma, want), allowed);
  EXPECT_GT(distance(matrix, fma), 0);
}

TEST(DevicePlan, SaysWhatTimeCallsTook) {
  const Sample s(Format::f32);
  Seen seen;
  expect_same_bytes(run_sample(s, small_options(), 2, &seen, nullptr, true), run_sample(s, small_options()), "timed");
  EXPECT_EQ(seen.recorded, 0u);
  ASSERT_FALSE(seen.times.empty());
  for (const DevicePlan::CallTime& time : seen.times) EXPECT_EQ(time.calls, 4u);
}

/// Whatever fails, a Status says so and nothing is left behind.
TEST(DevicePlan, EveryCallOfTheDriverMayFail) {
  if (TrialRuntime::real()) GTEST_SKIP() << "a real device fails when it likes";
  SampleDecoder d;
  d.layers = 1, d.dim = 32, d.heads = d.kv_heads = 1, d.ff = 32, d.vocab = 32;
  auto graph = lowered_for_device(sample_decoder(d));
  ASSERT_TRUE(graph.ok());
  RandomStream random(73, Purpose::test);
  const Work work(2, d.vocab, random);
  auto weights = SampleWeights::make(*graph, Isa::scalar, 1);
  ASSERT_TRUE(weights.ok());
  constexpr uint64_t kOneByOne = kFewer ? 12 : 40;  // then some
  uint64_t failures = 0;
  for (uint64_t n = 1;; n += n < kOneByOne ? 1 : 17) {
    TrialRuntime rig(n);
    rig.trial.host.fail(n, CudaResult::out_of_memory);
    const auto got = run_device(rig, *graph, *weights, {work}, small_options(), 2);
    expect_clean(rig);
    if (rig.trial.host.failed().empty()) {
      EXPECT_TRUE(got.ok()) << got.status().message();
      break;
    }
    ++failures;
    // What gives back and fails is told to nobody here.
    if (got.ok()) continue;
    EXPECT_NE(got.status().message().find("CUDA_ERROR_OUT_OF_MEMORY"), std::string::npos) << got.status().message();
  }
  EXPECT_GT(failures, kOneByOne);
}

TEST(DevicePlan, RefusesWhatItCannotRun) {
  const Sample s(Format::f32);
  DevicePlanOptions o = small_options();
  o.kv = KvFormat::int4;
  EXPECT_NE(DevicePlan::bytes(s.graph, o).status().message().find("--kv int4"), std::string::npos);
  o.kv = KvFormat::q8_0;
  EXPECT_NE(DevicePlan::bytes(s.graph, o).status().message().find("a multiple of 32, not 16"), std::string::npos);
  Graph g;
  const ValueId tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId table = g.source(Op::weight, {kF32, {Dim{48}, Dim{32}}}, {{"name", std::string("table")}});
  const ValueId x = g.add(Op::embed, {tokens, table});
  g.outputs = {g.add(Op::neg, {x})};
  ASSERT_TRUE(g.status().ok()) << g.status().message();
  EXPECT_EQ(DevicePlan::bytes(g, small_options()).status().message(), "node 3 (neg) is not built for devices");

  TrialRuntime rig;
  const auto runtime = made(rig.open());
  const auto small = made(DevicePool::create(runtime->device, 4096));
  TrialWeights weights;
  EXPECT_NE(DevicePlan::compile(s.graph, {}, small_options(), runtime, *small).status().message().find("4096"),
            std::string::npos);
  SampleDecoder d;
  d.format = Format::q8_0, d.head_dim = 32;
  EXPECT_NE(
      DevicePlan::bytes(*run_passes(sample_decoder(d)), small_options()).status().message().find("quantize_outputs"),
      std::string::npos);
  d.format = Format::lut4;
  EXPECT_NE(DevicePlan::bytes(sample_decoder(d), small_options()).status().message().find(info(d.format).name),
            std::string::npos);
  auto none = DeviceRuntime::open(rig.trial.driver, 0, {});
  EXPECT_NE(none.status().message().find("no CUDA kernels"), std::string::npos) << none.status().message();
  auto absent = DeviceRuntime::open(rig.trial.driver, 7, {});
  EXPECT_NE(absent.status().message().find("cuda device 7"), std::string::npos) << absent.status().message();
}

}  // namespace
}  // namespace vibee
