// SPDX-License-Identifier: Apache-2.0
// vibee.h as a program uses it, and as one misuses it.
#include <gtest/gtest.h>
#include <vibee/vibee.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "vibee/app/jobs/generate.h"
#include "vibee/kit/tiny_model.h"

namespace vibee {
namespace {

constexpr const char* kTemplate = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";

/// A struct of vibee.h with its size set.
template <class T>
T sized(void (*fill)(T&) = nullptr) {
  T out{};
  out.struct_size = sizeof out;
  if (fill) fill(out);
  return out;
}
using Load = vibee_load_options;
using Generate = vibee_generate_options;

class Capi : public testing::Test {
 protected:
  static TinyModel tiny() {
    TinyModel m;
    m.vocab = 320;
    m.context = 256;
    m.tokenizer = true;
    m.chat_template = kTemplate;
    return m;
  }
  void SetUp() override {
    ASSERT_EQ(vibee_load(file_.path().c_str(), &options_, &model_), VIBEE_OK) << vibee_last_error();
  }
  void TearDown() override { vibee_free(model_); }

  std::vector<int32_t> ids(const std::string& text) {
    size_t count = 0;
    EXPECT_EQ(vibee_tokenize(model_, text.data(), text.size(), 1, nullptr, 0, &count), VIBEE_OK);
    std::vector<int32_t> out(count);
    EXPECT_EQ(vibee_tokenize(model_, text.data(), text.size(), 1, out.data(), count, &count), VIBEE_OK);
    return out;
  }
  /// The tokens of each prompt, all generated in one stream.
  std::vector<std::vector<int32_t>> generate(const std::vector<std::vector<int32_t>>& prompts,
                                             const vibee_generate_options& options) {
    std::vector<vibee_prompt> given;
    for (const auto& p : prompts) given.push_back({p.data(), p.size()});
    vibee_stream* stream = nullptr;
    EXPECT_EQ(vibee_stream_open(model_, given.data(), given.size(), &options, &stream), VIBEE_OK) << vibee_last_error();
    std::vector<std::vector<int32_t>> out(prompts.size());
    const vibee_event* event;
    vibee_code code;
    while ((code = vibee_stream_next(stream, &event)) == VIBEE_OK)
      if (event->token >= 0) out[event->prompt].push_back(event->token);
    EXPECT_EQ(code, VIBEE_END) << vibee_last_error();
    vibee_stream_free(stream);
    return out;
  }

