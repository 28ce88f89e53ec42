// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/convert.h"

#include <cmath>
#include <filesystem>
#include <thread>

#include "vibee/app/jobs/load.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/adapter/merge_adapter.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/layer/decoder.h"
#include "vibee/model/token/gguf_spec.h"

namespace vibee {
namespace {

bool has_file(const Checkpoint& file, std::string_view name) {
  return file.is_directory() && file.side_file(name).status().code() != Code::not_found;
}

Result<std::vector<ScaledAdapter>> read_adapters(const std::vector<std::string>& names, const ModelConfig& config) {
  constexpr uint32_t kMaxRank = 1024;
  std::vector<ScaledAdapter> adapters;
  if (names.empty()) return adapters;
  VIBEE_ASSIGN(const Graph graph, DecoderBuilder(
                                      config, [](std::string_view) { return Format::f32; }, kMaxRank)
                                      .build());
  const std::vector<AdaptedProduct> products = adapted_products(graph);
  for (const std::string& text : names) {
    const LoraName name = parse_lora(text);
    if (!std::isfinite(name.scale)) return error(Code::invalid, "--lora {}: the scale is no number", quote(text, 400));
    VIBEE_ASSIGN(AdapterFile file, read_adapter(name.path, config, products, kMaxRank));
    adapters.push_back({std::move(file), name.scale});
  }
  return adapters;
}

}  // namespace

Result<std::vector<TokenizerFile>> carry_to_hf(const Checkpoint& file, bool* tokenizer,
                                               std::vector<std::string>* warnings) {
  const bool known = file.has("tokenizer.ggml.model");
  if (tokenizer) *tokenizer = known || has_file(file, "tokenizer.json");
  if (file.is_directory() || !known) return std::vector<TokenizerFile>();
  auto spec = read_tokenizer(file);
  auto files = spec.ok() ? write_tokenizer_files(std::move(*spec)) : Result<std::vector<TokenizerFile>>(spec.status());
  if (files.ok()) return std::move(*files);
  warnings->push_back(fmt::format("tokenizer.json is not written: {}", files.status().message()));
  return std::vector<TokenizerFile>();
}

Result<bool> carry_tokenizer(const Checkpoint& file, GgufMetadata* metadata, std::vector<std::string>* warnings) {
  if (file.has("tokenizer.ggml.model")) return true;
  if (!has_file(file, "tokenizer.json")) return false;
  VIBEE_ASSIGN(const TensorInfo* embedding, file.tensor("token_embd.weight"));
  auto spec = read_tokenizer(file);
  auto said = spec.ok() ? gguf_tokenizer(*spec, size_t(embedding->rows())) : Result<GgufTokenizer>(spec.status());
  if (!said.ok()) {
    warnings->push_back(fmt::format("the tokenizer stays behind, keep its tokenizer.json beside the result: {}",
                                    said.status().message()));
    return false;
  }
  put_tokenizer(said->spec, metadata);
  for (std::string& warning : said->warnings) warnings->push_back(std::move(warning));
  return true;
}

Result<ConvertReport> convert(const ConvertConfig& config, const WriteProgress& progress) {
  const Timer timer;
  ConvertReport report;
  VIBEE_ASSIGN(report.source, resolve_model(config.source));
  std::error_code ignored;
  if (std::filesystem::equivalent(report.source, config.target, ignored))
    return error(Code::invalid, "{}: source and target are the same", quote(config.target, 400));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(report.source));
  // What this build could not run is not worth an hour of writing.
  VIBEE_ASSIGN(const ModelConfig model, read_config(file));
  VIBEE_ASSIGN(const std::vector<ScaledAdapter> adapters, read_adapters(config.loras, model));
  Team team(config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency()));
  RecastOptions options{.edit = merging(adapters), .team = &team};
  if (config.format != "keep") {
    VIBEE_ASSIGN(const Format format, parse_format(config.format));
    options.format = all_in(format);
  }
  const bool keeps = !options.format;
  VIBEE_ASSIGN(const Recast recast, Recast::create(file, std::move(options)));
  report.tensors = recast.tensors().size();
  for (const TensorInfo& t : recast.tensors()) report.bytes += t.bytes;
  report.indivisible = recast.indivisible();
  if (config.to == "gguf") {
    GgufMetadata metadata = file.metadata();
    if (!keeps || file.is_directory() || !file.has("general.file_type")) set_file_type(&metadata, recast.tensors());
    VIBEE_ASSIGN(report.tokenizer, carry_tokenizer(file, &metadata, &report.warnings));
    VIBEE_TRY(write_gguf(config.target, metadata, recast.tensors(), recast.reader(), {.progress = progress}));
  } else if (config.to == "hf") {
    VIBEE_ASSIGN(const std::vector<TokenizerFile> tokenizer, carry_to_hf(file, &report.tokenizer, &report.warnings));
    VIBEE_TRY(
        write_hf(config.target, hf_architectures(), file, recast.tensors(), recast.reader(), tokenizer, progress));
  } else {
    return error(Code::invalid, "--to {}: unknown container; use gguf or hf", config.to);
  }
  report.seconds = timer.seconds();
  return report;
}

}  // namespace vibee
