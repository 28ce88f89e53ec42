// SPDX-License-Identifier: Apache-2.0
// VIBEE from C++20: vibee.h with objects that free themselves, standard strings and spans, and errors as values. Header
// only; what is linked is libvibee.so. docs/cpp.md is the walk through it, vibee.h says what is common to all: threads,
// units, text.
//
//   auto model = vibee::Model::load("smollm2-135m");
//   if (!model) return fail(model.error().message);
//   auto text = model->generate("Once upon a time", {.max_tokens = 40});
#pragma once

#include <vibee/vibee.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace vibee {
inline namespace v1 {

/// One line that says what was wrong, where, and what to do.
struct Error {
  vibee_code code = VIBEE_OK;
  std::string message;
};

/// A value or the Error that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : held_(std::move(error)) {}  // NOLINT
  explicit operator bool() const { return held_.index() == 0; }
  /// Of a result that holds a value.
  T& operator*() { return *std::get_if<0>(&held_); }
  const T& operator*() const { return *std::get_if<0>(&held_); }
  T* operator->() { return std::get_if<0>(&held_); }
  const T* operator->() const { return std::get_if<0>(&held_); }
  /// Of a result that holds none.
  const Error& error() const { return *std::get_if<1>(&held_); }

 private:
  std::variant<T, Error> held_;
};

struct LoadOptions {
  uint32_t threads = 0;          ///< 0: one a core
  uint32_t context = 0;          ///< positions a sequence; 0: the model's own, at most 4096
  uint32_t batch = 1;            ///< sequences generated at once, the others wait
  uint32_t chunk = 256;          ///< prompt rows a step
  uint32_t logits = 0;           ///< rows whose logits a step computes; 0: 32, or batch if that is more
  std::string kv = "f16";        ///< format of keys and values: f32, f16, q8_0
  std::string act = "int8";      ///< rows that meet an integer weight: int8, or f32 (slow)
  std::string isa = {};          ///< scalar, avx2, avx512; empty: the best of this CPU
  std::string prefix = "radix";  ///< what is kept for prompts that begin alike: radix, off
  uint64_t memory = 0;           ///< refuse to take more than this many bytes; 0: what the system has
};

/// Filters act in this order: bias and penalties, temperature, top_k, typical_p, top_p, min_p.
struct GenerateOptions {
  uint32_t max_tokens = 256;
  float temperature = 0;               ///< 0: greedy
  uint32_t top_k = 0;                  ///< keep the k likeliest; 0: all
  float top_p = 0;                     ///< keep the likeliest with this mass; 0: all
  float min_p = 0;                     ///< drop those below this share of the likeliest; 0: none
  float typical_p = 0;                 ///< keep the most typical with this mass; 0: all
  float repetition_penalty = 0;        ///< divides logits of seen tokens; 0: off
  float presence_penalty = 0;          ///< subtracted once for a seen token
  float frequency_penalty = 0;         ///< subtracted for each occurrence
  uint32_t penalty_window = 256;       ///< last tokens that count as seen
  uint64_t seed = 0;                   ///< prompt i of several draws with seed + i
  uint32_t logprobs = 0;               ///< alternatives in each event, at most 100
  bool ignore_end = false;             ///< go on after the model's end token
  std::vector<std::string> stop = {};  ///< the text ends before any of these
  std::vector<vibee_logit_bias> logit_bias = {};
};

using Tokens = std::vector<int32_t>;

struct Message {
  std::string role, content;  ///< "system", "user" or "assistant"
};

/// One token of one prompt. The views live until the stream's next event, or the end of the callback.
struct Event {
  uint32_t prompt = 0;
  int32_t token = 0;
  std::string_view text;  ///< whole characters; may be empty while a character or a stop string is not decided
  vibee_finish finish = VIBEE_RUNNING;  ///< set in the last event of the prompt
  float logprob = 0;                    ///< in the model's own distribution
  std::span<const vibee_token_logprob> top;
};
/// Gets every token as it comes; false stops.
using OnEvent = std::function<bool(const Event&)>;

struct Generated {
  std::string text;
  Tokens tokens;                                 ///< the end token included
  vibee_finish finish = VIBEE_FINISH_CANCELLED;  ///< that, unless the prompt came to its end
};

