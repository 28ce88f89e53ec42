// SPDX-License-Identifier: Apache-2.0
// Tiny BERTs (data/golden/bert, tools/make_bert_goldens.py): hidden rows, every pooling and a classifier's logits are
// those that `transformers` computes, and a text's bytes do not depend on what shares its step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/model/session/session.h"

namespace vibee {
namespace {

using testing::HasSubstr;

const std::string kGoldens = std::string(VIBEE_SOURCE_DIR) + "/data/golden/bert/";
constexpr uint32_t kContext = 64, kSequences = 8;

struct Text {
  std::vector<int32_t> ids, types;
  std::vector<float> hidden, pooled[4], unit_mean, logits;  // pooled: mean, max, cls, last, as Pooling counts
};

std::vector<Text> read_texts(const std::string& name) {
  std::ifstream text(kGoldens + name + "/golden.json");
  const auto golden = nlohmann::json::parse(text);
  std::ifstream floats(kGoldens + name + "/golden.bin", std::ios::binary);
  const size_t dim = golden.at("dim"), labels = golden.at("labels");
  const auto read = [&](size_t n) {
    std::vector<float> x(n);
    floats.read(reinterpret_cast<char*>(x.data()), std::streamsize(n * 4));
    EXPECT_TRUE(floats.good());
    return x;
  };
  std::vector<Text> out;
  for (const auto& one : golden.at("texts")) {
    Text t{one.at("ids").get<std::vector<int32_t>>(), one.at("types").get<std::vector<int32_t>>(), {}, {}, {}, {}};
    t.hidden = read(t.ids.size() * dim);
    for (auto& pooled : t.pooled) pooled = read(dim);
    t.unit_mean = read(dim);
    t.logits = read(labels);
    out.push_back(std::move(t));
  }
  return out;
}

/// A model and a session that gives `output`; the pooling of an embedding.
struct Loaded {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
  Loaded(const std::string& path, Output output, std::optional<Pooling> pooling = {}, uint32_t threads = 2,
         uint32_t max_rows = 200) {
    ModelOptions load;
    load.tokenizer = false;
    load.threads = threads;
    load.output = output;
    load.pooling = pooling;
    auto loaded = Model::load(path, load);
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    if (!loaded.ok()) return;
    model = std::move(*loaded);
    SessionOptions o;
    o.context = kContext;
    o.max_rows = max_rows;
    o.max_logits = pools(output) ? kSequences : max_rows;
    o.sequences = kSequences;
    o.kv = KvFormat::f32;
    auto made = Session::create(*model, o);
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (made.ok()) session = std::move(*made);
  }
  std::vector<float> run(std::span<const Text* const> texts) const {
    std::vector<SequenceState> states;
    states.reserve(texts.size());
    std::vector<StepRows> rows;
    for (const Text* t : texts) {
      states.push_back(session->new_sequence());
      rows.push_back({&states.back(), t->ids, uint32_t(t->ids.size()), t->types});
    }
    auto out = session->step(rows);
    EXPECT_TRUE(out.ok()) << out.status().message();
    return out.ok() ? std::vector<float>(out->begin(), out->end()) : std::vector<float>();
  }
  std::vector<float> run(const Text& text) const {
    const Text* one = &text;
    return run({&one, 1});
  }
};

float worst(const std::vector<float>& got, const std::vector<float>& wanted) {
  EXPECT_EQ(got.size(), wanted.size());
  float most = got.size() == wanted.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(got.size(), wanted.size()); ++i) {
    const float e = std::abs(got[i] - wanted[i]);
    most = e <= most ? most : e;  // a NaN counts
  }
  return most;
}

class BertGolden : public testing::TestWithParam<const char*> {};

TEST_P(BertGolden, HiddenRowsAndPoolingsAreThoseOfTransformers) {
  const std::string name = GetParam();
  const std::vector<Text> texts = read_texts(name.substr(0, name.find(".gguf")));
  const Loaded hidden(kGoldens + name, Output::hidden);
  float most = 0;
  for (const Text& t : texts) most = std::max(most, worst(hidden.run(t), t.hidden));
  EXPECT_LT(most, 2e-4f) << "hidden";
  for (size_t p = 0; p < 4; ++p) {
    const Loaded pooled(kGoldens + name, Output::embedding, Pooling(p));
    float error = 0;
    for (const Text& t : texts) error = std::max(error, worst(pooled.run(t), t.pooled[p]));
    EXPECT_LT(error, 2e-4f) << vibee::name(Pooling(p));
    most = std::max(most, error);
  }
  RecordProperty("max_abs_error", fmt::format("{:.2e}", most));
}

TEST_P(BertGolden, BytesDoNotDependOnTheStep) {
  const std::string name = GetParam();
  const std::vector<Text> texts = read_texts(name.substr(0, name.find(".gguf")));
  std::vector<const Text*> all;
  for (const Text& t : texts) all.push_back(&t);
  for (const Output output : {Output::embedding, Output::hidden}) {
    std::vector<float> alone;
    const Loaded one(kGoldens + name, output, Pooling::mean, 1);
    for (const Text& t : texts) {
      const auto x = one.run(t);
      alone.insert(alone.end(), x.begin(), x.end());
    }
    for (const uint32_t threads : {1u, 2u, 3u}) {
      const auto together = Loaded(kGoldens + name, output, Pooling::mean, threads).run(all);
      ASSERT_EQ(together.size(), alone.size());
      EXPECT_EQ(0, std::memcmp(together.data(), alone.data(), alone.size() * 4)) << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, BertGolden, testing::Values("st-mean", "st-max", "cross", "mlm-cls", "mlm-cls.gguf"));

TEST(BertFiles, SayHowTheyArePooled) {
  const auto config = [](const std::string& name) {
    auto file = open_checkpoint(kGoldens + name);
    EXPECT_TRUE(file.ok()) << file.status().message();
    auto c = read_config(*file);
    EXPECT_TRUE(c.ok()) << c.status().message();
    return *c;
  };
  const ModelConfig mean = config("st-mean"), max = config("st-max"), plain = config("mlm-cls"),
                    gguf = config("mlm-cls.gguf"), cross = config("cross");
  EXPECT_EQ(mean.pooling, Pooling::mean);
  EXPECT_TRUE(mean.normalise);
  EXPECT_EQ(mean.text_tokens, 48u);
  EXPECT_EQ(max.pooling, Pooling::max);
  EXPECT_FALSE(max.normalise);
  EXPECT_EQ(max.token_types, 3u);
  EXPECT_EQ(plain.pooling, std::nullopt);
  EXPECT_EQ(gguf.pooling, Pooling::cls);
  EXPECT_EQ(cross.output, Output::scores);
  EXPECT_EQ(cross.labels, 1u);
  for (const ModelConfig& c : {mean, max, plain, gguf, cross}) {
    EXPECT_FALSE(c.causal);
    EXPECT_TRUE(c.takes_whole());
  }
}

TEST(BertCross, ScoresPairs) {
  const std::vector<Text> texts = read_texts("cross");
  const Loaded cross(kGoldens + "cross", Output::scores);
  std::vector<const Text*> all;
  std::vector<float> wanted;
  for (const Text& t : texts) {
    all.push_back(&t);
    wanted.push_back(t.logits[0]);
  }
  EXPECT_LT(worst(cross.run(all), wanted), 2e-4f);
}

TEST(BertMistakes, AreNamed) {
  ModelOptions load;
  load.tokenizer = false;
  const auto message = [&](const std::string& name, std::optional<Output> output) {
    load.output = output;
    auto model = Model::load(kGoldens + name, load);
    return model.ok() ? std::string("no error") : model.status().message();
  };
  EXPECT_EQ(message("mlm-cls", {}), "no error");
  EXPECT_THAT(message("st-mean", Output::logits), HasSubstr("writes no text, it embeds them; use `vibee embed`"));
  EXPECT_THAT(message("cross", Output::logits), HasSubstr("use `vibee rerank`"));
  EXPECT_THAT(message("st-mean", Output::scores), HasSubstr("has no classifier"));
  EXPECT_THAT(message("mlm-cls", Output::embedding), HasSubstr("say --pooling mean"));

  const Loaded loaded(kGoldens + "st-mean", Output::hidden);
  const std::vector<int32_t> ids(kContext + 1, 5);
  const auto step = [&](SequenceState& state, size_t n, std::vector<int32_t> types = {}) {
    const StepRows rows{&state, std::span(ids).first(n), 1, types};
    auto out = loaded.session->step({&rows, 1});
    return out.ok() ? std::string("no error") : out.status().message();
  };
  SequenceState state = loaded.session->new_sequence();
  EXPECT_THAT(step(state, kContext + 1), HasSubstr("exceed the context of 64"));
  EXPECT_THAT(step(state, 3, {0, 2, 0}), HasSubstr("token type 2: the model has 2"));
  EXPECT_THAT(step(state, 3, {0}), HasSubstr("1 types of 3 tokens"));
  EXPECT_EQ(step(state, 3), "no error");
  EXPECT_THAT(step(state, 1), HasSubstr("takes a text in one step"));

  SessionOptions o;
  o.context = kContext;
  o.max_rows = kContext - 1;
  EXPECT_THAT(Session::create(*loaded.model, o).status().message(), HasSubstr("use a larger --chunk"));
  o.context = o.max_rows = kContext + 1;
  EXPECT_THAT(Session::create(*loaded.model, o).status().message(), HasSubstr("the model has 64 positions"));
}

/// Files of sentence-transformers that say what is not built, or nonsense.
class PoolingFiles : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "pooling_files";
    std::filesystem::remove_all(dir_);
    std::filesystem::copy(kGoldens + "st-mean", dir_, std::filesystem::copy_options::recursive);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string with(const std::string& file, const std::string& text) {
    std::ifstream in(dir_ + "/" + file);
    const std::string before{std::istreambuf_iterator<char>(in), {}};
    std::ofstream(dir_ + "/" + file) << text;
    auto opened = open_checkpoint(dir_);
    std::string said = opened.ok() ? "no error" : opened.status().message();
    if (opened.ok()) {
      auto config = read_config(*opened);
      if (!config.ok()) said = config.status().message();
    }
    std::ofstream(dir_ + "/" + file) << before;
    return said;
  }
  std::string dir_;
};

TEST_F(PoolingFiles, AreRefusedByFileAndField) {
  const std::string pooling = "1_Pooling/config.json";
  EXPECT_EQ(with("modules.json", "[]"), "no error");
  EXPECT_THAT(with("modules.json", "{}"), HasSubstr("modules.json\": is no array"));
  EXPECT_THAT(with("modules.json", "["), HasSubstr("not JSON"));
  EXPECT_THAT(with("modules.json", R"([{"type": "a.models.Dense"}])"), HasSubstr("module \"a.models.Dense\" is not"));
  EXPECT_THAT(with("modules.json", "[3, null]"), HasSubstr("without a type"));
  EXPECT_THAT(with("modules.json", R"([{"type": "x.Pooling", "path": "../st-mean"}])"), HasSubstr("no folder"));
  EXPECT_THAT(with("modules.json", R"([{"type": "x.Pooling", "path": "nowhere"}])"), HasSubstr("nowhere/config.json"));
  EXPECT_THAT(with(pooling, R"({"pooling_mode_weightedmean_tokens": true})"), HasSubstr("weightedmean"));
  EXPECT_THAT(with(pooling, R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})"),
              HasSubstr("both true"));
  EXPECT_THAT(with(pooling, "{}"), HasSubstr("no key \"pooling_mode_...\""));
  EXPECT_EQ(with(pooling, R"({"pooling_mode": "lasttoken"})"), "no error");
  EXPECT_THAT(with(pooling, R"({"pooling_mode": "sum"})"), HasSubstr("\"pooling_mode\" is \"sum\""));
  EXPECT_THAT(with("sentence_bert_config.json", R"({"max_seq_length": 0})"), HasSubstr("\"max_seq_length\" is 0"));
  EXPECT_THAT(with("sentence_bert_config.json", R"({"max_seq_length": "x"})"), HasSubstr("wanted 1 to"));
}

}  // namespace
}  // namespace vibee
