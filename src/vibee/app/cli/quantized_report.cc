// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/quantized_report.h"

#include <map>

#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

double mb(uint64_t bytes) { return double(bytes) / 1e6; }

/// What every object begins with.
template <class Outcome>
JsonObject object(const QuantizeConfig& config, const Outcome& result) {
  JsonObject out;
  out.text("source", result.source).text("path", config.target).text("scheme", config.scheme);
  return out;
}
/// What every object ends with.
template <class Outcome>
std::string closed(JsonObject& out, const Outcome& result) {
  std::vector<std::string> warnings;
  for (const std::string& warning : result.warnings) warnings.push_back(json_quote(warning));
  return out.raw("warnings", json_array(warnings)).number("seconds", result.seconds).str();
}
/// Matrices that are quantised, and what stays as it was.
template <class Report>
JsonObject& matrices(JsonObject& out, const Report& r, uint64_t left) {
  return out.integer("matrices", r.matrices)
      .integer("elements", r.elements)
      .integer("bytes", r.bytes)
      .integer("float_bytes", r.floats)
      .integer("left", left)
      .number("bits_per_weight", r.bits_per_weight());
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

std::string quality_text(const Certificate::Quality& q) {
  return fmt::format(
      "perplexity {:.4f} +- {:.4f} (base {:.4f}) in {} windows of {}; KL(base||this) {:.6f} +- {:.6f} nats; same top "
      "token {:.2f} % ({:.2f} to {:.2f})\nspeed here: {:.1f} tokens/s of a prompt, {:.1f} tokens/s generated ({})",
      q.perplexity, q.perplexity_error, q.base_perplexity, q.windows, q.context, q.kl, q.kl_error, 100 * q.top1,
      100 * q.top1_low, 100 * q.top1_high, q.prompt_rate, q.generate_rate, q.machine);
}

}  // namespace

std::string quantized_text(const QuantizeConfig& config, const QuantizeResult& r) {
  std::string formats;
  for (const auto& [format, share] : r.report.formats)
    formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", share.tensors, info(format).name);
  std::string out =
      fmt::format("{}: {:.1f} MB, {:.3f} bits a weight with everything in the file; tensors: {}; {:.1f} s",
                  config.target, mb(r.report.bytes), r.report.bits_per_weight(), formats, r.seconds);
  if (r.report.resumed > 0) out += fmt::format("\n{:.1f} MB stood there from a run before", mb(r.report.resumed));
  if (r.allocation)
    out += fmt::format(
        "\npredicted KL divergence {:.6f} nats; with these formats no file of this size has less than {:.6f} by the "
        "same sum",
        r.allocation->predicted, r.allocation->bound);
  if (r.allocation && r.allocation->seconds > 0)
    out += fmt::format("\npredicted {:.1f} tokens/s generated here", 1 / r.allocation->seconds);
  if (r.certificate.quality) out += "\n" + quality_text(*r.certificate.quality);
  return out;
}

std::string quantized_json(const QuantizeConfig& config, const QuantizeResult& r) {
  std::vector<std::string> formats;
  for (const auto& [format, share] : r.report.formats)
    formats.push_back(JsonObject()
                          .text("format", info(format).name)
                          .integer("tensors", share.tensors)
                          .integer("elements", share.elements)
                          .integer("bytes", share.bytes)
                          .str());
  JsonObject out = object(config, r);
  out.text("recipe", r.certificate.recipe)
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
  out.number("encode_seconds", r.encode_seconds);
  return closed(out, r);
}

std::string quantized_text(const QuantizeConfig& config, const SchemeResult<AnyPrecisionReport>& result) {
  const AnyPrecisionReport& r = result.report;
  return fmt::format(
      "{}: {} matrices at {} to {} bits: {:.1f} MB of planes and {:.1f} MB of {}, {:.3f} bits a weight of theirs; "
      "{:.1f} MB of floats beside; {:.1f} s\nrun a width with --bits {}",
      config.target, r.matrices, config.seed_bits, config.parent_bits, mb(r.planes), mb(r.tables),
      config.table == "lut" ? "tables" : "scales", r.bits_per_weight(), mb(r.floats), result.seconds, config.seed_bits);
}

std::string quantized_json(const QuantizeConfig& config, const SchemeResult<AnyPrecisionReport>& result) {
  const AnyPrecisionReport& r = result.report;
  JsonObject out = object(config, result);
  out.integer("seed_bits", config.seed_bits)
      .integer("parent_bits", config.parent_bits)
      .text("table", config.table)
      .boolean("weighted", r.weighted)
      .integer("matrices", r.matrices)
      .integer("elements", r.elements)
      .integer("plane_bytes", r.planes)
      .integer("table_bytes", r.tables)
      .integer("float_bytes", r.floats)
      .number("bits_per_weight", r.bits_per_weight());
  return closed(out, result);
}

