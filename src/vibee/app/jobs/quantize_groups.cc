// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_groups.h"

#include <filesystem>
#include <thread>

#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

Status check(const QuantizeConfig& c, const GroupLayout* layout) {
  if (layout == nullptr) {
    std::string known;
    for (const std::string& scheme : group_schemes()) known += fmt::format("{}{}", known.empty() ? "" : ", ", scheme);
    return error(Code::invalid, "--scheme {}: {} are directories of groups", quote(c.scheme, 40), known);
  }
  if (c.pure || !c.budget.empty() || !c.imatrix.empty() || !c.save_imatrix.empty() || c.text || c.optimizer != "max")
    return error(Code::invalid,
                 "--scheme {} takes --bits, --group, --asymmetric, --calib, --include and --exclude; measure the "
                 "directory with `vibee eval DIR --base SRC --text F`",
                 c.scheme);
  if (c.solver == "gptq" && !c.calibration)
    return error(Code::invalid, "--solver gptq: needs --calib TEXT, over which errors are made up for");
  const bool table = layout->scheme(Format::f16).table.has_value();
  if (table && c.calibration)
    return error(Code::invalid, "--scheme {}: takes no --calib; its codes are the nearest", c.scheme);
  if (c.group != -1 && c.group != 0 && c.group != 32 && c.group != 64 && c.group != 128)
    return error(Code::invalid, "--group {}: 32, 64, 128, or -1 for a row", c.group);
  std::error_code ignored;
  if (std::filesystem::exists(c.target, ignored))
    return error(Code::invalid, "{}: is there already; name a new directory", quote(c.target, 400));
  return {};
}

}  // namespace

Result<GroupsResult> quantize_groups(const QuantizeConfig& config, const OnWork& on_work) {
  const Timer timer;
  const GroupLayout* const layout = find_group_layout(config.scheme);
  VIBEE_TRY(check(config, layout));
  GroupsResult out;
  VIBEE_ASSIGN(out.source, resolve_model(config.source));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.source));
  const uint32_t threads = config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  Team team(threads);
  Calibration text;
  std::optional<Hessians> hessians;  // of what stands in `text`
  if (config.calibration) {
    VIBEE_ASSIGN(const ModelConfig model, read_config(file));
    VIBEE_ASSIGN(text, calibration_of(config, file, threads, on_work));
    auto opened = Hessians::open(file, model, text.tokens, text.options, hessian_bytes());
    if (!opened.ok()) return opened.take_status().within(config.calibration->name);
    hessians.emplace(std::move(*opened));
  }
  const GroupOptions options{
      .layout = layout,
      .bits = config.bits,
      .group = config.group,
      .asymmetric = config.asymmetric,
      .include = config.include,
      .exclude = config.exclude,
      .hessians = hessians ? &*hessians : nullptr,
      .team = &team,
      .isa = detected_isa(),
      .progress = [&](uint64_t done, uint64_t total) {
        return !on_work || on_work({"quantising", "MB", double(done) / 1e6, double(total) / 1e6});
      }};
  VIBEE_ASSIGN(const std::vector<TokenizerFile> files, carry_to_hf(file, nullptr, &out.warnings));
  VIBEE_ASSIGN(out.report, write_groups_model(file, files, config.target, options));
  const GroupReport& r = out.report;
  if (r.indivisible > 0)
    out.warnings.push_back(fmt::format("{} matrices stay floats: groups of {} or words of 32 bits do not divide them",
                                       r.indivisible, r.scheme.group == 0 ? "a row" : std::to_string(r.scheme.group)));
  if (r.again) out.warnings.push_back("the source is quantised already, in other codes: what these lost stays lost");
  if (r.taken && config.calibration) out.warnings.push_back("codes are the source's: --calib changes none");
  out.seconds = timer.seconds();
  return out;
}

}  // namespace vibee
