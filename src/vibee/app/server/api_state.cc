// SPDX-License-Identifier: Apache-2.0
// What the server says about itself: models, health, metrics.
#include <unistd.h>

#include <fstream>

#include "vibee/app/server/api_server.h"
#include "vibee/base/memory/huge_buffer.h"

namespace vibee {

std::string ApiServer::model_json(const PooledModel& m) const {
  constexpr std::string_view kTasks[] = {"generate", "hidden", "embed", "rerank"};
  JsonObject out;
  out.text("id", m.id)
      .text("object", "model")
      .integer("created", m.served ? int64_t(m.served->loaded_at) : 0)
      .text("owned_by", "vibee")
      .text("state", name(m.state))
      .text("task", kTasks[size_t(m.config.output.value_or(Output::logits))])
      .boolean("chat", m.chat)
      .integer("context", m.context)
      .integer("sequences", m.sequences)
      .integer("memory_bytes", m.plan.total());
  if (!m.fingerprint.empty()) out.text("system_fingerprint", m.fingerprint);
  if (!m.failure.empty()) out.text("failure", m.failure);
  return out.str();
}

std::string ApiServer::adapter_json(const PooledModel& m, const std::string& name) const {
  JsonObject out;
  out.text("id", m.id + ":" + name).text("object", "model").text("owned_by", "vibee").text("parent", m.id);
  out.text("state", vibee::name(m.state))
      .text("task", "generate")
      .boolean("chat", m.chat)
      .integer("context", m.context);
  if (m.served) {
    const ServedAdapter& a = m.served->adapters.find(name)->second;
    out.integer("created", int64_t(a.loaded_at)).text("digest", "sha256:" + a.adapter->digest());
    out.text("system_fingerprint", m.fingerprint + "-" + a.adapter->digest().substr(0, 16));
  } else {
    out.integer("created", 0);
  }
  return out.str();
}

void ApiServer::models(Call call) {
  std::vector<std::string> data;
  for (const auto& m : models_->models()) {
    data.push_back(model_json(*m));
    for (const std::string& name : m->adapter_names()) data.push_back(adapter_json(*m, name));
  }
  answer(call, "{\"object\": \"list\", \"data\": " + json_array(data) + "}");
}

void ApiServer::model(Call call) {
  if (const PooledModel* m = models_->find(call.rest)) return answer(call, model_json(*m));
  for (const auto& m : models_->models())
    for (const std::string& name : m->adapter_names())
      if (call.rest == m->id + ":" + name || call.rest == name) return answer(call, adapter_json(*m, name));
  refuse(call, {404, "model_not_found", "there is no such model here", "model"});
}

void ApiServer::live(Call call) {
  if (!hanging_.ok()) return refuse(call, {503, "engine_stuck", hanging_.message(), {}, 5});
  answer(call, "{\"status\": \"ok\"}");
}

void ApiServer::ready(Call call) {
  if (is_late(call)) return;
  for (const auto& m : models_->models()) {
    const EngineWorker* worker = m->served ? m->served->worker.get() : nullptr;
    if (worker && !worker->idle() && worker->age() > config_.health_s)
      return refuse(call, {503,
                           "engine_stuck",
                           fmt::format("the model '{}' has made no token for {:.0f} s", m->id, worker->age()),
                           {}});
  }
  answer(call, "{\"status\": \"ok\"}");
}

void ApiServer::health(Call call) {
  // A model that has made no token lately is asked for one: a port that is open proves nothing.
  struct State {
    Call call;
    size_t left = 0;
    bool done = false;
  };
  auto state = std::make_shared<State>();
  state->call = std::move(call);
  const auto finish = [this, state](bool in_time) {
    if (std::exchange(state->done, true)) return;
    std::vector<std::string> rows;
    bool good = in_time;
    for (const auto& m : models_->models()) {
      JsonObject row;
      row.text("id", m->id).text("state", name(m->state));
      if (!m->served) {  // nothing is expected of it
        rows.push_back(row.str());
        continue;
      }
      const EngineWorker::View v = m->served->worker->view();
      const double age = m->served->worker->age();
      good &= age <= config_.health_s && !m->served->hangs;
      rows.push_back(row.number("last_step_age_s", age)
                         .number("last_step_ms", 1e3 * v.last_step_s)
                         .integer("running", v.running)
                         .integer("waiting", v.waiting)
                         .integer("failures", v.failures)
                         .boolean("hangs", m->served->hangs)
                         .str());
    }
    answer(state->call,
           fmt::format("{{\"status\": \"{}\", \"models\": {}}}", good ? "ok" : "failing", json_array(rows)),
           good ? 200 : 503);
  };
  for (const auto& pooled : models_->models()) {
    ServedModel* m = pooled->served.get();
    if (!m || m->worker->age() <= config_.health_s || !m->worker->idle() || m->hangs) continue;
    on_engine(
        *m, [m](Session& session, Engine& engine) { m->worker->try_step(session, engine); },
        [state, finish] {
          if (--state->left == 0) finish(true);
        });
    ++state->left;
  }
  if (state->left == 0) return finish(true);
  http_->after(5, [finish] { finish(false); });
}

void ApiServer::metrics_page(Call call) {
  for (const auto& m : models_->models()) {
    metrics_.set(Metric::model_memory_bytes, m->id, m->served ? double(m->plan.total()) : 0);
    const EngineWorker::View v = m->served ? m->served->worker->view() : EngineWorker::View{};
    metrics_.set(Metric::running, m->id, v.running);
    metrics_.set(Metric::waiting, m->id, v.waiting);
    metrics_.set(Metric::kv_pages, m->id + ",free", v.free_pages);
    metrics_.set(Metric::kv_pages, m->id + ",cached", v.kept_pages);
    metrics_.set(Metric::kv_pages, m->id + ",locked", double(v.pages - v.free_pages - v.kept_pages));
    metrics_.set(Metric::kv_usage, m->id, double(v.pages - v.free_pages - v.kept_pages) / std::max(1u, v.pages));
    metrics_.set(Metric::steps, m->id, double(v.stats.steps));
    metrics_.set(Metric::step_failures, m->id, double(v.failures));
  }
  metrics_.set(Metric::connections, "", http_->connections());
  metrics_.set(Metric::sent_bytes, "", double(http_->bytes_sent()));
  if (traces_) {
    metrics_.set(Metric::traces, "sent", double(traces_->sent()));
    metrics_.set(Metric::traces, "dropped", double(traces_->dropped()));
  }
  metrics_.set(Metric::resident_bytes, "", double(resident_memory()));
  metrics_.add(Metric::requests, fmt::format("{},ok", call.route));
  HttpHeaders headers = std::move(call.headers);
  headers.emplace_back("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  call.exchange->respond({200, std::move(headers), metrics_.text()});
}

void ApiServer::drain_now(Call call) {
  answer(call, "{\"status\": \"draining\"}");
  drain();
}

}  // namespace vibee
