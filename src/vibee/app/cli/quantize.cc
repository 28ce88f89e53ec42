// SPDX-License-Identifier: Apache-2.0
// vibee quantize: a model in fewer bits.
#include <cstdio>
#include <map>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/work_line.h"
#include "vibee/app/jobs/quantize_any.h"
#include "vibee/app/jobs/quantize_atom.h"
#include "vibee/app/jobs/quantize_exl2.h"
#include "vibee/app/jobs/quantize_groups.h"
#include "vibee/app/jobs/quantize_quanto.h"
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
  if (r.allocation && r.allocation->seconds > 0) out.number("predicted_tokens_per_s", 1 / r.allocation->seconds);
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
  if (r.allocation && r.allocation->seconds > 0)
    std::puts(fmt::format("predicted {:.1f} tokens/s generated here", 1 / r.allocation->seconds).c_str());
  if (r.certificate.quality) std::puts(quality_text(*r.certificate.quality).c_str());
}

std::string any_json(const QuantizeConfig& config, const AnyPrecisionResult& result) {
  const AnyPrecisionReport& r = result.report;
  return JsonObject()
      .text("source", result.source)
      .text("path", config.target)
      .text("scheme", config.scheme)
      .integer("seed_bits", config.seed_bits)
      .integer("parent_bits", config.parent_bits)
      .text("table", config.table)
      .boolean("weighted", result.weighted)
      .integer("matrices", r.matrices)
      .integer("elements", r.elements)
      .integer("plane_bytes", r.planes)
      .integer("table_bytes", r.tables)
      .integer("float_bytes", r.floats)
      .number("bits_per_weight", r.bits_per_weight())
      .number("seconds", result.seconds)
      .str();
}

void print_any(const QuantizeConfig& config, const AnyPrecisionResult& result) {
  const AnyPrecisionReport& r = result.report;
  std::puts(
      fmt::format("{}: {} matrices at {} to {} bits: {:.1f} MB of planes and {:.1f} MB of {}, {:.3f} bits a weight "
                  "of theirs; {:.1f} MB of floats beside; {:.1f} s\nrun a width with --bits {}",
                  config.target, r.matrices, config.seed_bits, config.parent_bits, double(r.planes) / 1e6,
                  double(r.tables) / 1e6, config.table == "lut" ? "tables" : "scales", r.bits_per_weight(),
                  double(r.floats) / 1e6, result.seconds, config.seed_bits)
          .c_str());
}

/// What EXL2 counts by convention, the layers' linears, and everything in the weight files.
void print_exl2(const QuantizeConfig& config, const Exl2Result& r) {
  const auto bpw = [](double bits, uint64_t elements) { return bits / double(elements); };
  std::puts(
      fmt::format("{}: {:.1f} MB, {:.3f} bits a weight of the layers, {:.3f} with embedding, head and norms; {:.1f} s",
                  config.target, double(r.bytes) / 1e6, bpw(double(r.allocation.bits), r.allocation.elements),
                  bpw(8 * double(r.bytes), r.elements), r.seconds)
          .c_str());
  std::map<std::string, uint64_t> counts;
  for (const auto& [tensor, option] : r.allocation.options) ++counts[option.name()];
  for (const auto& [option, count] : counts) std::puts(fmt::format("  {:3} linears: {}", count, option).c_str());
  std::puts(
      fmt::format("predicted KL divergence {:.6f} nats; no options of this size have less than {:.6f} by the same "
                  "sum",
                  r.allocation.predicted, r.allocation.bound)
          .c_str());
}

std::string exl2_json(const QuantizeConfig& config, const Exl2Result& r) {
  JsonObject options;
  std::vector<std::string> warnings;
  for (const auto& [tensor, option] : r.allocation.options) options.text(tensor, option.name());
  for (const std::string& warning : r.warnings) warnings.push_back(json_quote(warning));
  return JsonObject()
      .text("source", r.source)
      .text("path", config.target)
      .integer("elements", r.elements)
      .integer("bytes", r.bytes)
      .integer("layer_elements", r.allocation.elements)
      .integer("layer_bits", r.allocation.bits)
      .raw("options", options.str())
      .integer("float16_matrices", r.left)
      .number("predicted_kl", r.allocation.predicted)
      .number("predicted_kl_bound", r.allocation.bound)
      .raw("warnings", json_array(warnings))
      .number("seconds", r.seconds)
      .str();
}

