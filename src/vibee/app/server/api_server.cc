// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/api_server.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "vibee/base/memory/until_memory.h"
#include "vibee/base/thread/run_delay.h"
#include "vibee/model/cache/digest.h"

namespace vibee {
namespace {

constexpr ApiServer::Route kRoutes[] = {
#define VIBEE_ROUTE(method, path, scope, handler, help) {#method, path, Scope::scope, help},
#include "vibee/app/server/routes.inc"
#undef VIBEE_ROUTE
};

bool fits(std::string_view pattern, std::string_view path, std::string* rest) {
  if (!pattern.ends_with("/*")) return pattern == path;
  const std::string_view stem = pattern.substr(0, pattern.size() - 1);
  if (!path.starts_with(stem) || path.size() == stem.size()) return false;
  *rest = path.substr(stem.size());
  return true;
}

/// "%2F" and the like; what is not well formed stays.
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto hex = [&](size_t at) {
      const char c = at < text.size() ? text[at] : 'x';
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                    : -1;
    };
    if (text[i] == '%' && hex(i + 1) >= 0 && hex(i + 2) >= 0) {
      out += char(hex(i + 1) * 16 + hex(i + 2));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

struct Found {
  const ApiServer::Route* route = nullptr;
  size_t index = 0;
  std::string rest;
  std::string allowed;  ///< methods of the path, where the method is another
};

Found find_route(const HttpRequest& request) {
  Found out;
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  for (size_t i = 0; i < std::size(kRoutes); ++i) {
    std::string rest;
    if (!fits(kRoutes[i].path, request.path, &rest)) continue;
    out.allowed += (out.allowed.empty() ? "" : ", ") + std::string(kRoutes[i].method);
    if (kRoutes[i].method == method) {
      out.route = &kRoutes[i];
      out.index = i;
      out.rest = unescape(rest);
    }
  }
  return out;
}

/// The secret in a file that only its owner reads, made when there is none; without a file a new one.
Result<std::string> read_secret(const std::string& path) {
  std::string secret;
  if (!path.empty()) {
    std::ifstream file(path);
    if (file >> secret && secret.size() == 64) return secret;
    if (file.is_open()) return error(Code::corrupt, "{}: is no secret of 64 digits; remove it to get a new one", path);
  }
  std::random_device device;
  secret.clear();
  for (int i = 0; i < 8; ++i) secret += fmt::format("{:08x}", device());
  if (path.empty()) return secret;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const bool written = fd >= 0 && ::write(fd, secret.data(), secret.size()) == ssize_t(secret.size());
  if (fd >= 0) ::close(fd);
  if (!written) return error(Code::io, "{}: cannot be written", path);
  return secret;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 64)) out += c > ' ' && c < 127 && c != '"' && c != '\\' ? c : '_';
  return out;
}

}  // namespace

std::span<const ApiServer::Route> ApiServer::routes() { return kRoutes; }

ApiServer::~ApiServer() = default;

Result<std::unique_ptr<ApiServer>> ApiServer::create(ServeConfig config) {
  std::unique_ptr<ApiServer> out(new ApiServer(std::move(config)));
  ServeConfig& c = out->config_;
  if (!c.key_file.empty()) {
    VIBEE_ASSIGN(auto keys, Access::read_keys(c.key_file));
    for (ApiKey& key : keys) c.access.keys.push_back(std::move(key));
  }
  const bool loopback = c.http.host == "localhost" || c.http.host.starts_with("127.") || c.http.host == "::1";
  if (!loopback && c.access.keys.empty() && !c.no_auth)
    return error(Code::invalid,
                 "--host {}: other machines could use this server; set --api-key or --api-keys, or say --no-auth",
                 c.http.host);
  VIBEE_ASSIGN(out->secret_, read_secret(c.secret_file));
  ApiServer* self = out.get();
  HttpHandler handler;
  handler.before_body = [self](const HttpRequest& request) { return self->before_body(request); };
  handler.handle = [self](HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
    self->handle(std::move(request), std::move(exchange));
  };
  handler.refuse = [self](int status, std::string_view what) {
    const ApiError error{status,
                         status == 413   ? "body_too_large"
                         : status == 431 ? "headers_too_large"
                         : status == 408 ? "request_timeout"
                                         : "invalid_request",
                         std::string(what),
                         {}};
    self->metrics_.add(Metric::refusals, error.code);
    return error.response();
  };
  if (!c.otlp.empty()) {
    auto traces = TraceExporter::start(c.otlp);
    if (!traces.ok()) return traces.take_status().within("--otlp");
    out->traces_ = std::move(*traces);
  }
  VIBEE_ASSIGN(out->http_, HttpServer::listen(c.http, std::move(handler)));
  out->models_ = std::make_unique<ModelPool>(
      c.memory, c.chat_template,
      [http = out->http_.get()](std::function<void()> call) { http->post(std::move(call)); });
  return out;
}

