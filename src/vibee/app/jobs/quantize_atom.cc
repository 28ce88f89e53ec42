// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_atom.h"

#include <filesystem>
#include <thread>

#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

Status check(const QuantizeConfig& c) {
  if (!c.calibration)
    return error(Code::invalid, "--scheme atom: needs --calib TEXT, by which inputs are sorted and errors made up for");
  if (c.pure || !c.budget.empty() || c.solver != "search" || !c.imatrix.empty() || !c.save_imatrix.empty() ||
      !c.measurement.empty() || c.text)
    return error(Code::invalid,
                 "--scheme atom takes --calib and --group; measure the directory with `vibee eval DIR --base SRC "
                 "--text F`");
  if (c.group != 0 && c.group != 32 && c.group != 64 && c.group != 128)
    return error(Code::invalid, "--group {}: of atom 32, 64 or 128", c.group);
  std::error_code ignored;
  if (std::filesystem::exists(c.target, ignored))
    return error(Code::invalid, "{}: is there already; name a new directory", quote(c.target, 400));
  return {};
}

}  // namespace

Result<AtomResult> quantize_atom(const QuantizeConfig& config, const OnWork& on_work) {
  const Timer timer;
  VIBEE_TRY(check(config));
  AtomResult out;
  VIBEE_ASSIGN(out.source, resolve_model(config.source));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.source));
  VIBEE_ASSIGN(const ModelConfig model, read_config(file));
  const uint32_t threads = config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  Team team(threads);
  VIBEE_ASSIGN(const Calibration text, calibration_of(config, file, threads, on_work));
  auto hessians = Hessians::open(file, model, text.tokens, text.options, hessian_bytes());
  if (!hessians.ok()) return hessians.take_status().within(config.calibration->name);
  VIBEE_ASSIGN(const std::vector<TokenizerFile> tokenizer, carry_to_hf(file, nullptr, &out.warnings));
  VIBEE_ASSIGN(out.report,
               write_atom(file, *hessians, team, detected_isa(), config.target,
                          {uint32_t(config.group), tokenizer, [&](uint64_t done, uint64_t total) {
                             return !on_work || on_work({"quantising", "MB", double(done) / 1e6, double(total) / 1e6});
                           }}));
  out.seconds = timer.seconds();
  return out;
}

}  // namespace vibee
