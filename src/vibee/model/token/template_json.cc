// SPDX-License-Identifier: Apache-2.0
// json.dumps of Python for template values: its separators, its floats, its escapes.
#include <algorithm>
#include <cmath>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/template_run.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

using Kind = TemplateValue::Kind;

void append_unit(uint32_t unit, std::string* out) { *out += fmt::format("\\u{:04x}", unit); }

void append_string(std::string_view s, bool ascii, std::string* out) {
  *out += '"';
  for (size_t i = 0; i < s.size();) {
    const Utf8Step step = utf8_step(s.substr(i));
    const uint32_t c = step.code;
    if (step.kind != Utf8Step::character) {
      *out += s.substr(i, step.length);
    } else if (c == '"' || c == '\\') {
      *out += {'\\', char(c)};
    } else if (c < 32) {
      constexpr std::string_view kShort = "\b\f\n\r\t", kNames = "bfnrt";
      const size_t known = kShort.find(char(c));
      if (known != std::string_view::npos) {
        *out += {'\\', kNames[known]};
      } else {
        append_unit(c, out);
      }
    } else if (!ascii || c < 127) {
      *out += s.substr(i, step.length);
    } else if (c < 0x10000) {
      if (c == 127) {
        *out += char(c);
      } else {
        append_unit(c, out);
      }
    } else {
      append_unit(0xd800 + ((c - 0x10000) >> 10), out);
      append_unit(0xdc00 + ((c - 0x10000) & 0x3ff), out);
    }
    i += step.length;
  }
  *out += '"';
}

class Writer {
 public:
  Writer(TemplateInterpreter& in, int64_t indent, bool ascii, std::string_view between, std::string_view after_key,
         bool sorted)
      : in_(in), indent_(indent), ascii_(ascii), between_(between), after_key_(after_key), sorted_(sorted) {}

  void write(const TemplateValue& v, size_t depth) {
    switch (v.kind()) {
      case Kind::none: out += "null"; return;
      case Kind::boolean: out += v.integer() != 0 ? "true" : "false"; return;
      case Kind::integer: out += fmt::format("{}", v.integer()); return;
      case Kind::real:
        out += std::isnan(v.real())   ? "NaN"
               : std::isinf(v.real()) ? (v.real() > 0 ? "Infinity" : "-Infinity")
                                      : py_repr(v.real());
        return;
      case Kind::string: append_string(v.string(), ascii_, &out); return;
      case Kind::list:
      case Kind::tuple: {
        out += '[';
        for (size_t i = 0; i < v.items().size(); ++i) {
          separate(i == 0, depth + 1);
          write(v.items()[i], depth + 1);
        }
        close(v.items().empty(), depth, ']');
        return;
      }
      case Kind::dict: {
        std::vector<const std::pair<TemplateValue, TemplateValue>*> pairs;
        for (const auto& pair : v.pairs()) pairs.push_back(&pair);
        if (sorted_) {
          std::stable_sort(pairs.begin(), pairs.end(),
                           [&](auto* a, auto* b) { return !in_.failed() && in_.less(a->first, b->first); });
        }
        out += '{';
        for (size_t i = 0; i < pairs.size(); ++i) {
          separate(i == 0, depth + 1);
          if (pairs[i]->first.is_string()) {
            append_string(pairs[i]->first.string(), ascii_, &out);
          } else {
            out += '"';
            write(pairs[i]->first, depth + 1);
            out += '"';
          }
          out += after_key_;
          write(pairs[i]->second, depth + 1);
        }
        close(pairs.empty(), depth, '}');
        return;
      }
      default: in_.fail("a {} cannot be written as JSON", v.type_name());
    }
  }

  std::string out;

 private:
  void line(size_t depth) {
    if (indent_ < 0) return;
    out += '\n';
    out.append(size_t(indent_) * depth, ' ');
  }
  void separate(bool first, size_t depth) {
    if (!first) out += between_;
    line(depth);
  }
  void close(bool empty, size_t depth, char bracket) {
    if (!empty) line(depth);
    out += bracket;
  }

  TemplateInterpreter& in_;
  int64_t indent_;
  bool ascii_;
  std::string_view between_, after_key_;
  bool sorted_;
};

}  // namespace

std::string TemplateInterpreter::json(const TemplateValue& value, int64_t indent, bool ascii, std::string_view between,
                                      std::string_view after_key, bool sort_keys) {
  // Escapes make six bytes of one; every entry adds its separators and its margin.
  const uint64_t entry = between.size() + after_key.size() + uint64_t(std::max<int64_t>(0, indent)) * value.depth() + 1;
  uint64_t cost = 0;
  if (__builtin_mul_overflow(value.weight(), 6 + entry / 8, &cost)) cost = ~uint64_t(0);
  if (!charge(cost)) return {};
  Writer writer(*this, indent, ascii, between, after_key, sort_keys);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace vibee
