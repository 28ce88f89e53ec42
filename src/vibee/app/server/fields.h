// SPDX-License-Identifier: Apache-2.0
// The fields of requests, a row each (fields.inc): what works, what is refused and why. Nothing that a client sends is
// ignored: an unknown field is refused with the nearest known name.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vibee/app/server/api_error.h"
#include "vibee/base/text/ordered_json.h"

namespace vibee {

using Json = OrderedJson;  ///< templates and schemas print keys in the client's order

enum class FieldUse : uint8_t {
  effective,
  refused,  ///< always, with `note` saying why
  stored,   ///< accepted, given back where the interface says so, without effect on the answer
};

struct Field {
  std::string_view route;  ///< "chat", "completions", "embeddings", ...
  std::string_view name;
  std::string_view types;  ///< JSON types it may have, e.g. "string|array"; null always counts as absent
  FieldUse use;
  std::string_view note;  ///< what it does, or why it is refused
};
std::span<const Field> api_fields();

/// A request's body, read field by field. The first mistake is kept and ends the reading: look at `failed` afterwards.
class FieldReader {
 public:
  /// Checks names and types of all members of `body` against the rows of `route`.
  FieldReader(std::string_view route, const Json& body);

  /// The member, or null when it is absent or null.
  const Json* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  bool boolean(std::string_view name, bool otherwise);
  double number(std::string_view name, double otherwise, double low, double high);
  uint64_t integer(std::string_view name, uint64_t otherwise, uint64_t low, uint64_t high);
  std::string text(std::string_view name, std::string_view otherwise = {});
  /// A string or an array of strings.
  std::vector<std::string> texts(std::string_view name, size_t most);
  void fail(std::string param, std::string message, std::string code = "invalid_value", int status = 400);

  std::optional<ApiError> failed;

 private:
  void check(std::string_view route, const std::string& name, const Json& value);

  const Json& body_;
};

/// Parses a body: an object, at most 64 deep, with no more members than are read in a moment.
std::variant<Json, ApiError> parse_body(const std::string& text);

}  // namespace vibee