namespace detail {

inline Error last_error(vibee_code code) { return {code, vibee_last_error()}; }

/// What a function of vibee.h writes that tells how much there is; `guess` is how much that may be.
template <class Container, class Write>
Result<Container> fetch(size_t guess, Write write) {
  Container out;
  out.resize(guess);
  size_t count = 0;
  if (const vibee_code code = write(out.data(), out.size(), &count)) return last_error(code);
  out.resize(count);
  if (count <= guess) return out;
  if (const vibee_code code = write(out.data(), out.size(), &count)) return last_error(code);
  return out;
}

}  // namespace detail

/// Prompts that are being continued together, an event at a time. It may outlive its model.
class Stream {
 public:
  /// True: *out is the next event. False: every prompt is finished.
  Result<bool> next(Event* out) {
    const vibee_event* e;
    do {
      const vibee_code code = vibee_stream_next(handle_.get(), &e);
      if (code == VIBEE_END) return false;
      if (code != VIBEE_OK) return detail::last_error(code);
    } while (e->token < 0);  // a step of prompt rows only
    *out = {e->prompt, e->token, {e->text, e->text_size}, e->finish, e->logprob, {e->top, e->top_count}};
    return true;
  }
  /// The coming step of next() gives VIBEE_CANCELLED instead. From any thread, and from signal handlers.
  void stop() { vibee_stream_stop(handle_.get()); }
  /// What it took until now.
  vibee_stats stats() const {
    vibee_stats s{};
    s.struct_size = sizeof s;
    vibee_stream_stats(handle_.get(), &s);
    return s;
  }

 private:
  friend class Model;
  struct Free {
    void operator()(vibee_stream* s) const { vibee_stream_free(s); }
  };
  explicit Stream(vibee_stream* handle) : handle_(handle) {}
  std::unique_ptr<vibee_stream, Free> handle_;
};

/// A loaded model. Functions may be called from any thread; what is generated at the same time is computed together.
class Model {
 public:
  /// A GGUF file, a directory of transformers, or a name that `vibee list` shows.
  static Result<Model> load(const std::string& name, const LoadOptions& options = {}) {
    vibee_load_options o{};
    o.struct_size = sizeof o;
    o.threads = options.threads;
    o.context = options.context;
    o.batch = options.batch;
    o.chunk = options.chunk;
    o.logits = options.logits;
    o.kv = options.kv.c_str();
    o.act = options.act.c_str();
    o.isa = options.isa.empty() ? nullptr : options.isa.c_str();
    o.prefix = options.prefix.c_str();
    o.memory = options.memory;
    vibee_model* handle = nullptr;
    if (const vibee_code code = vibee_load(name.c_str(), &o, &handle)) return detail::last_error(code);
    return Model(handle);
  }

  /// Its strings live as long as the model.
  vibee_model_info info() const {
    vibee_model_info i{};
    i.struct_size = sizeof i;
    vibee_info(handle_.get(), &i);
    return i;
  }

  /// Ids of a text. As a prompt: the model's bos before it where it wants one, and special tokens spelled in the text
  /// count as such.
  Result<Tokens> tokenize(std::string_view text, bool prompt = true) const {
    return detail::fetch<Tokens>(text.size() + 8, [&](int32_t* out, size_t capacity, size_t* count) {
      return vibee_tokenize(handle_.get(), text.data(), text.size(), prompt, out, capacity, count);
    });
  }
  /// The prompt of a conversation through the model's own chat template, ready for the next answer.
  Result<Tokens> tokenize(std::span<const Message> messages) const {
    std::vector<vibee_message> rows;
    for (const Message& m : messages) rows.push_back({m.role.c_str(), m.content.c_str()});
    return detail::fetch<Tokens>(1024, [&](int32_t* out, size_t capacity, size_t* count) {
      return vibee_tokenize_chat(handle_.get(), rows.data(), rows.size(), out, capacity, count);
    });
  }
  /// The text of ids, special tokens left out.
  Result<std::string> detokenize(std::span<const int32_t> tokens) const {
    return detail::fetch<std::string>(8 * tokens.size(), [&](char* out, size_t capacity, size_t* size) {
      return vibee_detokenize(handle_.get(), tokens.data(), tokens.size(), out, capacity, size);
    });
  }

