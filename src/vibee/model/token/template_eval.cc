// SPDX-License-Identifier: Apache-2.0
// Expressions, with Python's arithmetic and comparisons.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/template_run.h"

namespace vibee {

using Op = TemplateOp;
using Kind = TemplateValue::Kind;

TemplateValue TemplateInterpreter::evaluate(const TemplateNode& node) {
  at_ = &node;
  if (failed()) return {};
  if (++depth_ > limits_.depth) fail("nested more than {} deep: simplify the template or its recursion", limits_.depth);
  if (++steps_ > limits_.steps) fail("more than {} steps: the template loops too long", limits_.steps);
  TemplateValue value = failed() ? TemplateValue() : evaluate_now(node);
  --depth_;
  return value;
}

TemplateValue TemplateInterpreter::lookup(const std::string& name) {
  for (const TemplateScope* s = scope_; s != nullptr; s = s->parent) {
    for (const auto& [n, value] : s->variables) {
      if (n == name) return value;
    }
  }
  if (const TemplateValue* value = context_.find(name)) return *value;
  if (is_function_name(name)) return TemplateValue::function(name);
  return TemplateValue::undefined(fmt::format("'{}' is not defined", name));
}

bool TemplateInterpreter::arguments(const TemplateNode& node, TemplateCall* out) {
  for (const TemplateArgument& argument : node.arguments) {
    TemplateValue value = evaluate(*argument.value);
    at_ = &node;
    if (failed()) return false;
    switch (argument.kind) {
      case TemplateArgument::plain: out->plain.push_back(std::move(value)); break;
      case TemplateArgument::named: out->named.emplace_back(argument.name, std::move(value)); break;
      case TemplateArgument::all_of: {
        TemplateList more;
        if (!iterate(value, &more)) return false;
        out->plain.insert(out->plain.end(), more.begin(), more.end());
        break;
      }
      case TemplateArgument::all_named:
        if (!value.is(Kind::dict)) {
          fail("** needs a dict, not a {}", value.type_name());
          return false;
        }
        for (const auto& [k, v] : value.pairs()) out->named.emplace_back(to_text(k), v);
    }
    if (!charge(64)) return false;
  }
  for (size_t i = 0; i < out->named.size(); ++i) {
    for (size_t j = 0; j < i && out->named.size() <= 64; ++j) {
      if (out->named[i].first == out->named[j].first) {
        fail("argument '{}' is given twice", out->named[i].first);
        return false;
      }
    }
  }
  if (out->named.size() > 64) fail("more than 64 named arguments");
  return !failed();
}

TemplateValue TemplateInterpreter::evaluate_now(const TemplateNode& node) {
  switch (node.op) {
    case Op::constant: return node.value;
    case Op::name: return lookup(node.text);
    case Op::list:
    case Op::tuple: {
      TemplateList items;
      for (const auto& kid : node.kids) items.push_back(evaluate(*kid));
      return made(node.op == Op::list ? TemplateValue::list(std::move(items)) : TemplateValue::tuple(std::move(items)));
    }
    case Op::dict: return dict_of(node);
    case Op::attribute: {
      const TemplateValue object = evaluate(*node.kids[0]);
      at_ = &node;
      return attribute(object, node.text);
    }
    case Op::item: {
      const TemplateValue object = evaluate(*node.kids[0]);
      if (node.kids[1]->op == Op::slice) return sliced(object, *node.kids[1]);
      const TemplateValue key = evaluate(*node.kids[1]);
      at_ = &node;
      return item(object, key);
    }
    case Op::call: {
      const TemplateValue callee = evaluate(*node.kids[0]);
      TemplateCall call_arguments;
      if (failed() || !arguments(node, &call_arguments)) return {};
      at_ = &node;
      return call(callee, call_arguments);
    }
    case Op::filter: {
      const TemplateValue input = node.kids[0] != nullptr ? evaluate(*node.kids[0]) : lookup("");
      TemplateCall call_arguments;
      if (failed() || !arguments(node, &call_arguments)) return {};
      at_ = &node;
      return filter(node.text, input, call_arguments);
    }
    case Op::test: {
      const TemplateValue input = evaluate(*node.kids[0]);
      TemplateCall call_arguments;
      if (failed() || !arguments(node, &call_arguments)) return {};
      at_ = &node;
      return TemplateValue::of(test(node.text, input, call_arguments));
    }
    case Op::negate:
    case Op::plus: {
      const TemplateValue v = evaluate(*node.kids[0]);
      at_ = &node;
      if (!v.is_number()) return fail("a {} has no sign", v.type_name());
      if (v.is(Kind::real)) return TemplateValue::of(node.op == Op::plus ? v.real() : -v.real());
      return node.op == Op::plus ? TemplateValue::of(v.integer()) : binary("-", TemplateValue::of(int64_t(0)), v);
    }
    case Op::logical_not: return TemplateValue::of(!evaluate(*node.kids[0]).truthy());
    case Op::logical_and: {
      TemplateValue left = evaluate(*node.kids[0]);
      return left.truthy() ? evaluate(*node.kids[1]) : left;
    }
    case Op::logical_or: {
      TemplateValue left = evaluate(*node.kids[0]);
      return left.truthy() ? left : evaluate(*node.kids[1]);
    }
    case Op::conditional:
      if (evaluate(*node.kids[1]).truthy()) return evaluate(*node.kids[0]);
      if (node.kids[2] != nullptr) return evaluate(*node.kids[2]);
      return TemplateValue::undefined("the condition is false and there is no else");
    case Op::binary: {
      const TemplateValue a = evaluate(*node.kids[0]);
      const TemplateValue b = evaluate(*node.kids[1]);
      at_ = &node;
      return failed() ? TemplateValue() : binary(node.text, a, b);
    }
    case Op::concat: {
      std::string all;
      for (const auto& kid : node.kids) all += shown(evaluate(*kid));
      return text(std::move(all));
    }
    case Op::compare: return compared(node);
    default: return fail("a statement stands where an expression should");
  }
}

TemplateValue TemplateInterpreter::dict_of(const TemplateNode& node) {
  std::vector<std::pair<TemplateValue, TemplateValue>> pairs;
  for (size_t i = 0; i + 1 < node.kids.size(); i += 2) {
    TemplateValue key = evaluate(*node.kids[i]);
    if (!failed() && !is_key(key)) return fail("a {} cannot be the key of a dict", key.type_name());
    pairs.emplace_back(std::move(key), evaluate(*node.kids[i + 1]));
  }
  return distinct_dict(std::move(pairs));
}

TemplateValue TemplateInterpreter::distinct_dict(std::vector<std::pair<TemplateValue, TemplateValue>> pairs) {
  if (failed()) return {};
  const TemplateValue all = made(TemplateValue::dict(pairs));  // of a key that comes again it finds the first place
  if (failed()) return {};
  std::vector<std::pair<TemplateValue, TemplateValue>> distinct;
  std::unordered_map<const TemplateValue*, size_t> places;
  for (auto& [key, value] : pairs) {
    const auto [it, added] = places.try_emplace(all.find(key), distinct.size());
    if (added) {
      distinct.emplace_back(std::move(key), std::move(value));
    } else {
      distinct[it->second].second = std::move(value);
    }
  }
  return distinct.size() == all.pairs().size() ? all : made(TemplateValue::dict(std::move(distinct)));
}

TemplateValue TemplateInterpreter::compared(const TemplateNode& node) {
  TemplateValue left = evaluate(*node.kids[0]);
  for (size_t i = 0; i < node.texts.size(); ++i) {
    const TemplateValue right = evaluate(*node.kids[i + 1]);
    at_ = &node;
    if (failed()) return {};
    const std::string& how = node.texts[i];
    bool holds = false;
    if (how == "==") {
      holds = same(left, right);
    } else if (how == "!=") {
      holds = !same(left, right);
    } else if (how == "in") {
      holds = contains(right, left);
    } else if (how == "not in") {
      holds = !contains(right, left);
    } else if (how == "<") {
      holds = less(left, right);
    } else if (how == ">") {
      holds = less(right, left);
    } else {
      // Numbers that are no numbers compare false either way.
      const bool ordered =
          !(left.is_number() && right.is_number() && (std::isnan(left.real()) || std::isnan(right.real())));
      holds = ordered && (how == "<=" ? !less(right, left) : !less(left, right));
    }
    if (failed() || !holds) return TemplateValue::of(false);
    left = right;
  }
  return TemplateValue::of(true);
}

bool TemplateInterpreter::same(const TemplateValue& a, const TemplateValue& b) {
  return charge(std::min(a.weight(), b.weight())) && equal(a, b);
}

bool TemplateInterpreter::less(const TemplateValue& a, const TemplateValue& b) {
  if (!charge(std::min(a.weight(), b.weight()))) return false;
  if (a.is_integer() && b.is_integer()) return a.integer() < b.integer();
  if (a.is_number() && b.is_number()) return a.real() < b.real();
  if (a.is_string() && b.is_string()) return a.string() < b.string();  // bytes of UTF-8 order as code points do
  if (a.is_sequence() && a.kind() == b.kind()) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i) {
      if (!same(a.items()[i], b.items()[i])) return less(a.items()[i], b.items()[i]);
    }
    return a.items().size() < b.items().size();
  }
  fail("a {} and a {} have no order", a.type_name(), b.type_name());
  return false;
}

