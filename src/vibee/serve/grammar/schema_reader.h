// SPDX-License-Identifier: Apache-2.0
// A JSON schema as conjunctions: a value is described by several schemas at once, to which allOf and $ref add and which
// anyOf and oneOf split. What is not built is refused here, with its JSON pointer. Only json_schema.cc includes this:
// the JSON library costs seconds a file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/base/text/ordered_json.h"
#include "vibee/base/text/quote.h"
#include "vibee/serve/grammar/json_number.h"

namespace vibee {

using SchemaJson = OrderedJson;

/// A schema of a conjunction, and which of its choices the others already stand for.
struct SchemaItem {
  const SchemaJson* schema;
  uint8_t chosen = 0;  ///< 1: anyOf, 2: oneOf
  auto operator<=>(const SchemaItem&) const = default;
};

class SchemaReader {
 public:
  using Json = SchemaJson;
  using Item = SchemaItem;
  using Conjunction = std::vector<Item>;
  /// Types of values as bits. Whole numbers and others apart: "integer" allows the first.
  enum Type : uint32_t {
    null = 1,
    boolean = 2,
    whole = 4,
    fraction = 8,
    string = 16,
    array = 32,
    object = 64,
    all = 127
  };

  explicit SchemaReader(const Json& root) : root_(root) {}

  /// The value of a key, or null.
  static const Json* find(const Json& schema, const std::string& key) {
    const auto at = schema.find(key);
    return at == schema.end() ? nullptr : &*at;
  }
  /// 0 for a name that is no type.
  static uint32_t type_bits(std::string_view name) {
    return name == "null"      ? uint32_t(null)
           : name == "boolean" ? uint32_t(boolean)
           : name == "integer" ? uint32_t(whole)
           : name == "number"  ? uint32_t(whole | fraction)
           : name == "string"  ? uint32_t(string)
           : name == "array"   ? uint32_t(array)
           : name == "object"  ? uint32_t(object)
                               : 0;
  }

  // -- messages

  std::string pointer_of(const Json& schema) const {
    std::string path;
    find_pointer(root_, &schema, &path);
    return path;
  }
  static bool find_pointer(const Json& at, const Json* wanted, std::string* path) {
    if (&at == wanted) return true;
    const size_t length = path->size();
    for (auto i = at.begin(); at.is_structured() && i != at.end(); ++i) {
      std::string key = at.is_object() ? i.key() : std::to_string(i - at.begin());
      for (size_t c = 0; c < key.size(); ++c) {
        if (key[c] == '~')
          key.insert(++c, "0");
        else if (key[c] == '/')
          key.replace(c++, 1, "~1");
      }
      *path += "/" + key;
      if (find_pointer(*i, wanted, path)) return true;
      path->resize(length);
    }
    return false;
  }
  std::string name_of(const Json& schema) const { return &schema == &root_ ? "the schema" : pointer_of(schema); }
  Status at(Code code, const Json& schema, std::string_view keyword, std::string_view what) const {
    std::string place = pointer_of(schema);
    if (!keyword.empty()) place += fmt::format("/{}", keyword);
    const std::string shown = quote(place.empty() ? "/" : place);
    return error(code, "{}: {}", shown, what);
  }
  Status invalid(const Json& schema, std::string_view keyword, std::string_view what) const {
    return at(Code::invalid, schema, keyword, what);
  }
  Status unsupported(const Json& schema, std::string_view keyword, std::string_view what) const {
    return at(Code::unsupported, schema, keyword, fmt::format("{} is not supported", what));
  }

  // -- conjunctions

  /// With what $ref and allOf add, in order; nothing when no value satisfies it.
  Result<std::optional<Conjunction>> expand(const Conjunction& given) {
    Conjunction out, open = given;
    std::ranges::reverse(open);
    while (!open.empty()) {
      const Item item = open.back();
      open.pop_back();
      const Json& schema = *item.schema;
      if (++items_ > kMaxItems) return unsupported(root_, "", "more than a million combinations of schemas");
      if (schema.is_boolean()) {
        if (!schema.get<bool>()) return std::optional<Conjunction>();
        continue;
      }
      const auto same = std::ranges::find(out, item.schema, &Item::schema);
      if (same != out.end()) {
        same->chosen |= item.chosen;
        continue;
      }
      VIBEE_TRY(check(schema));
      out.push_back(item);
      if (const Json* all_of = find(schema, "allOf"))
        for (auto i = all_of->rbegin(); i != all_of->rend(); ++i) open.push_back({&*i});
      if (const Json* reference = find(schema, "$ref")) {
        VIBEE_ASSIGN(const Json* target, resolve(schema, *reference));
        open.push_back({target});
      }
    }
    return std::optional(std::move(out));
  }

