// SPDX-License-Identifier: Apache-2.0
// Which pieces of a file that is being written stand there already: a text file beside it with a hash a piece, so that
// a run that was stopped goes on where it was. Nothing in it is believed: a piece counts when the file holds bytes of
// that hash.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

class PieceLog {
 public:
  /// The log at `path` of work that `key` names. One of other work, or none, is an empty log.
  static PieceLog open(std::string path, const std::string& key);
  /// Whether piece `i` was logged with these bytes.
  bool holds(size_t i, std::span<const uint8_t> bytes) const;
  size_t size() const { return lines_.size(); }
  /// Forgets pieces from `size` on, on disk too.
  Status truncate(size_t size);
  /// The next piece, written before.
  Status add(std::span<const uint8_t> bytes);
  void remove();

 private:
  std::string path_, first_;
  std::vector<std::string> lines_;
};

}  // namespace vibee
