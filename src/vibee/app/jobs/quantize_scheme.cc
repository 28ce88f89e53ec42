// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_scheme.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

/// An option of some schemes, and whether it is set.
struct Option {
  std::string_view flag;
  bool (*set)(const QuantizeConfig& c, const QuantizeConfig& unset);
};
template <auto Member>
bool changed(const QuantizeConfig& c, const QuantizeConfig& unset) {
  return c.*Member != unset.*Member;
}
using C = QuantizeConfig;
constexpr Option kOptions[] = {
    {"--format", changed<&C::format>},
    {"--pure", changed<&C::pure>},
    {"--budget", changed<&C::budget>},
    {"--head-bits", changed<&C::head_bits>},
    {"--choices", changed<&C::choices>},
    {"--measurement", changed<&C::measurement>},
    {"--picture", changed<&C::picture>},
    {"--probe-windows", changed<&C::probe_windows>},
    {"--seed-bits", changed<&C::seed_bits>},
    {"--parent-bits", changed<&C::parent_bits>},
    {"--table", changed<&C::table>},
    {"--optimizer", changed<&C::optimizer>},
    {"--bits", changed<&C::bits>},
    {"--group", changed<&C::group>},
    {"--asymmetric", changed<&C::asymmetric>},
    {"--include", changed<&C::include>},
    {"--exclude", changed<&C::exclude>},
    {"--solver", changed<&C::solver>},
    {"--smooth-attention", changed<&C::smooth_attention>},
    {"--calib", [](const C& c, const C&) { return c.calibration.has_value(); }},
    {"--imatrix", changed<&C::imatrix>},
    {"--save-imatrix", changed<&C::save_imatrix>},
    {"--text", [](const C& c, const C&) { return c.text.has_value(); }},
};

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

}  // namespace

Status check_options(const QuantizeConfig& config, std::string_view taken) {
  const std::vector<std::string_view> flags = words(taken);
  for (const Option& option : kOptions) {
    if (std::ranges::count(flags, option.flag) || !option.set(config, QuantizeConfig())) continue;
    std::string listed;
    for (size_t i = 0; i < flags.size(); ++i)
      listed += fmt::format("{}{}", i == 0 ? "" : i + 1 < flags.size() ? ", " : " and ", flags[i]);
    return error(Code::invalid, "--scheme {} takes {}, not {}{}", config.scheme, listed, option.flag,
                 option.flag == "--text" ? "; measure the directory with `vibee eval DIR --base SRC --text F`" : "");
  }
  return {};
}

Result<std::unique_ptr<SchemeJob>> SchemeJob::open(const QuantizeConfig& config, std::string_view taken,
                                                   const OnWork& on_work) {
  std::unique_ptr<SchemeJob> job(new SchemeJob(config, on_work));
  VIBEE_TRY(check_options(config, taken));
  std::error_code ignored;
  if (std::filesystem::exists(config.target, ignored))
    return error(Code::invalid, "{}: is there already; name a new directory", quote(config.target, 400));
  VIBEE_ASSIGN(job->source_, resolve_model(config.source));
  VIBEE_ASSIGN(job->file_, open_checkpoint(job->source_));
  job->threads_ = config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  job->team_ = std::make_unique<Team>(job->threads_);
  VIBEE_ASSIGN(job->tokenizer_, carry_to_hf(*job->file_, nullptr, &job->warnings_));
  return job;
}

WriteProgress SchemeJob::quantising() const {
  return [this](uint64_t done, uint64_t total) {
    return work("quantising", "MB", double(done) / 1e6, double(total) / 1e6);
  };
}

Result<const Calibration*> SchemeJob::calibration() {
  if (!calibration_) {
    VIBEE_ASSIGN(calibration_, calibration_of(*config_, *file_, threads_, on_work_));
  }
  return &*calibration_;
}

Result<Hessians*> SchemeJob::hessians() {
  if (hessians_) return &*hessians_;
  VIBEE_ASSIGN(const Calibration* text, calibration());
  VIBEE_ASSIGN(model_, read_config(*file_));
  auto opened = Hessians::open(*file_, *model_, text->tokens, text->options, hessian_bytes());
  if (!opened.ok()) return opened.take_status().within(config_->calibration->name);
  hessians_.emplace(std::move(*opened));
  return &*hessians_;
}

}  // namespace vibee
