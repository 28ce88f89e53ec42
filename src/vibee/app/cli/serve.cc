// SPDX-License-Identifier: Apache-2.0
// vibee serve.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/supervise.h"
#include "vibee/app/jobs/embed.h"
#include "vibee/app/jobs/tuned_file.h"
#include "vibee/app/server/api_server.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/core/measure/measure.h"

namespace vibee {
namespace {

void log_line(const std::string& line) { std::fputs(("vibee serve: " + line + "\n").c_str(), stderr); }

/// A file that a schedule log goes to. When it cannot be written the server goes on without.
class RecordFile {
 public:
  static Result<std::shared_ptr<ScheduleLog>> open(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (!file) return error(Code::io, "--record {}: {}", path, std::strerror(errno));
    std::setvbuf(file, nullptr, _IOLBF, 1 << 16);  // whole lines, whatever ends the server
    const std::shared_ptr<RecordFile> record(new RecordFile(path, file));
    return std::make_shared<ScheduleLog>([record](std::string_view line) { record->write(line); });
  }
  ~RecordFile() {
    if (file_) std::fclose(file_);
  }

 private:
  RecordFile(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  void write(std::string_view line) {
    if (!file_) return;
    if (std::fwrite(line.data(), 1, line.size(), file_) == line.size() && std::fputc('\n', file_) != EOF) return;
    log_line(fmt::format("--record {}: {}; nothing more is recorded", path_, std::strerror(errno)));
    std::fclose(std::exchange(file_, nullptr));
  }
  std::string path_;
  std::FILE* file_;
};

/// What the model was made for decides how it is served: texts that are embedded come in steps as wholes.
Result<LoadConfig> config_for(LoadConfig config) {
  const uint32_t context = std::exchange(config.context, 0);  // it is for models that generate
  config.output = std::nullopt;
  VIBEE_ASSIGN(const Resolved resolved, resolve(config));
  if (pools(resolved.config.output))
    set_embed_defaults(&config);
  else
    config.context = context;
  config.output = resolved.config.output;
  return config;
}

std::string pool_line(const PooledModel& m) {
  const uint64_t tokens = uint64_t(m.plan.page_count) * kPageTokens;
  return fmt::format(
      "{}: {:.1f} MiB of weights, {}{:.1f} of work, {:.1f} of keys and values: {} tokens, {} answers of {} at once{}",
      m.id, double(m.plan.weights) / (1 << 20),
      m.plan.adapters ? fmt::format("{:.1f} of adapters, ", double(m.plan.adapters) / (1 << 20)) : "",
      double(m.plan.arena) / (1 << 20), double(m.plan.pages) / (1 << 20), tokens,
      std::min<uint64_t>(m.sequences, tokens / m.context), m.context,
      m.at_start ? "" : "; loaded when it is asked for");
}

}  // namespace

int verb_serve(int argc, char** argv) {
  LoadConfig load;
  set_serve_defaults(&load);
  ServeConfig config;
  config.http.port = 8080;
  config.log = log_line;
  std::vector<std::string> models;
  std::string api_key, template_file, record;
  uint32_t port = 8080;
  uint64_t body = config.http.limits.body;
  bool dry = false, tuned = false, supervised = false, on_demand = false;
  Args args(
      "serve",
      "Answers many at once over the OpenAI interface: /v1/chat/completions, /v1/completions, /v1/embeddings, "
      "/v1/rerank, "
      "/v1/models, /metrics and more (docs/serving.md). Only this machine can reach it, unless --host says otherwise.");
  args.add(
      "MODEL", models,
      "GGUF files or names from `vibee list`; NAME=MODEL gives one another name; default: the model in the binary");
  args.add("--adapter-root", config.adapter_root, "a folder from which /v1/load_lora_adapter may load adapters");
  args.add("--max-loras", load.max_loras, "room for so many adapters; at least those of --lora").between(0, 1024);
  args.add("--host", config.http.host, "the address to listen on");
  args.add("-p,--port", port, "the port; 0: any free one, which is printed").between(0, 65535);
  add_load_args(args, load, true);
  add_kv_disk(args, load);
  add_lora_args(args, load, "NAME=PATH[:SCALE]: a LoRA adapter that requests may name as their model; several times");
  args.add("--api-key", api_key, "a key that may do everything; also from VIBEE_API_KEY");
  args.add("--api-keys", config.key_file, "a file of lines NAME SCOPES KEY (or sha256:HEX); read again on SIGHUP");
  args.add("--no-auth", config.no_auth, "other machines may use the server without a key");
  args.add("--allow-host", config.access.hosts,
           "a name under which the server may be addressed, beside localhost and addresses");
  args.add("--allow-origin", config.access.origins,
           "pages of elsewhere that may use the server, e.g. https://app.example");
  args.add("--tls-cert", config.http.tls_certificate, "a certificate chain in PEM: the server speaks HTTPS");
  args.add("--tls-key", config.http.tls_key, "its private key in PEM");
  args.add("--queue", config.queue, "prompts that may wait, a model; beyond that 429 with Retry-After").between(0, 1e6);
  args.add("--gather", load.gather_ms,
           "milliseconds for which tokens that come fast are gathered; 0: each is sent alone")
      .between(0, 1000);
  args.add("--drain", config.drain_s, "seconds that answers under way get after SIGTERM").between(0, 86400);
  args.add("--max-body", body, "bytes of a request's body, at most").between(1, double(uint64_t(1) << 40));
  args.add("--max-connections", config.http.limits.connections, "open connections, at most").between(1, 1e6);
  args.add("--otlp", config.otlp, "send a trace of each request to this OpenTelemetry collector (http://HOST:4318)");
  args.add("--chat-template", template_file, "a file with a chat template in place of the models' own");
  args.add("--on-demand", on_demand, "load each model when it is first asked for, not at the start");
  args.add("--tuned", tuned, "with what `vibee tune` chose for each model on this machine");
  args.add("--supervise", supervised, "a process that starts the server again when it dies or its engine hangs");
  args.add("--record", record,
           "write what is decided, step by step, to this file, for `vibee plan serve --replay`; it holds the tokens of "
           "prompts and answers");
  args.add("--dry-run", dry, "print the memory that it would take, and end");
  args.example("vibee serve smollm2-135m")
      .example("vibee serve chat=smollm2-135m gemma3-270m minilm-l6 --port 9000")
      .example("vibee serve smollm2-135m gemma3-270m --memory 500000000 --on-demand")
      .example("vibee serve smollm2-135m --lora pirate=adapters/pirate --lora poet=poet.gguf:0.5")
      .example("vibee serve smollm2-135m --host 0.0.0.0 --api-keys keys.txt --tls-cert cert.pem --tls-key key.pem");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  config.http.port = uint16_t(port);
  config.http.limits.body = body;
  if (const char* key = std::getenv("VIBEE_API_KEY"); key && api_key.empty()) api_key = key;
  if (!api_key.empty()) config.access.keys.push_back(Access::key_of("default", api_key, 15));
  if (!template_file.empty()) {
    auto text = read_text(template_file);
    if (!text.ok()) return fail("serve", text.status());
    config.chat_template = std::move(*text);
  }
  if (models.empty()) models = {std::string(kBuiltinModel)};
  std::vector<PooledModel> loads;
  for (const std::string& text : models) {
    const size_t equals = text.find('=');
    LoadConfig one = load;
    one.model = equals == text.npos ? text : text.substr(equals + 1);
    if (tuned) {
      const Status applied = apply_tuned(&one);
      if (!applied.ok()) return fail("serve", applied);
    }
    auto ready = config_for(one);
    if (!ready.ok()) return fail("serve", ready.status());
    PooledModel& model = loads.emplace_back();
    model.id = text.substr(0, equals);
    model.config = std::move(*ready);
    model.at_start = !on_demand;
  }
  if (!load.loras.empty() && loads.size() > 1)
    return fail_usage("serve", "--lora is of one model; serve the others by another process");
  config.memory = load.memory.value_or(available_memory() / 5 * 4);  // the rest: for texts, answers, everybody else
  if (Status s = share_memory(loads, config.memory); !s.ok())
    return fail("serve", load.memory ? s : std::move(s).within("four fifths of what is available are for models"));
  if (!load.kv_disk.empty()) {
    if (loads.size() > 1) return fail_usage("serve", "--kv-disk is of one model; serve the others by another process");
    const auto disk = parse_kv_disk(load.kv_disk);
    if (!disk.ok()) return fail("serve", disk.status());
    config.secret_file = disk->folder + "/serve.secret";
  }
  if (supervised) {
    if (port == 0) return fail_usage("serve", "--supervise needs a --port: the next process takes the same");
    if (!record.empty())
      return fail_usage("serve", "--record is of one process, which --supervise replaces; leave one of them out");
    if (const auto status = supervise(log_line)) return *status;
  }
  if (!record.empty() && !dry) {
    if (loads.size() > 1) return fail_usage("serve", "--record is of one model; serve the others by another process");
    if (!load.kv_disk.empty())
      return fail_usage("serve", "--record does not hold what --kv-disk gives back; leave one of them out");
    auto log = RecordFile::open(record);
    if (!log.ok()) return fail("serve", log.status());
    loads[0].config.log = std::move(*log);
  }
  if (dry) {
    for (const PooledModel& m : loads) std::puts(pool_line(m).c_str());
    return kExitOk;
  }
  if (!config.adapter_root.empty() && load.max_loras == 0)
    return fail_usage("serve", "--adapter-root: say with --max-loras how many adapters to make room for");
  const std::string host = config.http.host;
  const bool tls = !config.http.tls_certificate.empty();
  auto server = ApiServer::create(std::move(config));
  if (!server.ok()) return fail("serve", server.status());
  const Timer timer;
  for (PooledModel& m : loads) {
    log_line(pool_line(m));
    if (const Status s = (*server)->add_model(std::move(m)); !s.ok()) return fail("serve", s);
  }
  log_line(fmt::format("ready after {:.2f} s: {}://{}:{} (a page to look at: /ui)", timer.seconds(),
                       tls ? "https" : "http", host.find(':') == host.npos ? host : "[" + host + "]",
                       (*server)->port()));
  const Status ended = (*server)->run();
  if (ended.ok()) return kExitOk;
  fail("serve", ended);
  std::fflush(nullptr);
  std::_Exit(kExitAgain);  // a thread that hangs would meet its destructors
}

}  // namespace vibee
