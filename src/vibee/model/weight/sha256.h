// SPDX-License-Identifier: Apache-2.0
// SHA-256 of streams and files (OpenSSL's EVP behind it).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  void update(std::span<const uint8_t> bytes);
  /// Lower-case hex; once, at the end.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Hex digest of a whole file; `step` gets the bytes done so far and stops the work by returning false.
Result<std::string> sha256_of_file(const std::string& path, const std::function<bool(uint64_t)>& step = {});

}  // namespace vibee