  Result<Stream> stream(std::span<const Tokens> prompts, const GenerateOptions& options = {}) {
    std::vector<vibee_prompt> rows;
    for (const Tokens& p : prompts) rows.push_back({p.data(), p.size()});
    std::vector<const char*> stop;
    for (const std::string& s : options.stop) stop.push_back(s.c_str());
    vibee_generate_options o{};
    o.struct_size = sizeof o;
    o.max_tokens = options.max_tokens;
    o.temperature = options.temperature;
    o.top_k = options.top_k;
    o.top_p = options.top_p;
    o.min_p = options.min_p;
    o.typical_p = options.typical_p;
    o.repetition_penalty = options.repetition_penalty;
    o.presence_penalty = options.presence_penalty;
    o.frequency_penalty = options.frequency_penalty;
    o.penalty_window = options.penalty_window;
    o.seed = options.seed;
    o.logprobs = options.logprobs;
    o.ignore_end = options.ignore_end;
    o.stop = stop.data();
    o.stop_count = stop.size();
    o.logit_bias = options.logit_bias.data();
    o.logit_bias_count = options.logit_bias.size();
    vibee_stream* handle = nullptr;
    const vibee_code code = vibee_stream_open(handle_.get(), rows.data(), rows.size(), &o, &handle);
    if (code != VIBEE_OK) return detail::last_error(code);
    return Stream(handle);
  }

  /// The continuations of several prompts, generated together; `stats` may be null.
  Result<std::vector<Generated>> generate(std::span<const Tokens> prompts, const GenerateOptions& options = {},
                                          const OnEvent& on_event = {}, vibee_stats* stats = nullptr) {
    auto running = stream(prompts, options);
    if (!running) return running.error();
    std::vector<Generated> out(prompts.size());
    Event event;
    for (bool stop = false; !stop;) {
      const Result<bool> more = running->next(&event);
      if (!more) return more.error();
      if (!*more) break;
      Generated& g = out[event.prompt];
      g.text += event.text;
      g.tokens.push_back(event.token);
      if (event.finish != VIBEE_RUNNING) g.finish = event.finish;
      stop = on_event && !on_event(event);
    }
    if (stats) *stats = running->stats();
    return out;
  }
  /// The continuation of a text.
  Result<Generated> generate(std::string_view prompt, const GenerateOptions& options = {}, const OnEvent& on_event = {},
                             vibee_stats* stats = nullptr) {
    return generate_one(tokenize(prompt), options, on_event, stats);
  }
  /// The answer to a conversation, through the model's own chat template.
  Result<Generated> chat(std::span<const Message> messages, const GenerateOptions& options = {},
                         const OnEvent& on_event = {}, vibee_stats* stats = nullptr) {
    return generate_one(tokenize(messages), options, on_event, stats);
  }

  /// Logits [tokens - first][vocabulary] of the tokens from `first` on, each row about the token that follows.
  Result<std::vector<float>> logits(std::span<const int32_t> tokens, size_t first = 0) {
    const vibee_model_info i = info();
    std::vector<float> out;
    if (first < tokens.size() && tokens.size() <= i.context) out.resize((tokens.size() - first) * i.vocabulary);
    const vibee_code code = vibee_logits(handle_.get(), tokens.data(), tokens.size(), first, out.data(), out.size());
    if (code != VIBEE_OK) return detail::last_error(code);
    return out;
  }

 private:
  struct Free {
    void operator()(vibee_model* m) const { vibee_free(m); }
  };
  explicit Model(vibee_model* handle) : handle_(handle) {}
  Result<Generated> generate_one(const Result<Tokens>& prompt, const GenerateOptions& options, const OnEvent& on_event,
                                 vibee_stats* stats) {
    if (!prompt) return prompt.error();
    auto out = generate(std::span(&*prompt, 1), options, on_event, stats);
    if (!out) return out.error();
    return std::move(out->front());
  }

  std::unique_ptr<vibee_model, Free> handle_;
};

}  // namespace v1
}  // namespace vibee
