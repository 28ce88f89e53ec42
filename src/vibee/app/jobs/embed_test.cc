// SPDX-License-Identifier: Apache-2.0
// Texts to embeddings and scores, end to end, against tokenizers and transformers (data/golden/bert).
#include "vibee/app/jobs/embed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/kit/tiny_model.h"

namespace vibee {
namespace {

using testing::HasSubstr;

const std::string kGoldens = std::string(VIBEE_SOURCE_DIR) + "/data/golden/bert/";

nlohmann::json strings_of(const std::string& name) {
  std::ifstream in(kGoldens + name + "/strings.json");
  return nlohmann::json::parse(in).at("strings");
}

LoadConfig config_of(const std::string& model, Output output) {
  LoadConfig config;
  set_embed_defaults(&config);
  config.model = model;
  config.output = output;
  config.threads = 2;
  return config;
}

TEST(Embed, GivesTheVectorsOfTheOracle) {
  std::vector<std::string> texts;
  const auto strings = strings_of("st-mean");
  for (const auto& s : strings) texts.push_back(s.at("text"));
  std::vector<Embedding> first;
  for (const auto& [chunk, batch] : {std::pair{512u, 64u}, {48u, 1u}, {64u, 3u}}) {
    LoadConfig config = config_of(kGoldens + "st-mean", Output::embedding);
    config.chunk = chunk;
    config.batch = batch;
    auto loaded = load(config);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(loaded->session->options().context, 48u);  // max_seq_length
    EmbedConfig how;
    EXPECT_THAT(embed(*loaded->session, texts, how, {}).status().message(),
                HasSubstr("text 6: 49 tokens, at most 48 fit; shorten it or cut its end with --truncate"));
    how.truncate = true;
    auto got = embed(*loaded->session, texts, how, {});
    ASSERT_TRUE(got.ok()) << got.status().message();
    ASSERT_EQ(got->size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto wanted = strings[i].at("embedding").get<std::vector<float>>();
      const Embedding& e = (*got)[i];
      ASSERT_EQ(e.values.size(), wanted.size());
      EXPECT_EQ(e.text.tokens, strings[i].at("ids").size());
      for (size_t j = 0; j < wanted.size(); ++j) EXPECT_NEAR(e.values[j], wanted[j], 1e-5) << texts[i];
      if (!first.empty()) {
        EXPECT_EQ(e.values, first[i].values) << "batch " << batch;
      }
    }
    EXPECT_EQ((*got)[0].text.cut, 0u);
    EXPECT_GT((*got)[6].text.cut, 0u);
    if (first.empty()) first = *got;
    how.normalise = false;
    auto plain = embed(*loaded->session, texts, how, {});
    ASSERT_TRUE(plain.ok());
    double squares = 0;
    for (float v : (*plain)[1].values) squares += double(v) * v;
    EXPECT_GT(std::abs(std::sqrt(squares) - 1), 0.05);
    EXPECT_EQ(embed(*loaded->session, texts, how, [] { return true; }).status().code(), Code::cancelled);
    EXPECT_EQ(loaded->session->pages().free_pages(), loaded->plan.page_count);
  }
}

TEST(Rerank, GivesTheScoresOfTheOracle) {
  const auto strings = strings_of("cross");
  auto loaded = load(config_of(kGoldens + "cross", Output::scores));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EmbedConfig how;
  how.truncate = true;
  std::vector<std::string> documents;
  for (const auto& s : strings) {
    const std::string document = s.at("document");
    documents.push_back(document);
    auto got = rerank(*loaded->session, s.at("query"), {&document, 1}, how, {});
    ASSERT_TRUE(got.ok()) << got.status().message();
    const float logit = s.at("logit");
    EXPECT_EQ((*got)[0].text.tokens, s.at("ids").size());
    EXPECT_NEAR((*got)[0].logit, logit, 2e-4) << document;
    EXPECT_NEAR((*got)[0].score, 1 / (1 + std::exp(-logit)), 1e-4);
  }
  auto all = rerank(*loaded->session, "dog", documents, how, {});
  ASSERT_TRUE(all.ok());
  for (size_t i = 1; i < all->size(); ++i) EXPECT_GE((*all)[i - 1].logit, (*all)[i].logit);
  for (const Ranked& r : *all) {  // alone and together: the same bytes
    auto one = rerank(*loaded->session, "dog", {&documents[r.index], 1}, how, {});
    EXPECT_EQ((*one)[0].logit, r.logit);
  }
}

TEST(Embed, ADecoderEmbedsWithTheRowsAskedFor) {
  TinyModel tiny;
  tiny.tokenizer = true;
  tiny.vocab = 320;
  tiny.context = 64;
  const TinyModelFile file(tiny);
  LoadConfig config = config_of(file.path(), Output::embedding);
  EXPECT_THAT(load(config).status().message(), HasSubstr("say --pooling mean"));
  config.output = Output::scores;
  EXPECT_THAT(load(config).status().message(), HasSubstr("has no classifier"));
  config.output = Output::embedding;
  config.pooling = Pooling::last;
  auto loaded = load(config);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const std::vector<std::string> texts = {"a0", "b1 a0 c2"};
  auto got = embed(*loaded->session, texts, {}, {});
  ASSERT_TRUE(got.ok()) << got.status().message();
  // The last hidden row of a step that gives rows.
  config.output = Output::hidden;
  config.pooling.reset();
  config.logits = 64;
  auto hidden = load(config);
  ASSERT_TRUE(hidden.ok()) << hidden.status().message();
  const Tokenizer& tokenizer = hidden->model->tokenizer();
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> ids;
    ASSERT_TRUE(tokenizer.encode(texts[i], false, &ids).ok());
    ids = tokenizer.wrap(ids);
    SequenceState state = hidden->session->new_sequence();
    const StepRows rows{&state, ids};
    auto row = hidden->session->step({&rows, 1});
    ASSERT_TRUE(row.ok()) << row.status().message();
    double squares = 0;
    for (float v : *row) squares += double(v) * v;
    for (size_t j = 0; j < row->size(); ++j)
      EXPECT_NEAR((*got)[i].values[j], (*row)[j] / std::sqrt(squares), 1e-6) << texts[i];
  }
}

}  // namespace
}  // namespace vibee
