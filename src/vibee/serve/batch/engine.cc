// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/engine.h"

#include <algorithm>
#include <climits>
#include <cmath>

#include "vibee/serve/batch/session_executor.h"

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

Engine::Engine(Session& session, const EngineOptions& options)
    : own_(std::make_unique<SessionExecutor>(session)), executor_(*own_), options_(options) {
  if (options_.log) options_.log->options(options_);
}

Engine::Engine(Executor& executor, const EngineOptions& options) : executor_(executor), options_(options) {
  if (options_.log) options_.log->options(options_);
}

Result<uint32_t> Engine::submit(GenerateRequest request) {
  const uint32_t context = executor_.options().context;
  if (request.prompt.empty()) return error(Code::invalid, "the prompt has no tokens");
  if (request.prompt.size() >= context)
    return error(Code::invalid, "the prompt has {} tokens, the context {}; use --ctx {} or a shorter prompt",
                 request.prompt.size(), context, request.prompt.size() + request.max_tokens);
  if (request.adapter) request.space = request.space * 0x9e3779b97f4a7c15 ^ request.adapter->space();
  VIBEE_ASSIGN(auto writer, executor_.open(request));
  const uint64_t pages = executor_.pages().pages();
  if (worst_pages(request) > pages) {
    return error(Code::invalid,
                 "{} prompt and {} new tokens take {} KV pages, there are {}; ask for at most {} new tokens",
                 request.prompt.size(), request.max_tokens, worst_pages(request), pages,
                 pages * kPageTokens - std::min<uint64_t>(pages * kPageTokens, request.prompt.size()));
  }
  if (request.max_tokens == 0 && !request.prompt_logprobs)
    return error(Code::invalid, "max_tokens is 0, and no logprobs of the prompt are asked for: there is nothing to do");
  auto r = std::unique_ptr<Sequence>(
      new Sequence{next_id_, {}, SequenceState(&executor_.pages()), std::move(writer), request.prompt});
  r->request = std::move(request);
  r->submitted = executor_.now();
  if (options_.log) options_.log->request(r->id, r->submitted, r->request);
  for (const int32_t token : r->request.generated) {
    r->tokens.push_back(token);
    r->writer->resume(token);
    ++r->generated;
    r->first_token = r->submitted;
  }
  double least = INFINITY;
  for (const auto& [key, service] : service_) least = std::min(least, service.tokens);
  Service& service = service_.try_emplace(r->request.key, Service{least < INFINITY ? least : 0, 0}).first->second;
  waiting_.push_back(std::move(r));
  ++service.requests;
  return next_id_++;
}

void Engine::forget_key(uint64_t key) {
  const auto at = service_.find(key);
  if (--at->second.requests == 0) service_.erase(at);
}

void Engine::cancel(uint32_t id) {
  if (options_.log) options_.log->told("cancel", id);
  std::erase_if(waiting_, [&](const auto& r) {
    if (r->id == id) forget_key(r->request.key);
    return r->id == id;
  });
  for (auto& r : running_)
    if (r->id == id) r->cancelled = true;
}

void Engine::pause(uint32_t id, bool paused) {
  if (options_.log) options_.log->told(paused ? "pause" : "resume", id);
  for (auto* list : {&waiting_, &running_})
    for (auto& r : *list)
      if (r->id == id) r->paused = paused;
}

bool Engine::preempt(uint32_t id) {
  if (options_.log) options_.log->told("preempt", id);
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->id != id || running_[i]->done()) continue;
    put_back(i);
    return true;
  }
  return false;
}

void Engine::put_back(size_t at) {
  std::unique_ptr<Sequence> r = std::move(running_[at]);
  running_.erase(running_.begin() + ptrdiff_t(at));
  publish(*r, r->state.length());  // nothing is lost, unless somebody needs the pages meanwhile
  r->state.truncate(0);
  r->begun = false;
  ++r->preempted;
  ++stats_.preempted;
  const auto later = [](const auto& a, const auto& b) { return a->id < b->id; };
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), r, later), std::move(r));
}

Engine::~Engine() {
  try {
    for (auto& r : running_)
      if (r) publish(*r, r->state.length());
  } catch (const std::bad_alloc&) {  // then it is not found again
  }
}

void Engine::abandon() {
  if (options_.log) options_.log->abandoned();
  rows_.clear();
  row_owner_.clear();
  active_.clear();
  running_.clear();
  waiting_.clear();
  service_.clear();
}

void Engine::set_options(EngineOptions options) {
  options.prefix = options_.prefix;
  options.log = options_.log;
  options_ = options;
  if (options_.log) options_.log->options(options_);
}

