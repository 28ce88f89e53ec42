// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/engine.h"

#include <algorithm>
#include <chrono>

namespace vibee {

std::string_view name(Finish finish) {
  switch (finish) {
    case Finish::none: return "none";
    case Finish::end_token: return "stop";
    case Finish::stop_string: return "stop_string";
    case Finish::length: return "length";
    case Finish::context: return "context";
    case Finish::cancelled: return "cancelled";
  }
  return "?";
}

Result<uint32_t> Engine::submit(GenerateRequest request) {
  const uint32_t context = session_.options().context;
  if (request.prompt.empty()) return error(Code::invalid, "the prompt has no tokens");
  if (request.prompt.size() >= context)
    return error(Code::invalid, "the prompt has {} tokens, the context {}; use --ctx {} or a shorter prompt",
                 request.prompt.size(), context, request.prompt.size() + request.max_tokens);
  for (const std::string& stop : request.stop)
    if (stop.empty()) return error(Code::invalid, "a stop string is empty");
  VIBEE_TRY(validate(request.sampling, session_.model().config().vocab));
  waiting_.emplace_back(next_id_, std::move(request));
  return next_id_++;
}

void Engine::cancel(uint32_t id) {
  std::erase_if(waiting_, [&](const auto& entry) { return entry.first == id; });
  for (auto& r : running_)
    if (r->id == id) r->cancelled = true;
}

/// Generating sequences first, one row each, then prompts in order of arrival with the rows that are left.
void Engine::pack() {
  const SessionOptions& o = session_.options();
  while (!waiting_.empty() && running_.size() < o.sequences) {
    auto& [id, request] = waiting_.front();
    auto r = std::unique_ptr<Running>(new Running{id,
                                                  {},
                                                  session_.new_sequence(),
                                                  Sampler(request.sampling, pointwise(session_.model().isa())),
                                                  StreamDecoder(session_.model().tokenizer()),
                                                  StopStrings(request.stop),
                                                  request.prompt});
    r->request = std::move(request);
    running_.push_back(std::move(r));
    waiting_.pop_front();
  }
  rows_.clear();
  row_owner_.clear();
  uint32_t left = o.max_rows, logits = o.max_logits;
  for (const bool prompts : {false, true}) {
    for (auto& r : running_) {
      const auto missing = uint32_t(r->tokens.size()) - r->state.length();
      if ((r->generated == 0) != prompts || left == 0) continue;
      const uint32_t n = std::min(missing, left);
      const bool whole = n == missing;
      if (whole && logits == 0) continue;
      rows_.push_back({&r->state, std::span(r->tokens).subspan(r->state.length(), n), whole ? 1u : 0u});
      row_owner_.push_back(r.get());
      left -= n;
      logits -= whole;
    }
  }
}

void Engine::accept(Running& r, std::span<float> logits, const OnToken& on_token) {
  TokenEvent event{r.id, r.sampler.sample(logits, r.tokens, uint32_t(r.tokens.size())), {}};
  const Tokenizer& tokenizer = session_.model().tokenizer();
  const int32_t token = event.sampled.token;
  r.tokens.push_back(token);
  ++r.generated;
  if (tokenizer.is_end(token) && !r.request.ignore_end) {
    event.finish = Finish::end_token;
  } else {
    event.text = r.stop.push(r.decoder.push(token));
    if (r.stop.stopped()) event.finish = Finish::stop_string;
  }
  if (event.finish == Finish::none && r.generated >= r.request.max_tokens) event.finish = Finish::length;
  if (event.finish == Finish::none && r.tokens.size() >= session_.options().context) event.finish = Finish::context;
  if (event.finish != Finish::none && event.finish != Finish::stop_string) {
    event.text += r.stop.push(r.decoder.finish());
    event.text += r.stop.finish();
  }
  if (event.finish != Finish::none) r.cancelled = true;  // leaves after this step
  if (on_token) on_token(event);
}

Status Engine::step(const OnToken& on_token) {
  std::erase_if(running_, [](const auto& r) { return r->cancelled; });
  pack();
  if (rows_.empty()) return {};
  uint64_t prompt_rows = 0;
  for (size_t i = 0; i < rows_.size(); ++i) prompt_rows += row_owner_[i]->generated == 0 ? rows_[i].tokens.size() : 0;
  const auto begin = std::chrono::steady_clock::now();
  VIBEE_ASSIGN(const std::span<float> logits, session_.step(rows_));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ++stats_.steps;
  stats_.prompt_rows += prompt_rows;
  if (prompt_rows == 0) stats_.decode_only_rows += rows_.size();
  (prompt_rows ? stats_.prompt_seconds : stats_.decode_seconds) += seconds;
  const uint32_t vocab = session_.model().config().vocab;
  size_t at = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].logits == 0) continue;
    accept(*row_owner_[i], logits.subspan(at++ * vocab, vocab), on_token);
  }
  std::erase_if(running_, [](const auto& r) { return r->cancelled; });
  return {};
}

Status Engine::run(const OnToken& on_token, const std::function<bool()>& stop) {
  while (!idle()) {
    if (stop && stop()) return error(Code::cancelled, "interrupted");
    VIBEE_TRY(step(on_token));
  }
  return {};
}

}  // namespace vibee
