// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/engine_worker.h"

#include <pthread.h>

#include <algorithm>

#include "vibee/base/memory/until_memory.h"

namespace vibee {
namespace {

const Status kOutOfMemory(Code::no_memory, "out of memory");  // short enough to be copied without memory

}  // namespace

Result<std::unique_ptr<EngineWorker>> EngineWorker::start(const LoadConfig& config, Post post) {
  std::unique_ptr<EngineWorker> out(new EngineWorker(config, std::move(post)));
  VIBEE_ASSIGN(out->loaded_, load(config));
  Session& session = *out->loaded_.session;
  out->loaded_.engine.log = config.log.get();
  if (config.log) config.log->begin(session.options(), session.pages().pages(), config.prefix);
  out->engine_.emplace(session, out->loaded_.engine);
  out->show();
  out->thread_ = std::thread([worker = out.get()] { worker->loop(); });
  return out;
}

EngineWorker::~EngineWorker() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void EngineWorker::send(Message message) {
  const std::lock_guard lock(mutex_);
  inbox_.push_back(std::move(message));
  wake_.notify_one();
}

uint64_t EngineWorker::submit(std::vector<GenerateRequest> parts, std::shared_ptr<JobReceiver> receiver) {
  Job job{next_job_++, {}, std::move(receiver)};
  for (GenerateRequest& request : parts) job.parts.push_back({std::move(request)});
  const uint64_t id = job.id;
  send(std::move(job));
  ++jobs_under_way_;
  return id;
}

void EngineWorker::cancel(uint64_t job) {
  until_memory([&] { send(Cancel{job}); });
}
void EngineWorker::pause(uint64_t job, bool paused) {
  until_memory([&] { send(Pause{job, paused}); });
}
void EngineWorker::run_on_session(SessionWork work) { send(std::move(work)); }

void EngineWorker::try_step(Session& session, Engine& engine) {
  const std::vector<int32_t> token = {0};
  SequenceState state = session.new_sequence();
  const std::vector<StepRows> rows = {{&state, token}};
  if (!engine.make_room(1).ok() || !session.step(rows).ok()) return;
  const std::lock_guard lock(mutex_);
  last_good_ = std::chrono::steady_clock::now();
}

EngineWorker::View EngineWorker::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

double EngineWorker::age() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - last_good_).count();
}

EngineWorker::Pulse EngineWorker::pulse() const {
  const StepWatch& watch = loaded_.session->watch();
  return {busy_, turns_ + watch.progress(), watch.allowed_s()};
}

void EngineWorker::show() {
  const PageStore& pages = loaded_.session->pages();
  const std::lock_guard lock(mutex_);
  view_.running = uint32_t(engine_->running());
  view_.waiting = uint32_t(engine_->waiting());
  view_.pages = pages.pages();
  view_.free_pages = pages.free_pages();
  view_.kept_pages = loaded_.prefix ? loaded_.prefix->evictable() : 0;
  view_.stats = engine_->stats();
}

/// Gives the engine the parts of a job that are not finished.
Status EngineWorker::submit(Job& job) {
  try {
    for (Part& part : job.parts) {
      if (part.finished) continue;
      VIBEE_ASSIGN(part.number, engine_->submit(part.request));
      engine_->pause(part.number, job.paused);
    }
    return {};
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
}

void EngineWorker::end(uint64_t job) {
  const auto at = std::find_if(running_.begin(), running_.end(), [&](const Job& j) { return j.id == job; });
  if (at == running_.end()) return;
  for (const Part& part : at->parts)
    if (!part.finished) engine_->cancel(part.number);
  running_.erase(at);
  --jobs_under_way_;
}

void EngineWorker::fail(Job& job, const Status& status) {
  until_memory([&] { events_.push_back({job.receiver, job.id, 0, {}, status}); });
  end(job.id);
}

void EngineWorker::take(Message& message) {
  if (auto* job = std::get_if<Job>(&message)) {
    until_memory([&] { running_.reserve(running_.size() + 1); });
    running_.push_back(std::move(*job));
    if (const Status status = submit(running_.back()); !status.ok()) fail(running_.back(), status);
  } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
    end(cancel->id);
  } else if (const auto* pause = std::get_if<Pause>(&message)) {
    for (Job& job : running_) {
      if (job.id != pause->id) continue;
      job.paused = pause->paused;
      for (const Part& part : job.parts)
        if (!part.finished) engine_->pause(part.number, job.paused);
    }
  } else {
    std::get<SessionWork>(message)(*loaded_.session, *engine_);
  }
}

