// SPDX-License-Identifier: Apache-2.0
// What may be watched and changed while the server runs: /admin/events, /admin/config, /admin/models,
// /admin/techniques.
#include <algorithm>

#include "vibee/app/catalog/catalog.h"
#include "vibee/app/server/api_server.h"

namespace vibee {
namespace {

constexpr double kPeriod = 0.25;  // of the events of those who watch

/// "f120c16l3": free, kept for later, in use, in use by several; by page number.
std::string page_map(const PageStore& pages, const PrefixIndex* index) {
  std::string out;
  char last = 0;
  uint32_t count = 0;
  const auto flush = [&] {
    if (count > 0) out += fmt::format("{}{}", last, count);
    count = 0;
  };
  for (uint32_t p = 0; p < pages.pages(); ++p) {
    const bool held = index != nullptr && index->holds(p);
    const uint32_t users = pages.owners(p) - (held ? 1 : 0);
    const char kind = users > 1 ? 's' : users == 1 ? 'l' : held ? 'c' : 'f';
    if (kind != last) flush();
    last = kind;
    ++count;
  }
  flush();
  return out;
}

/// Which techniques serving uses: those of its folders, and what stands below them in every step.
bool is_of_serving(const CatalogEntry& e) {
  constexpr std::string_view kFolders[] = {"src/vibee/serve/", "src/vibee/kernels/attention", "src/vibee/app/server"};
  return e.status != TreeStatus::missing && std::any_of(std::begin(kFolders), std::end(kFolders),
                                                        [&](std::string_view f) { return e.folder.starts_with(f); });
}

std::vector<std::string> quoted_ids(const auto& rows) {
  std::vector<std::string> out;
  for (const auto* row : rows) out.push_back(json_quote(row->id));
  return out;
}

}  // namespace

/// Somebody who watches a model's engine: that alone does not keep the model loaded.
struct ApiServer::Watch {
  std::shared_ptr<HttpExchange> exchange;
  PooledModel* model;
  uint64_t last_step = 0, generated = 0;
  JsonObject event;  ///< the next
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now();
  bool gone = false;
};

/// The model that the query names, "model=ID"; without one the first.
ServedModel* ApiServer::named_model(Call& call) {
  const std::string& query = call.request.query;
  Json body = Json::object();
  if (const size_t at = query.find("model="); at != query.npos) {
    const std::string id = query.substr(at + 6, query.find('&', at) - at - 6);
    if (!id.empty()) body["model"] = id;
  }
  return find_loaded(call, body, Output::logits);
}

void ApiServer::events(Call call) {
  ServedModel* model = named_model(call);
  if (!model) return;
  auto w = std::make_shared<Watch>();
  w->exchange = call.exchange;
  w->model = models_->find(model->id);
  HttpHeaders headers = std::move(call.headers);
  headers.emplace_back("Content-Type", "text/event-stream");
  headers.emplace_back("Cache-Control", "no-store");
  w->exchange->begin(200, std::move(headers));
  w->exchange->on_gone([weak = std::weak_ptr(w)] {
    if (const auto watch = weak.lock()) watch->gone = true;
  });
  watch(std::move(w));
}

void ApiServer::watch(std::shared_ptr<Watch> w) {
  ServedModel* model = w->model->served.get();
  if (w->gone || draining_ || !model) return w->exchange->end();
  const auto look = [w, model](Session& session, Engine& engine) {
    const Loaded& loaded = model->worker->loaded();
    const PageStore& pages = session.pages();
    std::vector<std::string> steps, tree, sequences;
    for (const auto& s : model->worker->last_steps()) {
      if (s.number <= w->last_step) continue;
      steps.push_back(fmt::format("[{}, {}, {:.2f}]", s.prompt_rows, s.generated, s.ms));
      w->last_step = s.number;
    }
    if (loaded.prefix)
      for (const PrefixIndex::Run& r : loaded.prefix->runs(1000))
        tree.push_back(fmt::format("[{}, {}, {}]", r.parent, r.tokens, r.used));
    StepLoad load;
    for (const SequenceInfo& s : engine.sequences()) {
      if (sequences.size() < 200)
        sequences.push_back(JsonObject()
                                .integer("id", s.id)
                                .integer("prompt", s.prompt)
                                .integer("reused", s.reused)
                                .integer("computed", s.computed)
                                .integer("generated", s.generated)
                                .integer("max", s.max_tokens)
                                .text("state", s.state)
                                .str());
      if (s.state != "generating") continue;
      load.add(1, s.computed, 1);
    }
    const EngineStats& stats = engine.stats();
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - w->at).count();
    const double rate = seconds > 0 && w->generated > 0 ? double(stats.generated - w->generated) / seconds : 0;
    w->at = now;
    w->generated = std::max<uint64_t>(stats.generated, 1);
    // As many generating at once could make so many a second, by the curve that was measured at the start.
    const double limit = loaded.step_time && load.rows > 0 ? load.rows / loaded.step_time->seconds(load) : 0;
    const uint32_t kept = loaded.prefix ? loaded.prefix->evictable() : 0;
    w->event = JsonObject();
    w->event.integer("running", engine.running())
        .integer("waiting", engine.waiting())
        .number("rate", rate)
        .number("limit", limit)
        .integer("prompt_tokens", stats.prompt_tokens)
        .integer("reused_tokens", stats.reused_tokens)
        .raw("pages", JsonObject()
                          .integer("total", pages.pages())
                          .integer("free", pages.free_pages())
                          .integer("cached", kept)
                          .integer("locked", pages.pages() - pages.free_pages() - kept)
                          .str())
        .text("map", page_map(pages, loaded.prefix.get()))
        .raw("steps", json_array(steps))
        .raw("tree", json_array(tree))
        .raw("sequences", json_array(sequences));
  };
  on_engine(*model, look, [this, w] {
    const std::string& id = w->model->id;
    w->event.number("ttft_p95_ms", 1e3 * metrics_.quantile(Metric::ttft_seconds, id, 0.95))
        .number("itl_p95_ms", 1e3 * metrics_.quantile(Metric::itl_seconds, id, 0.95));
    // Who reads slowly gets fewer events, not more memory.
    if (!w->gone && w->exchange->unsent() < CompletionAnswer::kMostUnsent)
      w->exchange->write("data: " + w->event.str() + "\n\n");
    http_->after(kPeriod, [this, w] { watch(w); });
  });
}

