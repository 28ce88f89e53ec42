// SPDX-License-Identifier: Apache-2.0
// Filters on strings and numbers, named and behaving as Jinja's; tojson as transformers replaces it.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/template_run.h"

namespace vibee {
namespace {

using Kind = TemplateValue::Kind;
using In = TemplateInterpreter;
using Call = TemplateCall;

template <std::string (*convert)(std::string_view), bool keeps_markup = true>
TemplateValue cased(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "this filter", call, {});
  const std::string s = in.shown(v);
  if (!p.ok() || !in.charge(s.size() * 8)) return {};
  return keeps_markup ? In::like(v, in.text(convert(s))) : in.text(convert(s));
}

/// Words begin after white space, brackets and hyphens here, not at every letter as in str.title().
std::string title_words(std::string_view s) {
  std::string out;
  bool starts = true;
  size_t begin = 0;
  const auto flush = [&](size_t end) {
    const std::string_view word = s.substr(begin, end - begin);
    if (!word.empty()) {
      const std::string_view first = py_chars(word.substr(0, 4))[0];
      out += py_upper(first) + py_lower(word.substr(first.size()));
    }
  };
  for (size_t i = 0; i < s.size(); ++i) {
    const char c = s[i];
    const bool border = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || c == ' ' || (c >= 9 && c <= 13);
    if (border == starts && i > 0) continue;
    if (border != starts || i == 0) {
      if (i > 0) flush(i);
      begin = i;
      starts = border;
    }
  }
  flush(s.size());
  return out;
}

TemplateValue trim(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "trim", call, {"chars"});
  const std::string s = in.shown(v), chars = p.string(0, "");
  const bool given = p.ok() && p.get(0) != nullptr && !p.get(0)->is_none();
  return In::like(v, in.text(std::string(given ? py_strip(s, chars, true, true) : py_strip(s, true, true))));
}

TemplateValue replace(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "replace", call, {"old", "new", "count"});
  if (!p.ok()) return {};
  if (p.get(0) == nullptr || p.get(1) == nullptr) return in.fail("replace needs what to replace and by what");
  const std::string s = in.shown(v), from = in.shown(*p.get(0)), to = in.shown(*p.get(1));
  const int64_t count = p.integer(2, -1);
  uint64_t hits = from.empty() ? s.size() + 1 : 0;
  for (size_t at = 0; !from.empty() && (at = py_find(s, from, at)) != std::string::npos; at += from.size()) ++hits;
  if (count >= 0) hits = std::min(hits, uint64_t(count));
  uint64_t grown = 0;
  if (__builtin_mul_overflow(hits, uint64_t(to.size()), &grown)) grown = ~uint64_t(0);
  return in.charge(grown) && in.charge(s.size()) ? TemplateValue::of(py_replace(s, from, to, count)) : TemplateValue();
}

TemplateValue indent(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "indent", call, {"width", "first", "blank"});
  if (!p.ok()) return {};
  const std::string s = in.shown(v) + "\n";
  const bool by_text = p.get(0) != nullptr && p.get(0)->is_string();
  const int64_t width = by_text ? 0 : p.integer(0, 4);
  if (width > 1000) return in.fail("an indent of {} is more than the 1000 allowed", width);
  const std::string margin = by_text ? p.get(0)->string() : std::string(size_t(std::max<int64_t>(0, width)), ' ');
  const std::vector<std::string_view> lines = py_splitlines(s);
  if (!in.charge(lines.size() * (margin.size() + 1)) || !in.charge(s.size())) return {};
  std::string out = p.truth(1, false) ? margin : std::string();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (p.truth(2, false) || !lines[i].empty())) out += margin;
    out += lines[i];
  }
  return TemplateValue::of(std::move(out));
}

TemplateValue escape(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "escape", call, {});
  return p.ok() ? TemplateValue::markup(in.escaped(v)) : TemplateValue();
}

TemplateValue force_escape(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "forceescape", call, {});
  return p.ok() ? TemplateValue::markup(in.escaped(TemplateValue::of(in.shown(v)))) : TemplateValue();
}

TemplateValue to_string(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "string", call, {});
  return v.is_string() ? v : TemplateValue::of(in.shown(v));
}

TemplateValue safe(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "safe", call, {});
  return p.ok() ? TemplateValue::markup(in.shown(v)) : TemplateValue();
}

/// Python's float(text).
bool parse_real(std::string_view s, double* out) {
  std::string t;
  for (const char c : py_strip(s, true, true)) {
    if (c != '_') t += c;
  }
  const char* first = t.data() + (t.size() > 1 && t[0] == '+' && t[1] != '-');
  const auto parsed = std::from_chars(first, t.data() + t.size(), *out);
  return !t.empty() && parsed.ec == std::errc() && parsed.ptr == t.data() + t.size();
}

