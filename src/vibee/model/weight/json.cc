// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

using Kind = JsonValue::Kind;

/// Events of the parser into values. Values under construction stand in a stack of their own, so that nothing recurses.
class Builder {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  // The names are those of nlohmann's SAX interface.
  bool null() { return put({}); }
  bool boolean(bool v) {
    JsonValue j;
    j.kind = Kind::boolean;
    j.boolean = v;
    return put(std::move(j));
  }
  bool number_integer(int64_t v) {
    JsonValue j;
    j.kind = Kind::integer;
    j.integer = v;
    j.number = double(v);
    return put(std::move(j));
  }
  bool number_unsigned(uint64_t v) { return v <= INT64_MAX ? number_integer(int64_t(v)) : number_float(double(v), ""); }
  bool number_float(double v, const std::string&) {
    JsonValue j;
    j.kind = Kind::number;
    j.number = v;
    return put(std::move(j));
  }
  bool string(std::string& v) {
    JsonValue j;
    j.kind = Kind::text;
    j.text = std::move(v);
    return put(std::move(j));
  }
  bool binary(std::vector<uint8_t>&) { return fail("binary"); }
  bool start_object(size_t) { return open(Kind::object); }
  bool start_array(size_t) { return open(Kind::array); }
  bool key(std::string& name) {
    open_.back().names.push_back(std::move(name));
    return count();
  }
  bool end_object() {
    std::vector<std::string_view> sorted(open_.back().names.begin(), open_.back().names.end());
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) return fail(fmt::format("key {} stands twice", quote(*twice)));
    return end_array();
  }
  bool end_array() {
    JsonValue done = std::move(open_.back());
    open_.pop_back();
    done.items.shrink_to_fit();
    return attach(std::move(done));
  }
  bool parse_error(size_t position, const std::string& token, const nlohmann::json::exception&) {
    return fail(fmt::format("not JSON at byte {}, near {}", position, quote(token, 40)));
  }

  JsonValue take() { return std::move(root_); }
  const std::string& failure() const { return failure_; }

 private:
  bool fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
    return false;
  }
  bool count() { return ++count_ <= limits_.values || fail(fmt::format("more than {} values", limits_.values)); }
  bool put(JsonValue value) { return count() && attach(std::move(value)); }
  bool attach(JsonValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }
  bool open(Kind kind) {
    if (open_.size() >= limits_.depth) return fail(fmt::format("nested deeper than {}", limits_.depth));
    open_.emplace_back().kind = kind;
    return count();
  }

  const JsonLimits& limits_;
  std::vector<JsonValue> open_;
  JsonValue root_;
  uint64_t count_ = 0;
  std::string failure_;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view name) const {
  if (kind != Kind::object) return nullptr;
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) return nullptr;
  const JsonValue& found = items[size_t(at - names.begin())];
  return found.is(Kind::null) ? nullptr : &found;
}

std::string JsonValue::describe() const {
  switch (kind) {
    case Kind::null: return "null";
    case Kind::boolean: return boolean ? "true" : "false";
    case Kind::integer: return fmt::format("{}", integer);
    case Kind::number: return fmt::format("{}", number);
    case Kind::text: return quote(text);
    case Kind::array: return fmt::format("an array of {}", items.size());
    default: return fmt::format("an object of {} keys", items.size());
  }
}

Result<JsonValue> parse_json(std::string_view text, const JsonLimits& limits) {
  Builder builder(limits);
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return builder.take();
  return Status(Code::corrupt, builder.failure());
}

}  // namespace vibee
