// SPDX-License-Identifier: Apache-2.0
// What a template may call: macros, a handful of functions, and the methods of strings, lists and dicts that change
// nothing.
#include <algorithm>
#include <cstring>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/template_run.h"

namespace vibee {
namespace {

using Kind = TemplateValue::Kind;

constexpr std::string_view kStringMethods[] = {
    "strip", "lstrip",  "rstrip",  "split",        "rsplit",       "splitlines", "startswith", "endswith",
    "upper", "lower",   "title",   "capitalize",   "replace",      "find",       "rfind",      "count",
    "join",  "isdigit", "isspace", "removeprefix", "removesuffix", "format"};
constexpr std::string_view kListMethods[] = {"index", "count"};
constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get", "copy"};
constexpr std::string_view kFunctions[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};

template <size_t n>
bool one_of(std::string_view name, const std::string_view (&names)[n]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

bool has_method(const TemplateValue& object, std::string_view name) {
  if (object.is_string()) return one_of(name, kStringMethods);
  if (object.is_sequence()) return one_of(name, kListMethods);
  return object.is(Kind::dict) && one_of(name, kDictMethods);
}

bool is_function_name(std::string_view name) { return one_of(name, kFunctions); }

TemplateParameters::TemplateParameters(TemplateInterpreter& in, const std::string& what, const TemplateCall& call,
                                       std::initializer_list<std::string_view> names)
    : in_(in), values_(names.size()) {
  if (call.plain.size() > names.size()) {
    in.fail("{} takes at most {} argument(s), {} are given", what, names.size(), call.plain.size());
    ok_ = false;
    return;
  }
  for (size_t i = 0; i < call.plain.size(); ++i) values_[i] = &call.plain[i];
  for (const auto& [name, value] : call.named) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end() || values_[size_t(it - names.begin())] != nullptr) {
      in.fail("{} has no further argument '{}'", what, name);
      ok_ = false;
      return;
    }
    values_[size_t(it - names.begin())] = &value;
  }
}

int64_t TemplateParameters::integer(size_t i, int64_t fallback) {
  const TemplateValue* v = values_[i];
  if (v == nullptr || v->is_none()) return fallback;
  if (v->is_integer()) return v->integer();
  in_.fail("an integer is needed, not a {}", v->type_name());
  ok_ = false;
  return fallback;
}

std::string TemplateParameters::string(size_t i, std::string_view fallback) {
  const TemplateValue* v = values_[i];
  if (v == nullptr || v->is_none()) return std::string(fallback);
  if (v->is_string()) return v->string();
  in_.fail("a string is needed, not a {}", v->type_name());
  ok_ = false;
  return std::string(fallback);
}

TemplateValue TemplateInterpreter::call(const TemplateValue& callee, TemplateCall& call) {
  if (failed()) return {};
  switch (callee.kind()) {
    case Kind::macro: return call_macro(callee, call);
    case Kind::function: return call_function(callee.name(), call);
    case Kind::method: return call_method(callee.method_self(), callee.name(), call);
    case Kind::undefined: return fail("{}, so it cannot be called", callee.name());
    default: return fail("a {} cannot be called", callee.type_name());
  }
}

TemplateValue TemplateInterpreter::call_function(const std::string& name, const TemplateCall& call) {
  if (name == "raise_exception") {
    TemplateParameters p(*this, name, call, {"message"});
    const std::string message = p.get(0) != nullptr ? shown(*p.get(0)) : std::string();
    return fail("the template refuses this conversation: {}", message);
  }
  if (name == "strftime_now") {
    TemplateParameters p(*this, name, call, {"format"});
    const std::string format = p.string(0, "");
    if (!p.ok() || format.empty()) return p.ok() ? text("") : TemplateValue();
    if (format.size() > 256) return fail("a format of {} bytes is too long for strftime_now", format.size());
    const std::time_t now = now_.value_or(std::time(nullptr));
    std::tm local{};
    localtime_r(&now, &local);
    char buffer[4096];
    return text(std::string(buffer, std::strftime(buffer, sizeof(buffer), format.c_str(), &local)));
  }
  if (name == "range") {
    TemplateParameters p(*this, name, call, {"start", "stop", "step"});
    if (!p.ok()) return {};
    if (p.get(0) == nullptr) return fail("range needs an argument");
    const bool one = p.get(1) == nullptr;
    const int64_t begin = one ? 0 : p.integer(0, 0), end = one ? p.integer(0, 0) : p.integer(1, 0),
                  step = p.integer(2, 1);
    if (!p.ok()) return {};
    if (step == 0) return fail("the step of range cannot be zero");
    constexpr uint64_t kMaxRange = 100000;  // as in Jinja's sandbox
    TemplateList items;
    if (step > 0 ? begin < end : begin > end) {
      const uint64_t span = step > 0 ? uint64_t(end) - uint64_t(begin) : uint64_t(begin) - uint64_t(end);
      const uint64_t stride = step > 0 ? uint64_t(step) : uint64_t(0) - uint64_t(step);
      const uint64_t count = (span - 1) / stride + 1;
      if (count > kMaxRange) return fail("range of {} numbers is longer than the {} allowed", count, kMaxRange);
      for (uint64_t i = 0; i < count; ++i)
        items.push_back(TemplateValue::of(int64_t(uint64_t(begin) + i * uint64_t(step))));
    }
    return list(std::move(items));
  }
  // namespace and dict: pairs from a dict, then named ones over them.
  std::vector<std::pair<TemplateValue, TemplateValue>> pairs;
  if (call.plain.size() > 1) return fail("{} takes at most one plain argument", name);
  if (call.plain.size() == 1 && call.plain[0].is(Kind::dict)) {
    pairs = call.plain[0].pairs();
  } else if (call.plain.size() == 1) {
    TemplateList entries;
    if (!iterate(call.plain[0], &entries)) return {};
    for (const TemplateValue& entry : entries) {
      TemplateList two;
      if (!iterate(entry, &two)) return {};
      if (two.size() != 2 || !is_key(two[0])) return fail("{} needs pairs of a key and a value", name);
      pairs.emplace_back(two[0], two[1]);
    }
  }
  for (const auto& [key, value] : call.named) pairs.emplace_back(TemplateValue::of(std::string(key)), value);
  const TemplateValue all = distinct_dict(std::move(pairs));
  if (name == "dict" || failed()) return all;
  auto space = std::make_unique<TemplateNamespace>();
  for (const auto& [key, value] : all.pairs()) space->values.emplace_back(to_text(key), value);
  spaces_.push_back(std::move(space));
  return TemplateValue::space(spaces_.back().get());
}

TemplateValue TemplateInterpreter::call_method(const TemplateValue& self, const std::string& name,
                                               const TemplateCall& call) {
  if (self.is_string())
    return like(self, name == "format" ? braces(self, call) : string_method(self.string(), name, call));
  if (self.is(Kind::loop)) {  // cycle
    if (call.plain.empty()) return fail("loop.cycle needs values");
    return call.plain[self.loop().index % call.plain.size()];
  }
  if (self.is_sequence()) {
    TemplateParameters p(*this, name, call, {"value"});
    if (!p.ok() || p.get(0) == nullptr) return fail("{} needs a value", name);
    int64_t count = 0;
    for (size_t i = 0; i < self.items().size() && !failed(); ++i) {
      if (!same(self.items()[i], *p.get(0))) continue;
      if (name == "index") return TemplateValue::of(int64_t(i));
      ++count;
    }
    return name == "count" ? TemplateValue::of(count) : fail("the value is not in the list");
  }
  if (name == "get") {
    TemplateParameters p(*this, name, call, {"key", "default"});
    if (!p.ok() || p.get(0) == nullptr) return fail("get needs a key");
    if (const TemplateValue* value = self.find(*p.get(0))) return *value;
    return p.get(1) != nullptr ? *p.get(1) : TemplateValue::none();
  }
  TemplateParameters p(*this, name, call, {});
  if (!p.ok()) return {};
  if (name == "copy") return self;
  TemplateList items;
  if (!charge(self.pairs().size() * 64)) return {};
  for (const auto& [key, value] : self.pairs()) {
    items.push_back(name == "items" ? made(TemplateValue::tuple({key, value})) : name == "keys" ? key : value);
  }
  return list(std::move(items));
}

/// str.format with plain fields: {}, {0}, {name}. What it could reach beyond its arguments, attributes and items, and
/// the small language of widths behind a colon, are refused.
TemplateValue TemplateInterpreter::braces(const TemplateValue& self, const TemplateCall& call) {
  const std::string& s = self.string();
  std::string out;
  size_t next = 0;
  bool counted = false, numbered = false;
  for (size_t i = 0; i < s.size() && !failed(); ++i) {
    if ((s[i] == '{' || s[i] == '}') && i + 1 < s.size() && s[i + 1] == s[i]) {
      out += s[i++];
    } else if (s[i] == '}') {
      return fail("a single '}}' in a format");
    } else if (s[i] != '{') {
      out += s[i];
    } else {
      const size_t close = s.find('}', i);
      if (close == std::string::npos) return fail("a '{{' in a format is not closed");
      const std::string field = s.substr(i + 1, close - i - 1);
      if (field.find_first_of(".[!:{") != std::string::npos)
        return fail("a format with more than the name or number of an argument: '{}'", field.substr(0, 40));
      const bool digits = std::all_of(field.begin(), field.end(), [](char c) { return c >= '0' && c <= '9'; });
      const TemplateValue* value = nullptr;
      if (digits) {
        (field.empty() ? counted : numbered) = true;
        if (counted && numbered) return fail("a format both counts and numbers its arguments");
        if (field.size() > 6) return fail("a format without argument {}", field.substr(0, 40));
        const size_t at = field.empty() ? next++ : size_t(std::stoul(field));
        if (at < call.plain.size()) value = &call.plain[at];
      } else {
        for (const auto& [name, named] : call.named)
          if (name == field) value = &named;
      }
      if (value == nullptr) return fail("a format without argument '{}'", field.substr(0, 40));
      const std::string shown_value = self.is_markup() ? escaped(*value) : shown(*value);
      if (!charge(shown_value.size())) return {};
      out += shown_value;
      i = close;
    }
  }
  return text(std::move(out));
}

TemplateValue TemplateInterpreter::string_method(const std::string& s, const std::string& name,
                                                 const TemplateCall& call) {
  if (!charge(s.size())) return {};
  const auto is = [&](const char* other) { return name == other; };
  const auto pieces = [&](const std::vector<std::string_view>& parts) {
    TemplateList items;
    if (!charge(parts.size() * 64)) return TemplateValue();
    for (const std::string_view part : parts) items.push_back(TemplateValue::of(std::string(part)));
    return list(std::move(items));
  };
  if (is("upper") || is("lower") || is("title") || is("capitalize") || is("isdigit") || is("isspace") ||
      is("splitlines")) {
    TemplateParameters p(*this, name, call, {});
    if (!p.ok() || !charge(s.size() * 8)) return {};
    if (is("upper")) return text(py_upper(s));
    if (is("lower")) return text(py_lower(s));
    if (is("title")) return text(py_title(s));
    if (is("capitalize")) return text(py_capitalize(s));
    if (is("splitlines")) return pieces(py_splitlines(s));
    if (is("isspace")) return TemplateValue::of(!s.empty() && py_strip(s, true, false).empty());
    return TemplateValue::of(!s.empty() &&
                             std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; }));
  }
  if (is("strip") || is("lstrip") || is("rstrip")) {
    TemplateParameters p(*this, name, call, {"chars"});
    const bool left = !is("rstrip"), right = !is("lstrip");
    const std::string chars = p.string(0, "");
    if (!p.ok()) return {};
    const bool spaces = p.get(0) == nullptr || p.get(0)->is_none();
    return text(std::string(spaces ? py_strip(s, left, right) : py_strip(s, chars, left, right)));
  }
  if (is("split") || is("rsplit")) {
    TemplateParameters p(*this, name, call, {"sep", "maxsplit"});
    const std::string separator = p.string(0, "");
    const int64_t limit = p.integer(1, -1);
    if (!p.ok()) return {};
    if (separator.empty() && p.get(0) != nullptr && p.get(0)->is_string())
      return fail("{} with an empty separator", name);
    if (is("rsplit") && !charge(s.size() / 64 * separator.size())) return {};  // searching backwards is not linear
    if (!charge(s.size() * 16)) return {};
    return pieces(is("split") ? py_split(s, separator, limit) : py_rsplit(s, separator, limit));
  }
  if (is("join")) {
    TemplateParameters p(*this, name, call, {"iterable"});
    TemplateList items;
    if (!p.ok() || p.get(0) == nullptr || !iterate(*p.get(0), &items))
      return fail("join needs something to go through");
    std::string all;
    for (size_t i = 0; i < items.size(); ++i) {
      if (!items[i].is_string()) return fail("join needs strings, item {} is a {}", i, items[i].type_name());
      if (!charge(items[i].string().size() + s.size())) return {};
      if (i > 0) all += s;
      all += items[i].string();
    }
    return TemplateValue::of(std::move(all));
  }
  if (is("startswith") || is("endswith")) {
    TemplateParameters p(*this, name, call, {"what"});
    if (!p.ok() || p.get(0) == nullptr) return fail("{} needs a string", name);
    const TemplateList choices = p.get(0)->is(Kind::tuple) ? p.get(0)->items() : TemplateList{*p.get(0)};
    bool any = false;
    for (const TemplateValue& choice : choices) {
      if (!choice.is_string()) return fail("{} needs strings, not a {}", name, choice.type_name());
      any |= is("startswith") ? s.starts_with(choice.string()) : s.ends_with(choice.string());
    }
    return TemplateValue::of(any);
  }
  if (is("replace")) {
    TemplateParameters p(*this, name, call, {"old", "new", "count"});
    return p.ok() ? filter("replace", TemplateValue::of(std::string(s)), call) : TemplateValue();
  }
  // find, rfind, count, removeprefix, removesuffix
  TemplateParameters p(*this, name, call, {"what"});
  const std::string what = p.string(0, "");
  if (!p.ok() || p.get(0) == nullptr) return fail("{} needs a string", name);
  if (is("removeprefix")) return text(s.starts_with(what) ? s.substr(what.size()) : s);
  if (is("removesuffix")) return text(s.ends_with(what) ? s.substr(0, s.size() - what.size()) : s);
  if (is("count")) {
    if (what.empty()) return TemplateValue::of(int64_t(py_length(s)) + 1);
    return TemplateValue::of(int64_t(py_split(s, what, -1).size()) - 1);
  }
  if (is("rfind") && !charge(s.size() / 64 * what.size())) return {};
  const size_t at = is("find") ? py_find(s, what) : s.rfind(what);
  return TemplateValue::of(at == std::string::npos ? int64_t(-1)
                                                   : int64_t(py_length(std::string_view(s).substr(0, at))));
}

}  // namespace vibee
