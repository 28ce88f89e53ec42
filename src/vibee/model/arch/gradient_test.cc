// SPDX-License-Identifier: Apache-2.0
// Training graphs of every architecture (the small models of data/golden/hf): their gradients are those that
// differences of the loss give, whole and by adapters; their loss is that of the logits that a step of each document
// alone gives; loss and gradients are those of torch (data/golden/gradients.json); and a plan computes what the
// interpreter does.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "vibee/graph/exec/sample.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/graph/pass/gradient_checkpointing_v2.h"
#include "vibee/graph/pass/pass.h"
#include "vibee/graph/pass/store_activations.h"
#include "vibee/kit/golden_directories.h"
#include "vibee/kit/gradient_check.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

constexpr int32_t kRowsOfStep = 11;
const std::vector<int32_t> kDocuments = {0, 0, 0, 0, 0, 0, 0, 7, 8, 8, 8};

Format all_f32(std::string_view) { return Format::f32; }

/// A training graph over the weights of a directory, and packed documents.
struct Training {
  GradientCase c;
  ModelConfig config;

  void load(const std::string& name, uint32_t lora_rank = 0) {
    auto file = open_checkpoint(std::string(VIBEE_SOURCE_DIR "/data/golden/hf/") + name);
    ASSERT_TRUE(file.ok()) << file.status().message();
    auto read = read_config(*file);
    ASSERT_TRUE(read.ok()) << read.status().message();
    config = std::move(*read);
    auto graph = DecoderBuilder(config, all_f32).build_training({lora_rank, 0.5, {}});
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    c.loss = std::move(*graph);
    c.sizes = {kRowsOfStep, 0};
    RandomStream random(7, Purpose::test);
    for (const Node& node : c.loss.nodes) {
      if (node.op != Op::weight) continue;
      const std::string weight(node.text("name"));
      const auto count = size_t(elements(c.loss.type(node.out[0]), {}));
      std::vector<double>& values = c.weights[weight];
      if (weight.find(".lora_") != std::string::npos) {
        for (size_t i = 0; i < count; ++i) values.push_back(0.3 * double(random.normal()));
        continue;
      }
      const WeightPart part = weight_part(weight);
      const TensorInfo* tensor = file->find(part.tensor);
      ASSERT_NE(tensor, nullptr) << part.tensor;
      const NumericFormat& format = info(tensor->format);
      std::vector<uint8_t> bytes(format.row_bytes(count));
      const uint64_t skip = part.whole ? 0 : format.row_bytes(uint64_t(part.first) * (count / rows_of(node)));
      ASSERT_TRUE(file->read(*tensor, skip, bytes).ok());
      std::vector<float> floats(count);
      format.decode(bytes.data(), count, floats.data());
      values.assign(floats.begin(), floats.end());
    }
    c.inputs.integers["documents"] = kDocuments;
    for (int32_t r = 0; r < kRowsOfStep; ++r) {
      c.inputs.integers["tokens"].push_back(int32_t(random.below(config.vocab)));
      c.inputs.integers["positions"].push_back(r - kDocuments[size_t(r)]);
      c.inputs.integers["targets"].push_back(r % 5 == 3 ? -1 : int32_t(random.below(config.vocab)));
      c.inputs.floats["loss_weights"].push_back(r % 2 ? 0.125 : 0.1);
    }
  }
  size_t rows_of(const Node& node) const { return size_t(c.loss.type(node.out[0]).dims[0].n); }
};

class Gradients : public testing::TestWithParam<std::string> {};

TEST_P(Gradients, OfTheWholeModelAgainstDifferences) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  RandomStream random(8, Purpose::test);
  expect_gradients(t.c, trainable_weights(t.c.loss), 1, 1e-6, random);
}

