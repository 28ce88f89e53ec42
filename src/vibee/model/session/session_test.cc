// SPDX-License-Identifier: Apache-2.0
// Session::step refuses what it cannot do with one clear line and leaves every sequence as it was; options are checked
// first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "vibee/kit/tiny_model.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class SessionInput : public testing::Test {
 protected:
  void SetUp() override {
    auto model = Model::load(file_.path(), {1, detected_isa(), {}, false});
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = std::move(*model);
    auto session = Session::create(*model_, {64, 2, 24, 3, KvFormat::f16});  // 8 pages
    ASSERT_TRUE(session.ok()) << session.status().message();
    session_ = std::move(*session);
  }
  /// The step is refused with these words, and lengths, pages, stored bytes and free pages are what they were.
  void refused(std::span<const StepRows> rows, Code code, const std::string& words) {
    std::vector<std::vector<uint8_t>> before;
    std::vector<uint32_t> pages;
    for (const StepRows& r : rows) {
      before.push_back(r.state->snapshot());
      pages.push_back(r.state->page_count());
    }
    const uint32_t free = session_->pages().free_pages();
    const auto logits = session_->step(rows);
    ASSERT_FALSE(logits.ok());
    EXPECT_EQ(logits.status().code(), code);
    EXPECT_THAT(logits.status().message(), HasSubstr(words));
    EXPECT_EQ(logits.status().message().find('\n'), std::string::npos);
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].state->snapshot(), before[i]);
      EXPECT_EQ(rows[i].state->page_count(), pages[i]);
    }
    EXPECT_EQ(session_->pages().free_pages(), free);
  }
  void feed(SequenceState* state, uint32_t n) {
    for (uint32_t at = 0; at < n; at += 20) {
      const std::vector<int32_t> tokens(std::min(20u, n - at), 5);
      const StepRows rows{state, tokens, 1};
      const auto logits = session_->step({&rows, 1});
      ASSERT_TRUE(logits.ok()) << logits.status().message();
    }
  }

  TinyModelFile file_{TinyModel{}};
  std::unique_ptr<Model> model_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionInput, TokensOutsideTheVocabulary) {
  SequenceState a = session_->new_sequence(), b = session_->new_sequence();
  feed(&a, 3);
  const std::vector<int32_t> good = {1, 2}, above = {0, 48}, below = {-1};
  for (const auto& [bad, text] :
       {std::pair(&above, "token 48 is not in the vocabulary of 48"), std::pair(&below, "token -1 is not")}) {
    const StepRows rows[] = {{&a, good, 1}, {&b, *bad, 1}};
    refused(rows, Code::invalid, text);
  }
}

TEST_F(SessionInput, TooManyRowsOrLogits) {
  SequenceState a = session_->new_sequence(), b = session_->new_sequence();
  const std::vector<int32_t> many(13, 1);
  const StepRows rows[] = {{&a, many, 1}, {&b, many, 1}};
  refused(rows, Code::invalid, "step: 26 rows, 1 to 24 fit");
  const StepRows wanting{&a, many, 4};
  refused({&wanting, 1}, Code::invalid, "step: logits of 4 rows, at most 3 fit");
}

TEST_F(SessionInput, ContextExceeded) {
  SequenceState a = session_->new_sequence();
  feed(&a, 60);
  const std::vector<int32_t> five(5, 1);
  const StepRows rows{&a, five, 1};
  refused({&rows, 1}, Code::invalid, "60 tokens and 5 new ones exceed the context of 64; use a larger --ctx");
  feed(&a, 4);
  EXPECT_EQ(a.length(), 64u);
}

TEST_F(SessionInput, NothingToDo) {
  refused({}, Code::invalid, "step: 0 rows");
  SequenceState a = session_->new_sequence(), b = session_->new_sequence();
  const std::vector<int32_t> one = {1};
  const StepRows rows[] = {{&a, one, 1}, {&b, {}, 1}};
  refused(rows, Code::invalid, "a sequence without tokens");
}

