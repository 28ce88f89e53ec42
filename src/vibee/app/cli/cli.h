// SPDX-License-Identifier: Apache-2.0
// The command line: finds the verb, calls it, and keeps three promises for all of them. An error is one line on stderr;
// the exit status is 0, 1 (it failed) or 2 (wrong usage); no exception leaves.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

inline constexpr int kExitOk = 0, kExitFailed = 1, kExitUsage = 2;
inline constexpr int kExitAgain = 75;  ///< nothing is wrong with what was asked: to be started again (EX_TEMPFAIL)

struct Verb {
  std::string_view name, summary, example;
  int (*run)(int argc, char** argv);
};
/// The rows of verbs.inc.
std::span<const Verb> all_verbs();
/// The verb of that name; an error lists those there are.
Result<const Verb*> find_verb(std::string_view name);
/// What `vibee --help` prints.
std::string help_text();

int run_cli(int argc, char** argv);

/// Prints "vibee VERB: message" as one line on stderr; returns the exit status of the error.
int fail(std::string_view verb, const Status& status);
/// The same with "; try `vibee VERB --help`" and kExitUsage.
int fail_usage(std::string_view verb, std::string_view message);

#define VIBEE_VERB(name, summary, example) int verb_##name(int argc, char** argv);
#include "vibee/app/cli/verbs.inc"
#undef VIBEE_VERB

}  // namespace vibee
