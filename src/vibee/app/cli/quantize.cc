// SPDX-License-Identifier: Apache-2.0
// vibee quantize: a model in fewer bits.
#include "vibee/app/jobs/quantize.h"

#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/work_line.h"
#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

Result<std::optional<NamedText>> named_text(const std::string& path) {
  if (path.empty()) return std::optional<NamedText>();
  VIBEE_ASSIGN(std::string text, read_text(path));
  return std::optional<NamedText>({path, std::move(text)});
}

std::string quality_json(const Certificate::Quality& q) {
  return JsonObject()
      .text("text", q.text)
      .integer("context", q.context)
      .integer("windows", q.windows)
      .number("perplexity", q.perplexity)
      .number("perplexity_error", q.perplexity_error)
      .number("base_perplexity", q.base_perplexity)
      .number("kl", q.kl)
      .number("kl_error", q.kl_error)
      .number("top1", q.top1)
      .number("top1_low", q.top1_low)
      .number("top1_high", q.top1_high)
      .number("prompt_tokens_per_s", q.prompt_rate)
      .number("generate_tokens_per_s", q.generate_rate)
      .text("machine", q.machine)
      .str();
}

std::string result_json(const QuantizeConfig& config, const QuantizeResult& r) {
  std::vector<std::string> formats, warnings;
  for (const auto& [format, share] : r.report.formats)
    formats.push_back(JsonObject()
                          .text("format", info(format).name)
                          .integer("tensors", share.tensors)
                          .integer("elements", share.elements)
                          .integer("bytes", share.bytes)
                          .str());
  for (const std::string& warning : r.warnings) warnings.push_back(json_quote(warning));
  JsonObject out;
  out.text("source", r.source)
      .text("path", config.target)
      .text("recipe", r.certificate.recipe)
      .boolean("pure", config.pure)
      .integer("elements", r.report.elements)
      .integer("bytes", r.report.bytes)
      .number("bits_per_weight", r.report.bits_per_weight())
      .raw("formats", json_array(formats))
      .integer("indivisible", r.report.indivisible)
      .integer("resumed_bytes", r.report.resumed)
      .text("weights", r.certificate.weights)
      .text("base", r.certificate.base)
      .text("importance", r.certificate.importance)
      .text("solver", r.certificate.solver)
      .text("edit", r.certificate.edit);
  if (r.allocation)
    out.number("predicted_kl", r.allocation->predicted).number("predicted_kl_bound", r.allocation->bound);
  if (r.certificate.quality) out.raw("quality", quality_json(*r.certificate.quality));
  return out.raw("warnings", json_array(warnings))
      .number("encode_seconds", r.encode_seconds)
      .number("seconds", r.seconds)
      .str();
}

std::string quality_text(const Certificate::Quality& q) {
  return fmt::format(
      "perplexity {:.4f} +- {:.4f} (base {:.4f}) in {} windows of {}; KL(base||this) {:.6f} +- {:.6f} nats; same top "
      "token {:.2f} % ({:.2f} to {:.2f})\nspeed here: {:.1f} tokens/s of a prompt, {:.1f} tokens/s generated ({})",
      q.perplexity, q.perplexity_error, q.base_perplexity, q.windows, q.context, q.kl, q.kl_error, 100 * q.top1,
      100 * q.top1_low, 100 * q.top1_high, q.prompt_rate, q.generate_rate, q.machine);
}

void print_result(const QuantizeConfig& config, const QuantizeResult& r) {
  std::string formats;
  for (const auto& [format, share] : r.report.formats)
    formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", share.tensors, info(format).name);
  std::puts(fmt::format("{}: {:.1f} MB, {:.3f} bits a weight with everything in the file; tensors: {}; {:.1f} s",
                        config.target, double(r.report.bytes) / 1e6, r.report.bits_per_weight(), formats, r.seconds)
                .c_str());
  if (r.report.resumed > 0)
    std::puts(fmt::format("{:.1f} MB stood there from a run before", double(r.report.resumed) / 1e6).c_str());
  if (r.allocation)
    std::puts(fmt::format("predicted KL divergence {:.6f} nats; with these formats no file of this size has less than "
                          "{:.6f} by the same sum",
                          r.allocation->predicted, r.allocation->bound)
                  .c_str());
  if (r.certificate.quality) std::puts(quality_text(*r.certificate.quality).c_str());
}

}  // namespace

