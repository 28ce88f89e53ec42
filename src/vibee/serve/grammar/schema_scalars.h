// SPDX-License-Identifier: Apache-2.0
// What a conjunction of schemas says of null, true, false, numbers and strings, as regular expressions of JSON text.
// Only json_schema.cc includes this.
#pragma once

#include <span>

#include "vibee/serve/grammar/char_set.h"
#include "vibee/serve/grammar/json_format.h"
#include "vibee/serve/grammar/regex_syntax.h"
#include "vibee/serve/grammar/schema_reader.h"

namespace vibee {

class SchemaScalars : public SchemaReader {
 public:
  SchemaScalars(const Json& root, Regular& regular) : SchemaReader(root), regular_(regular) {}

  static uint32_t type_of(const Json& v) {
    if (v.is_number()) {
      const auto decimal = parse_decimal(v.dump());
      return decimal && decimal->fraction.empty() ? whole : fraction;
    }
    return v.is_null() ? null : v.is_boolean() ? boolean : v.is_string() ? string : v.is_array() ? array : object;
  }
  static uint32_t types_of(const Conjunction& c) {
    uint32_t types = all;
    for (const Item& item : c) {
      const Json* type = find(*item.schema, "type");
      if (type == nullptr) continue;
      uint32_t allowed = 0;
      if (type->is_array()) {
        for (const Json& t : *type) allowed |= type_bits(t.get<std::string>());
      } else {
        allowed = type_bits(type->get<std::string>());
      }
      types &= allowed;
    }
    if (const auto values = candidates(c)) {
      uint32_t there = 0;
      for (const Json* v : *values) there |= type_of(*v);
      types &= there;
    }
    return types;
  }

  /// What enum and const leave; nothing when there are none.
  static std::optional<std::vector<const Json*>> candidates(const Conjunction& c) {
    std::optional<std::vector<const Json*>> out;
    const auto keep = [&](const std::vector<const Json*>& values) {
      if (!out) {
        out = values;
        return;
      }
      std::erase_if(
          *out, [&](const Json* v) { return std::ranges::none_of(values, [&](const Json* w) { return *v == *w; }); });
    };
    for (const Item& item : c) {
      if (const Json* v = find(*item.schema, "const")) keep({v});
      if (const Json* list = find(*item.schema, "enum")) {
        std::vector<const Json*> values;
        for (const Json& v : *list) values.push_back(&v);
        keep(values);
      }
    }
    return out;
  }

  /// Texts of null, true, false, numbers and strings that satisfy everything.
  /// With `proving` all that may satisfy it, for proofs that two share nothing: formats are notes to many readers.
  Result<Re> scalars(const Conjunction& c, bool proving = false) {
    const uint32_t types = types_of(c);
    std::vector<Re> parts;
    if (types & null) parts.push_back(regular_.literal("null"));
    if (types & boolean) parts.insert(parts.end(), {regular_.literal("true"), regular_.literal("false")});
    if (types & (whole | fraction)) {
      VIBEE_ASSIGN(const Re numbers, numbers_of(c, !(types & fraction), proving));
      parts.push_back(numbers);
    }
    if (types & string) {
      VIBEE_ASSIGN(const Re body, string_of(c, proving));
      parts.push_back(regular_.sequence(std::vector{quote_, body, quote_}));
    }
    const Re any = regular_.any_of(std::move(parts));
    const auto values = candidates(c);
    if (!values) return any;
    std::vector<std::string> texts;
    for (const Json* v : *values)
      if (!v->is_structured()) texts.push_back(v->is_number() ? number_text(*v) : v->dump());
    std::ranges::sort(texts);
    return regular_.all_of({any, one_of(texts, 0)});
  }

  Result<Re> numbers_of(const Conjunction& c, bool integer, bool proving) {
    NumberRule rule;
    rule.any_length = proving;
    rule.integer = integer;
    const auto tighten = [](std::optional<Bound>* bound, Bound by, int sign) {
      const int order = *bound ? compare(by.value, (*bound)->value) * sign : 1;
      if (order > 0 || (order == 0 && by.open)) *bound = std::move(by);
    };
    for (const Item& item : c) {
      for (auto i = item.schema->begin(); i != item.schema->end(); ++i) {
        if (!i->is_number()) continue;
        const Decimal value = parse_decimal(i->dump()).value_or(Decimal());  // check() has seen to those that count
        if (i.key() == "minimum" || i.key() == "exclusiveMinimum") tighten(&rule.low, {value, i.key() != "minimum"}, 1);
        if (i.key() == "maximum" || i.key() == "exclusiveMaximum")
          tighten(&rule.high, {value, i.key() != "maximum"}, -1);
        if (i.key() != "multipleOf") continue;
        const std::string& f = value.fraction;
        if (value.negative || value.zero()) return invalid(*item.schema, i.key(), "is not above 0");
        if (value.whole == "0" && f.find_first_not_of('0') == f.size() - 1 && f.back() == '1') {
          rule.fraction = std::min(rule.fraction.value_or(~0u), uint32_t(f.size()));
        } else if (f.empty() && value.whole.size() <= 4 && rule.modulus == 1) {
          rule.modulus = uint32_t(std::stoul(value.whole));
          if (rule.modulus == 1) rule.integer = true;
        } else {
          return unsupported(*item.schema, i.key(),
                             "a multiple of anything but whole numbers to 9999 and powers of ten below 1");
        }
      }
    }
    return json_number(regular_, rule);
  }