/// Recomputation changes where values come from, not what they are: the interpreter's doubles stay the same.
TEST_P(Gradients, OfARecomputedModelAreTheSame) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  const auto joint = differentiate(t.c.loss, trainable_weights(t.c.loss));
  ASSERT_TRUE(joint.ok());
  const auto kept = interpret_exact(*joint, t.c.inputs, t.c.weights, t.c.sizes);
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  for (const RecomputeName& level : recompute_levels()) {
    const Graph graph = recompute(*joint, level.level);
    ASSERT_TRUE(verify(graph).ok()) << level.name;
    EXPECT_EQ(graph.nodes.size() > joint->nodes.size(), level.level != Recompute::none) << level.name;
    const auto again = interpret_exact(graph, t.c.inputs, t.c.weights, t.c.sizes);
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ(again->size(), kept->size());
    for (size_t i = 0; i < kept->size(); ++i) EXPECT_EQ((*again)[i].f, (*kept)[i].f) << level.name << ", output " << i;
  }
}

/// Kept in 16 bits, gradients are near those of floats (these models are so narrow that roundings do not average out),
/// and the same at every level of recomputation.
TEST_P(Gradients, OfActivationsIn16BitsAreNear) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  const auto joint = differentiate(t.c.loss, trainable_weights(t.c.loss));
  ASSERT_TRUE(joint.ok());
  EXPECT_EQ(print(recompute(store_activations(*joint, Format::f32), Recompute::none)), print(*joint));
  const auto whole = interpret_exact(*joint, t.c.inputs, t.c.weights, t.c.sizes);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  for (const auto& [format, allowed] : {std::pair{Format::bf16, 0x1p-5}, {Format::f16, 0x1p-8}}) {
    const Graph stored = store_activations(*joint, format);
    ASSERT_TRUE(verify(stored).ok()) << verify(stored).message();
    const auto kept = interpret_exact(stored, t.c.inputs, t.c.weights, t.c.sizes);
    ASSERT_TRUE(kept.ok()) << kept.status().message();
    double error = 0, size = 0;
    for (size_t o = 1; o < whole->size(); ++o)
      for (size_t i = 0; i < (*whole)[o].f.size(); ++i) {
        const double by = (*kept)[o].f[i] - (*whole)[o].f[i];
        error += by * by, size += (*whole)[o].f[i] * (*whole)[o].f[i];
      }
    EXPECT_LE(std::sqrt(error / size), allowed) << info(format).name;
    EXPECT_GT(error, 0) << info(format).name;
    for (const RecomputeName& level : recompute_levels()) {
      const auto again = interpret_exact(recompute(stored, level.level), t.c.inputs, t.c.weights, t.c.sizes);
      ASSERT_TRUE(again.ok()) << again.status().message();
      for (size_t i = 0; i < kept->size(); ++i)
        EXPECT_EQ((*again)[i].f, (*kept)[i].f) << level.name << ", output " << i;
    }
  }
}

TEST_P(Gradients, OfAdaptersAlone) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam(), 2));
  RandomStream random(9, Purpose::test);
  std::vector<std::string> names;
  for (const std::string& name : trainable_weights(t.c.loss))
    if (name.find("blk.0.attn_q") != std::string::npos && name.find(".lora_") != std::string::npos)
      names.push_back(name);
  ASSERT_GE(names.size(), 2u);
  expect_gradients(t.c, names, 1, 1e-6, random);
  // Frozen weights get no gradient: what is emitted ends in the adapters.
  auto joint = differentiate(t.c.loss, names);
  ASSERT_TRUE(joint.ok());
  size_t to_weights = 0;
  for (const Node& node : joint->nodes) to_weights += node.text("phase") == "W" ? 1 : 0;
  EXPECT_LE(to_weights, 2 * names.size());
}

