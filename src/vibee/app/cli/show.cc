// SPDX-License-Identifier: Apache-2.0
// vibee show: a model's shape, its tensors' formats, its graph, and the memory of a run, stated before anything is
// loaded.
#include <cstdio>
#include <map>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/base/text/json_object.h"
#include "vibee/graph/cost/cost.h"

namespace vibee {

namespace {

void print_tensors(const Checkpoint& file, bool json) {
  std::vector<std::string> all;
  for (const TensorInfo& t : file.tensors()) {
    std::string shape;
    for (uint64_t n : t.shape) shape += (shape.empty() ? "" : json ? ", " : " x ") + std::to_string(n);
    if (json) {
      all.push_back(JsonObject()
                        .text("name", t.name)
                        .raw("shape", "[" + shape + "]")
                        .text("format", info(t.format).name)
                        .integer("bytes", t.bytes)
                        .str());
    } else {
      std::puts(fmt::format("{:<36} {:>18} {:<8} {:>12} bytes", t.name, shape, info(t.format).name, t.bytes).c_str());
    }
  }
  if (json) std::puts(json_array(all).c_str());
}

}  // namespace

int verb_show(int argc, char** argv) {
  LoadConfig config;
  config.output.reset();  // the model's own
  bool json = false, graph_text = false, metadata = false, tensors = false;
  Args args(
      "show",
      "What a model is, and the memory that a run with these settings takes: weights, work arena, keys and values.");
  add_model_args(args, config, true);
  args.add("--graph", graph_text, "print the graph as the executor runs it");
  args.add("--metadata", metadata, "print every key of the file");
  args.add("--tensors", tensors, "print every tensor: its shape, rows' length first, its format and bytes");
  args.add("--json", json, "print an object");
  args.example("vibee show smollm2-135m --ctx 8192 --batch 16 --kv q8_0");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  auto r = resolve(config);
  if (!r.ok()) return fail("show", r.status());
  if (metadata) {
    for (const auto& [key, value] : r->file.metadata()) {
      (void)value;
      std::puts(r->file.describe(key).c_str());
    }
    return kExitOk;
  }
  if (tensors) {
    print_tensors(r->file, json);
    return kExitOk;
  }
  auto graph = Model::graph_of(r->file, r->config, r->model);
  if (!graph.ok()) return fail("show", graph.status());
  if (graph_text) {
    std::fputs(print(*graph).c_str(), stdout);
    return kExitOk;
  }
  std::map<std::string, std::pair<uint32_t, uint64_t>> formats;
  uint64_t parameters = 0;
  for (const TensorInfo& t : r->file.tensors()) {
    auto& entry = formats[std::string(info(t.format).name)];
    ++entry.first;
    entry.second += t.bytes;
    parameters += t.elements();
  }
  const ModelConfig& c = r->config;
  const StepCost decode = step_cost(*graph, {1, 1}, {r->session.context, r->session.kv});
  if (json) {
    JsonObject by_format;
    for (const auto& [format, n] : formats)
      by_format.raw(format, JsonObject().integer("tensors", n.first).integer("bytes", n.second).str());
    std::puts(JsonObject()
                  .text("path", r->path)
                  .text("architecture", c.architecture)
                  .text("name", c.name)
                  .integer("parameters", parameters)
                  .integer("layers", c.layers)
                  .integer("dim", c.dim)
                  .integer("heads", c.heads)
                  .integer("kv_heads", c.kv_heads)
                  .integer("head_dim", c.head_dim)
                  .integer("vocabulary", c.vocab)
                  .integer("trained_context", c.context)
                  .raw("formats", by_format.str())
                  .integer("context", r->session.context)
                  .integer("batch", r->session.sequences)
                  .text("kv", config.kv)
                  .integer("weight_bytes", r->plan.weights)
                  .integer("arena_bytes", r->plan.arena)
                  .integer("page_bytes", r->plan.page_bytes)
                  .integer("pages", r->plan.page_count)
                  .integer("kv_bytes", r->plan.pages)
                  .integer("total_bytes", r->plan.total())
                  .number("decode_read_bytes", decode.weight_bytes + decode.kv_bytes)
                  .number("decode_flops", decode.flops)
                  .text("sampling", r->sampling.describe())
                  .str()
                  .c_str());
    return kExitOk;
  }
  std::puts(fmt::format("{}\n  {} \"{}\": {:.1f} M parameters, {} layers, width {}, {} heads ({} KV) of {}, {} tokens, "
                        "trained for {} positions",
                        r->path, c.architecture, c.name, double(parameters) / 1e6, c.layers, c.dim, c.heads, c.kv_heads,
                        c.head_dim, c.vocab, c.context)
                .c_str());
  for (const auto& [format, n] : formats)
    std::puts(fmt::format("  {:<6} {:>4} tensors {:>9.1f} MB", format, n.first, double(n.second) / 1e6).c_str());
  const auto mib = [](uint64_t bytes) { return double(bytes) / (1 << 20); };
  std::puts(fmt::format("a run with {} sequences of {} positions, KV in {}, {} threads, {}:", r->session.sequences,
                        r->session.context, config.kv, r->model.threads, name(r->model.isa))
                .c_str());
  std::puts(fmt::format("  weights         {:>10.1f} MiB\n  work arena      {:>10.1f} MiB\n  keys and values {:>10.1f} "
                        "MiB  ({} pages of {:.1f} KiB)\n  total           {:>10.1f} MiB",
                        mib(r->plan.weights), mib(r->plan.arena), mib(r->plan.pages), r->plan.page_count,
                        double(r->plan.page_bytes) / 1024, mib(r->plan.total()))
                .c_str());
  std::puts(
      fmt::format("  a token at the end of that context reads {:.1f} MB of weights and {:.1f} MB of keys and values",
                  decode.weight_bytes / 1e6, decode.kv_bytes / 1e6)
          .c_str());
  if (const std::string sampling = r->sampling.describe(); !sampling.empty())
    std::puts(fmt::format("its files say to draw with {}", sampling).c_str());
  for (const std::string& key : r->sampling.ignored)
    std::puts(fmt::format("  key \"{}\" is not built and ignored", key).c_str());
  if (r->file.has("vibee.eos_token_ids"))
    std::puts(fmt::format("  an answer ends at {}", r->file.describe("vibee.eos_token_ids", 200)).c_str());
  const Status fits = check_memory(*r, config.memory);
  if (!fits.ok()) return fail("show", fits);
  return kExitOk;
}

}  // namespace vibee