Status ApiServer::add_model(PooledModel model) { return models_->add(std::move(model)); }

Status ApiServer::run() {
  const auto stop = [this] {
    if (draining_) {
      log("stopping at once");
      return http_->stop();
    }
    drain();
  };
  http_->on_signal(SIGTERM, stop);
  http_->on_signal(SIGINT, stop);
  http_->on_signal(SIGHUP, [this] { reload(); });
  std::signal(SIGPIPE, SIG_IGN);
  look_after_models();
  http_->run();
  reader_ = nullptr;  // its thread, and those of models, post to http_
  if (hanging_.ok()) {
    models_ = nullptr;
  } else {
    static_cast<void>(models_.release());  // one of their threads never ends
  }
  return hanging_;
}

/// The watchdog. What counts is time in which this thread ran and no thread of ours waited for a core: a process that
/// is stopped, or on a machine that is busy with others, has not hung.
void ApiServer::look_after_models() {
  constexpr double kPeriod = 0.5;
  const double delay = run_delay(), counted = std::max(0.0, kPeriod - (delay - std::exchange(run_delay_s_, delay)));
  for (const auto& pooled : models_->models()) {
    ServedModel* m = pooled->served.get();
    if (!m) continue;
    const EngineWorker::Pulse pulse = m->worker->pulse();
    m->stands_s = pulse.busy && pulse.progress == m->progress ? m->stands_s + counted : 0;
    m->progress = pulse.progress;
    if (m->stands_s > pulse.allowed_s && !m->hangs) give_up(*m);
  }
  until_memory([&] { http_->after(kPeriod, [this] { look_after_models(); }); });
}

/// Everybody who waits for the model is told, whoever comes meanwhile is refused; then the process ends.
void ApiServer::give_up(ServedModel& model) {
  model.hangs = true;
  const bool first = hanging_.ok();
  hanging_ =
      error(Code::cancelled, "the engine of '{}' hangs: a step has taken more than {:.0f} s", model.id, model.stands_s);
  log(hanging_.message());
  const auto all = answers_;
  for (const auto& [number, weak] : all)
    if (const auto a = weak.lock(); a && &a->model() == &model)
      a->fail({503, "engine_stuck", "the model's engine hangs; the server starts again", {}, 5}, "failed");
  if (first) http_->after(2, [this] { http_->stop(); });  // time to be asked how it is
}

void ApiServer::reload() {
  // Everything is read before anything is changed.
  Access access = config_.access;
  if (!config_.key_file.empty()) {
    auto keys = Access::read_keys(config_.key_file);
    if (!keys.ok()) return log("SIGHUP: nothing changed: " + keys.status().message());
    access.keys = std::move(*keys);
  }
  if (!config_.http.tls_certificate.empty()) {
    if (const Status s = http_->reload_tls(); !s.ok()) return log("SIGHUP: nothing changed: " + s.message());
  }
  log(fmt::format("SIGHUP: {} keys{}", access.keys.size(),
                  config_.http.tls_certificate.empty() ? "" : ", TLS files read again"));
  config_.access = std::move(access);
}

