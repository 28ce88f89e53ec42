// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts and adapters in plans on a device, run by the host's driver under the shim: the interpreter's
// rows, and against themselves by memcmp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/kit/trial_device_plan.h"

namespace vibee {
namespace {

constexpr int64_t kVocab = 48, kWidth = 64, kHidden = 32, kRank = 4;

struct Mixture {
  int64_t experts = 5, chosen = 3, normalise = 1;
  Format format = Format::f32;  ///< of the experts
  Format router = Format::f32;
};

/// An embedding, attention, a mixture or what the tests put there, and a head.
struct Builder {
  Graph g;
  ValueId weight(const std::string& name, Format f, std::vector<Dim> dims) {
    return g.source(Op::weight, {{Elem::stored, f}, std::move(dims)}, {{"name", name}});
  }
  ValueId linear(ValueId x, const std::string& name, int64_t n, int64_t k, Format f = Format::f32) {
    return g.add(Op::linear, {x, weight(name, f, {Dim{n}, Dim{k}})});
  }
  ValueId begin() {
    tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
    state = g.source(Op::state, {kState, {}}, {});
    return g.add(Op::embed, {tokens, weight("table", Format::f32, {Dim{kVocab}, Dim{kWidth}})});
  }
  ValueId attention(ValueId x) {
    state =
        g.add(Op::kv_append, {state, linear(x, "k", 16, kWidth), linear(x, "v", 16, kWidth)}, {{"layer", int64_t(0)}});
    const ValueId a = g.add(Op::attention, {linear(x, "q", 32, kWidth), state},
                            {{"layer", int64_t(0)},
                             {"heads", int64_t(2)},
                             {"kv_heads", int64_t(1)},
                             {"head_dim", int64_t(16)},
                             {"scale", 0.25}});
    return g.add(Op::add, {x, linear(a, "o", kWidth, 32)});
  }
  Graph end(ValueId x) {
    g.outputs = {linear(g.add(Op::take_rows, {x}), "head", kVocab, kWidth), state};
    VIBEE_CHECK(g.status().ok(), "{}", g.status().message());
    return std::move(g);
  }
  ValueId tokens = 0, state = 0;
};

Graph mixture(const Mixture& m) {
  Builder b;
  ValueId x = b.attention(b.begin());
  const ValueId route = b.g.add(Op::moe_route, {x, b.weight("router", m.router, {Dim{m.experts}, Dim{kWidth}})},
                                {{"k", m.chosen}, {"normalise", m.normalise}});
  const std::vector<Dim> shape = {Dim{m.experts}, Dim{kHidden}, Dim{kWidth}};
  const ValueId h =
      b.g.add(Op::moe_gated, {x, route, b.weight("gate", m.format, shape), b.weight("up", m.format, shape)},
              {{"k", m.chosen}, {"gate", std::string(m.normalise ? "silu" : "gelu_tanh")}});
  const ValueId down = b.weight("down", m.format, {Dim{m.experts}, Dim{kWidth}, Dim{kHidden}});
  x = b.g.add(Op::add, {x, b.g.add(Op::moe_down, {h, route, down}, {{"k", m.chosen}})});
  return b.end(x);
}

Work some_work(uint32_t rows, uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  return Work(rows, kVocab, random);
}

std::vector<float> device_logits(const Graph& g, const SampleWeights& weights, const std::vector<Work>& works,
                                 const DevicePlanOptions& o, uint32_t repeats = 1, Seen* seen = nullptr) {
  TrialRuntime rig(5);
  auto got = run_device(rig, g, weights, works, o, repeats, seen);
  EXPECT_TRUE(got.ok()) << got.status().message();
  expect_clean(rig);
  return got.ok() ? *got : std::vector<float>{};
}

void expect_same_bytes(std::span<const float> a, std::span<const float> b) {
  ASSERT_EQ(a.size(), b.size());
  ASSERT_FALSE(a.empty());
  EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size_bytes()));
}
/// Each of a work's two sequences alone, laid out as the logits of both.
void expect_alike_alone(const Graph& g, const SampleWeights& weights, const Work& work,
                        const std::vector<float>& together) {
  std::vector<float> apart[2], both;
  for (size_t i = 0; i < 2; ++i) {
    Work alone = work;
    alone.tokens = {work.tokens[i]};
    if (!work.adapters.empty()) alone.adapters = {work.adapters[i]};
    apart[i] = device_logits(g, weights, {alone}, small_options());
  }
  for (const bool second : {false, true})
    for (size_t i = 0; i < 2; ++i) {
      const auto middle = apart[i].begin() + ptrdiff_t(work.wanted(i) * kVocab);
      both.insert(both.end(), second ? middle : apart[i].begin(), second ? apart[i].end() : middle);
    }
  expect_same_bytes(together, both);
}

class DeviceExperts : public testing::TestWithParam<Format> {};

