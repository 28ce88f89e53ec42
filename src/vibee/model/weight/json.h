// SPDX-License-Identifier: Apache-2.0
// JSON files that come with models (safetensors headers, config.json), read with limits: size, depth and number of
// values are bounded, and a key that stands twice in an object is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

class JsonValue {
 public:
  enum class Kind : uint8_t { null, boolean, integer, number, text, array, object };
  Kind kind = Kind::null;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;  ///< of integers too
  std::string text;
  std::vector<JsonValue> items;    ///< of an array; the values of an object
  std::vector<std::string> names;  ///< the keys of an object, in its order

  bool is(Kind k) const { return kind == k; }
  bool is_number() const { return kind == Kind::integer || kind == Kind::number; }
  /// The member of an object; nullptr when it is missing, null, or this is no object.
  const JsonValue* find(std::string_view name) const;
  /// One line for messages, cut after about 60 characters.
  std::string describe() const;
};

struct JsonLimits {
  uint32_t depth = 16;
  uint64_t values = 1 << 20;  ///< values and keys; memory is about 100 bytes each and the text
};

/// Errors do not name the file; they name the byte.
Result<JsonValue> parse_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace vibee
