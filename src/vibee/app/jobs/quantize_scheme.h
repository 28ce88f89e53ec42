// SPDX-License-Identifier: Apache-2.0
// What the jobs of `vibee quantize --scheme` begin with and end in: options that a scheme takes or refuses, a source
// that is open, threads, sums over the calibration text, the tokenizer, and a result.
#pragma once

#include <memory>

#include "vibee/app/jobs/quantize.h"
#include "vibee/base/thread/team.h"
#include "vibee/compress/quantize/gptq_solver.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/weight/hf.h"

namespace vibee {

/// A directory that was written in a scheme, and what there is to say of it.
template <class Report>
struct SchemeResult {
  std::string source;  ///< its path
  Report report;
  std::vector<std::string> warnings;
  double seconds = 0;
};

/// Refuses options that are set and not among `taken`, flags with a space between: "--calib --group".
Status check_options(const QuantizeConfig& config, std::string_view taken);

class SchemeJob {
 public:
  /// Refuses options as above, a target that is there already, and a source that cannot be read. `config` and
  /// `on_work` must outlive this.
  static Result<std::unique_ptr<SchemeJob>> open(const QuantizeConfig& config, std::string_view taken,
                                                 const OnWork& on_work);

  const std::string& source() const { return source_; }
  const Checkpoint& file() const { return *file_; }
  Team& team() { return *team_; }
  uint32_t threads() const { return threads_; }
  /// The tokenizer of the directory.
  std::span<const TokenizerFile> tokenizer() const { return tokenizer_; }
  bool work(std::string_view what, std::string_view unit, double done, double total) const {
    return !on_work_ || on_work_({what, unit, done, total});
  }
  /// Of bytes that are quantised; false stops.
  WriteProgress quantising() const;
  /// The calibration text as the model reads it.
  Result<const Calibration*> calibration();
  /// Sums of products of inputs over it.
  Result<Hessians*> hessians();

  void warn(std::string warning) { warnings_.push_back(std::move(warning)); }
  template <class Report>
  SchemeResult<Report> finish(Report report) {
    return {source_, std::move(report), std::move(warnings_), timer_.seconds()};
  }

 private:
  SchemeJob(const QuantizeConfig& config, const OnWork& on_work) : config_(&config), on_work_(on_work) {}
  Timer timer_;
  const QuantizeConfig* config_;
  const OnWork& on_work_;
  std::string source_;
  std::optional<Checkpoint> file_;
  uint32_t threads_ = 1;
  std::unique_ptr<Team> team_;
  std::vector<TokenizerFile> tokenizer_;
  std::vector<std::string> warnings_;
  std::optional<Calibration> calibration_;
  std::optional<ModelConfig> model_;
  std::optional<Hessians> hessians_;  // of all of these
};

}  // namespace vibee