void EngineWorker::on_token(const TokenEvent& event) {
  for (Job& job : running_) {
    const auto at = std::find_if(job.parts.begin(), job.parts.end(),
                                 [&](const Part& p) { return !p.finished && p.number == event.request; });
    if (at == job.parts.end()) continue;
    // Both or neither: what a client was given is what the text goes on behind.
    const bool inside = event.finish == Finish::none && !at->request.generated.empty();
    events_.push_back({job.receiver, job.id, uint32_t(at - job.parts.begin()), event, {}, inside});
    if (event.sampled.token >= 0) {
      try {
        at->request.generated.push_back(event.sampled.token);
      } catch (const std::bad_alloc&) {
        events_.pop_back();
        throw;
      }
    }
    job.failures = 0;
    at->finished = event.finish != Finish::none;
    if (std::all_of(job.parts.begin(), job.parts.end(), [](const Part& p) { return p.finished; })) end(job.id);
    return;
  }
}

/// Messages, then a step.
void EngineWorker::turn() {
  while (!messages_.empty()) {
    Message message = std::move(messages_.front());
    messages_.erase(messages_.begin());
    take(message);
  }
  if (engine_->idle()) return;
  const EngineStats before = engine_->stats();
  const auto begin = std::chrono::steady_clock::now();
  const Status status = engine_->step([this](const TokenEvent& event) { on_token(event); });
  const auto now = std::chrono::steady_clock::now();
  const EngineStats& after = engine_->stats();
  if (after.steps != before.steps) {
    constexpr size_t kKept = 256;
    last_steps_.push_back({after.steps, uint32_t(after.prompt_rows - before.prompt_rows),
                           uint32_t(after.rows - before.rows - (after.prompt_rows - before.prompt_rows)),
                           1e3 * std::chrono::duration<double>(now - begin).count()});
    if (last_steps_.size() > kKept) last_steps_.pop_front();
  }
  {
    const std::lock_guard lock(mutex_);
    view_.last_step_s = std::chrono::duration<double>(now - begin).count();
    if (status.ok()) last_good_ = now;
  }
  if (!status.ok()) restart(status);
}

/// An engine that holds nothing of before but the jobs, each behind the tokens that it gave. Who was in several
/// failures without a token between them is given up: it may be their cause.
void EngineWorker::restart(const Status& why) {
  {
    const std::lock_guard lock(mutex_);
    ++view_.failures;
  }
  engine_->abandon();
  if (loaded_.prefix) loaded_.prefix->clear();
  for (size_t i = 0; i < running_.size();) {
    const Status status = ++running_[i].failures < kMostFailures ? submit(running_[i]) : why;
    if (status.ok())
      ++i;
    else
      fail(running_[i], status);
  }
}

/// Hands over what the turns gave. Each time wakes the thread of HTTP and the client, which take a core from the step
/// beside them: tokens that come faster than anybody reads are gathered, unless a new prompt could make the next step
/// a long one.
void EngineWorker::tell(bool all) {
  if (events_.empty()) return;
  const auto now = std::chrono::steady_clock::now();
  const std::chrono::duration<double> next(last_steps_.empty() ? 0 : last_steps_.back().ms / 1e3);
  if (!all && engine_->waiting() == 0 &&
      now + next - told_ < std::chrono::duration<double, std::milli>(config_.gather_ms) &&
      std::all_of(events_.begin(), events_.end(), [](const Event& e) { return e.may_wait; }))
    return;
  told_ = now;
  until_memory([&] {
    const std::lock_guard lock(mutex_);
    outbox_.reserve(outbox_.size() + events_.size());
    for (Event& e : events_) outbox_.push_back(std::move(e));
  });
  events_.clear();
  until_memory([&] { post_([this] { deliver(); }); });
}

/// On the thread of those who asked.
void EngineWorker::deliver() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(outbox_);
  }
  for (Event& e : events) {
    if (!e.status.ok()) {
      e.receiver->failed(e.status);
      continue;
    }
    try {
      e.receiver->token(e.part, std::move(e.token));
    } catch (const std::exception&) {  // its next tokens find it ended
      e.receiver->failed(kOutOfMemory);
      cancel(e.job);
    }
  }
}

void EngineWorker::loop() {
  ::pthread_setname_np(::pthread_self(), "vibee engine");
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      busy_ = false;
      if (engine_->idle() || engine_->stalled()) wake_.wait(lock, [&] { return stop_ || !inbox_.empty(); });
      if (stop_) break;
      busy_ = true;
      ++turns_;
      messages_.swap(inbox_);
    }
    if (!messages_.empty()) tell(true);
    do {
      try {
        turn();
      } catch (const std::bad_alloc&) {
        restart(kOutOfMemory);
      } catch (const std::exception& e) {  // a mistake of ours
        restart(Status(Code::corrupt, e.what()));
      }
    } while (!messages_.empty());
    show();
    tell(engine_->idle() || engine_->stalled());
  }
}

}  // namespace vibee
