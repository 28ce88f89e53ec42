// SPDX-License-Identifier: Apache-2.0
// Starts a job of ranks on this machine with Open MPI's mpirun and stays beside it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct LaunchOptions {
  uint32_t ranks = 1;
  std::vector<std::string> command;  ///< a path and its arguments, the same for all ranks
  /// True: the ranks are asked to end (SIGUSR1). Asked some ten times a second.
  std::function<bool()> interrupted = [] { return false; };
  /// A line of the ranks' error streams; of lines that all ranks say, once.
  std::function<void(const std::string&)> line = [](const std::string&) {};
};

/// Until the job ends; its standard output is this process's. The exit status is the job's. An error says that it could
/// not be started, or names the rank that a signal ended.
Result<int> launch(const LaunchOptions& options);

/// What mpirun says, line by line: what ranks said goes on, what it says of itself is kept.
class LaunchLines {
 public:
  /// True: the line is a rank's and new.
  bool take(const std::string& line);
  /// "rank 1 was ended by signal 9 (Killed)"; empty where mpirun told of none.
  const std::string& lost() const { return lost_; }
  /// Its words about anything else, as one line.
  const std::string& said() const { return said_; }
  bool rank_spoke() const { return rank_spoke_; }

 private:
  bool inside_ = false, rank_spoke_ = false;
  std::string lost_, said_;
  std::vector<std::string> errors_;
};

}  // namespace vibee