bool TemplateInterpreter::contains(const TemplateValue& all, const TemplateValue& one) {
  if (!charge(std::min<uint64_t>(all.weight(), uint64_t(1) << 40))) return false;
  if (all.is_string()) {
    if (one.is_string()) return py_find(all.string(), one.string()) != std::string::npos;
    fail("'in' a string looks for a string, not for a {}", one.type_name());
    return false;
  }
  if (all.is(Kind::dict)) return all.find(one) != nullptr;
  TemplateList items;
  if (!iterate(all, &items)) return false;
  return std::any_of(items.begin(), items.end(), [&](const TemplateValue& v) { return same(v, one); });
}

bool TemplateInterpreter::iterate(const TemplateValue& value, TemplateList* items) {
  switch (value.kind()) {
    case Kind::undefined: return !failed();  // an empty loop, as in Jinja
    case Kind::list:
    case Kind::tuple:
      if (!charge(value.items().size() * 16)) return false;
      *items = value.items();
      return true;
    case Kind::iterator: *items = value.take(); return charge(items->size() * 16);
    case Kind::dict:
      if (!charge(value.pairs().size() * 16)) return false;
      for (const auto& [k, v] : value.pairs()) items->push_back(k);
      return true;
    case Kind::string: {
      if (!charge(value.string().size() * 64)) return false;
      for (const std::string_view c : py_chars(value.string())) items->push_back(TemplateValue::of(std::string(c)));
      return true;
    }
    default: fail("a {} cannot be gone through item by item", value.type_name()); return false;
  }
}