std::vector<SequenceInfo> Engine::sequences() const {
  std::vector<SequenceInfo> out;
  for (const auto* list : {&running_, &waiting_}) {
    for (const auto& r : *list) {
      const std::string_view state = list == &waiting_ ? "waiting"
                                     : r->finished     ? "done"
                                     : r->paused       ? "paused"
                                     : r->in_prompt()  ? "prompt"
                                                       : "generating";
      out.push_back({r->id, uint32_t(r->request.prompt.size()), r->times.reused, r->state.length(), r->generated,
                     r->request.max_tokens, state});
    }
  }
  return out;
}

/// Pages that a request can need in its whole life.
uint32_t Engine::worst_pages(const GenerateRequest& request) const {
  const uint64_t tokens =
      std::min<uint64_t>(uint64_t(request.prompt.size()) + request.max_tokens, executor_.options().context);
  return uint32_t((tokens + kPageTokens - 1) / kPageTokens);
}

/// Pages that it may still take from the store: what it has is its own, but for a page that it shares and will write.
uint64_t Engine::outstanding(const SequenceState& state, const GenerateRequest& request) const {
  const uint32_t worst = worst_pages(request), copied = state.length() % kPageTokens != 0 ? state.pages_for(1) : 0;
  return uint64_t(worst) - std::min(worst, state.page_count()) + copied;
}

/// Whether somebody is computing the same beginning right now: cheaper to wait than to compute it twice.
bool Engine::waits_for_leader(const Sequence& waiting, uint32_t reused) const {
  for (const auto& r : running_) {
    if (!r->in_prompt() || r->paused || r->cancelled || r->request.space != waiting.request.space) continue;
    const auto [a, b] = std::mismatch(r->tokens.begin(), r->tokens.end(), waiting.tokens.begin(), waiting.tokens.end());
    const auto shared = uint32_t(a - r->tokens.begin()) / kPageTokens * kPageTokens;
    if (shared <= reused || r->state.length() >= shared) continue;
    if (options_.log) options_.log->holds(waiting.id, r->id);
    return true;
  }
  return false;
}

Limits Engine::limits() const {
  const SessionOptions& o = executor_.options();
  return {o.max_rows, o.sequences, options_.chunk ? std::min(options_.chunk, o.max_rows) : o.max_rows, options_.time};
}

/// Moves waiting requests to the running ones while the policy takes more and every page that they can ever need is
/// there; the first for whom it is not stops those behind it.
void Engine::admit() {
  if (waiting_.empty() || !may_admit()) return;  // most steps: then the order is not asked either
  std::vector<WaitingView> views;
  for (const auto& r : waiting_) {
    WaitingView v{r->request.priority, now_ - r->submitted, service_[r->request.key].tokens, 0};
    // The first of many are enough to choose from: a look-up each is the price of this order.
    if (options_.order->asks_reused && options_.prefix && views.size() < 128)
      v.reused = options_.prefix->match(r->request.space, std::span(r->tokens).first(r->tokens.size() - 1)).length();
    views.push_back(v);
  }
  std::vector<uint32_t> order(waiting_.size());
  order_waiting(*options_.order, options_.aging_s, views, order);
  std::vector<uint32_t> ids;
  for (const uint32_t i : order) ids.push_back(waiting_[i]->id);
  for (const uint32_t id : ids) {
    const auto at = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& r) { return r->id == id; });
    if (at != waiting_.end() && !admit(size_t(at - waiting_.begin()))) return;
  }
}

/// Whether the policy takes one more, or somebody could be put back for one of a larger class.
bool Engine::may_admit() {
  show();
  if (options_.policy->admits(views_, limits())) return true;
  if (!options_.preempt) return false;
  int largest = INT_MIN, smallest = INT_MAX;
  for (const auto& r : waiting_) largest = std::max(largest, r->request.priority);
  for (const auto& r : running_)
    if (r->preempted < kMostPreemptions && !r->done()) smallest = std::min(smallest, r->request.priority);
  return smallest < largest;
}

/// Puts somebody of a smaller class back; false when there is nobody.
bool Engine::take_place_for(const Sequence& waiting) {
  if (!options_.preempt) return false;
  size_t victim = running_.size();
  for (size_t i = 0; i < running_.size(); ++i) {
    const Sequence& r = *running_[i];
    if (r.request.priority >= waiting.request.priority || r.preempted >= kMostPreemptions || r.done()) continue;
    const bool better = victim == running_.size() || r.request.priority < running_[victim]->request.priority ||
                        (r.request.priority == running_[victim]->request.priority && r.id > running_[victim]->id);
    if (better) victim = i;
  }
  if (victim == running_.size()) return false;
  if (options_.log) options_.log->puts_back(running_[victim]->id);
  put_back(victim);
  return true;
}

