// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/convert.h"

#include <filesystem>

#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"

namespace vibee {

Result<ConvertReport> convert(const ConvertConfig& config, const WriteProgress& progress) {
  const Timer timer;
  ConvertReport report;
  VIBEE_ASSIGN(report.source, resolve_model(config.source));
  std::error_code ignored;
  if (std::filesystem::equivalent(report.source, config.target, ignored))
    return error(Code::invalid, "{}: source and target are the same", quote(config.target, 400));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(report.source));
  // What this build could not run is not worth an hour of writing.
  VIBEE_ASSIGN(const ModelConfig checked, read_config(file));
  std::optional<Format> format;
  if (config.format != "keep") {
    VIBEE_ASSIGN(format, parse_format(config.format));
  }
  VIBEE_ASSIGN(const Recast recast, Recast::create(file, format));
  report.tensors = recast.tensors().size();
  for (const TensorInfo& t : recast.tensors()) report.bytes += t.bytes;
  report.indivisible = recast.indivisible();
  report.tokenizer = file.has("tokenizer.ggml.model");
  if (config.to == "gguf") {
    GgufMetadata metadata = file.metadata();
    if (format || file.is_directory() || !file.has("general.file_type")) set_file_type(&metadata, recast.tensors());
    VIBEE_TRY(write_gguf(config.target, metadata, recast.tensors(), recast.reader(), progress));
  } else if (config.to == "hf") {
    VIBEE_TRY(write_hf(config.target, hf_architectures(), file, recast.tensors(), recast.reader(), progress));
  } else {
    return error(Code::invalid, "--to {}: unknown container; use gguf or hf", config.to);
  }
  report.seconds = timer.seconds();
  return report;
}

}  // namespace vibee
