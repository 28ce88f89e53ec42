// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/load.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "vibee/app/jobs/device.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

constexpr SessionSwitch kSwitches[] = {
    {"flashinfer", "attention work planned once a step and dealt by cost", &SessionOptions::balance_attention},
    {"flash_decoding", "threads share the keys of few rows", &SessionOptions::cut_keys},
    {"cascade_inference", "rows that share pages read them once", &SessionOptions::cascade},
    {"h100_optimization", "products by warpgroups and copies of tiles", &SessionOptions::hopper, true},
    {"h200_optimization", "as many stages as the device's bandwidth asks for", &SessionOptions::deep_stages, true},
};

}  // namespace

std::span<const SessionSwitch> session_switches() { return kSwitches; }

Result<KvFormat> parse_kv(const std::string& text) {
  std::string known;
  for (const KvFormatInfo& f : kKvFormats) {
    if (f.name == text) return f.format;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", f.name);
  }
  return error(Code::invalid, "--kv {}: unknown format; use one of {}", text, known);
}

LoraName parse_lora(std::string_view text) {
  LoraName out;
  if (const size_t equals = text.find('='); equals != text.npos) {
    out.name = text.substr(0, equals);
    text.remove_prefix(equals + 1);
  }
  if (const size_t colon = text.rfind(':'); colon != text.npos) {
    const std::string number(text.substr(colon + 1));
    char* end = nullptr;
    const float scale = std::strtof(number.c_str(), &end);
    if (!number.empty() && *end == 0) {
      out.scale = scale;
      text = text.substr(0, colon);
    }
  }
  out.path = text;
  return out;
}

Result<Resolved> resolve(const LoadConfig& c) {
  VIBEE_ASSIGN(std::string path, resolve_model(c.model));
  VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path, c.bits));
  if (c.weights != "keep") {
    auto formats = parse_formats(c.weights);
    if (!formats.ok()) return formats.take_status().within("--weights");
    VIBEE_ASSIGN(file, recast_checkpoint(std::move(file), all_in(std::move(*formats))));
  }
  VIBEE_ASSIGN(ModelConfig config, read_config(file));
  if (c.output) VIBEE_TRY(set_output(path, *c.output, c.pooling, &config));
  ModelOptions model;
  model.output = c.output;
  model.pooling = c.pooling;
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  model.threads = c.threads ? c.threads : cores;
  if (model.threads > 256) return error(Code::invalid, "--threads {}: at most 256", model.threads);
  if (!c.isa.empty()) {
    VIBEE_ASSIGN(model.isa, parse_isa(c.isa));
  }
  VIBEE_ASSIGN(model.device, open_device(c.device));
  model.lora = {std::max(c.max_loras, uint32_t(c.loras.size())), c.max_lora_rank};
  SessionOptions session;
  for (const std::string& id : c.disable) {
    const auto is = [&](const SessionSwitch& s) { return s.id == id; };
    const auto found = std::find_if(std::begin(kSwitches), std::end(kSwitches), is);
    if (found != std::end(kSwitches)) {
      session.*found->on = false;
    } else {
      model.disable.push_back(id);  // a pass
    }
  }
  if (c.attention_split == "off") session.cut_keys = false;
  if (c.act != "int8" && c.act != "llm_int8" && c.act != "bf16" && c.act != "f32")
    return error(Code::invalid, "--act {}: unknown; use int8, llm_int8, bf16 or f32", c.act);
  if (c.act == "f32") {
    model.disable.push_back("quantize_activations");
    session.row_form = RowForm::floats;
  }
  if (c.act == "bf16") {
    if (model.isa < Isa::amx)
      return error(Code::unsupported, "--act bf16 needs a CPU with AMX and kernels for it, which are {} here; use int8",
                   name(model.isa));
    session.row_form = RowForm::bf16;
  }
  if (c.act == "llm_int8") {
    model.disable.push_back("quantize_outputs");
    session.outlier_threshold = float(c.outlier_threshold.value_or(kOutlierThreshold));
    if (!(session.outlier_threshold >= 0))
      return error(Code::invalid, "--outlier-threshold {}: use a number from 0, which leaves no element apart",
                   *c.outlier_threshold);
  } else if (c.outlier_threshold) {
    return error(Code::invalid, "--outlier-threshold {}: is of --act llm_int8, not of {}", *c.outlier_threshold, c.act);
  }
  session.context = std::min(config.context, 4096u);
  if (config.takes_whole()) session.context = std::min(session.context, config.text_tokens);
  if (c.context) session.context = c.context;
  if (c.context > config.context)
    return error(Code::invalid, "--ctx {}: {} was trained for {} positions; use at most that", c.context, path,
                 config.context);
  session.sequences = c.batch;
  session.max_rows = std::max(c.chunk, c.batch);
  if (config.takes_whole()) session.max_rows = std::max(session.max_rows, session.context);
  session.max_logits = std::min(c.logits ? c.logits : c.batch, session.max_rows);
  VIBEE_ASSIGN(session.kv, parse_kv(c.kv));
  VIBEE_ASSIGN(MemoryPlan plan, Session::plan_memory(file, config, model, session));
  // A fifth of what is available stays for texts, answers and everybody else.
  VIBEE_ASSIGN(const MemoryLeft left, memory_left(model));
  const uint64_t limit = c.memory ? *c.memory : left.bytes / 5 * 4;
  if (c.shrink_pages && plan.total() > limit) {
    const uint64_t least = (session.context + kPageTokens - 1) / kPageTokens,
                   fixed = plan.weights + plan.adapters + plan.arena;
    session.pages = uint32_t(std::max(least, limit > fixed ? (limit - fixed) / plan.page_bytes : 0));
    VIBEE_ASSIGN(plan, Session::plan_memory(file, config, model, session));
  }
  VIBEE_ASSIGN(SamplingDefaults sampling, read_sampling_defaults(file));
  return Resolved{std::move(path),    std::move(file), std::move(config), std::move(model), session, plan,
                  std::move(sampling)};
}

