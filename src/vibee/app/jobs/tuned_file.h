// SPDX-License-Identifier: Apache-2.0
// What `vibee tune` chose, kept in the cache for the --tuned of `vibee run` and `vibee serve`: a file a model, valid
// for that file of the model and this machine.
#pragma once

#include "vibee/app/jobs/tune.h"

namespace vibee {

/// What a choice was made for.
struct TunedFor {
  std::string model;  ///< path of the file or directory
  uint64_t bytes = 0;
  std::string cpu;
};
Result<TunedFor> tuned_for(const std::string& model);
/// Path in the cache of what is kept for a model; two models of one name in two folders have two. `kind`: "json".
Result<std::string> tuned_path(const TunedFor& what, std::string_view kind);
/// The file's text; Code::not_found when there is none.
Result<std::string> read_tuned(const std::string& path);
/// Writes it whole, with its folder.
Status write_tuned(const std::string& path, const std::string& text);

/// The whole report, in JSON.
std::string tuned_text(const TuneReport& report);
/// The settings of such a text; an error when it is none, or is of another file or machine.
Result<std::vector<Setting>> parse_tuned(std::string_view text, const std::string& name, const TunedFor& now);

/// Path of the file that was written.
Result<std::string> save_tuned(const TuneReport& report);
Result<std::vector<Setting>> load_tuned(const std::string& model);
/// What was kept for the model of `config`, where that leaves options as they are by default.
Status apply_tuned(LoadConfig* config);

}  // namespace vibee