/// Each document alone through the graph of a step, and the loss of its logits.
TEST_P(Gradients, TheLossIsThatOfAStep) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  auto packed = interpret_exact(t.c.loss, t.c.inputs, t.c.weights, t.c.sizes);
  ASSERT_TRUE(packed.ok()) << packed.status().message();
  auto step = DecoderBuilder(t.config, all_f32).build();
  ASSERT_TRUE(step.ok());
  double loss = 0;
  for (int32_t begin = 0; begin < kRowsOfStep;) {
    int32_t end = begin;
    while (end < kRowsOfStep && kDocuments[size_t(end)] == begin) ++end;
    InterpretInputsOf<double> in;
    for (const char* name : {"tokens", "positions"}) {
      const auto& all = t.c.inputs.integers[name];
      in.integers[name].assign(all.begin() + begin, all.begin() + end);
    }
    auto out = interpret_exact(*step, in, t.c.weights, {end - begin, end - begin});
    ASSERT_TRUE(out.ok()) << out.status().message();
    for (int32_t r = begin; r < end; ++r) {
      const int32_t target = t.c.inputs.integers["targets"][size_t(r)];
      if (target < 0) continue;
      const double* x = &(*out)[0].f[size_t(r - begin) * t.config.vocab];
      double sum = 0;
      for (uint32_t j = 0; j < t.config.vocab; ++j) sum += std::exp(x[j] - x[target]);
      loss += t.c.inputs.floats["loss_weights"][size_t(r)] * std::log(sum);
    }
    begin = end;
  }
  EXPECT_NEAR((*packed)[0].f[0], loss, 1e-12 * std::fabs(loss));
}

/// Norms of the gradients by weight of the file: parts of a tensor together.
TEST_P(Gradients, AreThoseOfTorch) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  std::ifstream text(VIBEE_SOURCE_DIR "/data/golden/gradients.json");
  const auto golden = nlohmann::json::parse(text).at(GetParam());
  auto& in = t.c.inputs;
  for (const char* name : {"tokens", "documents", "targets"})
    in.integers[name] = golden.at(name).get<std::vector<int32_t>>();
  in.floats["loss_weights"] = golden.at("loss_weights").get<std::vector<double>>();
  const std::vector<int32_t>& documents = in.integers["documents"];
  in.integers["positions"].clear();
  for (size_t r = 0; r < documents.size(); ++r) in.integers["positions"].push_back(int32_t(r) - documents[r]);
  t.c.sizes.t = int64_t(documents.size());
  const std::vector<std::string> names = trainable_weights(t.c.loss);
  const auto out = gradients(t.c, names);
  ASSERT_EQ(out.size(), names.size() + 1);
  const double loss = golden.at("loss");
  EXPECT_NEAR(out[0].f[0], loss, 1e-6 * std::fabs(loss));
  double squares = 0, embedding = 0;
  for (size_t n = 0; n < names.size(); ++n)
    for (double g : out[n + 1].f) {
      squares += g * g;
      if (names[n] == "token_embd.weight") embedding += g * g;
    }
  EXPECT_NEAR(std::sqrt(squares) / double(golden.at("norm")), 1, 1e-5);
  EXPECT_NEAR(std::sqrt(embedding) / double(golden.at("embedding_norm")), 1, 1e-5);
}

