// SPDX-License-Identifier: Apache-2.0
// The loop keeps the promise too: tokens, text, log-probabilities and the reason to stop of 20 seeded sampled requests
// are those of the request run alone, whatever else is in the batch, how small its steps are, and who is cancelled
// beside it.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "vibee/kit/tiny_model.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {
namespace {

constexpr uint32_t kRequests = 20, kContext = 64, kCompositions = VIBEE_SANITIZE_BUILD ? 6 : 60;

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  ///< of the tokens and of their reported alternatives
  std::string text;
  Finish finish = Finish::none;

  bool operator==(const Answer& other) const {
    return tokens == other.tokens && text == other.text && finish == other.finish &&
           logprobs.size() == other.logprobs.size() &&
           std::memcmp(logprobs.data(), other.logprobs.data(), logprobs.size() * 4) == 0;
  }
};

void add(Answer* a, const TokenEvent& e) {
  a->tokens.push_back(e.sampled.token);
  a->logprobs.push_back(e.sampled.logprob);
  for (const TokenLogprob& t : e.sampled.top) a->logprobs.push_back(t.logprob);
  a->text += e.text;
  a->finish = e.finish;
}

GenerateRequest request(uint32_t i, uint32_t vocab, const std::shared_ptr<const Grammar>& grammar) {
  RandomStream random(100 + i, Purpose::test);
  GenerateRequest r;
  r.prompt.resize(1 + random.below(40));
  for (int32_t& t : r.prompt) t = int32_t(3 + random.below(vocab - 3));
  if (i % 2 == 0) {  // every other one begins like the others of its kind
    for (size_t at = 0; at + 1 < r.prompt.size(); ++at) r.prompt[at] = int32_t(3 + at % 5);
  }
  r.max_tokens = 1 + random.below(24);
  if (i % 9 == 8) r.max_tokens = 1000;  // to the end of the context
  r.ignore_end = i % 2 == 0;
  r.sampling.seed = 7 * i;
  r.sampling.temperature = i % 5 == 0 ? 0 : 0.5f + random.uniform();
  if (i % 3 == 1) r.sampling.top_k = 1 + random.below(40);
  if (i % 4 == 1) r.sampling.top_p = 0.9f;
  if (i % 4 == 2) r.sampling.min_p = 0.02f;
  if (i % 7 == 3) r.sampling.typical_p = 0.8f;
  if (i % 3 == 2) r.sampling.repetition_penalty = 1.3f;
  if (i % 6 == 5) r.sampling.frequency_penalty = 0.4f;
  if (i % 6 == 1) r.sampling.presence_penalty = 0.2f;
  if (i % 5 == 4) r.sampling.logit_bias = {{300, 1.5f}};
  r.sampling.logprobs = i % 3;
  if (i % 2 == 1) r.stop = {"a", "\xC3"};
  if (i % 4 == 3) {
    r.grammar = grammar;
    r.stop = {};
  }
  return r;
}

/// VIBEE_COMPOSITIONS=10000 is the long proof.
uint32_t compositions(uint32_t otherwise) {
  const char* asked = std::getenv("VIBEE_COMPOSITIONS");
  return asked ? uint32_t(std::strtoul(asked, nullptr, 10)) : otherwise;
}

