// SPDX-License-Identifier: Apache-2.0
// The book of measurements: what took how long on which machine. One file of lines that is only ever added to, by any
// number of processes; choices among implementations are read off it, so what was measured once is not measured again.
//
//   CHECKSUM <tab> DATE <tab> DEVICE <tab> PROBLEM <tab> IMPLEMENTATION <tab> SECONDS
//
// The checksum is of the rest of the line. A line that is torn, changed or of another device is passed over.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

class Records {
 public:
  /// The records of `device` in a file, which need not be there; without a path nothing is kept.
  static Result<Records> open(const std::string& path, std::string_view device);
  /// Those of a text that was read.
  static Records parse(std::string_view text, std::string_view device);

  /// Seconds of a problem by an implementation whose name has its version: what was written last.
  std::optional<double> seconds(std::string_view problem, std::string_view implementation) const;
  /// Adds a line. An error says why it could not be kept; it is known here all the same.
  Status add(std::string_view problem, std::string_view implementation, double seconds);

  /// Lines that were passed over because they are damaged.
  size_t damaged() const { return damaged_; }
  const std::string& path() const { return path_; }

 private:
  void read(std::string_view text);
  std::string path_, device_;
  std::map<std::pair<std::string, std::string>, double> seconds_;
  size_t damaged_ = 0;
};

}  // namespace vibee