/// False when neither it nor anybody behind it can start now.
bool Engine::admit(size_t at) {
  const uint32_t id = waiting_[at]->id;
  const auto find = [&] {  // somebody who is put back moves the others
    return std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& r) { return r->id == id; });
  };
  for (show(); !options_.policy->admits(views_, limits()); show())
    if (!take_place_for(**find())) return false;
  Sequence& r = **find();
  PrefixIndex* prefix = r.request.prompt_logprobs && r.generated == 0 ? nullptr : options_.prefix;
  // At least one token is computed: there must be logits to draw from.
  if (prefix) r.state = prefix->match(r.request.space, std::span(r.tokens).first(r.tokens.size() - 1));
  if (prefix && waits_for_leader(r, r.state.length())) {
    r.state.truncate(0);
    return true;
  }
  const auto fits = [&] {
    uint64_t needed = outstanding(r.state, r.request);
    for (const auto& other : running_) needed += outstanding(other->state, other->request);
    return needed <= executor_.pages().free_pages() + (options_.prefix ? options_.prefix->evictable() : 0);
  };
  // A page shared in part is needed twice for a moment; where that is too much, only whole ones are shared.
  if (!fits()) r.state.truncate(r.state.length() / kPageTokens * kPageTokens);
  while (!fits()) {
    if (take_place_for(r)) continue;
    r.state.truncate(0);
    return false;
  }
  if (prefix)
    prefix->load(r.request.space, std::span(r.tokens).first(r.tokens.size() - 1),
                 stats_.prompt_rows ? stats_.prompt_seconds / double(stats_.prompt_rows) : 0, &r.state);
  if (r.preempted == 0) {
    stats_.prompt_tokens += r.tokens.size();
    stats_.reused_tokens += r.state.length();
    r.times.reused = r.state.length();
  }
  if (options_.log) options_.log->starts(r.id, r.state.length());
  service_[r.request.key].tokens += r.missing();
  const auto place = find();
  running_.push_back(std::move(*place));
  waiting_.erase(place);
  return true;
}

void Engine::show() {
  views_.clear();
  active_.clear();
  for (const bool finished : {false, true}) {  // those who keep their rows for nothing take what the others leave
    for (const auto& r : running_) {
      if (r->paused || r->finished != finished) continue;
      SeqView v{r->state.length(), r->missing(), r->in_prompt(), r->begun};
      if (options_.time != nullptr && !v.prompt) v.slack_s = float(options_.time->promise_s - (now_ - r->last_token));
      views_.push_back(v);
      active_.push_back(r.get());
    }
  }
}

void Engine::pack() {
  const SessionOptions& o = executor_.options();
  show();
  row_count_.assign(active_.size(), 0);
  options_.policy->pack(views_, limits(), row_count_);
  rows_.clear();
  row_owner_.clear();
  uint32_t left = o.max_rows, logits = o.max_logits;
  for (const bool prompts : {false, true}) {  // who generates comes first where logits are few
    for (size_t i = 0; i < active_.size(); ++i) {
      Sequence& r = *active_[i];
      const bool scored = r.generated == 0 && r.request.prompt_logprobs;  // every row has logits
      const uint32_t n = std::min({row_count_[i], left, scored ? logits : left});
      const bool whole = n == views_[i].missing;
      if (views_[i].prompt != prompts || n == 0 || (whole && logits == 0)) continue;
      const uint32_t wanted = r.finished ? 0 : scored ? n : whole;
      rows_.push_back(
          {&r.state, std::span(r.tokens).subspan(r.state.length(), n), wanted, {}, r.request.adapter.get()});
      row_owner_.push_back(&r);
      if (options_.log) options_.log->rows(r.id, n, views_[i].prompt);
      if (r.started < 0) r.started = now_;
      r.begun = true;
      left -= n;
      logits -= wanted;
    }
  }
}

Status Engine::make_room(uint64_t pages) {
  if (options_.log) options_.log->told("room", pages);
  leave();
  return take_pages(pages);
}

/// As make_room, for a step whose rows are chosen: nobody leaves.
Status Engine::take_pages(uint64_t pages) {
  while (executor_.pages().free_pages() < pages) {
    if (options_.prefix == nullptr || !options_.prefix->evict())
      return error(Code::no_memory, "{} KV pages are needed, {} are free; use a larger --batch, or fewer texts at once",
                   pages, executor_.pages().free_pages());
  }
  return {};
}

void Engine::publish(const Sequence& r, uint32_t tokens) {
  if (options_.prefix) options_.prefix->insert(r.request.space, std::span(r.tokens).first(tokens), r.state);
}