std::string atom_json(const QuantizeConfig& config, const AtomResult& result) {
  const AtomReport& r = result.report;
  return JsonObject()
      .text("source", result.source)
      .text("path", config.target)
      .text("scheme", config.scheme)
      .integer("matrices", r.matrices)
      .integer("elements", r.elements)
      .integer("bytes", r.bytes)
      .integer("float_bytes", r.floats)
      .integer("left", r.left)
      .number("bits_per_weight", r.bits_per_weight())
      .number("seconds", result.seconds)
      .str();
}

void print_atom(const QuantizeConfig& config, const AtomResult& result) {
  const AtomReport& r = result.report;
  std::puts(fmt::format("{}: {} matrices of four bits, their largest inputs of eight: {:.1f} MB, {:.3f} bits a weight "
                        "of theirs; {} matrices and all vectors stay floats: {:.1f} MB; {:.1f} s",
                        config.target, r.matrices, double(r.bytes) / 1e6, r.bits_per_weight(), r.left,
                        double(r.floats) / 1e6, result.seconds)
                .c_str());
  std::puts("its rows have four bits too (--act f32 keeps floats); --kv int4 stores keys and values so");
}

std::string quanto_json(const QuantizeConfig& config, const QuantoResult& result) {
  const QuantoReport& r = result.report;
  return JsonObject()
      .text("source", result.source)
      .text("path", config.target)
      .text("scheme", config.scheme)
      .text("optimizer", config.optimizer)
      .integer("matrices", r.matrices)
      .integer("elements", r.elements)
      .integer("bytes", r.bytes)
      .integer("float_bytes", r.floats)
      .integer("left", r.left)
      .number("bits_per_weight", r.bits_per_weight())
      .number("seconds", result.seconds)
      .str();
}

void print_quanto(const QuantizeConfig& config, const QuantoResult& result) {
  const QuantoReport& r = result.report;
  std::puts(fmt::format("{}: {} matrices in {}: {:.1f} MB, {:.3f} bits a weight of theirs; {} linears and all else "
                        "stay floats: {:.1f} MB; {:.1f} s",
                        config.target, r.matrices, config.scheme.substr(kQuantoScheme.size()), double(r.bytes) / 1e6,
                        r.bits_per_weight(), r.left + r.indivisible, double(r.floats) / 1e6, result.seconds)
                .c_str());
}

std::string groups_json(const QuantizeConfig& config, const GroupsResult& result) {
  const GroupReport& r = result.report;
  std::vector<std::string> warnings;
  for (const std::string& warning : result.warnings) warnings.push_back(json_quote(warning));
  return JsonObject()
      .text("source", result.source)
      .text("path", config.target)
      .text("scheme", config.scheme)
      .integer("bits", r.scheme.bits)
      .integer("group", r.scheme.group)
      .boolean("symmetric", r.scheme.symmetric)
      .boolean("taken", r.taken)
      .integer("matrices", r.matrices)
      .integer("elements", r.elements)
      .integer("bytes", r.bytes)
      .integer("float_bytes", r.floats)
      .integer("left", r.left + r.indivisible)
      .number("bits_per_weight", r.bits_per_weight())
      .raw("warnings", json_array(warnings))
      .number("seconds", result.seconds)
      .str();
}