int verb_quantize(int argc, char** argv) {
  QuantizeConfig config;
  std::string calib, text, choices;
  bool json = false;
  std::vector<std::string> recipes;
  for (const Recipe& r : all_recipes()) recipes.emplace_back(r.name);
  Args args(
      "quantize",
      "Writes a model in fewer bits as a GGUF file with a certificate of what it was made from and, with --text, how "
      "far it is from that. A run that is stopped goes on where it was when it is started again.");
  args.add("SRC", config.source,
           "a GGUF file, a directory with config.json and safetensors, or a name from `vibee list`")
      .required();
  args.add("DST", config.target, "the file to write").required();
  args.add("--format", config.format, "a mix of formats as llama.cpp names it, or a number format").one_of(recipes);
  args.add("--pure", config.pure, "every matrix in the one format, head and embedding too");
  args.add("--budget", config.budget,
           "the file's size at most (4.25bpw, 90MiB): the format of each matrix is chosen by what it costs the model");
  args.add("--choices", choices, "formats that a budget is spent on, comma between; without it those of GGUF");
  args.add("--measurement", config.measurement,
           "a file that keeps what was measured for a budget; read if it is there, for other budgets");
  args.add("--picture", config.picture, "an SVG of what sizes cost");
  args.add("--probe-windows", config.probe_windows, "windows of --calib on which each matrix is measured")
      .between(1, 1 << 20);
  args.add("--solver", config.solver,
           "search: scales of least error; gptq: columns one behind the other, each making up for those before")
      .one_of(std::vector<std::string>{"search", "gptq"});
  args.add("--smooth-attention", config.smooth_attention,
           "level the channels of keys on --calib for a cache of few bits (--kv int4); attention stays the same");
  args.add("--calib", calib, "a text that says which columns matter");
  args.add("--imatrix", config.imatrix, "a file that says it, in llama.cpp's form (GGUF)");
  args.add("--save-imatrix", config.save_imatrix, "write what --calib found, in that form");
  args.add("--text", text, "a text that was held out: quality and speed are measured and go into the file");
  args.add("--ctx", config.context, "tokens of a window of either text").between(4, 1 << 20);
  args.add("--windows", config.windows, "windows of --text at most; 0: all of it");
  args.add("--threads", config.threads, "threads; 0: one a core").between(0, 256);
  args.add("--json", json, "print an object when done");
  args.example("vibee quantize smollm2-135m small.gguf");
  args.example("vibee quantize ~/models/Llama-3.2-1B llama.gguf --format q5_k_m --text book.txt");
  args.example("vibee quantize gemma3-270m gemma.gguf --format q4_0 --solver gptq --calib wiki.txt");
  args.example("vibee quantize gemma3-270m gemma.gguf --budget 4.5bpw --calib wiki.txt --text book.txt");
  args.example("vibee quantize gemma3-270m gemma.gguf --format q3_k_m --calib wiki.txt --save-imatrix gemma.imatrix");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  for (const auto& [path, to] : {std::pair{&calib, &config.calibration}, std::pair{&text, &config.text}}) {
    auto read = named_text(*path);
    if (!read.ok()) return fail("quantize", read.status());
    *to = std::move(*read);
  }
  for (size_t at = 0; at < choices.size();) {
    const size_t end = std::min(choices.find(',', at), choices.size());
    config.choices.push_back(choices.substr(at, end - at));
    at = end + 1;
  }
  catch_interrupt();
  WorkLine line;
  const auto result = quantize(config, line.on_work());
  line.clear();
  if (!result.ok()) return fail("quantize", result.status());
  for (const std::string& warning : result->warnings)
    std::fputs(fmt::format("vibee quantize: warning: {}\n", warning).c_str(), stderr);
  if (json) {
    std::puts(result_json(config, *result).c_str());
  } else {
    print_result(config, *result);
  }
  return kExitOk;
}

}  // namespace vibee
