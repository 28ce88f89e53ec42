// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/measure_cost.h"

#include <algorithm>
#include <thread>

#include "vibee/app/server/api_server.h"
#include "vibee/app/traffic/http_traffic.h"
#include "vibee/app/traffic/prompts.h"
#include "vibee/app/traffic/traffic.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"
#include "vibee/plan/simulate/fit_cost.h"

namespace vibee {
namespace {

constexpr uint32_t kRounds = 9;       // of timing steps
constexpr double kPhaseSeconds = 12;  // of a phase of traffic, at most
constexpr uint32_t kShort = 16, kOutput = 64;

/// A server of one model in threads of this process.
class OwnServer {
 public:
  static Result<std::unique_ptr<OwnServer>> start(LoadConfig config) {
    ServeConfig serve;
    serve.http.host = "127.0.0.1";
    serve.http.port = 0;
    std::unique_ptr<OwnServer> out(new OwnServer);
    config.log = std::make_shared<ScheduleLog>([log = out->log_](std::string_view line) { (*log += line) += '\n'; });
    serve.memory = config.memory.value_or(available_memory() / 5 * 4);
    PooledModel model;
    model.id = "model";
    model.config = std::move(config);
    VIBEE_TRY(share_memory({&model, 1}, serve.memory));
    VIBEE_ASSIGN(out->server_, ApiServer::create(std::move(serve)));
    VIBEE_TRY(out->server_->add_model(std::move(model)));
    VIBEE_ASSIGN(out->target_.url, parse_url(fmt::format("http://127.0.0.1:{}", out->server_->port())));
    out->target_.model = "model";
    out->thread_ = std::thread([server = out->server_.get()] { static_cast<void>(server->run()); });
    return out;
  }
  ~OwnServer() {
    if (thread_.joinable()) stop();
  }
  Target& target() { return target_; }
  /// Ends it; everything that it decided.
  Result<std::string> stop() {
    Status drained;
    if (auto client = HttpClient::create(target_.http); client.ok())
      drained = http_fetch(**client, target_.url, {"POST", "/admin/drain", {}, "{}"}).take_status();
    else
      drained = client.take_status();
    VIBEE_TRY(std::move(drained));
    thread_.join();
    server_ = nullptr;
    return *log_;
  }