void print_groups(const QuantizeConfig& config, const GroupsResult& result) {
  const GroupReport& r = result.report;
  const std::string groups = r.scheme.group == 0 ? "rows" : fmt::format("groups of {}", r.scheme.group);
  std::puts(
      fmt::format("{}: {} matrices in {}, {} bits in {}{}{}: {:.1f} MB, {:.3f} bits a weight of theirs; {} linears and "
                  "all else stay floats: {:.1f} MB; {:.1f} s",
                  config.target, r.matrices, config.scheme, r.scheme.bits, groups,
                  r.scheme.symmetric ? "" : " with zero points", r.taken ? ", codes as the source has them" : "",
                  double(r.bytes) / 1e6, r.bits_per_weight(), r.left + r.indivisible, double(r.floats) / 1e6,
                  result.seconds)
          .c_str());
}

/// Prints a result or what is wrong with it; the exit status.
template <class T, class Print, class Json>
int finish(const QuantizeConfig& config, const Result<T>& result, bool json, Print&& print, Json&& to_json) {
  if (!result.ok()) return fail("quantize", result.status());
  for (const std::string& warning : result->warnings)
    std::fputs(fmt::format("vibee quantize: warning: {}\n", warning).c_str(), stderr);
  if (json) {
    std::puts(to_json(config, *result).c_str());
  } else {
    print(config, *result);
  }
  return kExitOk;
}

}  // namespace