  TinyModelFile file_{tiny()};
  Load options_ = sized<Load>([](auto& o) { o.threads = 2, o.context = 128, o.batch = 2, o.chunk = 16; });
  vibee_model* model_ = nullptr;
};

int collect(const vibee_event* event, void* user) {
  static_cast<std::string*>(user)->append(event->text, event->text_size);
  return 0;
}

TEST_F(Capi, GeneratesWhatTheJobGenerates) {
  auto o = sized<Generate>([](auto& o) { o.max_tokens = 20, o.temperature = 1, o.seed = 7, o.ignore_end = 1; });
  std::string text;
  auto stats = sized<vibee_stats>();
  ASSERT_EQ(vibee_generate(model_, "hello there", &o, collect, &text, &stats), VIBEE_OK) << vibee_last_error();
  LoadConfig load_config;
  load_config.model = file_.path();
  load_config.context = 128;
  auto loaded = load(load_config);
  ASSERT_TRUE(loaded.ok());
  GenerateConfig config;
  config.max_tokens = 20;
  config.sampling.temperature = 1;
  config.sampling.seed = 7;
  config.ignore_end = true;
  auto prompt = encode_prompt(*loaded->model, "hello there");
  auto expected = vibee::generate(*loaded->session, {*prompt}, config, {}, {});
  ASSERT_TRUE(expected.ok());
  EXPECT_EQ(text, expected->texts[0]);
  EXPECT_EQ(stats.generated_tokens, 20u);
  EXPECT_EQ(stats.prompt_tokens, prompt->size());
  EXPECT_GT(stats.decode_rate, 0);
}

TEST_F(Capi, ACallbackStops) {
  auto o = sized<Generate>([](auto& o) { o.max_tokens = 50, o.ignore_end = 1; });
  int calls = 0;
  const auto third = [](const vibee_event*, void* user) { return int(++*static_cast<int*>(user) == 3); };
  EXPECT_EQ(vibee_generate(model_, "a", &o, third, &calls, nullptr), VIBEE_OK);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(vibee_generate(model_, "a", nullptr, nullptr, nullptr, nullptr), VIBEE_OK) << vibee_last_error();
}

TEST_F(Capi, StreamsGiveEachPromptWhatItGetsAlone) {
  const auto o = sized<Generate>([](auto& o) { o.max_tokens = 12, o.ignore_end = 1; });
  const std::vector<std::vector<int32_t>> prompts = {ids("one"),
                                                     ids("two words that are longer than one chunk of rows"), ids("3")};
  const auto together = generate(prompts, o);
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(together[i], generate({prompts[i]}, o)[0]) << i;
}

TEST_F(Capi, StopsFromAnotherThreadAndOutlivesItsModel) {
  const std::vector<int32_t> prompt = ids("go on");
  const vibee_prompt given{prompt.data(), prompt.size()};
  const auto o = sized<Generate>([](auto& o) { o.max_tokens = 1000, o.ignore_end = 1; });
  vibee_stream* stream = nullptr;
  ASSERT_EQ(vibee_stream_open(model_, &given, 1, &o, &stream), VIBEE_OK);
  vibee_free(model_);
  model_ = nullptr;
  const vibee_event* event;
  ASSERT_EQ(vibee_stream_next(stream, &event), VIBEE_OK);
  std::thread([&] { vibee_stream_stop(stream); }).join();
  EXPECT_EQ(vibee_stream_next(stream, &event), VIBEE_CANCELLED);
  auto stats = sized<vibee_stats>();
  EXPECT_EQ(vibee_stream_stats(stream, &stats), VIBEE_OK);
  EXPECT_EQ(stats.prompt_tokens, prompt.size());
  vibee_stream_free(stream);
}

TEST_F(Capi, AStreamThatNobodyReadsHoldsUpNobody) {
  const auto o = sized<Generate>([](auto& o) { o.max_tokens = 40, o.ignore_end = 1; });
  const std::vector<std::vector<int32_t>> prompts = {ids("one"), ids("two"), ids("three")};
  std::vector<std::vector<int32_t>> alone;
  for (const auto& p : prompts) alone.push_back(generate({p}, o)[0]);
  vibee_stream* idle[2];  // as many as run at once
  std::vector<int32_t> tokens[2];
  const vibee_event* event;
  for (size_t i = 0; i < 2; ++i) {
    const vibee_prompt given{prompts[i].data(), prompts[i].size()};
    ASSERT_EQ(vibee_stream_open(model_, &given, 1, &o, &idle[i]), VIBEE_OK);
    ASSERT_EQ(vibee_stream_next(idle[i], &event), VIBEE_OK);
    if (event->token >= 0) tokens[i].push_back(event->token);
  }
  EXPECT_EQ(generate({prompts[2]}, o)[0], alone[2]);
  for (size_t i = 0; i < 2; ++i) {
    while (vibee_stream_next(idle[i], &event) == VIBEE_OK)
      if (event->token >= 0) tokens[i].push_back(event->token);
    EXPECT_EQ(tokens[i], alone[i]);
    vibee_stream_free(idle[i]);
  }
}

TEST_F(Capi, KeepsWhatWasComputedAndGivesItBackForLogits) {
  const auto o = sized<Generate>([](auto& o) { o.max_tokens = 60, o.ignore_end = 1; });
  const std::string prompt = "the same beginning, long enough for some whole pages of positions";
  auto stats = sized<vibee_stats>();
  ASSERT_EQ(vibee_generate(model_, prompt.c_str(), &o, nullptr, nullptr, &stats), VIBEE_OK);
  EXPECT_EQ(stats.reused_tokens, 0u);
  ASSERT_EQ(vibee_generate(model_, prompt.c_str(), &o, nullptr, nullptr, &stats), VIBEE_OK);
  EXPECT_GE(stats.reused_tokens, 16u);
  for (const char* other : {"q", "w", "e", "r"})  // until every page is kept for somebody
    ASSERT_EQ(vibee_generate(model_, other, &o, nullptr, nullptr, nullptr), VIBEE_OK);
  const std::vector<int32_t> full(128, 70);
  std::vector<float> last(320);
  EXPECT_EQ(vibee_logits(model_, full.data(), 128, 127, last.data(), 320), VIBEE_OK) << vibee_last_error();

  const vibee_prompt both[] = {{full.data(), 100}, {full.data() + 1, 90}};  // two sequences take all pages
  const auto long_one = sized<Generate>([](auto& o) { o.max_tokens = 1000, o.ignore_end = 1; });
  vibee_stream* stream = nullptr;
  ASSERT_EQ(vibee_stream_open(model_, both, 2, &long_one, &stream), VIBEE_OK);
  const vibee_event* event;
  for (int i = 0; i < 40; ++i) ASSERT_EQ(vibee_stream_next(stream, &event), VIBEE_OK);
  EXPECT_EQ(vibee_logits(model_, full.data(), 128, 127, last.data(), 320), VIBEE_NO_MEMORY);
  EXPECT_NE(std::string(vibee_last_error()).find("fewer texts at once"), std::string::npos) << vibee_last_error();
  vibee_stream_free(stream);
  EXPECT_EQ(vibee_logits(model_, full.data(), 128, 127, last.data(), 320), VIBEE_OK) << vibee_last_error();
}

TEST_F(Capi, ThreadsShareAModel) {
  const auto o = sized<Generate>([](auto& o) { o.max_tokens = 10, o.temperature = 1, o.ignore_end = 1; });
  std::string alone;
  ASSERT_EQ(vibee_generate(model_, "same", &o, collect, &alone, nullptr), VIBEE_OK);
  std::string texts[2];
  std::thread threads[2];
  for (int i = 0; i < 2; ++i)
    threads[i] =
        std::thread([&, i] { EXPECT_EQ(vibee_generate(model_, "same", &o, collect, &texts[i], nullptr), VIBEE_OK); });
  for (auto& t : threads) t.join();
  EXPECT_EQ(texts[0], alone);
  EXPECT_EQ(texts[1], alone);
}

TEST_F(Capi, TokensGoBothWays) {
  const std::string text = "hello there\n42";
  size_t size = 0;
  const std::vector<int32_t> tokens = ids(text);
  ASSERT_EQ(vibee_detokenize(model_, tokens.data(), tokens.size(), nullptr, 0, &size), VIBEE_OK);
  std::string back(size, 0);
  ASSERT_EQ(vibee_detokenize(model_, tokens.data(), tokens.size(), back.data(), size, &size), VIBEE_OK);
  EXPECT_EQ(back, text);
  int32_t first = -1;
  ASSERT_EQ(vibee_tokenize(model_, text.data(), text.size(), 1, &first, 1, &size), VIBEE_OK);
  EXPECT_EQ(size, tokens.size());
  EXPECT_EQ(first, tokens[0]);
  const vibee_message messages[] = {{"user", "hi"}};
  std::vector<int32_t> chat(64);
  ASSERT_EQ(vibee_tokenize_chat(model_, messages, 1, chat.data(), chat.size(), &size), VIBEE_OK) << vibee_last_error();
  chat.resize(size);
  EXPECT_EQ(chat, ids("user: hi\nassistant:"));
}

TEST_F(Capi, LogitsDoNotDependOnHowManyAreAsked) {
  const std::vector<int32_t> tokens = ids("a text of more tokens than one chunk holds, so several steps");
  auto info = sized<vibee_model_info>();
  ASSERT_EQ(vibee_info(model_, &info), VIBEE_OK);
  std::vector<float> all(tokens.size() * info.vocabulary), last(info.vocabulary);
  ASSERT_EQ(vibee_logits(model_, tokens.data(), tokens.size(), 0, all.data(), all.size()), VIBEE_OK)
      << vibee_last_error();
  ASSERT_EQ(vibee_logits(model_, tokens.data(), tokens.size(), tokens.size() - 1, last.data(), last.size()), VIBEE_OK);
  EXPECT_EQ(0, std::memcmp(last.data(), all.data() + all.size() - last.size(), last.size() * sizeof(float)));
  for (const float x : all) ASSERT_TRUE(std::isfinite(x));
  const auto best = int32_t(std::max_element(last.begin(), last.end()) - last.begin());
  EXPECT_EQ(generate({tokens}, sized<Generate>([](auto& o) { o.max_tokens = 1; }))[0][0], best);
}

TEST_F(Capi, InfoSaysWhatWasLoaded) {
  auto info = sized<vibee_model_info>();
  ASSERT_EQ(vibee_info(model_, &info), VIBEE_OK);
  EXPECT_EQ(info.path, file_.path());
  EXPECT_STREQ(info.architecture, "llama");
  EXPECT_STREQ(info.kv, "f16");
  EXPECT_EQ(info.vocabulary, 320u);
  EXPECT_EQ(info.trained_context, 256u);
  EXPECT_EQ(info.context, 128u);
  EXPECT_EQ(info.batch, 2u);
  EXPECT_EQ(info.threads, 2u);
  EXPECT_EQ(info.chat_template, 1);
  EXPECT_GT(info.parameters, 0u);
  EXPECT_GT(info.weight_bytes, 0u);
}

TEST_F(Capi, OlderStructsAreReadAndFilled) {
  auto info = sized<vibee_model_info>();
  info.struct_size = offsetof(vibee_model_info, layers);
  info.layers = 77;
  ASSERT_EQ(vibee_info(model_, &info), VIBEE_OK);
  EXPECT_STREQ(info.architecture, "llama");
  EXPECT_EQ(info.layers, 77u) << "written beyond struct_size";
  const auto o = sized<Generate>([](auto& o) {
    o.struct_size = offsetof(Generate, top_k);
    o.max_tokens = 3, o.temperature = -1;
  });
  EXPECT_EQ(vibee_generate(model_, "a", &o, nullptr, nullptr, nullptr), VIBEE_OK) << "fields beyond struct_size count";
}

/// Each call is refused with a line that contains the text, and the model works afterwards.
TEST_F(Capi, RefusesMisuseInOneLine) {
  const auto refused = [](vibee_code expected, const char* text, vibee_code code) {
    EXPECT_EQ(code, expected) << text << ": " << vibee_last_error();
    const std::string line = vibee_last_error();
    EXPECT_NE(line.find(text), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  };
  const auto with = [&](auto change) {
    auto o = sized<Generate>();
    change(o);
    return vibee_generate(model_, "a", &o, nullptr, nullptr, nullptr);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  refused(VIBEE_INVALID, "temperature", with([&](auto& o) { o.temperature = nan; }));
  refused(VIBEE_INVALID, "top_p", with([](auto& o) { o.top_p = 2; }));
  refused(VIBEE_INVALID, "typical_p", with([](auto& o) { o.typical_p = -1; }));
  refused(VIBEE_INVALID, "logprobs", with([](auto& o) { o.logprobs = 101; }));
  refused(VIBEE_INVALID, "struct_size", with([](auto& o) { o.struct_size = 0; }));
  refused(VIBEE_INVALID, "struct_size", with([](auto& o) { o.struct_size = SIZE_MAX; }));
  refused(VIBEE_INVALID, "stop is NULL", with([](auto& o) { o.stop_count = 1; }));
  const vibee_logit_bias bias{100000, 1};
  refused(VIBEE_INVALID, "100000", with([&](auto& o) { o.logit_bias = &bias, o.logit_bias_count = 1; }));
  const char* stops[] = {nullptr};
  refused(VIBEE_INVALID, "stop string", with([&](auto& o) { o.stop = stops, o.stop_count = 1; }));

  vibee_model* other = nullptr;
  refused(VIBEE_NOT_FOUND, "no\\x0asuch", vibee_load("no\nsuch", nullptr, &other));
  refused(VIBEE_INVALID, "model is NULL", vibee_load(nullptr, nullptr, &other));
  refused(VIBEE_INVALID, "out is NULL", vibee_load(file_.path().c_str(), nullptr, nullptr));
  const auto loading = [&](auto change) {
    auto o = sized<Load>();
    change(o);
    return vibee_load(file_.path().c_str(), &o, &other);
  };
  refused(VIBEE_INVALID, "trained for 256", loading([](auto& o) { o.context = 100000; }));
  refused(VIBEE_INVALID, "--threads", loading([](auto& o) { o.threads = 100000; }));
  refused(VIBEE_INVALID, "batch", loading([](auto& o) { o.batch = UINT32_MAX; }));
  refused(VIBEE_INVALID, "chunk", loading([](auto& o) { o.chunk = UINT32_MAX; }));
  refused(VIBEE_INVALID, "--kv", loading([](auto& o) { o.kv = "f64"; }));
  refused(VIBEE_INVALID, "--act", loading([](auto& o) { o.act = ""; }));
  EXPECT_EQ(loading([](auto& o) { o.act = "llm_int8"; }), VIBEE_OK) << vibee_last_error();
  vibee_free(other);
  other = nullptr;
  refused(VIBEE_INVALID, "prefix", loading([](auto& o) { o.prefix = "tree"; }));
  refused(VIBEE_INVALID, "mmx", loading([](auto& o) { o.isa = "mmx"; }));
  refused(VIBEE_NO_MEMORY, "MiB", loading([](auto& o) { o.memory = 1; }));
  EXPECT_EQ(loading([](auto& o) { o.logits = UINT32_MAX; }), VIBEE_OK) << vibee_last_error();
  vibee_free(other);

  size_t count = 5;
  const int32_t wrong[] = {3, -1}, far[] = {320};
  float one = 0;
  refused(VIBEE_INVALID, "token -1", vibee_detokenize(model_, wrong, 2, nullptr, 0, &count));
  refused(VIBEE_INVALID, "token 320", vibee_logits(model_, far, 1, 0, &one, 1));
  refused(VIBEE_INVALID, "room for 1", vibee_logits(model_, wrong, 1, 0, &one, 1));
  refused(VIBEE_INVALID, "no tokens", vibee_logits(model_, nullptr, 0, 0, nullptr, 0));
  refused(VIBEE_INVALID, "from token 9", vibee_logits(model_, wrong, 1, 9, nullptr, 0));
  refused(VIBEE_INVALID, "tokens is NULL", vibee_logits(model_, nullptr, 3, 0, &one, 1));
  refused(VIBEE_INVALID, "the buffer is NULL", vibee_detokenize(model_, wrong, 1, nullptr, 4, &count));
  refused(VIBEE_INVALID, "count is NULL", vibee_tokenize(model_, "a", 1, 1, nullptr, 0, nullptr));
  refused(VIBEE_INVALID, "text is NULL", vibee_tokenize(model_, nullptr, 1, 1, nullptr, 0, &count));
  refused(VIBEE_INVALID, "model is NULL", vibee_info(nullptr, nullptr));
  refused(VIBEE_INVALID, "stream is NULL", vibee_stream_next(nullptr, nullptr));
  EXPECT_EQ(count, 5u) << "written although the call failed";
  const std::vector<int32_t> too_long(129, 3);
  std::vector<float> rows(129 * 320);
  refused(VIBEE_INVALID, "context of 128", vibee_logits(model_, too_long.data(), 129, 0, rows.data(), rows.size()));
  const vibee_prompt prompts[] = {{wrong, 1}, {nullptr, 0}, {too_long.data(), 129}};
  vibee_stream* stream = nullptr;
  refused(VIBEE_INVALID, "prompt 2: the prompt has no tokens", vibee_stream_open(model_, prompts, 2, nullptr, &stream));
  refused(VIBEE_INVALID, "129 tokens", vibee_stream_open(model_, prompts + 2, 1, nullptr, &stream));
  const vibee_message message{"user", nullptr};
  refused(VIBEE_INVALID, "content is NULL", vibee_tokenize_chat(model_, &message, 1, nullptr, 0, &count));
  EXPECT_EQ(stream, nullptr);
  vibee_stream_free(nullptr);
  vibee_free(nullptr);
  EXPECT_EQ(vibee_generate(model_, "a", nullptr, nullptr, nullptr, nullptr), VIBEE_OK);
}

}  // namespace
}  // namespace vibee
