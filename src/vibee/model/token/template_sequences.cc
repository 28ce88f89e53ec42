// SPDX-License-Identifier: Apache-2.0
// Filters on lists, dicts and iterators. Those that are generators in Python give an iterator here: true, without
// length, read once.
#include <algorithm>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/template_run.h"

namespace vibee {
namespace {

using Kind = TemplateValue::Kind;
using In = TemplateInterpreter;
using Call = TemplateCall;

TemplateValue length(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "length", call, {});
  if (v.is_string())
    return in.charge(v.string().size()) ? TemplateValue::of(int64_t(py_length(v.string()))) : TemplateValue();
  if (v.is_sequence()) return TemplateValue::of(int64_t(v.items().size()));
  if (v.is(Kind::dict)) return TemplateValue::of(int64_t(v.pairs().size()));
  if (v.is_undefined()) return TemplateValue::of(int64_t(0));
  return in.fail("a {} has no length: make it a list first", v.type_name());
}

TemplateValue first(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "first", call, {});
  if (v.is(Kind::iterator)) return v.take_one();
  TemplateList items;
  if (!in.iterate(v, &items)) return {};
  return items.empty() ? TemplateValue::undefined("nothing is first in an empty sequence") : items.front();
}

TemplateValue last(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "last", call, {});
  TemplateList items;
  if (v.is(Kind::iterator)) return in.fail("an iterator cannot be read from its end: make it a list first");
  if (!in.iterate(v, &items)) return {};
  return items.empty() ? TemplateValue::undefined("nothing is last in an empty sequence") : items.back();
}

TemplateValue to_list(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "list", call, {});
  TemplateList items;
  return in.iterate(v, &items) ? in.list(std::move(items)) : TemplateValue();
}

TemplateValue entries(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "items", call, {});
  if (v.is_undefined()) return in.iterator({});
  if (!v.is(Kind::dict)) return in.fail("items needs a dict, not a {}", v.type_name());
  TemplateList items;
  for (const auto& [key, value] : v.pairs()) items.push_back(in.made(TemplateValue::tuple({key, value})));
  return in.iterator(std::move(items));
}

TemplateValue join(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "join", call, {"d", "attribute"});
  TemplateList items;
  if (!p.ok() || !in.iterate(v, &items)) return {};
  const std::string separator = p.get(0) != nullptr ? in.shown(*p.get(0)) : std::string();
  std::string out;
  for (size_t i = 0; i < items.size() && !in.failed(); ++i) {
    if (i > 0 && in.charge(separator.size())) out += separator;
    out += in.shown(p.get(1) != nullptr ? in.path(items[i], *p.get(1)) : items[i]);
  }
  return in.text(std::move(out));
}

/// map, and the select family: what is applied to each item.
TemplateValue map(In& in, const TemplateValue& v, const Call& call) {
  TemplateList items, out;
  if (!v.truthy() || !in.iterate(v, &items)) return in.iterator({});
  const bool by_attribute = call.plain.empty();
  TemplateCall rest;
  const TemplateValue *attribute = nullptr, *fallback = nullptr;
  if (by_attribute) {
    TemplateParameters p(in, "map", call, {"attribute", "default"});
    if (!p.ok() || p.get(0) == nullptr) return in.fail("map needs the name of a filter or attribute=");
    attribute = p.get(0);
    fallback = p.get(1);
  } else {
    if (!call.plain[0].is_string()) return in.fail("map needs the name of a filter");
    rest.plain.assign(call.plain.begin() + 1, call.plain.end());
    rest.named = call.named;
  }
  for (const TemplateValue& item : items) {
    TemplateValue value = by_attribute ? in.path(item, *attribute) : in.filter(call.plain[0].string(), item, rest);
    if (value.is_undefined() && fallback != nullptr) value = *fallback;
    if (in.failed() || !in.charge(16)) return {};
    out.push_back(std::move(value));
  }
  return in.iterator(std::move(out));
}

template <bool keep, bool by_attribute>
TemplateValue select(In& in, const TemplateValue& v, const Call& call) {
  TemplateList items, out;
  if (by_attribute && call.plain.empty()) return in.fail("selectattr and rejectattr need the name of an attribute");
  if (!v.truthy()) return in.iterator({});  // as Jinja does, whatever it is
  if (!in.iterate(v, &items)) return {};
  const size_t skip = by_attribute ? 1 : 0;
  TemplateCall rest;
  const bool tests = call.plain.size() > skip;
  if (tests) {
    if (!call.plain[skip].is_string()) return in.fail("the name of a test must be a string");
    rest.plain.assign(call.plain.begin() + std::ptrdiff_t(skip) + 1, call.plain.end());
    rest.named = call.named;
  }
  for (const TemplateValue& item : items) {
    const TemplateValue value = by_attribute ? in.path(item, call.plain[0]) : item;
    if (in.failed()) return {};
    const bool holds = tests ? in.test(call.plain[skip].string(), value, rest) : value.truthy();
    if (in.failed() || !in.charge(16)) return {};
    if (holds == keep) out.push_back(item);
  }
  return in.iterator(std::move(out));
}