  /// What stands between the quotes.
  Result<Re> string_of(const Conjunction& c, bool proving = false) {
    uint64_t least = 0, most = Regular::kForever;
    std::vector<Re> parts;
    for (const Item& item : c) {
      if (const Json* v = find(*item.schema, "minLength")) least = std::max(least, uint64_t(v->get<double>()));
      if (const Json* v = find(*item.schema, "maxLength")) most = std::min(most, uint64_t(v->get<double>()));
      for (const char* key : {"pattern", "format"}) {
        const Json* v = find(*item.schema, key);
        if (v == nullptr) continue;
        const bool is_format = std::string_view(key) == "format";
        const std::string_view pattern =
            is_format ? json_format(v->get<std::string>()) : v->get_ref<const std::string&>();
        if (is_format && pattern.empty())
          return unsupported(*item.schema, key, fmt::format("the format {}", quote(v->get<std::string>())));
        auto parsed = parse_regex(regular_, pattern, json_char, !is_format);
        if (!parsed.ok()) return at(parsed.status().code(), *item.schema, key, parsed.status().message());
        if (!is_format || !proving) parts.push_back(*parsed);
      }
    }
    if (parts.empty() || least > 0 || most != Regular::kForever)
      parts.push_back(regular_.repeat(char_, uint32_t(least), uint32_t(most)));
    return regular_.all_of(std::move(parts));
  }

  /// The one way to write a value, but for spaces.
  Re text_of(const Json& v) {
    if (v.is_string())
      return regular_.sequence(std::vector{quote_, json_literal(regular_, v.get_ref<const std::string&>()), quote_});
    if (v.is_number()) return regular_.literal(number_text(v));
    if (!v.is_structured()) return regular_.literal(v.dump());
    std::vector<Re> parts = {regular_.literal(v.is_array() ? "[" : "{")};
    for (auto i = v.begin(); i != v.end(); ++i) {
      if (i != v.begin()) parts.push_back(comma_);
      if (v.is_object()) parts.push_back(key_of(i.key()));
      parts.push_back(text_of(*i));
    }
    parts.push_back(regular_.literal(v.is_array() ? "]" : "}"));
    return regular_.sequence(parts);
  }
  Re key_of(const std::string& name) {
    return regular_.sequence(std::vector{quote_, json_literal(regular_, name), quote_, colon_});
  }

 protected:
  Regular& regular_;
  const Re char_ = json_char(regular_, CharSet::all());
  const Re quote_ = regular_.literal("\"");
  const Re comma_ = regular_.concat(regular_.literal(","), regular_.optional(regular_.literal(" ")));
  const Re colon_ = regular_.concat(regular_.literal(":"), regular_.optional(regular_.literal(" ")));

 private:
  /// Sorted texts from byte `at` on, which they share the bytes before; common beginnings are written once.
  Re one_of(std::span<const std::string> texts, size_t at) {
    constexpr size_t kMostShared = 64;  // what recursion goes through
    std::vector<Re> parts;
    for (size_t begin = 0, end; begin < texts.size(); begin = end) {
      const auto rest = std::string_view(texts[begin]).substr(at);
      const auto goes_on_alike = [&](const std::string& t) {
        return !rest.empty() && t.size() > at && t[at] == rest[0] && at < kMostShared;
      };
      for (end = begin + 1; end < texts.size() && goes_on_alike(texts[end]);) ++end;
      if (end == begin + 1)
        parts.push_back(regular_.literal(rest));
      else
        parts.push_back(
            regular_.concat(regular_.literal(rest.substr(0, 1)), one_of(texts.subspan(begin, end - begin), at + 1)));
    }
    return regular_.any_of(std::move(parts));
  }
  static std::string number_text(const Json& number) {
    const std::string text = number.dump();
    const auto decimal = parse_decimal(text);
    return decimal ? decimal->text() : text;
  }
};

}  // namespace vibee