 private:
  OwnServer() = default;
  std::shared_ptr<std::string> log_ = std::make_shared<std::string>();  // of the engine's thread, while there is one
  std::unique_ptr<ApiServer> server_;
  Target target_;
  std::thread thread_;
};

std::vector<Conversation> conversations(const Prompts& prompts, uint32_t n, uint32_t prompt, uint32_t longer,
                                        uint32_t output, uint64_t seed) {
  std::vector<Conversation> out(n);
  for (uint32_t i = 0; i < n; ++i)
    out[i].turns.push_back({"user", prompts.text(i % 2 ? longer : prompt, true, part_seed(seed, 61, i)), output, 0});
  return out;
}

/// Requests one at a time: from sending to the engine, and from a step's end back.
LinearCost fit_ask(std::span<const RequestRecord> records, std::span<const ReplayedStep> steps, const ServeCost& cost) {
  std::vector<std::vector<double>> rows;
  size_t at = 0;
  for (const RequestRecord& r : records) {
    while (at < steps.size() && steps[at].asked == 0) ++at;  // its first step
    if (at == steps.size()) break;
    const double begin = steps[at].at_s;
    while (at < steps.size() && steps[at].drawn == 0) ++at;  // its first token
    if (at == steps.size()) break;
    if (r.completed())
      rows.push_back({1, double(r.prompt_tokens), r.ttft() - (steps[at].end_s - begin) - cost.loop.of(1)});
    ++at;
  }
  const std::vector<double> x = fit_least_squares(rows);
  return rows.empty() ? LinearCost() : LinearCost{x[0], x[1]};
}

/// Tokens of a step reach their clients one behind the other: the usual gap between neighbours among all pieces, of
/// which most are of one step.
double gap_within_step(std::span<const RequestRecord> records) {
  std::vector<double> times, gaps;
  for (const RequestRecord& r : records)
    for (const StreamedPiece& p : r.pieces) times.push_back(p.at_s);
  std::sort(times.begin(), times.end());
  for (size_t i = 1; i < times.size(); ++i) gaps.push_back(times[i] - times[i - 1]);
  return gaps.empty() ? 0 : median(std::move(gaps));
}

}  // namespace

Result<ServeCost> measure_serve_cost(const LoadConfig& config,
                                     const std::function<bool(std::string_view what)>& progress) {
  const auto stopped = [] { return error(Code::cancelled, "interrupted"); };
  VIBEE_ASSIGN(const std::string path, resolve_model(config.model));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(path));
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer(file));
  VIBEE_ASSIGN(const auto tokenizer, make_tokenizer(std::move(spec)));
  VIBEE_ASSIGN(const Prompts prompts, Prompts::create(tokenizer.get()));
  StepCurves curves;
  uint32_t context = 0;
  {
    if (!progress("timing the model's steps")) return stopped();
    LoadConfig alone = config;
    alone.policy = "chunked";  // it would time them itself
    VIBEE_ASSIGN(const Loaded loaded, load(alone));
    VIBEE_ASSIGN(const StepTime time, measure_step_time(*loaded.session, kRounds));
    curves = time.curves();
    context = loaded.session->options().context;
  }
  if (!progress("starting a server")) return stopped();
  VIBEE_ASSIGN(const auto server, OwnServer::start(config));
  Target& target = server->target();
  target.chat = !tokenizer->chat_template().empty();
  target.tokenizer = tokenizer.get();
  bool interrupted = false;
  const auto run = [&](std::string_view what, std::vector<Conversation> sent, uint32_t clients) -> Result<TrafficRun> {
    TrafficPart part{std::string(what), std::move(sent), {}, false};
    part.arrivals.clients = clients;
    return run_traffic(target, {&part, 1}, 1, [&](const TrafficProgress& p) {
      interrupted = interrupted || !progress(what);
      return !interrupted && p.seconds < kPhaseSeconds;
    });
  };
  // Prompts of two lengths, one request at a time; then more and more clients.
  const uint32_t longer = std::clamp(context / 4, kShort + 1, 256u), many = config.batch;
  VIBEE_ASSIGN(const TrafficRun idle, run("one client", conversations(prompts, 24, kShort, longer, 8, 1), 1));
  // Short prompts, so that many steps have a row of each client and no other; then long ones beside them.
  TrafficRun busy;
  for (const uint32_t clients : {std::max(1u, many / 8), std::max(1u, many / 3), many}) {
    VIBEE_ASSIGN(busy, run(fmt::format("{} clients", clients),
                           conversations(prompts, 2 * clients, kShort, kShort, kOutput, clients + 1), clients));
  }
  VIBEE_TRY(run("long prompts", conversations(prompts, 2 * many, kShort, longer, kOutput, 1000), many).take_status());
  VIBEE_ASSIGN(const std::string log, server->stop());
  if (interrupted) return stopped();
  std::vector<ReplayedStep> steps;
  VIBEE_ASSIGN(const ReplayReport replayed,
               replay_schedule(log, "the server's log", [&](const ReplayedStep& s) { steps.push_back(s); }));
  if (replayed.difference)
    return error(Code::invalid, "the server's log could not be replayed: line {} is {}, was {}",
                 replayed.difference->line, replayed.difference->decided, replayed.difference->logged);
  VIBEE_ASSIGN(ServeCost cost, fit_serve_cost(curves, steps));
  cost.answer.each = many > 1 ? gap_within_step(busy.records) : 0;
  cost.ask = fit_ask(idle.records, steps, cost);
  cost.ask.base = std::max(0.0, cost.ask.base - cost.answer.each);
  return cost;
}

}  // namespace vibee