  /// Refuses what is not built, and values of a wrong kind: afterwards every keyword can be taken as it is.
  Status check(const Json& schema) {
    if (!schema.is_object()) return invalid(schema, "", "a schema is an object, true or false");
    if (!checked_.insert(&schema).second) return {};
    for (auto i = schema.begin(); i != schema.end(); ++i) {
      const std::string& key = i.key();
      const Json& v = *i;
      const auto wrong = [&](std::string_view what) { return invalid(schema, key, fmt::format("is not {}", what)); };
      if (std::ranges::find(kAnnotations, key) != std::end(kAnnotations)) {
        if (key == "$id" && &schema != &root_) return unsupported(schema, key, "an $id below the root");
        continue;
      }
      if (std::ranges::find(kKeywords, key) == std::end(kKeywords)) return unsupported(schema, key, "the keyword");
      if (key == "allOf" || key == "anyOf" || key == "oneOf" || key == "prefixItems") {
        if (!v.is_array() || (v.empty() && key != "prefixItems")) return wrong("an array of schemas");
      } else if (key == "properties" || key == "patternProperties") {
        if (!v.is_object()) return wrong("an object of schemas");
      } else if (key == "enum") {
        if (!v.is_array()) return wrong("an array");
      } else if (key == "required") {
        if (!v.is_array() || !std::ranges::all_of(v, [](const Json& n) { return n.is_string(); }))
          return wrong("an array of names");
      } else if (key == "pattern" || key == "format" || key == "$ref") {
        if (!v.is_string()) return wrong("a string");
      } else if (key == "uniqueItems") {
        if (!v.is_boolean()) return wrong("true or false");
        if (v.get<bool>()) return unsupported(schema, key, "the keyword");
      } else if (key.starts_with("min") || key.starts_with("max") || key.starts_with("exclusive") ||
                 key == "multipleOf") {
        if (!v.is_number()) return wrong("a number");
        const bool counts = key.size() > 7 || key.ends_with("Items");
        if (counts && key != "multipleOf" && !key.starts_with("exclusive") &&
            (v < 0 || v > 1'000'000'000 || v != std::floor(v.get<double>())))
          return wrong("a count");
        if (!parse_decimal(v.dump())) return unsupported(schema, key, "a number of more than 400 digits");
      } else if (key == "type") {
        const auto known = [](const Json& t) { return t.is_string() && type_bits(t.get<std::string>()) != 0; };
        if (!(v.is_array() ? std::ranges::all_of(v, known) : known(v))) return wrong("a type");
      }
    }
    return {};
  }

  Result<const Json*> resolve(const Json& schema, const Json& reference) const {
    std::string path = reference.get<std::string>();
    if (!path.starts_with('#')) return unsupported(schema, "$ref", "a reference to another document");
    path.erase(0, 1);
    for (size_t i = 0; (i = path.find('%', i)) != std::string::npos; ++i) {
      unsigned code = 0;
      if (std::sscanf(path.c_str() + i, "%%%2x", &code) != 1) return invalid(schema, "$ref", "a % without two digits");
      path.replace(i, 3, 1, char(code));
    }
    if (!path.empty() && path[0] != '/') return unsupported(schema, "$ref", "a reference to an anchor");
    const Json* at = &root_;
    while (!path.empty()) {
      const size_t end = std::min(path.find('/', 1), path.size());
      std::string key = path.substr(1, end - 1);
      path.erase(0, end);
      for (size_t i = 0; (i = key.find('~', i)) != std::string::npos; ++i)
        key.replace(i, 2, key.substr(i, 2) == "~1" ? "/" : "~");
      const Json* next = nullptr;
      if (at->is_object()) {
        next = find(*at, key);
      } else if (at->is_array() && !key.empty() && key.size() < 9 &&
                 std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; })) {
        const size_t index = std::stoul(key);
        if (index < at->size()) next = &(*at)[index];
      }
      if (next == nullptr)
        return invalid(schema, "$ref", fmt::format("{} is not there", quote(reference.get<std::string>())));
      at = next;
    }
    return at;
  }

  static const Item* first_choice(const Conjunction& c) {
    for (const Item& item : c)
      if ((find(*item.schema, "anyOf") && !(item.chosen & 1)) || (find(*item.schema, "oneOf") && !(item.chosen & 2)))
        return &item;
    return nullptr;
  }
  static bool is_one_of(const Item& item) { return !find(*item.schema, "anyOf") || (item.chosen & 1); }
  /// The branches of the first choice that is still open.
  static std::optional<std::vector<Conjunction>> choice_of(const Conjunction& c) {
    const Item* item = first_choice(c);
    if (item == nullptr) return {};
    std::vector<Conjunction> out;
    for (const Json& branch : *find(*item->schema, is_one_of(*item) ? "oneOf" : "anyOf")) {
      Conjunction with = c;
      with[size_t(item - c.data())].chosen |= is_one_of(*item) ? 2 : 1;
      with.push_back({&branch});
      out.push_back(std::move(with));
    }
    return out;
  }

 protected:
  const Json& root_;

 private:
  static constexpr size_t kMaxItems = 1'000'000;
  static constexpr std::string_view
      kAnnotations[] = {"$schema",
                        "$id",
                        "$comment",
                        "$defs",
                        "definitions",
                        "title",
                        "description",
                        "default",
                        "examples",
                        "deprecated",
                        "readOnly",
                        "writeOnly",
                        "$anchor",
                        "contentEncoding",
                        "contentMediaType",
                        "contentSchema",
                        "minContains",
                        "maxContains",
                        "then",
                        "else"};  // the last four say nothing without contains and if, which are refused
  static constexpr std::string_view kKeywords[] = {"type",
                                                   "enum",
                                                   "const",
                                                   "properties",
                                                   "required",
                                                   "additionalProperties",
                                                   "patternProperties",
                                                   "propertyNames",
                                                   "minProperties",
                                                   "maxProperties",
                                                   "items",
                                                   "prefixItems",
                                                   "additionalItems",
                                                   "minItems",
                                                   "maxItems",
                                                   "minLength",
                                                   "maxLength",
                                                   "pattern",
                                                   "format",
                                                   "minimum",
                                                   "maximum",
                                                   "exclusiveMinimum",
                                                   "exclusiveMaximum",
                                                   "multipleOf",
                                                   "allOf",
                                                   "anyOf",
                                                   "oneOf",
                                                   "$ref",
                                                   "uniqueItems"};
  std::set<const Json*> checked_;
  size_t items_ = 0;
};

}  // namespace vibee
