// SPDX-License-Identifier: Apache-2.0
// The two error channels of VIBEE: a Status for what a user or a file did wrong, VIBEE_CHECK for what a programmer did
// wrong. The library never throws and never prints; app/cli turns a Status into one line and an exit status.
#pragma once

#include <fmt/core.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

namespace vibee {

enum class Code { ok, invalid, not_found, corrupt, unsupported, io, no_memory, cancelled };

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  /// What was wrong, where (file, field, offset) and what to do; one line, no trailing period.
  const std::string& message() const { return message_; }
  /// The same error with "where: " before its message; an ok status stays as it is.
  Status within(std::string_view where) && {
    if (!ok()) message_ = fmt::format("{}: {}", where, message_);
    return std::move(*this);
  }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

template <class... Args>
Status error(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

/// A value or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {}  // NOLINT
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  Status take_status() { return std::move(status_); }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& values);

}  // namespace vibee

#define VIBEE_CAT2(a, b) a##b
#define VIBEE_CAT(a, b) VIBEE_CAT2(a, b)
/// Returns early with the Status of `expr` when it is an error.
#define VIBEE_TRY(expr)                            \
  do {                                             \
    ::vibee::Status vibee_status_ = (expr);        \
    if (!vibee_status_.ok()) return vibee_status_; \
  } while (0)
/// `lhs` = the value of the Result `expr`, or an early return with its Status.
#define VIBEE_ASSIGN(lhs, expr) VIBEE_ASSIGN_(VIBEE_CAT(vibee_result_, __LINE__), lhs, expr)
#define VIBEE_ASSIGN_(tmp, lhs, expr)      \
  auto tmp = (expr);                       \
  if (!tmp.ok()) return tmp.take_status(); \
  lhs = std::move(*tmp)
/// Programmer error: aborts with the values given (a fmt format string and its arguments).
#define VIBEE_CHECK(cond, ...)                                                         \
  do {                                                                                 \
    if (!(cond)) [[unlikely]]                                                          \
      ::vibee::check_failed(__FILE__, __LINE__, #cond, ::fmt::format("" __VA_ARGS__)); \
  } while (0)
