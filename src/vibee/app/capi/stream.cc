// SPDX-License-Identifier: Apache-2.0
// Generation of vibee.h: a stream hands out its events of the engine's steps.
#include <atomic>
#include <deque>

#include "vibee/app/capi/call.h"
#include "vibee/app/jobs/generate.h"

using namespace vibee;

struct vibee_stream {
  std::shared_ptr<OpenModel> open;
  std::unique_ptr<Generation> generation;
  std::deque<std::pair<uint32_t, TokenEvent>> events;  ///< and their prompts; made by any stream's steps, not taken yet
  // What next() hands out, of its caller alone:
  TokenEvent token{};
  std::vector<vibee_token_logprob> top;
  vibee_event event{};
  std::atomic<bool> stopped{false};
};

static_assert(std::atomic<bool>::is_always_lock_free, "vibee_stream_stop is called in signal handlers");
static_assert(int(Finish::end_token) == VIBEE_FINISH_END_TOKEN && int(Finish::stop_string) == VIBEE_FINISH_STOP_STRING);
static_assert(int(Finish::length) == VIBEE_FINISH_LENGTH && int(Finish::context) == VIBEE_FINISH_CONTEXT);
static_assert(int(Finish::cancelled) == VIBEE_FINISH_CANCELLED);

namespace {

Result<GenerateConfig> generate_config(const vibee_generate_options* options) {
  VIBEE_ASSIGN(const vibee_generate_options o, read_sized(options, "vibee_generate_options"));
  GenerateConfig c;
  if (o.max_tokens) c.max_tokens = o.max_tokens;
  c.ignore_end = o.ignore_end != 0;
  VIBEE_ASSIGN(const std::span<const char* const> stop, read_span(o.stop, o.stop_count, "stop"));
  for (const char* text : stop) {
    VIBEE_TRY(not_null(text, "a stop string"));
    c.stop.emplace_back(text);
  }
  SamplingParams& s = c.sampling;
  s.temperature = o.temperature;
  s.top_k = o.top_k;
  if (o.top_p != 0) s.top_p = o.top_p;
  s.min_p = o.min_p;
  if (o.typical_p != 0) s.typical_p = o.typical_p;
  if (o.repetition_penalty != 0) s.repetition_penalty = o.repetition_penalty;
  s.presence_penalty = o.presence_penalty;
  s.frequency_penalty = o.frequency_penalty;
  if (o.penalty_window) s.penalty_window = o.penalty_window;
  s.seed = o.seed;
  s.logprobs = o.logprobs;
  VIBEE_ASSIGN(const std::span<const vibee_logit_bias> bias, read_span(o.logit_bias, o.logit_bias_count, "logit_bias"));
  for (const vibee_logit_bias& b : bias) s.logit_bias.emplace_back(b.token, b.bias);
  return c;
}

struct CloseStream {
  void operator()(vibee_stream* stream) const {
    {
      const std::lock_guard turn(stream->open->turns);
      std::erase(stream->open->streams, stream);
      stream->generation.reset();
    }
    delete stream;
  }
};
using StreamPtr = std::unique_ptr<vibee_stream, CloseStream>;

Result<StreamPtr> open_stream(const std::shared_ptr<OpenModel>& open, const std::vector<std::vector<int32_t>>& prompts,
                              const GenerateConfig& config) {
  StreamPtr stream(new vibee_stream);
  stream->open = open;
  const std::lock_guard turn(open->turns);
  VIBEE_ASSIGN(stream->generation, Generation::start(*open->engine, prompts, config));
  open->streams.push_back(stream.get());
  return stream;
}

/// A step for the prompts of all streams.
Status step(OpenModel& open) {
  return open.engine->step([&](const TokenEvent& event) {
    for (vibee_stream* s : open.streams)
      if (const auto prompt = s->generation->take(event)) s->events.emplace_back(*prompt, event);
  });
}

/// Makes s.event the next event; false when there is none left.
Result<bool> next(vibee_stream& s) {
  vibee_event& out = s.event;
  out = {};
  out.token = -1;
  out.text = "";
  {
    const std::lock_guard turn(s.open->turns);
    if (s.events.empty()) {
      if (s.generation->done()) return false;
      if (s.stopped) return error(Code::cancelled, "the stream was stopped");
      VIBEE_TRY(step(*s.open));
    }
    if (s.events.empty()) return true;  // prompt rows, or rows of other streams only
    out.prompt = s.events.front().first;
    s.token = std::move(s.events.front().second);
    s.events.pop_front();
  }
  s.top.clear();
  for (const TokenLogprob& t : s.token.sampled.top) s.top.push_back({t.token, t.logprob});
  out.token = s.token.sampled.token;
  out.text = s.token.text.c_str();
  out.text_size = s.token.text.size();
  out.finish = vibee_finish(s.token.finish);
  out.logprob = s.token.sampled.logprob;
  out.top = s.top.data();
  out.top_count = s.top.size();
  return true;
}

Status write_stats(const vibee_stream& stream, vibee_stats* out) {
  const std::lock_guard turn(stream.open->turns);
  const GenerateStats s = stream.generation->stats();
  return write_sized(vibee_stats{0, s.prompt_tokens, s.reused, s.generated, s.first_token_seconds, s.prompt_seconds,
                                 s.decode_seconds, s.decode_rate()},
                     out, "vibee_stats");
}

}  // namespace

