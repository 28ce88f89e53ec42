// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_quanto.h"

#include "vibee/base/text/quote.h"

namespace vibee {

Result<SchemeResult<LinearReport>> quantize_quanto(const QuantizeConfig& config, const OnWork& on_work) {
  VIBEE_ASSIGN(const QuantoType type, find_quanto_type(std::string_view(config.scheme).substr(kQuantoScheme.size())));
  if (config.optimizer != "max" && config.optimizer != "hqq")
    return error(Code::invalid, "--optimizer {}: max or hqq", quote(config.optimizer, 40));
  VIBEE_ASSIGN(const std::unique_ptr<SchemeJob> job,
               SchemeJob::open(config, "--optimizer --include --exclude", on_work));
  VIBEE_ASSIGN(LinearReport report,
               write_quanto(job->file(), job->tokenizer(), config.target, type, config.optimizer == "hqq",
                            {{config.include, config.exclude}, &job->team(), job->quantising()}));
  if (report.indivisible > 0)
    job->warn(fmt::format("{} matrices stay floats: 32 does not divide their rows", report.indivisible));
  return job->finish(std::move(report));
}

}  // namespace vibee