TEST_F(SessionInput, OneSequenceTwice) {
  SequenceState a = session_->new_sequence(), b = session_->new_sequence();
  const std::vector<int32_t> one = {1};
  const StepRows rows[] = {{&a, one, 1}, {&b, one, 1}, {&a, one, 1}};
  refused(rows, Code::invalid, "one sequence twice");
}

TEST_F(SessionInput, NoPagesLeft) {
  SequenceState a = session_->new_sequence(), b = session_->new_sequence(), c = session_->new_sequence();
  feed(&a, 64);
  feed(&b, 46);
  feed(&c, 2);  // the eighth page
  const std::vector<int32_t> three(3, 1), ten(10, 1);
  const StepRows rows[] = {{&c, ten, 1}, {&b, three, 1}};
  refused(rows, Code::no_memory, "all 8 KV pages (128 tokens) are in use");
  // What another sequence had reserved before the refusal is free again.
  a.truncate(48);
  const std::vector<int32_t> fifteen(15, 1), two(2, 1);
  const StepRows greedy[] = {{&c, fifteen, 1}, {&b, three, 1}};
  refused(greedy, Code::no_memory, "are in use");
  const StepRows modest{&b, three, 1};
  EXPECT_TRUE(session_->step({&modest, 1}).ok());
}

TEST_F(SessionInput, ARefusedStepChangesNoLaterByte) {
  SequenceState a = session_->new_sequence(), b = session_->new_sequence();
  feed(&a, 7);
  feed(&b, 7);
  const std::vector<int32_t> bad = {3, 99}, good = {3};
  const StepRows no{&a, bad, 1}, yes_a{&a, good, 1}, yes_b{&b, good, 1};
  refused({&no, 1}, Code::invalid, "token 99");
  const auto la = session_->step({&yes_a, 1});
  ASSERT_TRUE(la.ok());
  const std::vector<float> copy(la->begin(), la->end());
  const auto lb = session_->step({&yes_b, 1});
  ASSERT_TRUE(lb.ok());
  EXPECT_EQ(copy, std::vector<float>(lb->begin(), lb->end()));
}

TEST_F(SessionInput, OptionsOutOfRange) {
  const auto refuses = [&](const SessionOptions& o, const std::string& words) {
    const auto session = Session::create(*model_, o);
    ASSERT_FALSE(session.ok());
    EXPECT_THAT(session.status().message(), HasSubstr(words));
  };
  refuses({0, 1, 1, 1, KvFormat::f16}, "context 0 is not in 1 to");
  refuses({(1u << 26) + 1, 1, 1, 1, KvFormat::f16}, "is not in 1 to");
  refuses({16, 0, 1, 1, KvFormat::f16}, "batch 0 is not in 1 to 4096");
  refuses({16, 1, 0, 1, KvFormat::f16}, "chunk 0 is not in 1 to 65536");
  refuses({16, 1, 1, 1, KvFormat::q8_0}, "--kv q8_0 needs a head dimension that is a multiple of 32");
  refuses({1u << 20, 4096, 16, 1, KvFormat::f32}, "are available; use --ctx");
  refuses({1u << 26, 4096, 16, 1, KvFormat::f32}, "4096 sequences of 67108864 tokens need 17179869184 KV pages");
  SessionOptions apart{16, 1, 1, 1, KvFormat::f16};
  for (const float threshold : {-1.0f, std::numeric_limits<float>::quiet_NaN()}) {
    apart.outlier_threshold = threshold;
    refuses(apart, "is not a number from 0");
  }
  const auto file = open_checkpoint(file_.path());
  ASSERT_TRUE(file.ok());
  const auto plan = Session::plan_memory(*file, model_->config(), {1, detected_isa(), {}, false},
                                         {1u << 26, 4096, 16, 1, KvFormat::f32});
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.status().message(), HasSubstr("more than can be addressed"));
}

}  // namespace
}  // namespace vibee
