// SPDX-License-Identifier: Apache-2.0
// Stop strings over streamed text: what could still become one is held back, so no part of a stop string is ever
// emitted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vibee {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  /// Text that may be emitted after `more` has come. After a stop string was found, stopped() is true and nothing more
  /// comes.
  std::string push(std::string_view more);
  /// What was held back, at the end of the text.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace vibee
