// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_groups.h"

#include "vibee/base/text/quote.h"

namespace vibee {

Result<SchemeResult<GroupReport>> quantize_groups(const QuantizeConfig& config, const OnWork& on_work) {
  const GroupLayout* const layout = find_group_layout(config.scheme);
  if (layout == nullptr) {
    std::string known;
    for (const std::string& scheme : group_schemes()) known += fmt::format("{}{}", known.empty() ? "" : ", ", scheme);
    return error(Code::invalid, "--scheme {}: {} are directories of groups", quote(config.scheme, 40), known);
  }
  if (config.solver == "gptq" && !config.calibration)
    return error(Code::invalid, "--solver gptq: needs --calib TEXT, over which errors are made up for");
  if (config.group != -1 && config.group != 0 && config.group != 32 && config.group != 64 && config.group != 128)
    return error(Code::invalid, "--group {}: 32, 64, 128, or -1 for a row", config.group);
  const bool table = layout->scheme(Format::f16).table.has_value();  // whose codes are the nearest
  VIBEE_ASSIGN(const std::unique_ptr<SchemeJob> job,
               SchemeJob::open(config,
                               table ? "--group --include --exclude"
                                     : "--bits --group --asymmetric --calib --solver --include --exclude",
                               on_work));
  GroupOptions options{.layout = layout,
                       .bits = config.bits,
                       .group = config.group,
                       .asymmetric = config.asymmetric,
                       .modules = {config.include, config.exclude},
                       .team = &job->team(),
                       .isa = detected_isa(),
                       .progress = job->quantising()};
  if (config.calibration) {
    VIBEE_ASSIGN(options.hessians, job->hessians());
  }
  VIBEE_ASSIGN(GroupReport report, write_groups_model(job->file(), job->tokenizer(), config.target, options));
  if (report.indivisible > 0)
    job->warn(fmt::format("{} matrices stay floats: groups of {} or words of 32 bits do not divide them",
                          report.indivisible,
                          report.scheme.group == 0 ? "a row" : std::to_string(report.scheme.group)));
  if (report.again) job->warn("the source is quantised already, in other codes: what these lost stays lost");
  if (report.taken && config.calibration) job->warn("codes are the source's: --calib changes none");
  return job->finish(std::move(report));
}

}  // namespace vibee
