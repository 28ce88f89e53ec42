// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/fields.h"

#include <algorithm>

#include "vibee/base/text/edit_distance.h"

namespace vibee {
namespace {

constexpr Field kFields[] = {
#define VIBEE_FIELD(route, name, types, use, note) {#route, #name, types, FieldUse::use, note},
#include "vibee/app/server/fields.inc"
#undef VIBEE_FIELD
};

/// Rows of `generate` belong to both routes that generate.
bool is_of(const Field& f, std::string_view route) {
  return f.route == route || (f.route == "generate" && (route == "chat" || route == "completions"));
}

std::string_view type_of(const Json& j) {
  switch (j.type()) {
    case Json::value_t::string: return "string";
    case Json::value_t::boolean: return "boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return "integer";
    case Json::value_t::number_float: return "number";
    case Json::value_t::array: return "array";
    case Json::value_t::object: return "object";
    default: return "null";
  }
}

bool may_be(std::string_view types, std::string_view type) {
  for (size_t at = 0; at <= types.size();) {
    const size_t bar = std::min(types.find('|', at), types.size());
    const std::string_view one = types.substr(at, bar - at);
    if (one == type || (one == "number" && type == "integer")) return true;
    at = bar + 1;
  }
  return false;
}

}  // namespace

std::span<const Field> api_fields() { return kFields; }

FieldReader::FieldReader(std::string_view route, const Json& body) : body_(body) {
  for (const auto& [name, value] : body.items())
    if (!failed) check(route, name, value);
}

void FieldReader::check(std::string_view route, const std::string& name, const Json& value) {
  std::string_view near;
  size_t distance = 4;  // farther is no likely slip of the fingers
  const Field* field = nullptr;
  for (const Field& f : kFields) {
    if (!is_of(f, route)) continue;
    if (f.name == name) field = &f;
    const size_t d = name.size() <= 64 ? edit_distance(name, f.name) : distance;
    if (d < distance) near = f.name;
    distance = std::min(d, distance);
  }
  if (field == nullptr)
    return fail(
        name, fmt::format("unknown field '{}'{}", name, near.empty() ? "" : fmt::format("; did you mean '{}'?", near)),
        "unknown_field");
  if (value.is_null()) return;
  if (name == "store" && value == false) return;
  if (field->use == FieldUse::refused)
    return fail(name, fmt::format("'{}' is not supported: {}", name, field->note), "unsupported_field");
  if (!may_be(field->types, type_of(value)))
    fail(name, fmt::format("'{}' is of type {}, expected {}", name, type_of(value), field->types), "invalid_type");
}

const Json* FieldReader::find(std::string_view name) const {
  const auto at = body_.find(name);
  return at == body_.end() || at->is_null() ? nullptr : &*at;
}

void FieldReader::fail(std::string param, std::string message, std::string code, int status) {
  if (!failed) failed = ApiError{status, std::move(code), std::move(message), std::move(param)};
}

bool FieldReader::boolean(std::string_view name, bool otherwise) {
  const Json* j = find(name);
  return j && !failed ? j->get<bool>() : otherwise;
}

double FieldReader::number(std::string_view name, double otherwise, double low, double high) {
  const Json* j = find(name);
  if (!j || failed) return otherwise;
  const double value = j->get<double>();
  if (!(value >= low && value <= high))
    fail(std::string(name), fmt::format("'{}' is {}, expected {} to {}", name, j->dump(), low, high));
  return value;
}

uint64_t FieldReader::integer(std::string_view name, uint64_t otherwise, uint64_t low, uint64_t high) {
  const Json* j = find(name);
  if (!j || failed) return otherwise;
  const bool fits = j->is_number_unsigned() && j->get<uint64_t>() >= low && j->get<uint64_t>() <= high;
  if (!fits) fail(std::string(name), fmt::format("'{}' is {}, expected {} to {}", name, j->dump(), low, high));
  return fits ? j->get<uint64_t>() : otherwise;
}

std::string FieldReader::text(std::string_view name, std::string_view otherwise) {
  const Json* j = find(name);
  return j && !failed ? j->get<std::string>() : std::string(otherwise);
}

std::vector<std::string> FieldReader::texts(std::string_view name, size_t most) {
  const Json* j = find(name);
  if (!j || failed) return {};
  if (j->is_string()) return {j->get<std::string>()};
  std::vector<std::string> out;
  if (j->size() > most) fail(std::string(name), fmt::format("'{}' has {} entries, at most {}", name, j->size(), most));
  for (size_t i = 0; i < j->size() && !failed; ++i) {
    const Json& entry = (*j)[i];
    if (!entry.is_string())
      fail(fmt::format("{}[{}]", name, i),
           fmt::format("'{}[{}]' is of type {}, expected string", name, i, type_of(entry)), "invalid_type");
    else
      out.push_back(entry.get<std::string>());
  }
  return out;
}

std::variant<Json, ApiError> parse_body(const std::string& text) {
  using Event = Json::parse_event_t;
  constexpr int kDepth = 64;
  // An object compares every new name with those that it has: so many comparisons in all, the work of an object of
  // 6,000.
  constexpr uint64_t kMostCompared = 18'000'000;
  uint64_t compared = 0;
  bool deep = false, wide = false;
  uint32_t members[kDepth + 1] = {};  // so far, of the object at each depth
  Json out;
  try {
    out = Json::parse(text, [&](int depth, Event event, Json&) {
      if (event == Event::object_start || event == Event::array_start) {
        deep |= depth >= kDepth;
        if (!deep) members[depth + 1] = 0;
      }
      if (event == Event::key && !deep) wide |= (compared += members[depth]++) > kMostCompared;
      return !deep && !wide;
    });
  } catch (const Json::parse_error& e) {
    return ApiError{400, "invalid_json", fmt::format("the body is not JSON: byte {}", e.byte), {}};
  } catch (const Json::exception&) {  // a number beyond all bounds, such as 1e999
    return ApiError{400, "invalid_json", "the body has a number that no double holds", {}};
  }
  if (deep) return ApiError{400, "invalid_json", fmt::format("the body is nested deeper than {}", kDepth), {}};
  if (wide) return ApiError{400, "invalid_json", "the body has objects of too many members; one may have 6,000", {}};
  if (!out.is_object()) return ApiError{400, "invalid_json", "the body is not a JSON object", {}};
  return out;
}

}  // namespace vibee