TemplateValue to_int(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "int", call, {"default", "base"});
  const int64_t base = p.integer(1, 10);
  if (!p.ok()) return {};
  const TemplateValue fallback = p.get(0) != nullptr ? *p.get(0) : TemplateValue::of(int64_t(0));
  if (v.is_integer()) return TemplateValue::of(v.integer());
  double d = 0;
  if (v.is_string()) {
    if (base < 2 || base > 36) return in.fail("base {} is not one of 2 to 36", base);
    std::string t;
    for (const char c : py_strip(v.string(), true, true)) {
      if (c != '_') t += c;
    }
    const bool minus = t.starts_with('-');
    if (minus || t.starts_with('+')) t.erase(0, 1);
    const std::string prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
    if (!prefix.empty() && py_lower(t.substr(0, 2)) == prefix) t.erase(0, 2);
    int64_t i = 0;
    const std::string signed_text = (minus ? "-" : "") + t;
    const char* end = signed_text.data() + signed_text.size();
    const auto parsed = std::from_chars(signed_text.data(), end, i, int(base));
    if (parsed.ec == std::errc() && parsed.ptr == end && !t.empty() && t[0] != '-') return TemplateValue::of(i);
    if (!parse_real(v.string(), &d)) return fallback;
  } else if (v.is(Kind::real)) {
    d = v.real();
  } else {
    return fallback;
  }
  return std::abs(d) < 9.2e18 ? TemplateValue::of(int64_t(d)) : fallback;
}

TemplateValue to_float(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "float", call, {"default"});
  if (!p.ok()) return {};
  double d = 0;
  if (v.is_number()) return TemplateValue::of(v.real());
  if (v.is_string() && parse_real(v.string(), &d)) return TemplateValue::of(d);
  return p.get(0) != nullptr ? *p.get(0) : TemplateValue::of(0.0);
}

TemplateValue absolute(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "abs", call, {});
  if (!v.is_number()) return in.fail("a {} has no absolute value", v.type_name());
  if (v.is(Kind::real)) return TemplateValue::of(std::abs(v.real()));
  return v.integer() < 0 ? in.binary("-", TemplateValue::of(int64_t(0)), v) : TemplateValue::of(v.integer());
}

