// SPDX-License-Identifier: Apache-2.0
// /v1/chat/completions and /v1/completions.
#include <cmath>

#include "vibee/app/server/api_server.h"
#include "vibee/base/memory/until_memory.h"

namespace vibee {

void ApiServer::chat(Call call) {
  auto body = read_body(call);
  if (!body) return;
  std::string adapter;
  ServedModel* model = find_model(call, *body, Output::logits, &adapter);
  if (model) read_and_complete(std::move(call), std::move(*body), *model, std::move(adapter), read_chat_request);
}

void ApiServer::completions(Call call) {
  auto body = read_body(call);
  if (!body) return;
  std::string adapter;
  ServedModel* model = find_model(call, *body, Output::logits, &adapter);
  if (model) read_and_complete(std::move(call), std::move(*body), *model, std::move(adapter), read_completion_request);
}

void ApiServer::read_and_complete(Call call, Json body, ServedModel& model, std::string adapter, ReadRequest read) {
  if (!asks_for_grammar(body)) return complete(std::move(call), read(body, model), model, adapter);
  if (is_late(call) || !has_room(call, model, 1)) return;
  struct Reading {
    Json body;
    std::string adapter;
    std::variant<CompletionRequest, ApiError> request = ApiError{503, "out_of_memory", "out of memory", {}};
  };
  const auto reading = std::make_shared<Reading>(Reading{std::move(body), std::move(adapter)});
  const ServedModel* const m = &model;
  aside(
      std::move(call), model, 1, [reading, read, m] { reading->request = read(reading->body, *m); },
      [this, reading](Call mine, ServedModel& its) {
        complete(std::move(mine), std::move(reading->request), its, reading->adapter);
      });
}

void ApiServer::aside(Call call, ServedModel& model, uint32_t prompts, std::function<void()> work,
                      std::function<void(Call, ServedModel&)> then) {
  struct Aside {
    Call call;
    std::function<void()> work;
    std::function<void(Call, ServedModel&)> then;
    bool gone = false;
  };
  const auto it = std::make_shared<Aside>(Aside{std::move(call), std::move(work), std::move(then)});
  it->call.exchange->on_gone([weak = std::weak_ptr(it)] {
    if (const auto a = weak.lock()) a->gone = true;
  });
  reader_->add([this, m = &model, http = http_.get(), it, prompts] {
    try {
      it->work();
    } catch (const std::exception&) {  // it says that there is no memory
    }
    until_memory([&] {
      http->post([this, m, it, prompts] {
        Aside mine = std::move(*it);
        --works_;
        m->under_way -= prompts;
        attempt(mine.call.exchange, mine.call.route, [&] {
          if (mine.gone) return metrics_.add(Metric::requests, fmt::format("{},cancelled", mine.call.route));
          mine.then(std::move(mine.call), *m);
        });
        models_->end_use(*m);
        end_if_drained();
      });
    });
  });
  ++works_;
  model.under_way += prompts;
  models_->begin_use(model);
}

bool ApiServer::has_room(Call& call, const ServedModel& model, uint32_t count) {
  const uint32_t room = model.worker->loaded().session->options().sequences + config_.queue;
  if (model.under_way + count <= room) return true;
  if (count > room) {
    refuse(call, {400, "too_many_answers", fmt::format("{} answers at once, at most {}", count, room), "n"});
    return false;
  }
  // How long until so many have gone, at the rate at which they went lately.
  const double wait = model.rate > 0 ? (model.under_way + count - room) / model.rate : 1;
  refuse(call, {429,
                "queue_full",
                fmt::format("{} answers are under way or wait; one is expected to be free in {:.1f} s", model.under_way,
                            wait),
                {},
                std::max(1.0, wait)});
  return false;
}

void ApiServer::complete(Call call, std::variant<CompletionRequest, ApiError> read, ServedModel& model,
                         const std::string& adapter) {
  if (auto* wrong = std::get_if<ApiError>(&read)) return refuse(call, *wrong);
  if (is_late(call)) return;
  CompletionRequest request = std::move(std::get<CompletionRequest>(read));
  const auto count = uint32_t(request.parts.size());
  if (!has_room(call, model, count)) return;
  const uint64_t space = space_of(call, request.salt);
  std::shared_ptr<const LoraAdapter> lora;
  request.model = model.id;
  request.fingerprint = model.fingerprint;
  if (!adapter.empty()) {
    const auto at = model.adapters.find(adapter);
    if (at == model.adapters.end())
      return refuse(call, {404, "model_not_found", fmt::format("the adapter '{}' was unloaded", adapter), "model"});
    lora = at->second.adapter;
    request.model += ":" + adapter;
    request.fingerprint += "-" + lora->digest().substr(0, 16);
  }
  for (GenerateRequest& part : request.parts) {
    part.adapter = lora;
    part.space = space;
    part.priority = request.priority;
    part.key = space_of(call, {});
  }
  const uint64_t timeout = request.timeout_ms, number = next_answer_++;
  std::vector<GenerateRequest> parts = request.parts;
  CompletionAnswer::Hooks hooks;
  const std::string id = model.id, route(call.route);
  ServedModel* m = &model;
  hooks.first_token = [] {};
  const auto job = std::make_shared<uint64_t>(0);
  hooks.behind = [this, m, job, number] {
    m->worker->pause(*job, true);
    wait_for_reader(*m, *job, number);
  };
  hooks.gap = [this, id](double s) { metrics_.observe(Metric::itl_seconds, id, s); };
  hooks.done = [this, m, count, number, route, trace = begin_trace(call, model)](const CompletionOutcome& o) {
    m->under_way -= count;
    answers_.erase(number);
    end_trace(trace, o);
    count_outcome(*m, route, count, o);
    models_->end_use(*m);
    end_if_drained();
  };
  HttpExchange* exchange = call.exchange.get();
  const auto answer = std::make_shared<CompletionAnswer>(std::move(request), model, call.exchange,
                                                         std::move(call.headers), std::move(hooks));
  answers_[number] = answer;
  model.under_way += count;
  models_->begin_use(model);
  try {
    exchange->on_gone([m, job, answer] {
      m->worker->cancel(*job);
      answer->fail({499, "client_gone", "the client has gone", {}}, "cancelled");
    });
    if (timeout > 0) {
      http_->after(double(timeout) / 1e3, [m, job, weak = std::weak_ptr(answer), timeout] {
        const auto a = weak.lock();
        if (!a || a->done()) return;
        m->worker->cancel(*job);
        a->fail(
            {504, "timeout", fmt::format("the answer was not complete after timeout_ms, {}", timeout), "timeout_ms"},
            "timeout");
      });
    }
    if (!answer->done()) *job = model.worker->submit(std::move(parts), answer);
  } catch (const std::bad_alloc&) {
    answer->failed(Status(Code::no_memory, "out of memory"));
  }
}

/// Nothing depends on it: where there is no memory for it, it is left out.
void ApiServer::count_outcome(ServedModel& model, std::string_view route, uint32_t count,
                              const CompletionOutcome& o) noexcept {
  try {
    metrics_.add(Metric::requests, fmt::format("{},{}", route, o.outcome));
    metrics_.add(Metric::prompt_tokens, model.id, double(o.prompt_tokens));
    metrics_.add(Metric::cached_tokens, model.id, double(o.cached_tokens));
    metrics_.add(Metric::generated_tokens, model.id, double(o.generated_tokens));
    if (o.outcome != "ok") return;
    metrics_.observe(Metric::ttft_seconds, model.id, o.first_token_s);
    metrics_.observe(Metric::e2e_seconds, model.id, o.total_s);
    metrics_.observe(Metric::queue_seconds, model.id, o.times.queue);
    metrics_.observe(Metric::prefill_seconds, model.id, o.times.prompt);
    metrics_.observe(Metric::decode_seconds, model.id, o.times.decode);
    if (o.generated_tokens > count)
      metrics_.observe(Metric::tpot_seconds, model.id, o.times.decode * count / double(o.generated_tokens - count));
    // One answer of so many parts took total_s beside under_way others: Little's law gives the rate.
    const double now = (model.under_way + count) / std::max(1e-3, o.total_s);
    model.rate = model.rate == 0 ? now : 0.9 * model.rate + 0.1 * now;
  } catch (const std::bad_alloc&) {
  }
}

RequestTrace ApiServer::begin_trace(const Call& call, const ServedModel& model) const {
  if (!traces_) return {};
  RequestTrace out{std::string(call.route), model.id};
  for (const auto& [name, value] : call.headers)
    if (name == "x-request-id") out.id = value;
  out.parent = parse_traceparent(call.request.header("traceparent"));
  return out;
}

/// Nothing depends on it: where there is no memory for it, it is left out.
void ApiServer::end_trace(const RequestTrace& begun, const CompletionOutcome& o) noexcept {
  if (!traces_) return;
  try {
    RequestTrace t = begun;
    t.outcome = o.outcome;
    t.end = std::chrono::system_clock::now();
    t.total_s = o.total_s;
    t.queue_s = o.times.queue;
    t.prompt_s = o.times.prompt;
    t.decode_s = o.times.decode;
    t.prompt_tokens = o.prompt_tokens;
    t.cached_tokens = o.cached_tokens;
    t.generated_tokens = o.generated_tokens;
    traces_->add(std::move(t));
  } catch (const std::bad_alloc&) {
  }
}

/// Lets an answer go on when its client has caught up.
void ApiServer::wait_for_reader(ServedModel& model, uint64_t job, uint64_t number) {
  http_->after(0.05, [this, &model, job, number] {
    const auto at = answers_.find(number);
    const auto answer = at == answers_.end() ? nullptr : at->second.lock();
    if (!answer || answer->done()) return;
    try {
      if (answer->unsent() > CompletionAnswer::kMostUnsent / 4) return wait_for_reader(model, job, number);
    } catch (const std::bad_alloc&) {  // better too early than never
    }
    model.worker->pause(job, false);
  });
}

}  // namespace vibee