void ApiServer::drain() {
  if (draining_) return;
  http_->after(config_.drain_s, [this] {
    const auto left = answers_;
    for (const auto& [id, weak] : left)
      if (const auto a = weak.lock()) a->fail({503, "shutting_down", "the server is shutting down", {}}, "failed");
    http_->after(0.2, [this] { http_->stop(); });
  });
  draining_ = true;
  log(fmt::format("draining: {} answers under way get up to {} s", answers_.size(), config_.drain_s));
  end_if_drained();
}

void ApiServer::end_if_drained() {
  if (!draining_ || !answers_.empty() || works_ > 0) return;
  http_->close_idle();
  http_->after(0.2, [this] { http_->stop(); });  // the last bytes go out
}

std::optional<HttpResponse> ApiServer::before_body(const HttpRequest& request) {
  std::string key;
  const Found found = find_route(request);
  std::optional<ApiError> error;
  HttpHeaders more;
  if (request.method == "OPTIONS") {  // what a browser asks before a page of elsewhere may post
    HttpHeaders cors = config_.access.cors(request);
    if (!cors.empty()) {
      cors.emplace_back("Access-Control-Allow-Methods", "GET, POST");
      cors.emplace_back("Access-Control-Allow-Headers", "authorization, content-type, x-request-id");
      return HttpResponse{204, std::move(cors), {}};
    }
  }
  // Who may not use anything learns nothing about what there is.
  const Scope scope = found.route ? found.route->scope : Scope(15);
  if (request.header("host").empty()) error = ApiError{400, "invalid_request", "the request has no Host header", {}};
  if (!error) error = config_.access.check(request, scope, &key);
  if (!error && found.allowed.empty())
    error = ApiError{404, "unknown_route", fmt::format("there is nothing at {}", printable(request.path)), {}};
  if (!error && !found.route) {
    error = ApiError{405, "method_not_allowed", fmt::format("{} takes {}", printable(request.path), found.allowed), {}};
    more.emplace_back("Allow", found.allowed);
  }
  if (!error) return {};
  metrics_.add(Metric::refusals, error->code);
  metrics_.add(Metric::requests, fmt::format("{},refused", found.route ? found.route->path : "other"));
  HttpResponse response = error->response();
  // A browser asks its user for the key then, as a password under any name.
  if (error->status == 401 && (request.path == "/" || request.path.starts_with("/ui")))
    response.headers = {{"Content-Type", "application/json"}, {"WWW-Authenticate", "Basic realm=\"vibee\""}};
  response.headers.insert(response.headers.end(), more.begin(), more.end());
  return response;
}

void ApiServer::handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
  const Found found = find_route(request);
  Call call{std::move(request), std::move(exchange), {}, found.rest, found.route->path, {}, {}};
  if (config_.access.check(call.request, found.route->scope, &call.key)) return;  // before_body has answered
  call.headers = config_.access.cors(call.request);
  const std::string id = printable(call.request.header("x-request-id"));
  if (!id.empty()) call.headers.emplace_back("x-request-id", id);
  static constexpr void (ApiServer::*kHandlers[])(Call) = {
#define VIBEE_ROUTE(method, path, scope, handler, help) &ApiServer::handler,
#include "vibee/app/server/routes.inc"
#undef VIBEE_ROUTE
  };
  call.handler = kHandlers[found.index];
  dispatch(std::move(call));
}

void ApiServer::dispatch(Call call) {
  const auto handler = call.handler;
  attempt(call.exchange, call.route, [&] { (this->*handler)(std::move(call)); });
}

void ApiServer::attempt(std::shared_ptr<HttpExchange> keep, std::string_view route, const std::function<void()>& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    metrics_.add(Metric::requests, fmt::format("{},failed", route));
    if (!keep->begun()) keep->respond(ApiError{503, "out_of_memory", "out of memory", {}}.response());
  } catch (const std::exception& e) {  // a mistake of ours must not end the answers of all others
    log(fmt::format("{}: {}", route, e.what()));
    metrics_.add(Metric::requests, fmt::format("{},failed", route));
    if (!keep->begun()) keep->respond(ApiError{500, "internal_error", "the server made a mistake", {}}.response());
  }
}

