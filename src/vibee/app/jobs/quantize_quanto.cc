// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_quanto.h"

#include <filesystem>
#include <thread>

#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

Status check(const QuantizeConfig& c) {
  if (c.optimizer != "max" && c.optimizer != "hqq")
    return error(Code::invalid, "--optimizer {}: max or hqq", quote(c.optimizer, 40));
  if (c.pure || !c.budget.empty() || c.solver != "search" || c.calibration || !c.imatrix.empty() ||
      !c.save_imatrix.empty() || c.text)
    return error(Code::invalid,
                 "--scheme quanto takes --optimizer, --include and --exclude; measure the directory with `vibee eval "
                 "DIR --base SRC --text F`");
  std::error_code ignored;
  if (std::filesystem::exists(c.target, ignored))
    return error(Code::invalid, "{}: is there already; name a new directory", quote(c.target, 400));
  return {};
}

}  // namespace

Result<QuantoResult> quantize_quanto(const QuantizeConfig& config, const OnWork& on_work) {
  const Timer timer;
  VIBEE_ASSIGN(const QuantoType type, find_quanto_type(std::string_view(config.scheme).substr(kQuantoScheme.size())));
  VIBEE_TRY(check(config));
  QuantoResult out;
  VIBEE_ASSIGN(out.source, resolve_model(config.source));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.source));
  Team team(config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency()));
  const QuantoOptions options{
      .type = type,
      .hqq = config.optimizer == "hqq",
      .include = config.include,
      .exclude = config.exclude,
      .team = &team,
      .progress = [&](uint64_t done, uint64_t total) {
        return !on_work || on_work({"quantising", "MB", double(done) / 1e6, double(total) / 1e6});
      }};
  VIBEE_ASSIGN(const std::vector<TokenizerFile> files, carry_to_hf(file, nullptr, &out.warnings));
  VIBEE_ASSIGN(out.report, write_quanto(file, files, config.target, options));
  if (out.report.indivisible > 0)
    out.warnings.push_back(
        fmt::format("{} matrices stay floats: 32 does not divide their rows", out.report.indivisible));
  out.seconds = timer.seconds();
  return out;
}

}  // namespace vibee