/// A plan's loss and gradients against the interpreter's in double; the bytes are the same on any number of threads and
/// on every instruction set.
TEST_P(Gradients, APlanComputesThem) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  const std::vector<std::string> names = trainable_weights(t.c.loss);
  auto joint = differentiate(t.c.loss, names);
  ASSERT_TRUE(joint.ok()) << joint.status().message();
  std::map<std::string, std::vector<float>, std::less<>> weights;
  for (const auto& [name, values] : t.c.weights) weights[name].assign(values.begin(), values.end());
  const auto pointers = [&](std::string_view name) {
    const auto at = weights.find(name);
    return at == weights.end() ? nullptr : at->second.data();
  };
  std::vector<std::pair<std::string_view, std::span<const int32_t>>> integers;
  for (const auto& [name, values] : t.c.inputs.integers) integers.emplace_back(name, values);
  const std::vector<float> factors(t.c.inputs.floats["loss_weights"].begin(), t.c.inputs.floats["loss_weights"].end());
  const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
  const auto want = gradients(t.c, names);
  std::vector<std::vector<float>> first;
  for (const auto& [isa, threads] :
       {std::pair{Isa::scalar, 1u}, {Isa::scalar, 3u}, {detected_isa(), 1u}, {detected_isa(), 2u}}) {
    const TrainOptions options{kRowsOfStep + 2, threads, isa};
    auto plan = TrainPlan::compile(*joint, pointers, options);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const auto bytes = TrainPlan::arena_bytes(*joint, options);
    ASSERT_TRUE(bytes.ok());
    EXPECT_EQ(*bytes, (*plan)->arena_size());
    Team team(threads);
    for (int again = 0; again < 2; ++again) {  // what a step leaves behind changes nothing
      const Status status = (*plan)->run(team, {integers, floats});
      ASSERT_TRUE(status.ok()) << status.message();
    }
    for (size_t o = 0; o < want.size(); ++o) {
      const std::span<const float> got = (*plan)->output(o);
      ASSERT_EQ(got.size(), want[o].f.size());
      double size = 0, worst = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        size = std::max(size, std::fabs(want[o].f[i]));
        worst = std::max(worst, std::isnan(got[i]) ? INFINITY : std::fabs(got[i] - want[o].f[i]));
      }
      EXPECT_LE(worst, 2e-5 * std::max(size, 1e-2)) << (o ? names[o - 1] : "loss");
      if (first.size() <= o) first.emplace_back(got.begin(), got.end());
      EXPECT_EQ(0, std::memcmp(first[o].data(), got.data(), got.size() * 4)) << (o ? names[o - 1] : "loss");
    }
  }
}

/// The same with what is kept in 16 bits, and at every level of recomputation. Where a value lies between two of 16
/// bits the plan and the interpreter may round it to different ones, a few of them.
TEST_P(Gradients, APlanComputesThemIn16Bits) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  const auto joint = differentiate(t.c.loss, trainable_weights(t.c.loss));
  ASSERT_TRUE(joint.ok()) << joint.status().message();
  std::map<std::string, std::vector<float>, std::less<>> weights;
  for (const auto& [name, values] : t.c.weights) weights[name].assign(values.begin(), values.end());
  std::vector<std::pair<std::string_view, std::span<const int32_t>>> integers;
  for (const auto& [name, values] : t.c.inputs.integers) integers.emplace_back(name, values);
  const std::vector<float> factors(t.c.inputs.floats["loss_weights"].begin(), t.c.inputs.floats["loss_weights"].end());
  const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
  for (const auto& [format, allowed] : {std::pair{Format::bf16, 0x1p-9}, {Format::f16, 0x1p-10}}) {
    const Graph stored = store_activations(*joint, format);
    const auto want = interpret_exact(stored, t.c.inputs, t.c.weights, t.c.sizes);
    ASSERT_TRUE(want.ok()) << want.status().message();
    std::vector<std::vector<float>> first;
    for (const auto& [isa, threads, level] : {std::tuple{Isa::scalar, 1u, Recompute::none},
                                              {detected_isa(), 3u, Recompute::none},
                                              {Isa::scalar, 2u, Recompute::full},
                                              {detected_isa(), 1u, Recompute::cheap},
                                              {detected_isa(), 2u, Recompute::proj}}) {
      auto plan = TrainPlan::compile(recompute(stored, level),
                                     [&](std::string_view name) { return weights.find(name)->second.data(); },
                                     {kRowsOfStep + 2, threads, isa});
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      Team team(threads);
      const Status status = (*plan)->run(team, {integers, floats});
      ASSERT_TRUE(status.ok()) << status.message();
      double error = 0, size = 0;
      for (size_t o = 0; o < want->size(); ++o) {
        const std::span<const float> got = (*plan)->output(o);
        ASSERT_EQ(got.size(), (*want)[o].f.size());
        for (size_t i = 0; i < got.size(); ++i) {
          const double by = got[i] - (*want)[o].f[i];
          error += by * by, size += (*want)[o].f[i] * (*want)[o].f[i];
        }
        if (first.size() <= o) first.emplace_back(got.begin(), got.end());
        EXPECT_EQ(0, std::memcmp(first[o].data(), got.data(), got.size() * 4)) << "output " << o << ", " << int(level);
      }
      EXPECT_LE(std::sqrt(error / size), allowed) << info(format).name;
    }
  }
}

