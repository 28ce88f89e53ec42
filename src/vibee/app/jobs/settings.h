// SPDX-License-Identifier: Apache-2.0
// Choices among the options that a model is run with, as words of the command line and in a LoadConfig: what `vibee
// tune` tries, and what it leaves for `vibee run --tuned`.
#pragma once

#include "vibee/app/jobs/load.h"

namespace vibee {

struct Setting {
  std::string option, value;  ///< "--disable", "merge_qkv"
  std::string text() const { return option + " " + value; }
  bool operator==(const Setting&) const = default;
};
/// "--kv q8_0 --disable merge_qkv"; "the defaults" for none.
std::string settings_text(const std::vector<Setting>& settings);

/// Sets the option in `config`, as the command line would. Errors: an option that is none of these, a value that is
/// none.
Status apply(const Setting& setting, LoadConfig* config);
/// The same, for those that `config` leaves as they are by default: what a user said goes before.
Status apply_defaults(const std::vector<Setting>& settings, LoadConfig* config);

struct TuneOption {
  Setting setting;
  std::string summary;
  bool exact = true;  ///< promises the same bytes
};
/// What this model and machine leave to choose beside `base`: the rows of settings.inc, and each pass and technique
/// that can be turned off and does something in this model.
Result<std::vector<TuneOption>> tune_options(const LoadConfig& base);

}  // namespace vibee