/// Who is done or cancelled goes; what was computed stays findable.
void Engine::leave() {
  const bool kept = options_.policy->keeps_rows && std::any_of(running_.begin(), running_.end(),
                                                               [](const auto& r) { return !r->done() && !r->paused; });
  std::erase_if(running_, [&](const auto& r) {
    if (!r->done()) return false;
    if (kept && !r->cancelled && r->generated > 0) {
      r->state.truncate(uint32_t(r->tokens.size()) - 1);  // its last row once more
      return false;
    }
    publish(*r, r->state.length());
    forget_key(r->request.key);
    return true;
  });
}

/// Logits [rows][width] of the prompt's tokens from `first` on say how likely the next one was.
void Engine::score_prompt(Sequence& r, std::span<const float> logits, size_t width, uint32_t first) {
  for (uint32_t i = 0; i * width < logits.size() && first + i + 1 < r.tokens.size(); ++i)
    r.prompt_scores.push_back(
        r.writer->score(logits.subspan(i * width, width), r.tokens[first + i + 1], *r.request.prompt_logprobs));
}

void Engine::accept(Sequence& r, std::span<float> logits, const OnToken& on_token) {
  const double begin = executor_.now();
  if (r.generated == 0) {
    r.first_token = begin;
    r.times.queue = r.started - r.submitted;
    r.times.prompt = begin - r.started;
  }
  TokenEvent event;
  event.request = r.id;
  event.times = r.times;
  event.prompt = std::exchange(r.prompt_scores, {});
  if (r.request.max_tokens > 0) {
    r.writer->next(logits, r.tokens, &event);
    r.tokens.push_back(event.sampled.token);
    ++r.generated;
    ++stats_.generated;
    service_[r.request.key].tokens += 2;
    if (options_.log) options_.log->drew(r.id, event.sampled.token, event.finish);
  }
  if (event.finish == Finish::none && r.generated >= r.request.max_tokens) event.finish = Finish::length;
  if (event.finish == Finish::none && r.tokens.size() >= executor_.options().context) event.finish = Finish::context;
  if (event.finish != Finish::none && event.finish != Finish::stop_string) event.text += r.writer->rest();
  if (event.finish != Finish::none) r.finished = true;  // leaves after this step
  const double end = executor_.now();
  event.times.decode = end - r.first_token;
  event.times.sampling += end - begin;
  r.times = event.times;
  if (on_token) on_token(event);
}

Status Engine::step(const OnToken& on_token) {
  now_ = executor_.now();
  leave();
  admit();
  pack();
  stalled_ = rows_.empty();
  if (stalled_) {
    if (options_.log) options_.log->step(stats_.steps, now_, 0, now_);
    return {};
  }
  uint64_t pages = 0;  // admission has seen to it that there are enough
  for (const StepRows& r : rows_) pages += r.state->pages_for(uint32_t(r.tokens.size()));
  VIBEE_TRY(take_pages(pages));
  uint64_t prompt_rows = 0;
  StepLoad load;
  for (size_t i = 0; i < rows_.size(); ++i) {
    prompt_rows += row_owner_[i]->in_prompt() ? rows_[i].tokens.size() : 0;
    load.add(rows_[i].tokens.size(), rows_[i].state->length(), rows_[i].logits);
  }
  const auto ran = executor_.step(rows_);
  if (!ran.ok()) {
    if (options_.log) options_.log->failed(stats_.steps, now_);
    return ran.status();
  }
  const double end = executor_.now();
  ++stats_.steps;
  stats_.rows += load.rows;
  stats_.prompt_rows += prompt_rows;
  if (options_.time) options_.time->observe(load, ran->seconds);
  if (prompt_rows == 0) stats_.decode_only_rows += rows_.size();
  (prompt_rows ? stats_.prompt_seconds : stats_.decode_seconds) += ran->seconds;
  size_t at = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    Sequence& r = *row_owner_[i];
    // What a client of theirs waits for may be the beginning of somebody else's prompt.
    if (r.generated == 0 || r.state.length() < r.tokens.size())
      publish(r, r.state.length() / kPageTokens * kPageTokens);  // whole pages: nobody copies
    if (rows_[i].logits == 0) continue;
    const auto mine = ran->logits.subspan(at * ran->width, rows_[i].logits * ran->width);
    at += rows_[i].logits;
    if (r.generated == 0 && r.request.prompt_logprobs)
      score_prompt(r, mine, ran->width, r.state.length() - rows_[i].logits);
    if (r.state.length() != r.tokens.size()) continue;
    r.last_token = end;
    accept(r, mine.last(ran->width), on_token);
  }
  if (options_.log) options_.log->step(stats_.steps, now_, ran->seconds, end);
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
