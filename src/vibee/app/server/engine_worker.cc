// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/engine_worker.h"

#include <algorithm>

namespace vibee {

Result<std::unique_ptr<EngineWorker>> EngineWorker::start(const LoadConfig& config, Post post) {
  std::unique_ptr<EngineWorker> out(new EngineWorker(config, std::move(post)));
  VIBEE_ASSIGN(out->loaded_, load(config));
  out->engine_.emplace(*out->loaded_.session, out->loaded_.engine);
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
  const uint64_t id = next_job_++;
  ++jobs_under_way_;
  send(Job{id, std::move(parts), std::move(receiver)});
  return id;
}

void EngineWorker::cancel(uint64_t job) { send(Cancel{job}); }
void EngineWorker::pause(uint64_t job, bool paused) { send(Pause{job, paused}); }
void EngineWorker::run_on_session(SessionWork work) { send(std::move(work)); }

void EngineWorker::try_step(std::function<void()> done) {
  run_on_session([this, done = std::move(done)](Session& session, Engine& engine) {
    const std::vector<int32_t> token = {0};
    SequenceState state = session.new_sequence();
    const std::vector<StepRows> rows = {{&state, token}};
    const Status room = engine.make_room(1);
    if (room.ok() && session.step(rows).ok()) {
      const std::lock_guard lock(mutex_);
      last_good_ = std::chrono::steady_clock::now();
    }
    done();
  });
}

EngineWorker::View EngineWorker::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

double EngineWorker::age() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - last_good_).count();
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

void EngineWorker::begin(Job job) {
  Running r{job.id, {}, uint32_t(job.parts.size()), job.receiver};
  for (GenerateRequest& part : job.parts) {
    auto id = engine_->submit(std::move(part));
    if (!id.ok()) {
      for (uint32_t submitted : r.requests) engine_->cancel(submitted);
      --jobs_under_way_;
      post_([receiver = std::move(job.receiver), status = id.take_status()] { receiver->failed(status); });
      return;
    }
    r.requests.push_back(*id);
  }
  running_.push_back(std::move(r));
}

void EngineWorker::end(uint64_t job) {
  const auto at = std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.id == job; });
  if (at == running_.end()) return;
  running_.erase(at);
  --jobs_under_way_;
}

void EngineWorker::take(Message message) {
  if (auto* job = std::get_if<Job>(&message)) {
    begin(std::move(*job));
  } else if (auto* cancel = std::get_if<Cancel>(&message)) {
    for (const Running& r : running_)
      if (r.id == cancel->id)
        for (uint32_t request : r.requests) engine_->cancel(request);
    end(cancel->id);
  } else if (auto* pause = std::get_if<Pause>(&message)) {
    for (const Running& r : running_)
      if (r.id == pause->id)
        for (uint32_t request : r.requests) engine_->pause(request, pause->paused);
  } else {
    std::get<SessionWork>(message)(*loaded_.session, *engine_);
  }
}

void EngineWorker::loop() {
  struct Event {
    std::shared_ptr<JobReceiver> receiver;
    uint32_t part;
    TokenEvent token;
  };
  for (;;) {
    std::vector<Message> messages;
    {
      std::unique_lock lock(mutex_);
      if (engine_->idle() || engine_->stalled()) wake_.wait(lock, [&] { return stop_ || !inbox_.empty(); });
      if (stop_) break;
      messages.swap(inbox_);
    }
    for (Message& m : messages) take(std::move(m));
    if (engine_->idle()) {
      show();
      continue;
    }
    std::vector<Event> events;
    const EngineStats before = engine_->stats();
    const auto begin = std::chrono::steady_clock::now();
    const auto on_token = [&](const TokenEvent& event) {
      for (Running& r : running_) {
        const auto at = std::find(r.requests.begin(), r.requests.end(), event.request);
        if (at == r.requests.end()) continue;
        events.push_back({r.receiver, uint32_t(at - r.requests.begin()), event});
        if (event.finish != Finish::none && --r.unfinished == 0) return end(r.id);
        return;
      }
    };
    Status status;
    try {
      status = engine_->step(on_token);
    } catch (const std::bad_alloc&) {
      status = error(Code::no_memory, "out of memory in a step");
    }
    const auto now = std::chrono::steady_clock::now();
    const EngineStats& after = engine_->stats();
    if (after.steps != before.steps) {
      constexpr size_t kKept = 256;
      last_steps_.push_back({after.steps, uint32_t(after.prompt_rows - before.prompt_rows),
                             uint32_t(after.rows - before.rows - (after.prompt_rows - before.prompt_rows)),
                             1e3 * std::chrono::duration<double>(now - begin).count()});
      if (last_steps_.size() > kKept) last_steps_.pop_front();
    }
    show();
    if (!events.empty()) {
      post_([events = std::move(events)]() mutable {
        for (Event& e : events) e.receiver->token(e.part, std::move(e.token));
      });
    }
    const std::lock_guard lock(mutex_);
    view_.last_step_s = std::chrono::duration<double>(now - begin).count();
    if (status.ok()) {
      last_good_ = now;
      continue;
    }
    // Nothing of this step happened: those it was for are told, the next request finds an engine that is empty.
    ++view_.failures;
    for (Running& r : running_) {
      for (uint32_t request : r.requests) engine_->cancel(request);
      post_([receiver = r.receiver, status] { receiver->failed(status); });
      --jobs_under_way_;
    }
    running_.clear();
  }
}

}  // namespace vibee
