// SPDX-License-Identifier: Apache-2.0
// Depth is bounded where values are made (Interpreter::make_list and friends), so the recursions here are too.
#include "vibee/model/token/template_value.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "vibee/model/token/py_text.h"

namespace vibee {
namespace {

/// How deep and how heavy a container is, from its parts.
struct Measure {
  uint32_t depth = 1;
  uint64_t weight = 16;
  void add(const TemplateValue& part) {
    depth = std::max(depth, part.depth() + 1);
    if (__builtin_add_overflow(weight, part.weight(), &weight)) weight = ~uint64_t(0);
  }
};

struct ListObject {
  TemplateList items;
  Measure measure;
};
struct DictObject {
  std::vector<std::pair<TemplateValue, TemplateValue>> pairs;
  Measure measure;
  std::unordered_map<std::string, size_t> index;  // of dicts too long to search through
};
struct IteratorObject {
  TemplateList items;
  Measure measure;
  size_t next = 0;
};
struct MethodObject {
  TemplateValue self;
  std::string name;
};

Measure measure_of(const TemplateList& items) {
  Measure measure;
  for (const TemplateValue& item : items) measure.add(item);
  return measure;
}

constexpr size_t kSearched = 8;

/// One text a key: equal keys have equal texts, whatever their types.
std::string key_text(const TemplateValue& key) {
  if (key.is_string()) return "s" + key.string();
  if (key.is_integer()) return fmt::format("n{}", key.integer());
  if (key.is(TemplateValue::Kind::real)) {
    const double d = key.real();
    if (d == std::floor(d) && std::abs(d) < 9e18) return fmt::format("n{}", int64_t(d));
    return "n" + py_repr(d);
  }
  return "-";
}

}  // namespace

TemplateValue TemplateValue::undefined(std::string what) {
  TemplateValue v;
  v.object_ = std::make_shared<const std::string>(std::move(what));
  return v;
}
TemplateValue TemplateValue::none() {
  TemplateValue v;
  v.kind_ = Kind::none;
  return v;
}
TemplateValue TemplateValue::of(bool b) {
  TemplateValue v;
  v.kind_ = Kind::boolean;
  v.integer_ = b;
  return v;
}
TemplateValue TemplateValue::of(int64_t i) {
  TemplateValue v;
  v.kind_ = Kind::integer;
  v.integer_ = i;
  return v;
}
TemplateValue TemplateValue::of(double d) {
  TemplateValue v;
  v.kind_ = Kind::real;
  v.real_ = d;
  return v;
}
TemplateValue TemplateValue::of(std::string s) {
  TemplateValue v;
  v.kind_ = Kind::string;
  v.object_ = std::make_shared<const std::string>(std::move(s));
  return v;
}
TemplateValue TemplateValue::markup(std::string s) {
  TemplateValue v = of(std::move(s));
  v.integer_ = 1;
  return v;
}
TemplateValue TemplateValue::list(TemplateList items) {
  TemplateValue v;
  v.kind_ = Kind::list;
  const Measure measure = measure_of(items);
  v.object_ = std::make_shared<const ListObject>(ListObject{std::move(items), measure});
  return v;
}
TemplateValue TemplateValue::tuple(TemplateList items) {
  TemplateValue v = list(std::move(items));
  v.kind_ = Kind::tuple;
  return v;
}
TemplateValue TemplateValue::dict(std::vector<std::pair<TemplateValue, TemplateValue>> items) {
  TemplateValue v;
  v.kind_ = Kind::dict;
  DictObject object;
  for (size_t i = 0; i < items.size(); ++i) {
    object.measure.add(items[i].first);
    object.measure.add(items[i].second);
    if (items.size() > kSearched) object.index.try_emplace(key_text(items[i].first), i);
  }
  object.pairs = std::move(items);
  v.object_ = std::make_shared<const DictObject>(std::move(object));
  return v;
}
TemplateValue TemplateValue::iterator(TemplateList items) {
  TemplateValue v;
  v.kind_ = Kind::iterator;
  const Measure measure = measure_of(items);
  v.object_ = std::make_shared<IteratorObject>(IteratorObject{std::move(items), measure});
  return v;
}
TemplateValue TemplateValue::space(TemplateNamespace* s) {
  TemplateValue v;
  v.kind_ = Kind::space;
  v.space_ = s;
  return v;
}
TemplateValue TemplateValue::macro(const TemplateNode* node, TemplateScope* scope) {
  TemplateValue v;
  v.kind_ = Kind::macro;
  v.macro_ = node;
  v.scope_ = scope;
  return v;
}
TemplateValue TemplateValue::method(TemplateValue self, std::string name) {
  TemplateValue v;
  v.kind_ = Kind::method;
  v.object_ = std::make_shared<const MethodObject>(MethodObject{std::move(self), std::move(name)});
  return v;
}
TemplateValue TemplateValue::function(std::string name) {
  TemplateValue v = of(std::move(name));
  v.kind_ = Kind::function;
  return v;
}
TemplateValue TemplateValue::loop(std::shared_ptr<TemplateLoop> state) {
  TemplateValue v;
  v.kind_ = Kind::loop;
  v.object_ = std::move(state);
  return v;
}

const TemplateList& TemplateValue::items() const { return static_cast<const ListObject*>(object_.get())->items; }
const std::vector<std::pair<TemplateValue, TemplateValue>>& TemplateValue::pairs() const {
  return static_cast<const DictObject*>(object_.get())->pairs;
}
const TemplateValue& TemplateValue::method_self() const {
  return static_cast<const MethodObject*>(object_.get())->self;
}
const std::string& TemplateValue::name() const {
  static const std::string nothing = "a value that is not defined";
  if (kind_ == Kind::method) return static_cast<const MethodObject*>(object_.get())->name;
  return object_ == nullptr ? nothing : string();
}

TemplateList TemplateValue::take() const {
  auto* state = static_cast<IteratorObject*>(const_cast<void*>(object_.get()));
  TemplateList left(state->items.begin() + std::ptrdiff_t(state->next), state->items.end());
  state->next = state->items.size();
  return left;
}

TemplateValue TemplateValue::take_one() const {
  auto* state = static_cast<IteratorObject*>(const_cast<void*>(object_.get()));
  return state->next < state->items.size() ? state->items[state->next++] : TemplateValue();
}

uint32_t TemplateValue::depth() const {
  switch (kind_) {
    case Kind::list:
    case Kind::tuple: return static_cast<const ListObject*>(object_.get())->measure.depth;
    case Kind::dict: return static_cast<const DictObject*>(object_.get())->measure.depth;
    case Kind::iterator: return static_cast<const IteratorObject*>(object_.get())->measure.depth;
    case Kind::method: return method_self().depth() + 1;
    case Kind::loop: return loop().inner_depth + 1;
    default: return 0;
  }
}

uint64_t TemplateValue::weight() const {
  switch (kind_) {
    case Kind::string: return 8 + string().size();
    case Kind::list:
    case Kind::tuple: return static_cast<const ListObject*>(object_.get())->measure.weight;
    case Kind::dict: return static_cast<const DictObject*>(object_.get())->measure.weight;
    case Kind::iterator: return static_cast<const IteratorObject*>(object_.get())->measure.weight;
    default: return 16;
  }
}

bool TemplateValue::truthy() const {
  switch (kind_) {
    case Kind::undefined:
    case Kind::none: return false;
    case Kind::boolean:
    case Kind::integer: return integer_ != 0;
    case Kind::real: return real_ != 0;
    case Kind::string: return !string().empty();
    case Kind::list:
    case Kind::tuple: return !items().empty();
    case Kind::dict: return !pairs().empty();
    default: return true;
  }
}

const char* TemplateValue::type_name() const {
  switch (kind_) {
    case Kind::undefined: return "undefined";
    case Kind::none: return "none";
    case Kind::boolean: return "boolean";
    case Kind::integer: return "integer";
    case Kind::real: return "float";
    case Kind::string: return "string";
    case Kind::list: return "list";
    case Kind::tuple: return "tuple";
    case Kind::dict: return "dict";
    case Kind::iterator: return "iterator";
    case Kind::space: return "namespace";
    case Kind::macro: return "macro";
    case Kind::method: return "method";
    case Kind::function: return "function";
    case Kind::loop: return "loop";
  }
  return "?";
}

const TemplateValue* TemplateValue::find(const TemplateValue& key) const {
  if (!is_key(key)) return nullptr;
  const auto* object = static_cast<const DictObject*>(object_.get());
  if (object->index.empty()) {
    for (const auto& [k, v] : object->pairs) {
      if (equal(k, key)) return &v;
    }
    return nullptr;
  }
  const auto it = object->index.find(key_text(key));
  return it == object->index.end() ? nullptr : &object->pairs[it->second].second;
}

const TemplateValue* TemplateValue::find(std::string_view key) const {
  if (pairs().size() > kSearched) return find(of(std::string(key)));
  for (const auto& [k, v] : pairs()) {
    if (k.is_string() && k.string() == key) return &v;
  }
  return nullptr;
}

bool is_key(const TemplateValue& value) { return value.is_string() || value.is_number() || value.is_none(); }

bool equal(const TemplateValue& a, const TemplateValue& b) {
  using Kind = TemplateValue::Kind;
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::real) || b.is(Kind::real)) return a.real() == b.real();
    return a.integer() == b.integer();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none: return true;
    case Kind::string:
    case Kind::function: return a.string() == b.string();
    case Kind::list:
    case Kind::tuple: return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), equal);
    case Kind::dict: {
      if (a.pairs().size() != b.pairs().size()) return false;
      return std::all_of(a.pairs().begin(), a.pairs().end(), [&](const auto& pair) {
        const TemplateValue* other = b.find(pair.first);
        return other != nullptr && equal(pair.second, *other);
      });
    }
    case Kind::space: return a.space() == b.space();
    case Kind::macro: return a.macro_node() == b.macro_node();
    default: return false;
  }
}

