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
  if (worst_pages(request) > session_.pages().pages()) {
    return error(Code::invalid,
                 "{} prompt and {} new tokens take {} KV pages, there are {}; ask for at most {} new tokens",
                 request.prompt.size(), request.max_tokens, worst_pages(request), session_.pages().pages(),
                 uint64_t(session_.pages().pages()) * kPageTokens -
                     std::min<uint64_t>(uint64_t(session_.pages().pages()) * kPageTokens, request.prompt.size()));
  }
  waiting_.emplace_back(next_id_, std::move(request));
  return next_id_++;
}

void Engine::cancel(uint32_t id) {
  std::erase_if(waiting_, [&](const auto& entry) { return entry.first == id; });
  for (auto& r : running_)
    if (r->id == id) r->cancelled = true;
}

Engine::~Engine() {
  for (auto& r : running_) publish(*r, r->state.length());
}

/// Pages that a request can need in its whole life.
uint32_t Engine::worst_pages(const GenerateRequest& request) const {
  const uint64_t tokens =
      std::min<uint64_t>(uint64_t(request.prompt.size()) + request.max_tokens, session_.options().context);
  return uint32_t((tokens + kPageTokens - 1) / kPageTokens);
}

/// Pages that it may still take from the store: what it has is its own, but for a page that it shares and will write.
uint64_t Engine::outstanding(const SequenceState& state, const GenerateRequest& request) const {
  const uint32_t worst = worst_pages(request), copied = state.length() % kPageTokens != 0 ? state.pages_for(1) : 0;
  return uint64_t(worst) - std::min(worst, state.page_count()) + copied;
}

/// Whether somebody who came earlier is computing the same beginning right now: cheaper to wait than to compute it
/// twice.
bool Engine::waits_for_leader(const GenerateRequest& request, uint32_t reused) const {
  for (const auto& r : running_) {
    if (r->generated > 0 || r->request.space != request.space) continue;
    const auto [a, b] = std::mismatch(r->tokens.begin(), r->tokens.end(), request.prompt.begin(), request.prompt.end());
    const auto shared = uint32_t(a - r->tokens.begin()) / kPageTokens * kPageTokens;
    if (shared > reused && r->state.length() < shared) return true;
  }
  return false;
}

/// Moves waiting requests to the running ones while the policy takes more and every page that they can ever need is
/// there; the first for whom it is not stops those behind it.
void Engine::admit() {
  for (size_t at = 0; at < waiting_.size();) {
    show();
    const Limits limits{session_.options().max_rows, session_.options().sequences, options_.chunk, options_.time};
    if (!options_.policy->admits(views_, limits)) return;
    GenerateRequest& request = waiting_[at].second;
    SequenceState state = session_.new_sequence();
    PrefixIndex* prefix = options_.prefix;
    // At least one token is computed: there must be logits to draw from.
    if (prefix) state = prefix->match(request.space, std::span(request.prompt).first(request.prompt.size() - 1));
    if (prefix && waits_for_leader(request, state.length())) {
      ++at;
      continue;
    }
    const auto fits = [&] {
      uint64_t needed = outstanding(state, request);
      for (const auto& r : running_) needed += outstanding(r->state, r->request);
      return needed <= session_.pages().free_pages() + (prefix ? prefix->evictable() : 0);
    };
    // A page shared in part is needed twice for a moment; where that is too much, only whole ones are shared.
    if (!fits()) state.truncate(state.length() / kPageTokens * kPageTokens);
    if (!fits()) return;
    if (prefix)
      prefix->load(request.space, std::span(request.prompt).first(request.prompt.size() - 1),
                   stats_.prompt_rows ? stats_.prompt_seconds / double(stats_.prompt_rows) : 0, &state);
    stats_.prompt_tokens += request.prompt.size();
    stats_.reused_tokens += state.length();
    auto r = std::unique_ptr<Running>(new Running{waiting_[at].first,
                                                  {},
                                                  std::move(state),
                                                  Sampler(request.sampling, pointwise(session_.model().isa())),
                                                  StreamDecoder(session_.model().tokenizer()),
                                                  StopStrings(request.stop),
                                                  request.prompt});
    r->request = std::move(request);
    running_.push_back(std::move(r));
    waiting_.erase(waiting_.begin() + ptrdiff_t(at));
  }
}