int verb_quantize(int argc, char** argv) {
  QuantizeConfig config;
  std::string calib, text, choices;
  bool json = false;
  std::vector<std::string> recipes, schemes = {"gguf", "exl2", "any", "atom"};
  for (std::string& scheme : quanto_types()) schemes.push_back(std::move(scheme));
  for (std::string& scheme : group_schemes()) schemes.push_back(std::move(scheme));
  for (const Recipe& r : all_recipes()) recipes.emplace_back(r.name);
  Args args(
      "quantize",
      "Writes a model in fewer bits as a GGUF file with a certificate of what it was made from and, with --text, how "
      "far it is from that. A run that is stopped goes on where it was when it is started again.");
  args.add("SRC", config.source,
           "a GGUF file, a directory with config.json and safetensors, or a name from `vibee list`")
      .required();
  args.add("DST", config.target, "the file to write; of another scheme a directory that is not there yet").required();
  args.add(
          "--scheme", config.scheme,
          "gguf: a file in formats of GGUF; exl2: a directory as ExLlamaV2 writes it, inputs sorted by importance, the "
          "first ones in more bits; any: a directory that every verb runs at any width (--bits) from --seed-bits to "
          "--parent-bits; atom: a directory whose weights and rows have four bits, but for the inputs that --calib "
          "finds largest; quanto: a directory as optimum-quanto saves it; gptq, awq, compressed-tensors "
          "(pack-quantized), bitsandbytes: directories in these layouts, with the codes of SRC where it is one of them")
      .one_of(schemes);
  args.add("--format", config.format, "a mix of formats as llama.cpp names it, or a number format").one_of(recipes);
  args.add("--pure", config.pure, "every matrix in the one format, head and embedding too");
  args.add("--budget", config.budget,
           "the file's size at most (4.25bpw, 90MiB; of exl2 that of the layers' linears), tokens a second that this "
           "machine "
           "has to generate (300tok/s), or what may be lost (0.01nats of KL divergence): the format of each matrix is "
           "chosen "
           "by what it costs the model");
  args.add("--head-bits", config.head_bits, "of exl2: about so many bits of a head with weights of its own")
      .between(2, 8);
  args.add("--choices", choices, "formats that a budget is spent on, comma between; without it those of GGUF");
  args.add("--measurement", config.measurement,
           "a file that keeps what was measured for a budget; read if it is there, for other budgets");
  args.add("--picture", config.picture, "an SVG of what sizes cost");
  args.add("--probe-windows", config.probe_windows, "windows of --calib on which each matrix is measured")
      .between(1, 1 << 20);
  args.add("--seed-bits", config.seed_bits, "narrowest width of --scheme any").between(3, 8);
  args.add("--parent-bits", config.parent_bits, "widest width of --scheme any").between(3, 8);
  args.add("--table", config.table,
           "values of --scheme any: lut, a table a row and width; affine, a scale and an offset a group of 64")
      .one_of(std::vector<std::string>{"lut", "affine"});
  args.add("--optimizer", config.optimizer,
           "shifts of quanto:qint4 and qint2: max, from the least weight of a group; hqq, searched for small errors")
      .one_of(std::vector<std::string>{"max", "hqq"});
  args.add("--bits", config.bits,
           "of gptq and compressed-tensors: 2, 3, 4 or 8 bits of a code; 0: as SRC where it has codes, else 4")
      .between(0, 8);
  args.add("--group", config.group,
           "of gptq, awq, compressed-tensors and atom: weights of a row behind one scale: 32, 64, 128, or -1 for the "
           "row "
           "(not atom); 0: as SRC where it has groups, else what divides all rows, of atom each matrix's own")
      .between(-1, 128);
  args.add("--asymmetric", config.asymmetric,
           "of gptq and compressed-tensors: groups have zero points, as those of awq always do");
  args.add("--include", config.include,
           "of quanto, gptq, awq, compressed-tensors, bitsandbytes: modules that are quantised, by wildcards "
           "('*.mlp.*'); without it all linears");
  args.add("--exclude", config.exclude, "of these: modules that are not (lm_head)");
  args.add("--solver", config.solver,
           "search: scales of least error; gptq: columns one behind the other, each making up for those before")
      .one_of(std::vector<std::string>{"search", "gptq"});
  args.add("--smooth-attention", config.smooth_attention,
           "level the channels of keys on --calib for a cache of few bits (--kv int4); attention stays the same");
  args.add("--calib", calib, "a text that says which columns matter; of --scheme any, which weights");
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
  args.example("vibee quantize gemma3-270m fast.gguf --budget 120tok/s --calib wiki.txt --measurement gemma.json");
  args.example("vibee quantize gemma3-270m gemma-any --scheme any --calib wiki.txt");
  args.example("vibee quantize smollm2-135m smollm2-exl2 --scheme exl2 --budget 3.5bpw --calib wiki.txt");
  args.example("vibee quantize smollm2-135m smollm2-atom --scheme atom --calib wiki.txt");
  args.example("vibee quantize ~/models/Llama-3.2-1B llama-quanto --scheme quanto:qint4 --exclude lm_head");
  args.example("vibee quantize smollm2-135m smollm2-gptq --scheme gptq --calib wiki.txt");
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
  const bool quanto = config.scheme.starts_with(kQuantoScheme);
  const bool groups = find_group_layout(config.scheme) != nullptr;
  if (!quanto && config.optimizer != "max") return fail_usage("quantize", "--optimizer is of --scheme quanto:TYPE");
  if (!quanto && !groups && (!config.include.empty() || !config.exclude.empty()))
    return fail_usage("quantize", "--include and --exclude are of --scheme quanto:TYPE, gptq, awq, ...");
  if (!groups && (config.bits != 0 || config.asymmetric))
    return fail_usage("quantize", "--bits and --asymmetric are of --scheme gptq, awq, ...");
  if (!groups && config.scheme != "atom" && config.group != 0)
    return fail_usage("quantize", "--group is of --scheme gptq, awq, atom, ...");
  catch_interrupt();
  WorkLine line;
  if (config.scheme == "any") {
    const auto result = quantize_any(config, line.on_work());
    line.clear();
    return finish(config, result, json, print_any, any_json);
  }
  if (config.scheme == "exl2") {
    const auto result = quantize_exl2(config, line.on_work());
    line.clear();
    return finish(config, result, json, print_exl2, exl2_json);
  }
  if (config.scheme == "atom") {
    const auto result = quantize_atom(config, line.on_work());
    line.clear();
    return finish(config, result, json, print_atom, atom_json);
  }
  if (groups) {
    const auto result = quantize_groups(config, line.on_work());
    line.clear();
    return finish(config, result, json, print_groups, groups_json);
  }
  if (quanto) {
    const auto result = quantize_quanto(config, line.on_work());
    line.clear();
    return finish(config, result, json, print_quanto, quanto_json);
  }
  const auto result = quantize(config, line.on_work());
  line.clear();
  return finish(config, result, json, print_result, result_json);
}

}  // namespace vibee