std::string to_text(const TemplateValue& value) {
  if (value.is_string()) return value.string();
  return value.is_undefined() ? std::string() : to_repr(value);
}

std::string to_repr(const TemplateValue& value) {
  using Kind = TemplateValue::Kind;
  switch (value.kind()) {
    case Kind::undefined: return "Undefined";
    case Kind::none: return "None";
    case Kind::boolean: return value.integer() != 0 ? "True" : "False";
    case Kind::integer: return fmt::format("{}", value.integer());
    case Kind::real: return py_repr(value.real());
    case Kind::string: return py_repr(value.string());
    case Kind::list:
    case Kind::tuple: {
      const bool list = value.is(Kind::list);
      std::string out(1, list ? '[' : '(');
      for (const TemplateValue& item : value.items()) {
        if (out.size() > 1) out += ", ";
        out += to_repr(item);
      }
      if (!list && value.items().size() == 1) out += ',';
      return out + (list ? ']' : ')');
    }
    case Kind::dict: {
      std::string out = "{";
      for (const auto& [k, v] : value.pairs()) {
        if (out.size() > 1) out += ", ";
        out += to_repr(k) + ": " + to_repr(v);
      }
      return out + "}";
    }
    default: return fmt::format("<{}>", value.type_name());  // Python prints an address there
  }
}

}  // namespace vibee