TemplateValue TemplateInterpreter::attribute(const TemplateValue& object, const std::string& name) {
  if (failed()) return {};
  switch (object.kind()) {
    case Kind::undefined: return fail("{}, so it has no attribute '{}'", object.name(), name);
    case Kind::space:
      for (const auto& [n, value] : object.space()->values) {
        if (n == name) return value;
      }
      return TemplateValue::undefined(fmt::format("the namespace has no attribute '{}'", name));
    case Kind::loop: {
      const TemplateLoop& loop = object.loop();
      const int64_t index = int64_t(loop.index), count = int64_t(loop.items.size());
      if (name == "index") return TemplateValue::of(index + 1);
      if (name == "index0") return TemplateValue::of(index);
      if (name == "revindex") return TemplateValue::of(count - index);
      if (name == "revindex0") return TemplateValue::of(count - index - 1);
      if (name == "first") return TemplateValue::of(index == 0);
      if (name == "last") return TemplateValue::of(index + 1 == count);
      if (name == "length") return TemplateValue::of(count);
      if (name == "previtem")
        return index > 0 ? loop.items[size_t(index) - 1] : TemplateValue::undefined("there is no previous item");
      if (name == "nextitem")
        return index + 1 < count ? loop.items[size_t(index) + 1] : TemplateValue::undefined("there is no next item");
      if (name == "cycle") return TemplateValue::method(object, name);
      return TemplateValue::undefined(fmt::format("loop has no attribute '{}'", name));
    }
    case Kind::macro:
      if (name == "name") return TemplateValue::of(std::string(object.macro_node()->text));
      break;
    default: break;
  }
  if (has_method(object, name)) return TemplateValue::method(object, name);
  if (object.is(Kind::dict)) {
    if (const TemplateValue* value = object.find(name)) return *value;
  }
  return TemplateValue::undefined(fmt::format("a {} has no attribute '{}'", object.type_name(), name));
}