void Engine::show() {
  const auto now = std::chrono::steady_clock::now();
  views_.clear();
  for (const auto& r : running_) {
    SeqView v{r->state.length(), uint32_t(r->tokens.size()) - r->state.length(), r->generated == 0, r->begun};
    if (options_.time != nullptr && !v.prompt)
      v.slack_s = float(options_.time->promise_s - std::chrono::duration<double>(now - r->last_token).count());
    views_.push_back(v);
  }
}

void Engine::pack() {
  const SessionOptions& o = session_.options();
  show();
  row_count_.assign(running_.size(), 0);
  const uint32_t chunk = options_.chunk ? std::min(options_.chunk, o.max_rows) : o.max_rows;
  options_.policy->pack(views_, {o.max_rows, o.sequences, chunk, options_.time}, row_count_);
  rows_.clear();
  row_owner_.clear();
  uint32_t left = o.max_rows, logits = o.max_logits;
  for (const bool prompts : {false, true}) {  // who generates comes first where logits are few
    for (size_t i = 0; i < running_.size(); ++i) {
      Running& r = *running_[i];
      const uint32_t n = std::min(row_count_[i], left);
      const bool whole = n == views_[i].missing;
      if (views_[i].prompt != prompts || n == 0 || (whole && logits == 0)) continue;
      rows_.push_back({&r.state, std::span(r.tokens).subspan(r.state.length(), n), whole ? 1u : 0u});
      row_owner_.push_back(&r);
      r.begun = true;
      left -= n;
      logits -= whole;
    }
  }
}

Status Engine::make_room(uint64_t pages) {
  leave();
  while (session_.pages().free_pages() < pages) {
    if (options_.prefix == nullptr || !options_.prefix->evict())
      return error(Code::no_memory, "{} KV pages are needed, {} are free; use a larger --batch, or fewer texts at once",
                   pages, session_.pages().free_pages());
  }
  return {};
}

void Engine::publish(const Running& r, uint32_t tokens) {
  if (options_.prefix) options_.prefix->insert(r.request.space, std::span(r.tokens).first(tokens), r.state);
}

/// Who is done or cancelled goes; what was computed stays findable.
void Engine::leave() {
  std::erase_if(running_, [&](const auto& r) {
    if (r->cancelled) publish(*r, r->state.length());
    return r->cancelled;
  });
}

void Engine::accept(Running& r, std::span<float> logits, const OnToken& on_token) {
  TokenEvent event{r.id, r.sampler.sample(logits, r.tokens, uint32_t(r.tokens.size())), {}};
  const Tokenizer& tokenizer = session_.model().tokenizer();
  const int32_t token = event.sampled.token;
  r.tokens.push_back(token);
  r.last_token = std::chrono::steady_clock::now();
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
  leave();
  admit();
  pack();
  if (rows_.empty()) return {};
  uint64_t pages = 0;  // admission has seen to it that there are enough
  for (const StepRows& r : rows_) pages += r.state->pages_for(uint32_t(r.tokens.size()));
  VIBEE_TRY(make_room(pages));
  uint64_t prompt_rows = 0;
  StepLoad load;
  for (size_t i = 0; i < rows_.size(); ++i) {
    const uint64_t n = rows_[i].tokens.size();
    prompt_rows += row_owner_[i]->generated == 0 ? n : 0;
    load.rows += uint32_t(n);
    load.row_keys += n * rows_[i].state->length() + n * (n + 1) / 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  VIBEE_ASSIGN(const std::span<float> logits, session_.step(rows_));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ++stats_.steps;
  stats_.rows += load.rows;
  stats_.prompt_rows += prompt_rows;
  if (options_.time) options_.time->observe(load, seconds);
  if (prompt_rows == 0) stats_.decode_only_rows += rows_.size();
  (prompt_rows ? stats_.prompt_seconds : stats_.decode_seconds) += seconds;
  const uint32_t vocab = session_.model().config().vocab;
  size_t at = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    Running& r = *row_owner_[i];
    if (r.generated == 0) publish(r, r.state.length() / kPageTokens * kPageTokens);  // whole pages: nobody copies
    if (rows_[i].logits == 0) continue;
    accept(r, logits.subspan(at++ * vocab, vocab), on_token);
  }
  leave();
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
