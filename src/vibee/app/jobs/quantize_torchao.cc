// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_torchao.h"

namespace vibee {

Result<SchemeResult<LinearReport>> quantize_torchao(const QuantizeConfig& config, const OnWork& on_work) {
  VIBEE_ASSIGN(const TorchaoRecipe recipe,
               find_torchao_recipe(std::string_view(config.scheme).substr(kTorchaoScheme.size())));
  const bool intx = recipe.of == TorchaoRecipe::Of::intx;
  TorchaoCodes codes{.asymmetric = config.asymmetric};
  if (config.bits != 0) codes.bits = config.bits;
  if (config.group != 0) codes.group = uint64_t(config.group);
  if (config.group != 0 && config.group != 32 && config.group != 64 && config.group != 128)
    return error(Code::invalid, "--group {}: of torchao 32, 64 or 128", config.group);
  if (codes.bits > 4 && codes.asymmetric && codes.group % 64 != 0)
    return error(Code::invalid, "--bits {} --asymmetric: in groups of 64 or 128 (--group), as they are read here",
                 codes.bits);
  VIBEE_ASSIGN(const std::unique_ptr<SchemeJob> job,
               SchemeJob::open(config, intx ? "--bits --group --asymmetric --include --exclude" : "--include --exclude",
                               on_work));
  VIBEE_ASSIGN(LinearReport report, write_torchao(job->file(), job->tokenizer(), config.target, recipe, codes,
                                                  {{config.include, config.exclude}, &job->team(), job->quantising()}));
  if (report.indivisible > 0)
    job->warn(fmt::format("{} matrices stay floats: {} does not divide their rows", report.indivisible,
                          intx ? codes.group : 32));
  return job->finish(std::move(report));
}

}  // namespace vibee
