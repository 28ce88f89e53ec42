// SPDX-License-Identifier: Apache-2.0
#include "vibee/plan/simulate/serve_sim.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vibee {

Result<std::unique_ptr<ServeSim>> ServeSim::create(ServeSimConfig config) {
  std::unique_ptr<ServeSim> sim(new ServeSim(std::move(config)));
  const ServeSimConfig& c = sim->config_;
  VIBEE_ASSIGN(sim->executor_, TimedExecutor::create(c.session, c.cost, c.seed, c.token_of));
  VIBEE_ASSIGN(sim->prefix_, make_prefix_index(c.prefix, &sim->executor_->pages()));
  EngineOptions options = c.engine;
  options.prefix = sim->prefix_.get();
  options.time = nullptr;
  if (c.promise_s > 0) {
    sim->time_.emplace(c.cost.start.rows.empty() ? c.cost.step : c.cost.start);
    sim->time_->promise_s = c.promise_s;
    options.time = &*sim->time_;
  }
  if (options.log) options.log->begin(c.session, sim->executor_->pages().pages(), c.prefix);
  sim->engine_.emplace(*sim->executor_, options);
  return sim;
}

void ServeSim::at(double s, std::function<void()> call) {
  timers_.push({std::max(s, now_), next_order_++, std::move(call)});
}

uint64_t ServeSim::send(GenerateRequest request, Events events) {
  const uint64_t number = next_number_++;
  sent_.emplace(number, Sent{std::move(events)});
  const double n = double(request.prompt.size());
  executor_->delay_next_step(config_.cost.ask_delays.of(n));
  // Texts are read one after the other.
  http_free_s_ = std::max(http_free_s_, now_) + config_.cost.ask.of(n);
  if (sent_.size() > config_.session.sequences + config_.queue) {
    at(http_free_s_, [this, number, waiting = sent_.size()] {
      refuse(number, error(Code::no_memory, "HTTP 429: {} answers are under way or wait", waiting));
    });
    return number;
  }
  at(http_free_s_, [this, number, r = std::make_shared<GenerateRequest>(std::move(request))] {
    if (sent_.contains(number)) inbox_.push_back({number, std::move(*r)});
  });
  return number;
}

void ServeSim::cancel(uint64_t number) {
  const auto at = sent_.find(number);
  if (at == sent_.end()) return;
  if (at->second.taken) inbox_.push_back({at->second.engine_id, {}});
  sent_.erase(at);
}

void ServeSim::refuse(uint64_t number, const Status& status) {
  const auto at = sent_.find(number);
  if (at == sent_.end()) return;
  const Events events = std::move(at->second.events);
  sent_.erase(at);
  if (events.refused) events.refused(status);
}

/// When something happens next that is not the engine's.
double ServeSim::next() const {
  const double timer = timers_.empty() ? INFINITY : timers_.top().at_s;
  return deliveries_.empty() ? timer : std::min(timer, deliveries_.front().at_s);
}

void ServeSim::happen() {
  if (!deliveries_.empty() && (timers_.empty() || deliveries_.front().at_s <= timers_.top().at_s)) {
    const Delivery d = std::move(deliveries_.front());
    deliveries_.pop_front();
    now_ = std::max(now_, d.at_s);
    const auto at = sent_.find(d.request);
    if (at == sent_.end()) return;
    if (d.event.finish == Finish::none) return at->second.events.token(d.event);
    const Events events = std::move(at->second.events);
    sent_.erase(at);
    return events.token(d.event);
  }
  const auto call = std::move(const_cast<Timer&>(timers_.top()).call);
  now_ = std::max(now_, timers_.top().at_s);
  timers_.pop();
  call();
}

void ServeSim::take() {
  for (Message& m : std::exchange(inbox_, {})) {
    if (!m.request) {
      engine_->cancel(uint32_t(m.number));
      number_of_.erase(uint32_t(m.number));
      continue;
    }
    const auto at = sent_.find(m.number);
    if (at == sent_.end()) continue;
    const auto id = engine_->submit(std::move(*m.request));
    if (!id.ok()) {
      refuse(m.number, id.status());
      continue;
    }
    at->second.engine_id = *id;
    at->second.taken = true;
    number_of_[*id] = m.number;
  }
}

Status ServeSim::step() {
  const size_t before = deliveries_.size();
  size_t drawn = 0;
  VIBEE_TRY(engine_->step([&](const TokenEvent& event) {
    ++drawn;
    const auto at = number_of_.find(event.request);
    deliveries_.push_back({0, at->second, event});
    if (event.finish != Finish::none) number_of_.erase(at);
  }));
  executor_->finish_step(drawn);
  if (drawn == 0) return {};
  // Tokens go out when all of a step are there, one behind the other.
  double at_s = std::max(executor_->now() + config_.cost.answer.base, http_free_s_);
  for (size_t i = before; i < deliveries_.size(); ++i) deliveries_[i].at_s = at_s += config_.cost.answer.each;
  http_free_s_ = at_s;
  executor_->delay_next_step(config_.cost.event_delays * double(drawn));
  return {};
}

Status ServeSim::run() {
  stopped_ = false;
  while (!stopped_) {
    const bool works = !engine_->idle() && !engine_->stalled();
    if (!works && inbox_.empty()) {  // until something is asked
      if (next() == INFINITY) break;
      happen();
      executor_->wait_until(now_);
      executor_->forget_delay();
      continue;
    }
    while (!stopped_ && next() <= executor_->now()) happen();
    if (stopped_) break;
    take();
    if (!engine_->idle()) VIBEE_TRY(step());
  }
  timers_ = {};
  deliveries_.clear();
  return {};
}

}  // namespace vibee
