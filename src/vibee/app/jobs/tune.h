// SPDX-License-Identifier: Apache-2.0
// `vibee tune`: every option is measured beside the plain run, in alternating pairs, all options in turns; then those
// that pay are combined one by one, and the combination is measured afresh, because the best of many measurements is
// partly luck. Nothing is an estimate, and "none pays" is an answer.
#pragma once

#include <functional>
#include <optional>

#include "vibee/app/jobs/bench_process.h"
#include "vibee/app/jobs/settings.h"
#include "vibee/core/measure/measure.h"

namespace vibee {

struct TuneConfig {
  uint32_t prompt = 128, generate = 32;  ///< tokens of the request whose time is to be short
  double seconds = 300;                  ///< about how long it may take
  uint32_t pairs = 7;                    ///< of each measurement; 3 show that something is less than half as fast
  double least = 0.01;                   ///< a gain below this share counts as none
  std::optional<double> lossy;           ///< KL divergence that is given away at most; empty: none
};

struct TuneQuality {
  double kl = 0, kl_error = 0;      ///< nats, against the plain run; standard error
  double top1 = 1, top1_error = 0;  ///< share of positions with the same likeliest token
};

/// How it is found out what a choice gives; `settings` are added to the plain run.
struct TuneProbe {
  std::function<Result<BenchFigures>(const std::vector<Setting>& settings)> time;
  std::function<Result<TuneQuality>(const std::vector<Setting>& settings)> quality;
  std::function<double()> seconds;                                       ///< since the start
  std::function<bool(std::string_view what, double fraction)> progress;  ///< false: interrupted
};

/// Settings beside those they are compared with. Ratios are above 1 where the settings are better.
struct TuneRow {
  std::vector<Setting> settings;
  std::string summary;
  bool exact = true;
  uint32_t pairs = 0;  ///< 0: not measured
  PairedRatio request, prompt, generate, first_token, memory;
  BenchFigures figures;  ///< medians
  std::optional<TuneQuality> quality;
  std::string verdict;  ///< "faster", "slower", "no difference shown", or why it is not measured or may not be used
  bool pays = false;
};

struct TuneReport {
  std::string model, cpu;  ///< file; name of the CPU
  uint64_t model_bytes = 0;
  TuneConfig config;
  BenchFigures plain;  ///< medians of all plain runs
  std::vector<TuneRow> rows;
  std::vector<std::string> steps;  ///< how the combination came about
  std::vector<Setting> chosen;     ///< none: nothing pays
  std::optional<TuneRow> final;    ///< the combination against the plain run
  double seconds = 0;
};

/// Fills everything but `model` and `cpu`.
Result<TuneReport> tune(const std::vector<TuneOption>& options, const TuneConfig& config, const TuneProbe& probe);

std::string tune_text(const TuneReport& report);
std::string tune_json(const TuneReport& report);
std::string tune_html(const TuneReport& report);

}  // namespace vibee
