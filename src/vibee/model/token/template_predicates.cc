// SPDX-License-Identifier: Apache-2.0
// The tests behind `is`.
#include "vibee/model/token/py_text.h"
#include "vibee/model/token/template_run.h"

namespace vibee {

using Kind = TemplateValue::Kind;

bool TemplateInterpreter::test(const std::string& name, const TemplateValue& v, const TemplateCall& call) {
  struct Row {
    const char* name;
    size_t arguments;
  };
  static constexpr Row kRows[] = {
      {"defined", 0},     {"undefined", 0}, {"none", 0},   {"boolean", 0}, {"true", 0},    {"false", 0},
      {"integer", 0},     {"float", 0},     {"number", 0}, {"string", 0},  {"mapping", 0}, {"iterable", 0},
      {"sequence", 0},    {"callable", 0},  {"odd", 0},    {"even", 0},    {"lower", 0},   {"upper", 0},
      {"divisibleby", 1}, {"equalto", 1},   {"eq", 1},     {"==", 1},      {"ne", 1},      {"!=", 1},
      {"lt", 1},          {"lessthan", 1},  {"<", 1},      {"le", 1},      {"<=", 1},      {"gt", 1},
      {"greaterthan", 1}, {">", 1},         {"ge", 1},     {">=", 1},      {"in", 1},      {"sameas", 1},
      {"filter", 0},      {"test", 0},      {"escaped", 0}};
  const Row* row = nullptr;
  for (const Row& r : kRows) {
    if (name == r.name) row = &r;
  }
  if (row == nullptr) {
    fail("test '{}' is not known", name.substr(0, 40));
    return false;
  }
  if (call.plain.size() != row->arguments || !call.named.empty()) {
    fail("test '{}' takes {} argument(s)", name, row->arguments);
    return false;
  }
  const auto is = [&](const char* a, const char* b = "", const char* c = "") {
    return name == a || name == b || name == c;
  };
  if (is("defined")) return !v.is_undefined();
  if (is("undefined")) return v.is_undefined();
  if (is("none")) return v.is_none();
  if (is("boolean")) return v.is(Kind::boolean);
  if (is("true")) return v.is(Kind::boolean) && v.integer() != 0;
  if (is("false")) return v.is(Kind::boolean) && v.integer() == 0;
  if (is("integer")) return v.is(Kind::integer);
  if (is("float")) return v.is(Kind::real);
  if (is("number")) return v.is_number();
  if (is("string")) return v.is_string();
  if (is("mapping")) return v.is(Kind::dict);
  // An undefined value counts as an empty sequence, in Jinja too.
  if (is("iterable"))
    return v.is_sequence() || v.is_string() || v.is(Kind::dict) || v.is(Kind::iterator) || v.is(Kind::loop) ||
           v.is_undefined();
  if (is("sequence")) return v.is_sequence() || v.is_string() || v.is(Kind::dict) || v.is_undefined();
  if (is("callable")) return v.is(Kind::macro) || v.is(Kind::function) || v.is(Kind::method);
  if (is("escaped")) return v.is_markup();
  if (is("filter"))
    return v.is_string() && (find_text_filter(v.string()) != nullptr || find_sequence_filter(v.string()) != nullptr);
  if (is("test")) {
    for (const Row& r : kRows) {
      if (v.is_string() && v.string() == r.name) return true;
    }
    return false;
  }
  if (is("lower") || is("upper")) {  // has letters with case, all of this one
    const std::string s = shown(v);
    if (!charge(s.size() * 4)) return false;
    const std::string low = py_lower(s), high = py_upper(s);
    return is("lower") ? s == low && s != high : s == high && s != low;
  }
  if (is("odd") || is("even") || is("divisibleby")) {
    const TemplateValue remainder = binary("%", v, is("divisibleby") ? call.plain[0] : TemplateValue::of(int64_t(2)));
    return !failed() && remainder.truthy() == is("odd");
  }
  const TemplateValue& other = call.plain[0];
  if (is("equalto", "eq", "==")) return same(v, other);
  if (is("ne", "!=")) return !same(v, other);
  if (is("lt", "lessthan", "<")) return less(v, other);
  if (is("le", "<=")) return !less(other, v);
  if (is("gt", "greaterthan", ">")) return less(other, v);
  if (is("ge", ">=")) return !less(v, other);
  if (is("in")) return contains(other, v);
  return v.kind() == other.kind() && same(v, other);  // sameas
}

}  // namespace vibee