TemplateValue TemplateInterpreter::item(const TemplateValue& object, const TemplateValue& key) {
  if (failed()) return {};
  if (object.is_undefined()) return fail("{}, so it has no items", object.name());
  if (object.is(Kind::dict)) {
    if (const TemplateValue* value = object.find(key)) return *value;
    if (key.is_string() && has_method(object, key.string())) return TemplateValue::method(object, key.string());
    return TemplateValue::undefined(
        fmt::format("a dict has no key {}", charge(key.weight()) ? to_repr(key).substr(0, 80) : ""));
  }
  if (key.is_integer() && (object.is_sequence() || object.is_string())) {
    if (object.is_string() && !charge(object.string().size())) return {};
    const int64_t n = int64_t(object.is_string() ? py_length(object.string()) : object.items().size());
    const int64_t i = key.integer() < 0 ? key.integer() + n : key.integer();
    if (i < 0 || i >= n)
      return TemplateValue::undefined(fmt::format("a {} of {} has no item {}", object.type_name(), n, key.integer()));
    if (object.is_string()) return text(std::string(py_chars(object.string())[size_t(i)]));
    return object.items()[size_t(i)];
  }
  if (key.is_string()) return attribute(object, key.string());
  return TemplateValue::undefined(fmt::format("a {} has no items", object.type_name()));
}

TemplateValue TemplateInterpreter::path(const TemplateValue& object, const TemplateValue& attribute_path) {
  if (!attribute_path.is_string()) return item(object, attribute_path);
  TemplateValue at = object;
  for (const std::string_view part : py_split(attribute_path.string(), ".", -1)) {
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
    at = item(at, number ? TemplateValue::of(int64_t(std::atoll(std::string(part).c_str())))
                         : TemplateValue::of(std::string(part)));
    if (failed()) return {};
  }
  return at;
}

TemplateValue TemplateInterpreter::sliced(const TemplateValue& object, const TemplateNode& slice) {
  std::optional<int64_t> bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (slice.kids[i] == nullptr) continue;
    const TemplateValue v = evaluate(*slice.kids[i]);
    if (v.is_none()) continue;
    if (!v.is_integer()) return fail("a slice needs integers, not a {}", v.type_name());
    bounds[i] = std::clamp<int64_t>(v.integer(), -(int64_t(1) << 40), int64_t(1) << 40);
  }
  at_ = &slice;
  if (failed()) return {};
  if (object.is_undefined()) return fail("{}, so it cannot be sliced", object.name());
  if (!object.is_sequence() && !object.is_string()) return fail("a {} cannot be sliced", object.type_name());
  const int64_t step = bounds[2].value_or(1);
  if (step == 0) return fail("the step of a slice cannot be zero");
  if (!charge(object.is_string() ? object.string().size() * 16 : object.items().size() * 16)) return {};
  const std::vector<std::string_view> chars =
      object.is_string() ? py_chars(object.string()) : std::vector<std::string_view>();
  const int64_t n = int64_t(object.is_string() ? chars.size() : object.items().size());
  const auto place = [&](std::optional<int64_t> bound, int64_t fallback) {
    if (!bound) return fallback;
    const int64_t at = *bound < 0 ? *bound + n : *bound;
    return step > 0 ? std::clamp<int64_t>(at, 0, n) : std::clamp<int64_t>(at, -1, n - 1);
  };
  const int64_t begin = place(bounds[0], step > 0 ? 0 : n - 1), end = place(bounds[1], step > 0 ? n : -1);
  std::string some;
  TemplateList items;
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    if (object.is_string()) {
      some += chars[size_t(i)];
    } else {
      items.push_back(object.items()[size_t(i)]);
    }
  }
  if (object.is_string()) return like(object, text(std::move(some)));
  return made(object.is(Kind::list) ? TemplateValue::list(std::move(items)) : TemplateValue::tuple(std::move(items)));
}

}  // namespace vibee
