// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_any.h"

#include <filesystem>
#include <thread>

#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

Status check(const QuantizeConfig& c) {
  if (c.table != "lut" && c.table != "affine")
    return error(Code::invalid, "--table {}: lut or affine", quote(c.table, 40));
  if (c.pure || !c.budget.empty() || c.solver != "search" || !c.imatrix.empty() || !c.save_imatrix.empty() || c.text)
    return error(
        Code::invalid,
        "--scheme any takes --seed-bits, --parent-bits, --table and --calib; measure its widths with `vibee eval "
        "DIR --bits B --base SRC --text F`");
  if (c.table == "affine" && c.calibration)
    return error(Code::invalid, "--calib: cells of --table affine are equal, whatever a weight matters");
  std::error_code ignored;
  if (std::filesystem::exists(c.target, ignored))
    return error(Code::invalid, "{}: is there already; name a new directory", quote(c.target, 400));
  return {};
}

}  // namespace

Result<AnyPrecisionResult> quantize_any(const QuantizeConfig& config, const OnWork& on_work) {
  const Timer timer;
  VIBEE_TRY(check(config));
  AnyPrecisionResult out;
  VIBEE_ASSIGN(out.source, resolve_model(config.source));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.source));
  VIBEE_ASSIGN(const ModelConfig model, read_config(file));
  const uint32_t threads = config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  Team team(threads);
  AnyPrecisionOptions options{
      .widths = {config.seed_bits, config.parent_bits},
      .affine = config.table == "affine",
      .team = &team,
      .progress = [&](uint64_t done, uint64_t total) {
        return !on_work || on_work({"quantising", "MB", double(done) / 1e6, double(total) / 1e6});
      }};
  SquaredGradients gradients;
  if (config.calibration) {
    VIBEE_ASSIGN(const Calibration text, calibration_of(config, file, threads, on_work));
    auto found = squared_gradients(file, model, text.tokens, text.options, [&](const std::string& name) {
      const TensorInfo* t = file.find(name);
      return t != nullptr && is_nested(*t, options.affine);
    });
    if (!found.ok()) return found.take_status().within(config.calibration->name);
    gradients = std::move(*found);
    options.gradients = &gradients;
    out.weighted = true;
  }
  VIBEE_ASSIGN(const std::vector<TokenizerFile> files, carry_to_hf(file, nullptr, &out.warnings));
  VIBEE_ASSIGN(out.report, write_any_precision(file, files, config.target, options));
  if (out.report.indivisible > 0)
    out.warnings.push_back(fmt::format("{} matrices stay floats: {} does not divide their rows", out.report.indivisible,
                                       options.affine ? 64 : 32));
  out.seconds = timer.seconds();
  return out;
}

}  // namespace vibee