/// `rounds` times: random requests in random company on an engine with random options; among them some that are put
/// back, paused, cancelled, and now and then an end of the engine in the middle, after which what was not answered is
/// asked again, or a failure, after which it goes on.
void expect_same_answers(const std::string& path, uint32_t rounds) {
  std::vector<std::unique_ptr<Model>> models;
  for (uint32_t threads : {1u, 2u}) {
    auto model = Model::load(path, {threads, detected_isa(), {}, true});
    ASSERT_TRUE(model.ok()) << model.status().message();
    models.push_back(std::move(*model));
  }
  const uint32_t vocab = models[0]->config().vocab;
  const auto grammar = GrammarCompiler(models[0]->tokenizer())
                           .compile({GrammarSource::json_schema,
                                     R"({"type":"array","items":{"enum":["ab",7,null,{"k":[1,2]}]},"maxItems":3})"});
  ASSERT_TRUE(grammar.ok()) << grammar.status().message();
  std::vector<Answer> alone(kRequests);
  std::map<Finish, uint32_t> reasons;
  for (uint32_t i = 0; i < kRequests; ++i) {
    const auto session = Session::create(*models[0], {kContext, 1, kContext, 1, KvFormat::f16});
    ASSERT_TRUE(session.ok()) << session.status().message();
    Engine engine(**session);
    const auto id = engine.submit(request(i, vocab, *grammar));
    ASSERT_TRUE(id.ok()) << id.status().message();
    const Status ran = engine.run([&](const TokenEvent& e) { add(&alone[i], e); });
    ASSERT_TRUE(ran.ok()) << ran.message();
    ++reasons[alone[i].finish];
  }
  // The requests end in different ways, so that places in the batch become free at different times.
  EXPECT_GT(reasons[Finish::length], 0u);
  EXPECT_GT(reasons[Finish::stop_string], 0u);
  EXPECT_GT(reasons[Finish::context], 0u);
  EXPECT_GT(reasons[Finish::end_token], 0u);  // of grammars

  uint64_t reused = 0, preempted = 0, restarts = 0, continued = 0;
  RandomStream random(5, Purpose::test);
  for (uint32_t c = 0; c < rounds; ++c) {
    const uint32_t batch = 1 + random.below(16), rows = 1 + random.below(48), logits = 1 + random.below(batch);
    SCOPED_TRACE(fmt::format("composition {}: batch {}, {} rows, {} logits", c, batch, rows, logits));
    SessionOptions o{kContext, batch, rows, logits, KvFormat::f16};
    o.pages =
        kContext / kPageTokens + random.below(12);  // often too few for all: some wait, and what is kept is evicted
    const auto session = Session::create(*models[random.below(4) == 0], o);
    ASSERT_TRUE(session.ok()) << session.status().message();
    const auto policies = scheduler_policies();
    const auto kinds = prefix_index_kinds();
    const uint32_t kind = random.below(uint32_t(kinds.size()) + 1);
    const auto prefix = kind < kinds.size() ? kinds[kind].make(&(*session)->pages()) : nullptr;
    StepTime cost({{{1, 1e-6}, {64, 1e-4}}, {}, 1e-8});
    cost.promise_s = random.below(2) ? 1e-5 : 1e-2;
    const EngineOptions options{
        policies[random.below(uint32_t(policies.size()))], random.below(2) ? 1 + random.below(rows) : 0, prefix.get(),
        random.below(2) ? &cost : nullptr, request_orders()[random.below(uint32_t(request_orders().size()))]};
    SCOPED_TRACE(fmt::format("policy {}, prefix {}", options.policy->id, prefix ? kinds[kind].id : "off"));
    std::optional<Engine> engine(std::in_place, **session, options);
    std::vector<uint32_t> order(kRequests);
    for (uint32_t i = 0; i < kRequests; ++i) order[i] = i;
    for (uint32_t i = kRequests; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    std::vector<Answer> together(kRequests);
    std::map<uint32_t, uint32_t> number;  // of the engine -> of the request
    const auto collect = [&](const TokenEvent& e) {
      const auto at = number.find(e.request);
      if (at != number.end()) add(&together[at->second], e);
    };
    for (uint32_t steps = 0; !order.empty() || !engine->idle(); ++steps) {
      ASSERT_LT(steps, 5000u);
      const bool disturbed = steps < 1000;  // where nothing is kept, who is always put back would never end
      for (uint32_t n = random.below(4); n > 0 && !order.empty(); --n) {
        GenerateRequest one = request(order.back(), vocab, *grammar);
        one.priority = int(random.below(3));
        one.key = random.below(3);
        const auto id = engine->submit(std::move(one));
        ASSERT_TRUE(id.ok()) << id.status().message();
        number[*id] = order.back();
        order.pop_back();
      }
      if (random.below(8) == 0 && !order.empty()) {  // somebody who leaves early
        const auto id = engine->submit(request(random.below(kRequests), vocab, *grammar));
        ASSERT_TRUE(id.ok());
        if (random.below(2)) {
          ASSERT_TRUE(engine->step(collect).ok());
        }
        engine->cancel(*id);
      }
      if (disturbed && random.below(4) == 0 &&
          !number.empty()) {  // somebody is put back, somebody's client stops reading for a step
        engine->preempt(std::next(number.begin(), random.below(uint32_t(number.size())))->first);
        const uint32_t slow = std::next(number.begin(), random.below(uint32_t(number.size())))->first;
        engine->pause(slow, true);
        ASSERT_TRUE(engine->step(collect).ok());
        engine->pause(slow, false);
      }
      if (disturbed && random.below(200) == 0) {  // the end of the engine; what it computed stays findable
        preempted += engine->stats().preempted;
        reused += prefix ? engine->stats().reused_tokens : 0;
        engine.emplace(**session, options);
        ++restarts;
        for (const auto& [id, i] : std::exchange(number, {})) {
          if (together[i].finish != Finish::none) continue;
          together[i] = {};
          order.push_back(i);
        }
        continue;
      }
      if (disturbed && random.below(100) == 0) {  // a step failed: everybody goes on behind what they were given
        engine->abandon();
        if (prefix) prefix->clear();
        ASSERT_EQ((*session)->pages().free_pages(), (*session)->pages().pages());
        for (const auto& [id, i] : std::exchange(number, {})) {
          if (together[i].finish != Finish::none) continue;
          GenerateRequest rest = request(i, vocab, *grammar);
          rest.generated = together[i].tokens;
          continued += !rest.generated.empty();
          const auto again = engine->submit(std::move(rest));
          ASSERT_TRUE(again.ok()) << again.status().message();
          number[*again] = i;
        }
      }
      const Status stepped = engine->step(collect);
      ASSERT_TRUE(stepped.ok()) << stepped.message();
    }
    for (uint32_t i = 0; i < kRequests; ++i)
      EXPECT_TRUE(together[i] == alone[i])
          << "request " << i << ": " << together[i].tokens.size() << " and " << alone[i].tokens.size() << " tokens, "
          << name(together[i].finish) << " and " << name(alone[i].finish);
    if (prefix) {
      EXPECT_EQ((*session)->pages().free_pages() + prefix->evictable(), (*session)->pages().pages());
      prefix->clear();
      reused += engine->stats().reused_tokens;
      preempted += engine->stats().preempted;
    }
    EXPECT_EQ((*session)->pages().free_pages(), (*session)->pages().pages());
  }
  EXPECT_GT(reused, 0u);
  EXPECT_GT(preempted, 0u);
  EXPECT_GT(restarts, 0u);
  EXPECT_GT(continued, 0u);
}

class EngineInvariance : public testing::TestWithParam<Format> {};

TEST_P(EngineInvariance, AnswersDoNotDependOnTheCompany) {
  TinyModel m;
  m.format = GetParam();
  m.vocab = 320;
  m.tokenizer = true;
  const TinyModelFile file(m);
  expect_same_answers(file.path(), compositions(kCompositions));
}

TEST(EngineInvarianceReal, Smollm2) {
  const char* path = std::getenv("VIBEE_TEST_SMOLLM2");
  if (!path) GTEST_SKIP() << "set VIBEE_TEST_SMOLLM2 to the path of the file";
  expect_same_answers(path, compositions(20));
}

INSTANTIATE_TEST_SUITE_P(Tiny, EngineInvariance, testing::Values(Format::f32, Format::q4_1),
                         [](const auto& row) { return std::string(vibee::info(row.param).name); });

}  // namespace
}  // namespace vibee
