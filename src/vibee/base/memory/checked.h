// SPDX-License-Identifier: Apache-2.0
// Arithmetic on sizes that come from files and requests: every product and sum is checked, by one helper.
#pragma once

#include <cstdint>
#include <optional>

namespace vibee {

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
/// Smallest multiple of `unit` that is not below `n`. `unit` > 0; wraps only where n is within unit of 2^64.
constexpr uint64_t round_up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace vibee