/// A training graph that gives logits instead of their loss, beside a session's graph with keys and values in f32: what
/// is trained is what is served, to the bit.
TEST_P(Gradients, LogitsHaveTheBytesOfAStep) {
  Training t;
  ASSERT_NO_FATAL_FAILURE(t.load(GetParam()));
  Graph forward = t.c.loss;
  const Node loss = forward.producer(forward.outputs[0]);
  ValueId logits = forward.add(Op::linear, {loss.in[0], loss.in[1]});
  if (loss.in.size() > 4) logits = forward.add(Op::add, {logits, loss.in[4]});
  if (loss.has("soft_cap")) logits = forward.add(Op::soft_cap, {logits}, {{"cap", loss.number("soft_cap")}});
  forward.outputs = {logits};
  ASSERT_TRUE(forward.status().ok()) << forward.status().message();
  forward = drop_dead(forward);
  auto step = DecoderBuilder(t.config, all_f32).build();
  ASSERT_TRUE(step.ok());
  auto lowered = run_passes(*step);
  ASSERT_TRUE(lowered.ok());

  const Isa isa = detected_isa();
  auto weights = SampleWeights::make(*step, isa, 3);
  ASSERT_TRUE(weights.ok());
  std::map<std::string, std::vector<float>, std::less<>> floats;
  for (const auto& [name, bytes] : weights->files()) {
    floats[name].resize(bytes.size() / 4);
    std::memcpy(floats[name].data(), bytes.data(), bytes.size());
  }
  auto train = TrainPlan::compile(forward, [&](std::string_view name) { return floats.find(name)->second.data(); },
                                  {kRowsOfStep, 2, isa});
  ASSERT_TRUE(train.ok()) << train.status().message();
  std::vector<std::pair<std::string_view, std::span<const int32_t>>> integers;
  for (const auto& [name, values] : t.c.inputs.integers) integers.emplace_back(name, values);
  Team team(2);
  const Status status = (*train)->run(team, {integers, {}});
  ASSERT_TRUE(status.ok()) << status.message();

  PlanOptions options;
  options.max_rows = options.max_logits = kRowsOfStep;
  options.max_context = 64;
  options.isa = isa;
  options.kv = KvFormat::f32;
  options.threads = 2;
  auto plan = Plan::compile(*lowered, weights->table(), options);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  std::vector<SequenceRows> sequences;
  std::vector<uint32_t> rows(kRowsOfStep);
  std::iota(rows.begin(), rows.end(), 0);
  auto cache = SampleCache::make(*step, KvFormat::f32, 3, options.max_context);
  ASSERT_TRUE(cache.ok());
  for (uint32_t r = 0; r < uint32_t(kRowsOfStep); ++r)
    if (kDocuments[r] == int32_t(r))
      sequences.push_back({r, 1, 0, cache->pages(uint32_t(sequences.size()))});
    else
      ++sequences.back().rows;
  (*plan)->run(team, {t.c.inputs.integers["tokens"], t.c.inputs.integers["positions"], sequences, rows},
               cache->views());
  const std::span<const float> got = (*train)->output(0);
  ASSERT_EQ(got.size(), size_t(kRowsOfStep) * (*plan)->output_width());
  EXPECT_EQ(0, std::memcmp(got.data(), (*plan)->outputs(), got.size() * 4));
}

std::vector<std::string> models() {
  std::vector<std::string> names = golden_directories();
  names.emplace_back("gemma3-c");
  return names;
}
INSTANTIATE_TEST_SUITE_P(All, Gradients, testing::ValuesIn(models()));

}  // namespace
}  // namespace vibee
