// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_any.h"

#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"

namespace vibee {

Result<SchemeResult<AnyPrecisionReport>> quantize_any(const QuantizeConfig& config, const OnWork& on_work) {
  if (config.table != "lut" && config.table != "affine")
    return error(Code::invalid, "--table {}: lut or affine", quote(config.table, 40));
  const bool affine = config.table == "affine";
  if (affine && config.calibration)
    return error(Code::invalid, "--calib: cells of --table affine are equal, whatever a weight matters");
  VIBEE_ASSIGN(const std::unique_ptr<SchemeJob> job,
               SchemeJob::open(config, "--seed-bits --parent-bits --table --calib", on_work));
  const Checkpoint& file = job->file();
  VIBEE_ASSIGN(const ModelConfig model, read_config(file));
  AnyPrecisionOptions options{.widths = {config.seed_bits, config.parent_bits},
                              .affine = affine,
                              .team = &job->team(),
                              .progress = job->quantising()};
  SquaredGradients gradients;
  if (config.calibration) {
    VIBEE_ASSIGN(const Calibration* text, job->calibration());
    auto found = squared_gradients(file, model, text->tokens, text->options, [&](const std::string& name) {
      const TensorInfo* t = file.find(name);
      return t != nullptr && is_nested(*t, affine);
    });
    if (!found.ok()) return found.take_status().within(config.calibration->name);
    gradients = std::move(*found);
    options.gradients = &gradients;
  }
  VIBEE_ASSIGN(AnyPrecisionReport report, write_any_precision(file, job->tokenizer(), config.target, options));
  if (report.indivisible > 0)
    job->warn(
        fmt::format("{} matrices stay floats: {} does not divide their rows", report.indivisible, affine ? 64 : 32));
  return job->finish(std::move(report));
}

}  // namespace vibee