/// What sorting and comparing look at: an attribute, without regard to case unless asked for.
TemplateValue sort_key(In& in, const TemplateValue& v, const TemplateValue* attribute, bool case_sensitive) {
  TemplateValue key = attribute != nullptr && !attribute->is_none() ? in.path(v, *attribute) : v;
  if (!case_sensitive && key.is_string() && in.charge(key.string().size() * 8))
    key = TemplateValue::of(py_lower(key.string()));
  return key;
}

/// Stable order of `keys`; empty after an error.
std::vector<size_t> order(In& in, const TemplateList& keys, bool reverse) {
  std::vector<size_t> places(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) places[i] = i;
  // After an error less() is false throughout, which is still an order.
  std::stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) {
    return !in.failed() && (reverse ? in.less(keys[b], keys[a]) : in.less(keys[a], keys[b]));
  });
  return places;
}

TemplateValue sort(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "sort", call, {"reverse", "case_sensitive", "attribute"});
  TemplateList items, keys, out;
  if (!p.ok() || !in.iterate(v, &items)) return {};
  for (const TemplateValue& item : items) keys.push_back(sort_key(in, item, p.get(2), p.truth(1, false)));
  if (in.failed()) return {};
  for (const size_t i : order(in, keys, p.truth(0, false))) out.push_back(items[i]);
  return in.failed() ? TemplateValue() : in.list(std::move(out));
}

TemplateValue dictsort(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "dictsort", call, {"case_sensitive", "by", "reverse"});
  const std::string by = p.string(1, "key");
  if (!p.ok()) return {};
  if (!v.is(Kind::dict)) return in.fail("dictsort needs a dict, not a {}", v.type_name());
  if (by != "key" && by != "value") return in.fail("dictsort is by key or by value");
  TemplateList keys, out;
  for (const auto& [key, value] : v.pairs())
    keys.push_back(sort_key(in, by == "key" ? key : value, nullptr, p.truth(0, false)));
  if (in.failed()) return {};
  for (const size_t i : order(in, keys, p.truth(2, false)))
    out.push_back(in.made(TemplateValue::tuple({v.pairs()[i].first, v.pairs()[i].second})));
  return in.failed() ? TemplateValue() : in.list(std::move(out));
}

template <bool highest>
TemplateValue extreme(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, highest ? "max" : "min", call, {"case_sensitive", "attribute"});
  TemplateList items;
  if (!p.ok() || !in.iterate(v, &items)) return {};
  if (items.empty()) return TemplateValue::undefined("an empty sequence has no extreme");
  size_t best = 0;
  TemplateValue best_key = sort_key(in, items[0], p.get(1), p.truth(0, false));
  for (size_t i = 1; i < items.size() && !in.failed(); ++i) {
    const TemplateValue key = sort_key(in, items[i], p.get(1), p.truth(0, false));
    if (highest ? !in.less(best_key, key) : !in.less(key, best_key)) continue;
    best = i;
    best_key = key;
  }
  return items[best];
}

TemplateValue unique(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "unique", call, {"case_sensitive", "attribute"});
  TemplateList items, out, seen;
  if (!p.ok() || !in.iterate(v, &items)) return {};
  for (const TemplateValue& item : items) {
    TemplateValue key = sort_key(in, item, p.get(1), p.truth(0, false));
    const bool known =
        std::any_of(seen.begin(), seen.end(), [&](const TemplateValue& other) { return in.same(key, other); });
    if (in.failed()) return {};
    if (known) continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return in.iterator(std::move(out));
}

TemplateValue reverse(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "reverse", call, {});
  TemplateList items;
  if (!in.iterate(v, &items)) return {};
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return in.iterator(std::move(items));
  std::string out;
  for (const TemplateValue& c : items) out += c.string();
  return in.text(std::move(out));
}

TemplateValue sum(In& in, const TemplateValue& v, const Call& call) {
  TemplateParameters p(in, "sum", call, {"attribute", "start"});
  TemplateList items;
  if (!p.ok() || !in.iterate(v, &items)) return {};
  TemplateValue total = p.get(1) != nullptr ? *p.get(1) : TemplateValue::of(int64_t(0));
  for (const TemplateValue& item : items) {
    total = in.binary("+", total, p.get(0) != nullptr && !p.get(0)->is_none() ? in.path(item, *p.get(0)) : item);
    if (in.failed()) return {};
  }
  return total;
}

struct Row {
  std::string_view name;
  TemplateFilter filter;
};
constexpr Row kRows[] = {
    {"count", length},
    {"dictsort", dictsort},
    {"first", first},
    {"items", entries},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", to_list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

TemplateFilter find_sequence_filter(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.filter;
  }
  return nullptr;
}

}  // namespace vibee