std::string quantized_text(const QuantizeConfig& config, const SchemeResult<AtomReport>& result) {
  const AtomReport& r = result.report;
  return fmt::format(
      "{}: {} matrices of four bits, their largest inputs of eight: {:.1f} MB, {:.3f} bits a weight of theirs; {} "
      "matrices and all vectors stay floats: {:.1f} MB; {:.1f} s\nits rows have four bits too (--act f32 keeps "
      "floats); "
      "--kv int4 stores keys and values so",
      config.target, r.matrices, mb(r.bytes), r.bits_per_weight(), r.left, mb(r.floats), result.seconds);
}

std::string quantized_json(const QuantizeConfig& config, const SchemeResult<AtomReport>& result) {
  JsonObject out = object(config, result);
  return closed(matrices(out, result.report, result.report.left), result);
}

/// What EXL2 counts by convention, the layers' linears, and everything in the weight files.
std::string quantized_text(const QuantizeConfig& config, const SchemeResult<Exl2Report>& result) {
  const Exl2Report& r = result.report;
  const auto bpw = [](double bits, uint64_t elements) { return bits / double(elements); };
  std::string out =
      fmt::format("{}: {:.1f} MB, {:.3f} bits a weight of the layers, {:.3f} with embedding, head and norms; {:.1f} s",
                  config.target, mb(r.bytes), bpw(double(r.allocation.bits), r.allocation.elements),
                  bpw(8 * double(r.bytes), r.elements), result.seconds);
  std::map<std::string, uint64_t> counts;
  for (const auto& [tensor, option] : r.allocation.options) ++counts[option.name()];
  for (const auto& [option, count] : counts) out += fmt::format("\n  {:3} linears: {}", count, option);
  return out + fmt::format(
                   "\npredicted KL divergence {:.6f} nats; no options of this size have less than {:.6f} by the same "
                   "sum",
                   r.allocation.predicted, r.allocation.bound);
}

std::string quantized_json(const QuantizeConfig& config, const SchemeResult<Exl2Report>& result) {
  const Exl2Report& r = result.report;
  JsonObject options;
  for (const auto& [tensor, option] : r.allocation.options) options.text(tensor, option.name());
  JsonObject out = object(config, result);
  out.integer("elements", r.elements)
      .integer("bytes", r.bytes)
      .integer("layer_elements", r.allocation.elements)
      .integer("layer_bits", r.allocation.bits)
      .raw("options", options.str())
      .integer("float16_matrices", r.left)
      .number("predicted_kl", r.allocation.predicted)
      .number("predicted_kl_bound", r.allocation.bound);
  return closed(out, result);
}

std::string quantized_text(const QuantizeConfig& config, const SchemeResult<GroupReport>& result) {
  const GroupReport& r = result.report;
  const std::string groups = r.scheme.group == 0 ? "rows" : fmt::format("groups of {}", r.scheme.group);
  return fmt::format(
      "{}: {} matrices in {}, {} bits in {}{}{}: {:.1f} MB, {:.3f} bits a weight of theirs; {} linears and all else "
      "stay floats: {:.1f} MB; {:.1f} s",
      config.target, r.matrices, config.scheme, r.scheme.bits, groups, r.scheme.symmetric ? "" : " with zero points",
      r.taken ? ", codes as the source has them" : "", mb(r.bytes), r.bits_per_weight(), r.left + r.indivisible,
      mb(r.floats), result.seconds);
}

std::string quantized_json(const QuantizeConfig& config, const SchemeResult<GroupReport>& result) {
  const GroupReport& r = result.report;
  JsonObject out = object(config, result);
  out.integer("bits", r.scheme.bits)
      .integer("group", r.scheme.group)
      .boolean("symmetric", r.scheme.symmetric)
      .boolean("taken", r.taken);
  return closed(matrices(out, r, r.left + r.indivisible), result);
}

std::string quantized_text(const QuantizeConfig& config, const SchemeResult<LinearReport>& result) {
  const LinearReport& r = result.report;
  return fmt::format(
      "{}: {} matrices in {}: {:.1f} MB, {:.3f} bits a weight of theirs; {} linears and all else stay floats: {:.1f} "
      "MB; {:.1f} s",
      config.target, r.matrices, config.scheme, mb(r.bytes), r.bits_per_weight(), r.left + r.indivisible, mb(r.floats),
      result.seconds);
}

std::string quantized_json(const QuantizeConfig& config, const SchemeResult<LinearReport>& result) {
  JsonObject out = object(config, result);
  if (config.scheme.starts_with(kQuantoScheme)) out.text("optimizer", config.optimizer);
  return closed(matrices(out, result.report, result.report.left), result);
}

}  // namespace vibee