void ApiServer::config(Call call) {
  ServedModel* model = named_model(call);
  if (!model) return;
  between_steps(std::move(call), *model, {},
                [model](Session&, Engine& engine, const std::function<bool()>&) -> Result<std::string> {
                  const EngineOptions& o = engine.options();
                  const Loaded& loaded = model->worker->loaded();
                  JsonObject out;
                  out.text("model", model->id)
                      .text("policy", o.policy->id)
                      .text("order", o.order->id)
                      .text("preempt", o.preempt ? "on" : "off")
                      .integer("chunk", o.chunk)
                      .raw("choices", JsonObject()
                                          .raw("policy", json_array(quoted_ids(scheduler_policies())))
                                          .raw("order", json_array(quoted_ids(request_orders())))
                                          .raw("preempt", "[\"on\", \"off\"]")
                                          .str());
                  if (loaded.step_time) out.number("tbt_ms", 1e3 * loaded.step_time->promise_s);
                  return out.str();
                });
}

void ApiServer::configure(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("config", *body);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_loaded(call, *body, Output::logits);
  if (!model) return;
  const Loaded& loaded = model->worker->loaded();
  std::optional<const SchedulerPolicy*> policy;
  std::optional<const RequestOrder*> order;
  if (fields.has("policy")) {
    auto found = find_policy(fields.text("policy"));
    if (!found.ok())
      fields.fail("policy", found.status().message());
    else
      policy = *found;
    if (policy && *policy == &kSarathiServe && !loaded.step_time)
      fields.fail("policy",
                  "'sarathi' needs the times of steps, which are measured at the start: serve with --policy sarathi",
                  "needs_restart");
  }
  if (fields.has("order")) {
    auto found = find_order(fields.text("order"));
    if (!found.ok())
      fields.fail("order", found.status().message());
    else
      order = *found;
  }
  const std::string preempt = fields.text("preempt");
  if (!preempt.empty() && preempt != "on" && preempt != "off") fields.fail("preempt", "'preempt' is on or off");
  const uint64_t chunk = fields.integer("chunk", 0, 0, loaded.session->options().max_rows);
  const double tbt = fields.number("tbt_ms", 0, 1, 1e6);
  if (fields.has("tbt_ms") && !loaded.step_time)
    fields.fail("tbt_ms", "'tbt_ms' needs the policy sarathi: serve with --policy sarathi", "needs_restart");
  if (fields.failed) return refuse(call, *fields.failed);
  const bool has_chunk = fields.has("chunk");
  log(fmt::format("configuration of {}: {}", model->id, body->dump()));
  between_steps(std::move(call), *model, {},
                [=, &loaded](Session&, Engine& engine, const std::function<bool()>&) -> Result<std::string> {
                  EngineOptions o = engine.options();
                  if (policy) o.policy = *policy;
                  if (order) o.order = *order;
                  if (!preempt.empty()) o.preempt = preempt == "on";
                  if (has_chunk) o.chunk = uint32_t(chunk);
                  if (loaded.step_time) {
                    if (tbt > 0) loaded.step_time->promise_s = tbt / 1e3;
                    o.time = loaded.step_time.get();
                  }
                  engine.set_options(o);
                  return std::string("{\"status\": \"ok\"}");
                });
}

void ApiServer::load_model(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("load_model", *body);
  if (!fields.has("model")) fields.fail("model", "'model' is missing", "missing_field");
  if (fields.failed) return refuse(call, *fields.failed);
  PooledModel* model = find_known(call, *body, {});
  if (!model) return;
  if (model->state == ModelState::ready) return answer(call, model_json(*model));
  load_and_retry(call, *model);
}

void ApiServer::unload_model(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("unload_model", *body);
  if (!fields.has("model")) fields.fail("model", "'model' is missing", "missing_field");
  const bool drain = fields.boolean("drain", false);
  if (fields.failed) return refuse(call, *fields.failed);
  PooledModel* model = find_known(call, *body, {});
  if (!model) return;
  if (model->state == ModelState::unloaded) return answer(call, model_json(*model));
  if (model->served && model->served->uses > model->served->looks && !drain)
    return refuse(call, {409, "model_in_use",
                         fmt::format("{} answers of the model '{}' are under way; say \"drain\": true to wait for them",
                                     model->served->uses - model->served->looks, model->id),
                         "model"});
  log(fmt::format("unloading {}", model->id));
  models_->unload(*model, retry(call));
}

void ApiServer::techniques(Call call) {
  static const std::vector<CatalogEntry> catalog = make_catalog(std::span<const std::string>());
  std::vector<std::string> rows;
  for (const CatalogEntry& e : catalog) {
    if (!is_of_serving(e)) continue;
    rows.push_back(JsonObject()
                       .text("version", e.version)
                       .text("name", e.name)
                       .text("summary", e.summary)
                       .text("promise", e.promise)
                       .text("switches", e.switches)
                       .text("status", name(e.status))
                       .text("detail", e.detail)
                       .str());
  }
  answer(call, "{\"techniques\": " + json_array(rows) + "}");
}

}  // namespace vibee
