// SPDX-License-Identifier: Apache-2.0
// The interface over HTTP: routes (routes.inc), who may use them, and the models behind them. All members run on the
// thread of run(); models have threads of their own (engine_worker.h).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vibee/app/http/http_server.h"
#include "vibee/app/server/access.h"
#include "vibee/app/server/completion_answer.h"
#include "vibee/app/server/metrics.h"
#include "vibee/app/server/model_pool.h"
#include "vibee/app/server/trace_export.h"
#include "vibee/base/thread/background.h"

namespace vibee {

struct ServeConfig {
  HttpServerOptions http;
  Access access;
  std::string key_file;       ///< read again on SIGHUP
  std::string secret_file;    ///< keeps apart what keys computed across restarts; empty: a new secret each time
  bool no_auth = false;       ///< other machines may use it without a key
  uint32_t queue = 512;       ///< prompts that may wait, a model
  uint64_t memory = 0;        ///< bytes for all models together
  double drain_s = 30;        ///< for what is under way at the end
  std::string otlp;           ///< URL of a collector of traces; empty: none
  std::string adapter_root;   ///< below which adapters may be loaded; empty: none may
  std::string chat_template;  ///< in place of the models' own; empty: their own
  double health_s = 10;       ///< a token older than this is no sign of life
  std::function<void(const std::string&)> log;  ///< a line about what the server does
};

class ApiServer {
 public:
  /// Listens; models are added next, then run().
  static Result<std::unique_ptr<ApiServer>> create(ServeConfig config);
  ~ApiServer();

  /// A model that share_memory has planned.
  Status add_model(PooledModel model);
  uint16_t port() const { return http_->port(); }
  /// Serves until it is drained: after SIGTERM or SIGINT, or /admin/drain. An error when a model's engine hangs: its
  /// thread cannot be ended, so the process has to end without destructors, and be started again.
  Status run();

  struct Route {
    std::string_view method, path;
    Scope scope;
    std::string_view help;
  };
  static std::span<const Route> routes();

 private:
  struct Call {
    HttpRequest request;
    std::shared_ptr<HttpExchange> exchange;
    std::string key;   ///< the name of the key that was given
    std::string rest;  ///< what stands for "*"
    std::string_view route;
    HttpHeaders headers;  ///< that every answer to it carries
    void (ApiServer::*handler)(Call) = nullptr;
  };
  explicit ApiServer(ServeConfig config) : config_(std::move(config)) {}

  std::optional<HttpResponse> before_body(const HttpRequest& request);
  void handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange);
  void dispatch(Call call);
  /// Does what it takes to answer an exchange, and answers it with an error where that throws.
  void attempt(std::shared_ptr<HttpExchange> exchange, std::string_view route, const std::function<void()>& work);
  void refuse(Call& call, const ApiError& error);
  void answer(Call& call, std::string json, int status = 200);

#define VIBEE_ROUTE(method, path, scope, handler, help) void handler(Call call);
#include "vibee/app/server/routes.inc"
#undef VIBEE_ROUTE

  /// The model that the body names; without one, the first that gives `output`. Null: the call was refused. `adapter`
  /// gets the name of the adapter that the body names with it; null: the call takes none.
  PooledModel* find_known(Call& call, const Json& body, std::optional<Output> output, std::string* adapter = nullptr);
  /// The same, loaded. Null: the call was refused, or waits for the model and is handled once more then.
  ServedModel* find_model(Call& call, const Json& body, std::optional<Output> output, std::string* adapter = nullptr);
  /// The same, for what only looks: one that is not loaded is refused.
  ServedModel* find_loaded(Call& call, const Json& body, std::optional<Output> output);
  void load_and_retry(Call& call, PooledModel& model);
  /// What is to be called when a model has settled: handles the call once more.
  ModelPool::Then retry(Call& call);
  std::optional<Json> read_body(Call& call);
  /// The body as a request, which is then completed. What compiles grammars is read on a thread for that.
  using ReadRequest = std::variant<CompletionRequest, ApiError> (*)(const Json&, const ServedModel&);
  void read_and_complete(Call call, Json body, ServedModel& model, std::string adapter, ReadRequest read);
  /// Runs `work` on a thread beside, then `then` here, where the client still waits. The model stays meanwhile, with so
  /// many prompts more that are not finished. Where `work` throws for want of memory, `then` finds what was before it.
  void aside(Call call, ServedModel& model, uint32_t prompts, std::function<void()> work,
             std::function<void(Call, ServedModel&)> then);
  /// Whether so many answers more may wait; otherwise the call was refused.
  bool has_room(Call& call, const ServedModel& model, uint32_t count);
  void complete(Call call, std::variant<CompletionRequest, ApiError> request, ServedModel& model,
                const std::string& adapter);
  /// Runs `work` between two steps of a model's engine; the JSON that it gives, or its error about `param`, is the
  /// answer.
  using Work = std::function<Result<std::string>(Session&, Engine&, const std::function<bool()>& gone)>;
  void between_steps(Call call, ServedModel& model, std::string param, Work work);
  /// Runs `work` between two steps of a model's engine, then `then` here, also when `work` threw. Both are freed here:
  /// they may hold what belongs to this thread.
  void on_engine(ServedModel& model, SessionWork work, std::function<void()> then);
  /// Refuses the call when the server is draining.
  bool is_late(Call& call);
  RequestTrace begin_trace(const Call& call, const ServedModel& model) const;
  void end_trace(const RequestTrace& begun, const CompletionOutcome& outcome) noexcept;
  void count_outcome(ServedModel& model, std::string_view route, uint32_t count, const CompletionOutcome& o) noexcept;
  void wait_for_reader(ServedModel& model, uint64_t job, uint64_t number);
  uint64_t space_of(const Call& call, const std::string& salt) const;
  std::string model_json(const PooledModel& model) const;
  std::string adapter_json(const PooledModel& model, const std::string& name) const;
  ServedModel* named_model(Call& call);
  struct Watch;
  void watch(std::shared_ptr<Watch> watch);
  void look_after_models();
  void give_up(ServedModel& model);
  void drain();
  void end_if_drained();
  void reload();
  void log(const std::string& line) const {
    if (config_.log) config_.log(line);
  }

  ServeConfig config_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<ModelPool> models_;
  Metrics metrics_;
  std::unique_ptr<TraceExporter> traces_;                        ///< null: nobody collects them
  std::string secret_;                                           ///< of this process: keeps apart what keys computed
  std::map<uint64_t, std::weak_ptr<CompletionAnswer>> answers_;  ///< under way
  uint64_t next_answer_ = 0;
  uint32_t works_ = 0;  ///< on_engine, under way, and calls that wait for a model or are read aside
  bool draining_ = false;
  Status hanging_;          ///< not ok: of the model that hangs
  double run_delay_s_ = 0;  ///< when the watchdog last looked
  std::unique_ptr<Background> reader_ = std::make_unique<Background>();
};

}  // namespace vibee
