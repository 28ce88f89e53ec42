// SPDX-License-Identifier: Apache-2.0
// Whole models against `transformers`: logits of tiny random models of every architecture (data/golden/model), computed
// in float32 by tools/make_model_goldens.py, on every instruction set of this CPU and 1 and 2 threads; and every graph
// pass is exact.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "vibee/graph/pass/pass.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

/// Every model of the folder.
std::vector<std::string> models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(VIBEE_SOURCE_DIR) + "/data/golden/model"))
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

struct Golden {
  std::string path;
  std::vector<int32_t> prompt, greedy;
  uint32_t vocab = 0;
  std::vector<float> logits;  ///< [prompt + greedy - 1][vocab]
};

Golden read_golden(const std::string& name) {
  const std::string stem = std::string(VIBEE_SOURCE_DIR) + "/data/golden/model/" + name;
  Golden g;
  g.path = stem + ".gguf";
  std::ifstream text(stem + ".json");
  const auto j = nlohmann::json::parse(text);
  g.prompt = j.at("prompt").get<std::vector<int32_t>>();
  g.greedy = j.at("greedy").get<std::vector<int32_t>>();
  g.vocab = j.at("vocab");
  g.logits.resize((g.prompt.size() + g.greedy.size() - 1) * g.vocab);
  std::ifstream floats(stem + ".bin", std::ios::binary);
  floats.read(reinterpret_cast<char*>(g.logits.data()), std::streamsize(g.logits.size() * 4));
  EXPECT_TRUE(floats.good()) << name;
  return g;
}

std::vector<Isa> isas() {
  std::vector<Isa> out;
  for (Isa isa : kIsas) {
    // Under a sanitizer the plain kernels alone would take minutes; their own tests cover them there.
    const bool wanted = !VIBEE_SANITIZE_BUILD || isa == detected_isa();
    if (isa <= detected_isa() && wanted) out.push_back(isa);
  }
  return out;
}

/// Logits of the prompt in one step and of `more` greedy tokens one by one; the tokens are appended to `tokens`.
std::vector<float> generate(const std::string& path, const ModelOptions& options, KvFormat kv,
                            std::span<const int32_t> prompt, uint32_t more, std::vector<int32_t>* tokens) {
  auto model = Model::load(path, options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  SessionOptions so;
  so.context = so.max_rows = so.max_logits = 128;
  so.kv = kv;
  auto session = Session::create(**model, so);
  EXPECT_TRUE(session.ok()) << session.status().message();
  if (!session.ok()) return {};
  SequenceState state = (*session)->new_sequence();
  std::vector<float> all;
  std::vector<int32_t> next(prompt.begin(), prompt.end());
  for (uint32_t i = 0; i <= more; ++i) {
    const StepRows rows{&state, next, uint32_t(next.size())};
    auto logits = (*session)->step({&rows, 1});
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    if (!logits.ok()) return {};
    all.insert(all.end(), logits->begin(), logits->end());
    const auto last = logits->last((*model)->config().vocab);
    next = {int32_t(std::max_element(last.begin(), last.end()) - last.begin())};
    tokens->push_back(next[0]);
  }
  return all;
}

class ModelGolden : public testing::TestWithParam<std::string> {};

TEST_P(ModelGolden, LogitsAndGreedyTokensAreThoseOfTransformers) {
  const Golden g = read_golden(GetParam());
  for (Isa isa : isas())
    for (uint32_t threads : {1u, 2u}) {
      SCOPED_TRACE(fmt::format("{} {} threads", name(isa), threads));
      std::vector<int32_t> tokens;
      const auto logits =
          generate(g.path, {threads, isa, {}, false}, KvFormat::f32, g.prompt, uint32_t(g.greedy.size()) - 1, &tokens);
      ASSERT_EQ(logits.size(), g.logits.size());
      float worst = 0;
      for (size_t i = 0; i < logits.size(); ++i) {
        ASSERT_TRUE(std::isfinite(logits[i])) << i;
        worst = std::max(worst, std::abs(logits[i] - g.logits[i]));
      }
      EXPECT_LT(worst, 2e-4f);
      EXPECT_EQ(tokens, g.greedy);
      if (isa == detected_isa() && threads == 1) RecordProperty("max_abs_error", fmt::format("{:.2e}", worst));
    }
}

/// Three models of each architecture that a row of architectures.inc names.
TEST(ModelGoldens, CoverEveryArchitecture) {
  std::map<std::string, int> count;
  for (const std::string& name : models()) {
    const auto file = open_checkpoint(read_golden(name).path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ++count[*file->get_string("general.architecture")];
  }
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(VIBEE_SOURCE_DIR) + "/data/golden/bert"))  // bert_golden_test.cc
    count["bert"] += entry.is_directory();
  for (const Architecture& a : architectures()) EXPECT_GE(count[std::string(a.id)], 3) << a.id;
}