Result<MemoryLeft> memory_left(const ModelOptions& model) {
  if (!model.device) return MemoryLeft{available_memory(), "available"};
  CudaDevice& device = *model.device->device;
  VIBEE_ASSIGN(const CudaDevice::Memory memory, device.memory());
  return MemoryLeft{memory.free, "free on " + device.label()};
}

Status check_memory(const Resolved& r, std::optional<uint64_t> cap) {
  VIBEE_ASSIGN(const MemoryLeft has, memory_left(r.model));
  const uint64_t limit = cap ? *cap : has.bytes;
  if (r.plan.total() <= limit) return {};
  const uint64_t weights = r.plan.weights + r.plan.adapters, fixed = weights + r.plan.arena;
  const std::string need =
      fmt::format("{} needs {} MiB ({} weights, {} work, {} keys and values), {} MiB are {}", r.path,
                  r.plan.total() >> 20, weights >> 20, r.plan.arena >> 20, r.plan.pages >> 20, limit >> 20,
                  cap ? std::string("allowed by --memory") : has.where);
  const uint64_t left = limit > fixed ? (limit - fixed) / r.plan.page_bytes / r.session.sequences * kPageTokens : 0;
  if (left >= kPageTokens)
    return error(Code::no_memory, "{}; use --ctx {}{}", need, left,
                 r.session.kv == KvFormat::q8_0 ? "" : " or --kv q8_0");
  if (r.session.sequences > 1) return error(Code::no_memory, "{}; use --batch 1", need);
  return error(Code::no_memory, "{}; the weights alone do not fit: use a smaller model or format", need);
}

Result<double> promised_seconds(const StepTime& time, double tbt_ms) {
  const double floor = time.seconds({1, 1, 1, 1}), promise = tbt_ms > 0 ? tbt_ms / 1e3 : std::max(0.05, 3 * floor);
  if (promise < floor)
    return error(Code::invalid, "--tbt {}: a step of one row takes {:.1f} ms here; promise at least that", tbt_ms,
                 1e3 * floor);
  return promise;
}

Result<Loaded> load(const LoadConfig& config) {
  const Timer timer;
  VIBEE_ASSIGN(Resolved r, resolve(config));
  VIBEE_TRY(check_memory(r, config.memory));
  Loaded out;
  out.plan = r.plan;
  VIBEE_ASSIGN(out.engine.policy, find_policy(config.policy));
  VIBEE_ASSIGN(out.engine.order, find_order(config.order));
  for (const TensorInfo& t : r.file.tensors()) out.parameters += t.elements();
  out.sampling = std::move(r.sampling);
  DiskTierConfig disk;
  if (!config.kv_disk.empty()) {
    if (r.model.device)
      return error(Code::unsupported,
                   "--kv-disk: pages on a device are not written to disk yet; leave it out, or use --device cpu");
    if (config.prefix == "off")
      return error(Code::invalid, "--kv-disk needs an index of pages; leave out --prefix off");
    VIBEE_ASSIGN(const KvDisk where, parse_kv_disk(config.kv_disk));
    VIBEE_ASSIGN(std::string identity, kv_identity(r.file, r.config, r.session));
    disk = {where.folder, where.limit, std::move(identity), std::filesystem::path(r.path).filename().string(),
            r.session.context};
  }
  VIBEE_ASSIGN(out.model, Model::load(std::move(r.file), r.model));
  for (const std::string& text : config.loras) {
    LoraName name = parse_lora(text);
    VIBEE_ASSIGN(auto adapter, out.model->loras()->load(name.path, name.scale));
    out.adapters.push_back({std::move(name), std::move(adapter)});
  }
  VIBEE_ASSIGN(out.session, Session::create(*out.model, r.session));
  VIBEE_ASSIGN(out.prefix, make_prefix_index(config.prefix, &out.session->pages()));
  out.engine.prefix = out.prefix.get();
  if (!disk.folder.empty()) {
    auto tier = DiskTier::open(disk, &out.session->pages());
    if (!tier.ok()) return tier.take_status().within("--kv-disk");
    out.disk = std::move(*tier);
    out.prefix->set_tier(out.disk.get());
  }
  if (out.engine.policy == &kSarathiServe) {
    if (config.step_time) {
      out.step_time = std::make_unique<StepTime>(*config.step_time);
    } else {
      VIBEE_ASSIGN(StepTime time, measure_step_time(*out.session));
      out.step_time = std::make_unique<StepTime>(std::move(time));
    }
    VIBEE_ASSIGN(out.step_time->promise_s, promised_seconds(*out.step_time, config.tbt_ms));
    out.engine.time = out.step_time.get();
  }
  out.seconds = timer.seconds();
  return out;
}

}  // namespace vibee