void ApiServer::refuse(Call& call, const ApiError& error) {
  metrics_.add(Metric::refusals, error.code);
  metrics_.add(Metric::requests, fmt::format("{},refused", call.route));
  HttpResponse response = error.response();
  response.headers.insert(response.headers.end(), call.headers.begin(), call.headers.end());
  call.exchange->respond(std::move(response));
}

void ApiServer::answer(Call& call, std::string json, int status) {
  metrics_.add(Metric::requests, fmt::format("{},ok", call.route));
  HttpHeaders headers = std::move(call.headers);
  headers.emplace_back("Content-Type", "application/json");
  call.exchange->respond({status, std::move(headers), std::move(json)});
}

std::optional<Json> ApiServer::read_body(Call& call) {
  auto body = parse_body(call.request.body);
  if (auto* wrong = std::get_if<ApiError>(&body)) {
    refuse(call, *wrong);
    return {};
  }
  return std::move(std::get<Json>(body));
}

PooledModel* ApiServer::find_known(Call& call, const Json& body, std::optional<Output> output, std::string* adapter) {
  const auto at = body.find("model");
  const bool named = at != body.end() && at->is_string() && !at->get_ref<const std::string&>().empty();
  PooledModel* found = nullptr;
  for (const auto& m : models_->models()) {
    const bool fits = named ? m->id == at->get_ref<const std::string&>() : !output || m->config.output == *output;
    if (fits && !found) found = m.get();
  }
  for (const auto& m : models_->models()) {
    if (found || !named || adapter == nullptr) break;
    std::string_view name = at->get_ref<const std::string&>();
    if (name.starts_with(m->id + ":")) name.remove_prefix(m->id.size() + 1);
    if (!m->has_adapter(name)) continue;
    found = m.get();
    *adapter = name;
  }
  if (!found) {
    std::string list;
    for (const auto& m : models_->models()) {
      list += (list.empty() ? "" : ", ") + m->id;
      for (const std::string& name : m->adapter_names())
        if (adapter) list += fmt::format(", {}:{}", m->id, name);
    }
    refuse(call, named ? ApiError{404, "model_not_found",
                                  fmt::format("there is no model '{}' here; there are: {}",
                                              printable(at->get<std::string>()), list),
                                  "model"}
                       : ApiError{400, "model_not_found", fmt::format("no model here does this; there are: {}", list),
                                  "model"});
    return nullptr;
  }
  if (output && found->config.output != *output) {
    constexpr std::string_view kDoes[] = {"generates text", "gives hidden rows", "gives embeddings", "gives scores"};
    refuse(call, {400, *output == Output::scores ? "model_cannot_rerank" : "model_cannot_do_this",
                  fmt::format("the model '{}' {}: it does not do this", found->id,
                              kDoes[size_t(found->config.output.value_or(Output::logits))]),
                  "model"});
    return nullptr;
  }
  return found;
}

ServedModel* ApiServer::find_model(Call& call, const Json& body, std::optional<Output> output, std::string* adapter) {
  PooledModel* model = find_known(call, body, output, adapter);
  if (!model) return nullptr;
  if (model->state == ModelState::ready) return model->served.get();
  load_and_retry(call, *model);
  return nullptr;
}

ServedModel* ApiServer::find_loaded(Call& call, const Json& body, std::optional<Output> output) {
  PooledModel* model = find_known(call, body, output);
  if (!model || model->state == ModelState::ready) return model ? model->served.get() : nullptr;
  refuse(call, {409, "model_not_loaded", fmt::format("the model '{}' is {}", model->id, name(model->state)), "model"});
  return nullptr;
}