TEST_P(DeviceExperts, GiveTheInterpretersRowsWhateverIsBeside) {
  if (kFewer && GetParam() != Format::f32 && lies_in_rows(GetParam())) GTEST_SKIP() << "f32 has its launches";
  const double rounding = GetParam() == Format::bf16 ? 0x1p-8 : GetParam() == Format::f16 ? 0x1p-10 : 0;
  for (const Mixture& m :
       {Mixture{.format = GetParam()}, Mixture{9, 1, 0, GetParam(), GetParam()}, Mixture{2, 2, 0, GetParam()}}) {
    const bool rows_beside = m.experts != 9, is_panels = !lies_in_rows(GetParam());
    if (kFewer ? m.experts != 5 : m.experts == 2 && !is_panels) continue;  // many pairs an expert
    const Graph graph = mixture(m);
    const auto lowered = lowered_for_device(graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status().message();
    const auto weights = SampleWeights::make(graph, Isa::scalar, 11);
    ASSERT_TRUE(weights.ok()) << weights.status().message();
    const Work work = some_work(m.experts == 2 ? 36 : 7, uint64_t(m.experts));
    const std::vector<float> want = run_interpreter(graph, *weights, work);
    const double allowed = tolerance(graph, *weights, work, want, 0, rounding);
    EXPECT_LT(allowed, size_of(want) * (GetParam() == Format::f32 ? 2e-3 : 0.25));
    DevicePlanOptions tight = small_options();
    tight.max_rows = m.experts == 2 ? 36 : 7;
    const std::vector<float> got = device_logits(*lowered, *weights, {work}, tight);
    EXPECT_LE(distance(got, want), allowed) << m.experts;
    if (rows_beside) expect_alike_alone(*lowered, *weights, work, got);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DeviceExperts, testing::Values(Format::f32, Format::bf16, Format::f16, Format::q4_0),
                         [](const auto& row) { return std::string(vibee::info(row.param).name); });

/// A recorded step routes anew: tokens of other experts come through the launches of the ones before.
TEST(DeviceExpertsPlan, RecordedStepsRouteAnew) {
  constexpr uint32_t kRepeats = 2;
  for (const Format format : {Format::bf16, Format::q8_0}) {
    if (kFewer && format != Format::q8_0) continue;
    const Graph graph = mixture({.format = format});
    const auto weights = SampleWeights::make(graph, Isa::scalar, 12);
    ASSERT_TRUE(weights.ok());
    const std::vector<Work> works = {some_work(6, 1), some_work(6, 2)};
    DevicePlanOptions plain = small_options();
    plain.record = false;
    Seen seen;
    const auto recorded = device_logits(graph, *weights, works, small_options(), kRepeats, &seen);
    expect_same_bytes(recorded, device_logits(graph, *weights, works, plain));
    EXPECT_EQ(seen.recorded, 2 * 2 * (kRepeats - 1));  // of equal steps the first is not
  }
}

TEST(DeviceExpertsPlan, SaysWhatItCannotRoute) {
  const auto refused = [](const Mixture& m) {
    return std::string(DevicePlan::bytes(mixture(m), small_options()).status().message());
  };
  EXPECT_NE(refused({.experts = 3073}).find("3073 experts; on a device at most 3072"), std::string::npos)
      << refused({.experts = 3073});
  EXPECT_NE(refused({.format = Format::nf4s64}).find(info(Format::nf4s64).name), std::string::npos)
      << refused({.format = Format::nf4s64});
}

TEST(DeviceExpertsPlan, EveryCallOfTheDriverMayFail) {
  if (TrialRuntime::real()) GTEST_SKIP() << "a real device fails when it likes";
  const Graph graph = mixture({.format = Format::q8_0});
  const auto weights = SampleWeights::make(graph, Isa::scalar, 1);
  ASSERT_TRUE(weights.ok());
  const Work work = some_work(1, 3);
  uint64_t failures = 0;
  for (uint64_t n = 1;; n += kFewer ? 61 : 29) {
    TrialRuntime rig(n);
    rig.trial.host.fail(n, CudaResult::out_of_memory);
    const auto got = run_device(rig, graph, *weights, {work}, small_options());
    expect_clean(rig);
    if (rig.trial.host.failed().empty()) {
      EXPECT_TRUE(got.ok()) << got.status().message();
      break;
    }
    ++failures;
    if (got.ok()) continue;  // what gives back and fails is told to nobody here
    EXPECT_NE(got.status().message().find("CUDA_ERROR_OUT_OF_MEMORY"), std::string::npos) << got.status().message();
  }
  EXPECT_GT(failures, 1u);
}

/// Two products that adapters may change, one of them by a weight of an integer format.
Graph adapted() {
  Builder b;
  ValueId x = b.attention(b.begin());
  int64_t target = 0;
  const auto product = [&](ValueId rows, const std::string& name, int64_t n, int64_t k, Format format) {
    const ValueId y = b.linear(rows, name, n, k, format);
    const ValueId h = b.g.add(Op::lora_down, {rows}, {{"target", target}, {"rank", kRank}});
    return b.g.add(Op::lora_up, {y, h}, {{"target", target++}});
  };
  const ValueId h = product(x, "up", kHidden, kWidth, Format::f32);
  x = b.g.add(Op::add, {x, product(h, "down", kWidth, kHidden, Format::q8_0)});
  return b.end(x);
}

/// Of the graph above; of rank 0 a product stays as it is.
struct Adapter {
  std::vector<float> a[2], b[2];
  std::vector<LoraWeights> weights;
  Adapter(uint32_t first, uint32_t second, uint64_t seed) {
    RandomStream random(seed, Purpose::test);
    const uint32_t rank[] = {first, second}, k[] = {kWidth, kHidden}, n[] = {kHidden, kWidth};
    for (int t = 0; t < 2; ++t) {
      a[t].resize(rank[t] * k[t]), b[t].resize(rank[t] * n[t]);
      for (float& v : a[t]) v = random.normal() / std::sqrt(float(k[t]));
      for (float& v : b[t]) v = random.normal();
      weights.push_back({a[t].data(), b[t].data(), rank[t], 0.5f});
    }
  }
};

TEST(DeviceAdapters, RowsHaveTheirOwnWhateverIsBeside) {
  const Graph graph = adapted();
  const auto weights = SampleWeights::make(graph, Isa::scalar, 13);
  ASSERT_TRUE(weights.ok());
  const Adapter one(kRank, 1, 1), two(0, 3, 2);
  const std::span<const LoraWeights> none;
  DevicePlanOptions o = small_options();
  o.max_adapters = 2;
  for (const bool merged : {true, false}) {
    if (kFewer && !merged) continue;
    const std::string off[] = {"quantize_outputs", "merge_lora"};
    const auto lowered = run_passes(graph, std::span(off).first(merged ? 1 : 2));
    ASSERT_TRUE(lowered.ok()) << lowered.status().message();
    EXPECT_EQ(print(*lowered).find("linear_lora") != std::string::npos, merged);
    Work work = some_work(8, 4);
    const std::vector<float> plain = device_logits(*lowered, *weights, {work}, small_options());
    for (const auto& who :
         {std::vector{std::span<const LoraWeights>(one.weights), none},
          std::vector{std::span<const LoraWeights>(two.weights), std::span<const LoraWeights>(one.weights)}}) {
      if (kFewer && who[1].empty()) continue;
      work.adapters = who;
      const std::vector<float> want = run_interpreter(graph, *weights, work);
      const double allowed = tolerance(graph, *weights, work, want);
      EXPECT_LT(allowed, size_of(want) * 0.1);
      const std::vector<float> got = device_logits(*lowered, *weights, {work}, o);
      EXPECT_LE(distance(got, want), allowed);
      EXPECT_GT(distance(got, plain), 8 * allowed);
      expect_alike_alone(*lowered, *weights, work, got);
      if (who[1].empty())  // sequence 1, in both steps, is as if there were no adapters
        for (size_t row : {2, 3, 5})
          expect_same_bytes(std::span(got).subspan(row * kVocab, kVocab),
                            std::span(plain).subspan(row * kVocab, kVocab));
    }
  }
}

/// A step of as many adapters as the one before is launched as recorded, with others.
TEST(DeviceAdapters, RecordedStepsTakeOtherAdapters) {
  const Graph graph = *lowered_for_device(adapted());
  const auto weights = SampleWeights::make(graph, Isa::scalar, 14);
  ASSERT_TRUE(weights.ok());
  const Adapter one(kRank, 1, 1), two(2, 3, 2);
  std::vector<Work> works(3, some_work(6, 5));
  works[0].adapters = {one.weights, {}}, works[1].adapters = {{}, two.weights}, works[2].adapters = {two.weights, {}};
  DevicePlanOptions plain = small_options();
  plain.record = false;
  Seen seen;
  const auto recorded = device_logits(graph, *weights, works, small_options(), 3, &seen);
  expect_same_bytes(recorded, device_logits(graph, *weights, works, plain));
  EXPECT_EQ(seen.recorded, 3u * 2 * 2);
  // Steps of one row, with an adapter and without.
  std::vector<Work> single(4, some_work(1, 6));
  single[1].adapters = {one.weights}, single[3].adapters = {two.weights};
  expect_same_bytes(device_logits(graph, *weights, single, small_options()),
                    device_logits(graph, *weights, single, plain));
  // Two at once want room that this plan has not made.
  works[0].adapters = {one.weights, two.weights};
  TrialRuntime rig(6);
  const auto refused = run_device(rig, graph, *weights, {works[0]}, small_options());
  EXPECT_EQ(refused.status().message(), "a step with 2 adapters; the plan has room for 1");
  expect_clean(rig);
}

}  // namespace
}  // namespace vibee