vibee_code vibee_stream_open(vibee_model* model, const vibee_prompt* prompts, size_t prompt_count,
                             const vibee_generate_options* options, vibee_stream** out) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    VIBEE_TRY(not_null(out, "out"));
    VIBEE_ASSIGN(const std::span<const vibee_prompt> given, read_span(prompts, prompt_count, "prompts"));
    VIBEE_ASSIGN(const GenerateConfig config, generate_config(options));
    std::vector<std::vector<int32_t>> copies;
    for (const vibee_prompt& p : given) {
      VIBEE_ASSIGN(const std::span<const int32_t> ids, read_tokens(*model->open->loaded.model, p.tokens, p.count));
      copies.emplace_back(ids.begin(), ids.end());
    }
    VIBEE_ASSIGN(auto stream, open_stream(model->open, copies, config));
    *out = stream.release();
    return {};
  });
}

vibee_code vibee_stream_next(vibee_stream* stream, const vibee_event** out) {
  bool more = true;
  const vibee_code code = call([&]() -> Status {
    VIBEE_TRY(not_null(stream, "stream"));
    VIBEE_TRY(not_null(out, "out"));
    VIBEE_ASSIGN(more, next(*stream));
    *out = &stream->event;
    return {};
  });
  return code == VIBEE_OK && !more ? VIBEE_END : code;
}

void vibee_stream_stop(vibee_stream* stream) {
  if (stream) stream->stopped = true;
}

vibee_code vibee_stream_stats(const vibee_stream* stream, vibee_stats* out) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(stream, "stream"));
    return write_stats(*stream, out);
  });
}

void vibee_stream_free(vibee_stream* stream) {
  if (stream) CloseStream()(stream);
}

vibee_code vibee_generate(vibee_model* model, const char* prompt, const vibee_generate_options* options,
                          int (*on_event)(const vibee_event* event, void* user), void* user, vibee_stats* stats) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    VIBEE_TRY(not_null(prompt, "prompt"));
    if (stats) VIBEE_TRY(check_size(*stats, "vibee_stats"));
    VIBEE_ASSIGN(const GenerateConfig config, generate_config(options));
    VIBEE_ASSIGN(std::vector<int32_t> ids, encode_prompt(*model->open->loaded.model, prompt));
    VIBEE_ASSIGN(auto stream, open_stream(model->open, {std::move(ids)}, config));
    Status status;
    for (bool stop = false; !stop;) {
      auto more = next(*stream);
      if (!more.ok()) status = more.take_status();
      if (!more.ok() || !*more) break;
      stop = stream->event.token >= 0 && on_event && on_event(&stream->event, user) != 0;
    }
    return status.ok() && stats ? write_stats(*stream, stats) : status;
  });
}