void ApiServer::load_and_retry(Call& call, PooledModel& model) {
  if (is_late(call)) return;
  if (model.waiting.size() >= model.sequences + config_.queue)
    return refuse(call,
                  {429,
                   "queue_full",
                   fmt::format("{} requests wait for the model '{}' to be loaded", model.waiting.size(), model.id),
                   {},
                   1});
  const bool begins = model.state == ModelState::unloaded;
  if (begins) {
    if (const Status room = models_->make_room(model); !room.ok()) {
      ApiError e = api_error(room);
      e.retry_after_s = 1;
      return refuse(call, e);
    }
    log(fmt::format("loading {}", model.id));
  }
  models_->load(model, [this, &model, begins, then = retry(call)](const Status& status) {
    if (begins) {
      metrics_.add(Metric::model_loads, model.id + (status.ok() ? ",ok" : ",failed"));
      log(status.ok() ? fmt::format("{} is ready", model.id) : status.message());
    }
    then(status);
  });
}

ModelPool::Then ApiServer::retry(Call& call) {
  const auto shared = std::make_shared<Call>(std::move(call));
  const auto gone = std::make_shared<bool>(false);
  shared->exchange->on_gone([gone] { *gone = true; });
  ++works_;
  return [this, shared, gone](const Status& status) {
    --works_;
    if (*gone) {
      metrics_.add(Metric::requests, fmt::format("{},cancelled", shared->route));
    } else if (!status.ok()) {
      refuse(*shared, api_error(status));
    } else {
      dispatch(std::move(*shared));
    }
    end_if_drained();
  };
}

bool ApiServer::is_late(Call& call) {
  if (!hanging_.ok()) {
    refuse(call, {503, "engine_stuck", hanging_.message(), {}, 5});
    return true;
  }
  if (draining_) refuse(call, {503, "shutting_down", "the server takes no new requests: it is shutting down", {}, 5});
  return draining_;
}

void ApiServer::on_engine(ServedModel& model, SessionWork work, std::function<void()> then) {
  struct Errand {
    SessionWork work;
    std::function<void()> then;
  };
  const auto errand = std::make_shared<Errand>(Errand{std::move(work), std::move(then)});
  HttpServer* http = http_.get();
  model.worker->run_on_session([this, m = &model, http, errand](Session& session, Engine& engine) {
    std::exception_ptr failure;
    try {
      errand->work(session, engine);
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
    until_memory([&] {
      http->post([this, m, errand] {
        const Errand mine = std::move(*errand);
        --works_;
        models_->end_look(*m);
        mine.then();
        end_if_drained();
      });
    });
    if (failure) std::rethrow_exception(failure);
  });
  ++works_;
  models_->begin_look(model);
}

void ApiServer::between_steps(Call call, ServedModel& model, std::string param, Work work) {
  struct Question {
    explicit Question(Call c) : call(std::move(c)) {}
    Call call;
    Result<std::string> result = Status(Code::no_memory, "out of memory");  // where `work` throws
    std::atomic<bool> gone = false;
  };
  const auto q = std::make_shared<Question>(std::move(call));
  q->call.exchange->on_gone([weak = std::weak_ptr(q)] {
    if (const auto question = weak.lock()) question->gone = true;
  });
  on_engine(
      model,
      [q, work = std::move(work)](Session& session, Engine& engine) {
        q->result = work(session, engine, [q] { return q->gone.load(); });
      },
      [this, q, m = &model, param = std::move(param)] {
        models_->end_use(*m);
        if (q->result.ok()) return answer(q->call, std::move(*q->result));
        ApiError e = api_error(q->result.status());
        e.param = param;
        refuse(q->call, e);
      });
  models_->begin_use(model);
}

uint64_t ApiServer::space_of(const Call& call, const std::string& salt) const {
  Digest digest;
  digest.update(fmt::format("{}|{}|{}|", secret_, call.key.size(), call.key));
  digest.update(salt);
  return std::strtoull(digest.finish().substr(0, 16).c_str(), nullptr, 16);
}

}  // namespace vibee