TemplateValue round(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "round", call, {"precision", "method"});
  const int64_t precision = p.integer(0, 0);
  const std::string method = p.string(1, "common");
  if (!p.ok()) return {};
  if (!v.is_number()) return in.fail("a {} cannot be rounded", v.type_name());
  if (precision < 0 || precision > 30) return in.fail("a precision of {} is not one of 0 to 30", precision);
  if (method != "common" && method != "ceil" && method != "floor")
    return in.fail("method must be common, ceil or floor");
  if (method != "common") {
    const double scale = std::pow(10.0, double(precision)), scaled = v.real() * scale;
    return TemplateValue::of((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (v.is_integer()) return TemplateValue::of(v.integer());
  double rounded = 0;  // printing rounds the exact decimal value, halves to even, which is what Python's round does
  parse_real(fmt::format("{:.{}f}", v.real(), int(precision)), &rounded);
  return TemplateValue::of(std::isfinite(v.real()) ? rounded : v.real());
}

TemplateValue tojson(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "tojson", call, {"ensure_ascii", "indent", "separators", "sort_keys"});
  if (!p.ok()) return {};
  const bool none = p.get(1) == nullptr || p.get(1)->is_none();
  const int64_t indent = none ? -1 : p.integer(1, -1);
  if (indent > 32) return in.fail("an indent of {} is more than the 32 allowed", indent);
  std::string between = none ? ", " : ",", after_key = ": ";
  if (p.get(2) != nullptr && p.get(2)->is_sequence() && p.get(2)->items().size() == 2) {
    between = in.shown(p.get(2)->items()[0]);
    after_key = in.shown(p.get(2)->items()[1]);
  }
  return TemplateValue::of(
      in.json(v, none ? -1 : std::max<int64_t>(0, indent), p.truth(0, false), between, after_key, p.truth(3, false)));
}

/// One %-conversion of Python's string formatting: flags, width and precision of `spec`, applied to `v`.
std::string formatted(In& in, const std::string& spec, char type, const TemplateValue& v) {
  if (type == 's' || type == 'r') {
    std::string s = type == 's' ? in.shown(v) : in.charge(v.weight()) ? to_repr(v) : std::string();
    const bool left = spec.find('-') != std::string::npos;
    const size_t dot = spec.find('.');
    if (dot != std::string::npos) {
      std::string cut;
      size_t keep = size_t(std::atoi(spec.c_str() + dot + 1));
      for (const std::string_view c : py_chars(s)) {
        if (keep-- == 0) break;
        cut += c;
      }
      s = cut;
    }
    const size_t digits = spec.find_first_of("123456789");
    const size_t width = digits < dot ? size_t(std::atoi(spec.c_str() + digits)) : 0, length = py_length(s);
    const std::string pad(width > length ? width - length : 0, ' ');
    return left ? s + pad : pad + s;
  }
  if (!v.is_number()) {
    in.fail("%{} needs a number, not a {}", type, v.type_name());
    return {};
  }
  char buffer[512];
  const bool whole = type == 'd' || type == 'i' || type == 'x' || type == 'X' || type == 'o';
  const std::string format = "%" + spec + (whole ? "ll" : "") + type;
  if (whole && v.is(Kind::real) && !(std::abs(v.real()) < 9.2e18)) {
    in.fail("%{} of a number that does not fit into 64 bits", type);
    return {};
  }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const int n = whole ? std::snprintf(buffer, sizeof(buffer), format.c_str(),
                                      static_cast<long long>(v.is(Kind::real) ? int64_t(v.real()) : v.integer()))
                      : std::snprintf(buffer, sizeof(buffer), format.c_str(), v.real());
#pragma GCC diagnostic pop
  return std::string(buffer, size_t(std::clamp<int>(n, 0, sizeof(buffer) - 1)));
}

TemplateValue format(In& in, const TemplateValue& v, const Call& call) {
  if (!v.is_string() || !call.named.empty()) return in.fail("format needs a string and plain arguments");
  const std::string& s = v.string();
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < s.size() && !in.failed(); ++i) {
    if (s[i] != '%') {
      out += s[i];
      continue;
    }
    const size_t begin = ++i;
    while (i < s.size() && std::string_view("-+ 0#123456789.").find(s[i]) != std::string_view::npos) ++i;
    if (i >= s.size()) return in.fail("the format ends after a %");
    const std::string spec = s.substr(begin, i - begin);
    if (s[i] == '%' && spec.empty()) {
      out += '%';
      continue;
    }
    if (std::string_view("srdifeEgGxXo").find(s[i]) == std::string_view::npos)
      return in.fail("conversion %{} is not known", s[i]);
    const size_t dot = spec.find('.');
    const size_t digits = spec.find_first_of("123456789");
    if ((digits < dot && std::atoi(spec.substr(digits, 6).c_str()) > 200) ||
        (dot != std::string::npos && std::atoi(spec.substr(dot + 1, 6).c_str()) > 100)) {
      return in.fail("a width above 200 or a precision above 100 in a format");
    }
    if (used >= call.plain.size()) return in.fail("the format needs more than {} arguments", call.plain.size());
    const TemplateValue& next = call.plain[used++];
    out += formatted(in, spec, s[i], v.is_markup() && !next.is_number() ? TemplateValue::of(in.escaped(next)) : next);
    if (!in.charge(out.size() / 16)) return {};
  }
  if (used < call.plain.size()) return in.fail("the format uses {} of {} arguments", used, call.plain.size());
  return In::like(v, in.text(std::move(out)));
}

TemplateValue fallback(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "default", call, {"default_value", "boolean"});
  if (!p.ok()) return {};
  const bool use = v.is_undefined() || (p.truth(1, false) && !v.truthy());
  return !use ? v : p.get(0) != nullptr ? *p.get(0) : TemplateValue::of(std::string());
}

struct Row {
  std::string_view name;
  TemplateFilter filter;
};
constexpr Row kRows[] = {
    {"abs", absolute},
    {"capitalize", cased<py_capitalize>},
    {"d", fallback},
    {"default", fallback},
    {"e", escape},
    {"escape", escape},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"int", to_int},
    {"lower", cased<py_lower>},
    {"replace", replace},
    {"round", round},
    {"safe", safe},
    {"string", to_string},
    {"title", cased<title_words, false>},
    {"tojson", tojson},
    {"trim", trim},
    {"upper", cased<py_upper>},
};

}  // namespace

std::string TemplateInterpreter::escaped(const TemplateValue& value) {
  std::string out, s = shown(value);
  if (value.is_markup() || !charge(s.size() * 5)) return s;
  for (const char c : s) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&#34;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += c;
    }
  }
  return out;
}

TemplateFilter find_text_filter(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.filter;
  }
  return nullptr;
}

TemplateValue TemplateInterpreter::filter(const std::string& name, const TemplateValue& input,
                                          const TemplateCall& call) {
  TemplateFilter found = find_text_filter(name);
  if (found == nullptr) found = find_sequence_filter(name);
  if (found == nullptr) return fail("filter '{}' is not known", name.substr(0, 40));
  return failed() ? TemplateValue() : found(*this, input, call);
}

}  // namespace vibee