INSTANTIATE_TEST_SUITE_P(All, ModelGolden, testing::ValuesIn(models()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

/// Disables each pass alone, then all of them, and compares bytes with all passes on.
void passes_are_exact(const std::string& path, std::span<const int32_t> prompt) {
  std::vector<std::vector<std::string>> cases;
  std::vector<std::string> every;
  for (const Pass& p : all_passes()) {
    cases.push_back({std::string(p.id)});
    every.emplace_back(p.id);
  }
  cases.push_back(every);
  for (Isa isa : isas())
    for (uint32_t threads : {1u, 2u}) {
      if (VIBEE_SANITIZE_BUILD && threads == 1) continue;  // two threads run all that one does
      std::vector<int32_t> tokens;
      const auto all = generate(path, {threads, isa, {}, false}, KvFormat::f16, prompt, 8, &tokens);
      for (const auto& disable : cases) {
        SCOPED_TRACE(
            fmt::format("{} {} threads without {}", name(isa), threads, disable.size() > 1 ? "any" : disable[0]));
        std::vector<int32_t> other_tokens;
        const auto other = generate(path, {threads, isa, disable, false}, KvFormat::f16, prompt, 8, &other_tokens);
        ASSERT_EQ(all.size(), other.size());
        ASSERT_FALSE(all.empty());
        EXPECT_EQ(std::memcmp(all.data(), other.data(), all.size() * 4), 0);
      }
    }
}

TEST(ModelPasses, AreExactOnTheGoldens) {
  for (const std::string& name : models()) {
    SCOPED_TRACE(name);
    const Golden g = read_golden(name);
    passes_are_exact(g.path, g.prompt);
  }
}

TEST(ModelPasses, AreExactOnQuantisedModels) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 37; ++i) prompt.push_back(i * 11 % 48);
  for (const char* architecture : {"llama", "gemma3"})
    for (Format format : {Format::q8_0, Format::q4_1, Format::q5_0}) {
      SCOPED_TRACE(fmt::format("{} {}", architecture, info(format).name));
      TinyModel m{architecture, format};
      m.dim = 64;
      m.heads = 3;
      m.head_dim = 32;
      m.ff = 96;
      passes_are_exact(TinyModelFile(m).path(), prompt);
      m.head_dim = 32;
      m.heads = 2;
      m.kv_heads = 2;
      m.ff = 160;
      passes_are_exact(TinyModelFile(m).path(), prompt);
    }
}

/// Arena memory passes from value to value at the barriers of small steps: a large step without one of them would be a
/// race.
TEST(ModelPasses, LargeStepsHaveEveryBarrierOfSmallOnes) {
  for (const char* architecture : {"llama", "gemma3"})
    for (Format format : {Format::f32, Format::q4_1}) {
      TinyModel m{architecture, format};
      m.head_dim = 32;
      const TinyModelFile file(m);
      for (uint32_t subset = 0; subset < (1u << all_passes().size()); subset += VIBEE_SANITIZE_BUILD ? 11 : 1) {
        ModelOptions options{2, Isa::scalar, {}, false};
        for (size_t p = 0; p < all_passes().size(); ++p)
          if (subset >> p & 1) options.disable.emplace_back(all_passes()[p].id);
        const auto model = Model::load(file.path(), options);
        ASSERT_TRUE(model.ok()) << model.status().message();
        const auto session = Session::create(**model, {64, 1, 64, 1, KvFormat::f16});
        ASSERT_TRUE(session.ok()) << session.status().message();
        uint32_t barriers = 0;
        for (const Call& call : (*session)->plan().calls()) {
          EXPECT_LE(call.barrier_small, call.barrier_large)
              << architecture << " subset " << subset << " " << call.label;
          barriers += call.barrier_small;
        }
        EXPECT_GE(barriers, 8u);
      }
    }
}

/// Positions beyond a learned table must not reach the kernel that reads it.
TEST(ModelGoldens, ALearnedTableBoundsTheContext) {
  const auto model = Model::load(read_golden("gpt2-a").path, {1, Isa::scalar, {}, false});
  ASSERT_TRUE(model.ok()) << model.status().message();
  SessionOptions options;
  options.context = 257;
  const Status status = Session::create(**model, options).status();
  EXPECT_NE(status.message().find("256 positions"), std::string::npos) << status.message();
  options.context = 256;
  EXPECT_TRUE(Session::create(**model, options).ok());
}

TEST(ModelPasses, AnUnknownPassIsRefused) {
  const Golden g = read_golden("llama-a");
  const auto model = Model::load(g.path, {1, Isa::scalar, {"merge_all"}, false});
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("--disable merge_all: no such pass"), std::string::npos);
}

}  // namespace
}  // namespace vibee
