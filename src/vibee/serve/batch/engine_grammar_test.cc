// SPDX-License-Identifier: Apache-2.0
// A request with a grammar: its text is of the grammar where it ends by itself, whatever the model's logits say.
#include <gtest/gtest.h>

#include "vibee/kit/tiny_model.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {
namespace {

class EngineGrammar : public testing::Test {
 protected:
  void SetUp() override {
    TinyModel m;
    m.vocab = 320;
    m.tokenizer = true;
    file_ = std::make_unique<TinyModelFile>(m);
    auto model = Model::load(file_->path(), {1, detected_isa(), {}, true});
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = std::move(*model);
    auto session = Session::create(*model_, {256, 4, 64, 4, KvFormat::f16});
    ASSERT_TRUE(session.ok()) << session.status().message();
    session_ = std::move(*session);
  }
  GenerateRequest request(GrammarSource::Kind kind, const std::string& text, uint64_t seed) {
    auto grammar = Grammar::compile({kind, text}, std::make_shared<TokenTrie>(model_->tokenizer()));
    EXPECT_TRUE(grammar.ok()) << grammar.status().message();
    GenerateRequest r;
    r.prompt = {5, 6, 7};
    r.sampling.temperature = 1;
    r.sampling.seed = seed;
    r.max_tokens = 200;
    if (grammar.ok()) r.grammar = *grammar;
    return r;
  }
  std::pair<std::string, Finish> answer(GenerateRequest request) {
    Engine engine(*session_);
    std::pair<std::string, Finish> out;
    const auto id = engine.submit(std::move(request));
    EXPECT_TRUE(id.ok()) << id.status().message();
    const Status ran = engine.run([&](const TokenEvent& e) {
      out.first += e.text;
      out.second = e.finish;
    });
    EXPECT_TRUE(ran.ok()) << ran.message();
    return out;
  }

  std::unique_ptr<TinyModelFile> file_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Session> session_;
};

TEST_F(EngineGrammar, EndsByItselfWithATextOfTheGrammar) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto [text, finish] = answer(request(GrammarSource::regex, "(ab|cd){3}[0-9]{1,4};", seed));
    EXPECT_EQ(finish, Finish::end_token);
    EXPECT_EQ(text.find_first_not_of("abcd"), 6u) << text;
    EXPECT_GE(text.size(), 8u);
    EXPECT_LE(text.size(), 11u);
    EXPECT_EQ(text.back(), ';');
  }
}

TEST_F(EngineGrammar, MaxTokensAndStopStringsCutIt) {
  GenerateRequest cut = request(GrammarSource::regex, "x{40}", 1);
  cut.max_tokens = 5;
  EXPECT_EQ(answer(cut).second, Finish::length);
  GenerateRequest stopped = request(GrammarSource::regex, "x{4}yz", 1);
  stopped.stop = {"y"};
  EXPECT_EQ(answer(stopped), std::pair(std::string("xxxx"), Finish::stop_string));
}

TEST_F(EngineGrammar, RefusesWhatCannotGoTogether) {
  Engine engine(*session_);
  GenerateRequest endless = request(GrammarSource::regex, "x", 1);
  endless.ignore_end = true;
  EXPECT_EQ(engine.submit(endless).status().message(),
            "a grammar ends its text with an end token, which ignore_end would go past; use one");
}

}  // namespace
}  // namespace vibee
