// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_atom.h"

namespace vibee {

Result<SchemeResult<AtomReport>> quantize_atom(const QuantizeConfig& config, const OnWork& on_work) {
  if (!config.calibration)
    return error(Code::invalid, "--scheme atom: needs --calib TEXT, by which inputs are sorted and errors made up for");
  if (config.group != 0 && config.group != 32 && config.group != 64 && config.group != 128)
    return error(Code::invalid, "--group {}: of atom 32, 64 or 128", config.group);
  VIBEE_ASSIGN(const std::unique_ptr<SchemeJob> job, SchemeJob::open(config, "--calib --group", on_work));
  VIBEE_ASSIGN(Hessians* const hessians, job->hessians());
  VIBEE_ASSIGN(AtomReport report, write_atom(job->file(), *hessians, job->team(), detected_isa(), config.target,
                                             {uint32_t(config.group), job->tokenizer(), job->quantising()}));
  return job->finish(std::move(report));
}

}  // namespace vibee
