// SPDX-License-Identifier: Apache-2.0
// SHA-256 and SHA-1 of streams and files (nettle behind them).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

class Digest {
 public:
  enum class Kind : uint8_t { sha256, sha1 };
  explicit Digest(Kind kind = Kind::sha256);
  ~Digest();
  Digest(Digest&&) noexcept;
  void update(std::span<const uint8_t> bytes);
  void update(std::string_view text);
  /// Lower-case hex; once, at the end.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of a few bytes.
std::array<uint8_t, 32> sha256_of(std::span<const uint8_t> bytes);

/// Adds a whole file to `digest`; `step` gets the bytes done so far and stops the work by returning false.
Status digest_file(const std::string& path, Digest* digest, const std::function<bool(uint64_t)>& step = {});

/// Hex SHA-256 of a whole file.
Result<std::string> sha256_of_file(const std::string& path, const std::function<bool(uint64_t)>& step = {});

}  // namespace vibee
