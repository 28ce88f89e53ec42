// SPDX-License-Identifier: Apache-2.0
// Runs a parsed chat template over a context, within limits: steps, bytes made, bytes written, depth of calls. The
// first error sticks: from then on every operation gives undefined, every loop ends, and run() returns it.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vibee/model/token/template_parser.h"
#include "vibee/model/token/template_value.h"

namespace vibee {

struct TemplateLimits {
  uint64_t steps = 5'000'000;
  uint64_t made_bytes = uint64_t(256) << 20;  ///< of all values made, freed ones included
  uint64_t output_bytes = uint64_t(64) << 20;
  uint32_t depth = 150;  ///< of expressions, statements and macro calls inside one another
};

struct TemplateScope {
  TemplateScope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;
  bool kept = false;  ///< a macro made here may outlive it
};

struct TemplateCall {
  ValueList plain;
  std::vector<std::pair<std::string, Value>> named;
};

class TemplateInterpreter {
 public:
  TemplateInterpreter(Value context, const TemplateLimits& limits, std::optional<std::time_t> now)
      : context_(std::move(context)), limits_(limits), now_(now) {}

  Result<std::string> run(const TemplateNode& root);

  // What filters, tests and methods work with (template_filters.cc and its siblings).
  template <class... Args>
  Value fail(fmt::format_string<Args...> format, Args&&... args) {
    fail_text(fmt::format(format, std::forward<Args>(args)...));
    return {};
  }
  bool failed() const { return !status_.ok(); }
  /// Pays for `bytes` about to be made or looked at; false, and an error, when there is no more.
  bool charge(uint64_t bytes);
  Value text(std::string s) { return charge(s.size()) ? Value::of(std::move(s)) : Value(); }
  /// A container just made, unless it is too deep.
  Value made(Value container);
  Value iterator(ValueList items) { return made(Value::iterator(std::move(items))); }
  Value list(ValueList items) { return made(Value::list(std::move(items))); }
  /// A dict of these; a key that comes again replaces the value and keeps its place.
  Value distinct_dict(std::vector<std::pair<Value, Value>> pairs);
  /// Python's str(value), paid for.
  std::string shown(const Value& value);
  /// The same with the characters of HTML escaped, where it is not markup already.
  std::string escaped(const Value& value);
  /// Text that is markup where `from` is.
  static Value like(const Value& from, Value text) {
    return from.is_markup() && text.is_string() ? Value::markup(std::string(text.string())) : text;
  }
  /// The items that a loop over `value` sees; iterators are emptied.
  bool iterate(const Value& value, ValueList* items);
  bool same(const Value& a, const Value& b);
  /// a < b for numbers, strings and lists; an error for the rest.
  bool less(const Value& a, const Value& b);
  bool contains(const Value& all, const Value& one);
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  /// "a.b.0": what filters take as attribute=.
  Value path(const Value& object, const Value& attribute);
  Value binary(std::string_view op, const Value& a, const Value& b);
  Value call(const Value& callee, TemplateCall& arguments);
  Value filter(const std::string& name, const Value& input, const TemplateCall& arguments);
  bool test(const std::string& name, const Value& input, const TemplateCall& arguments);
  std::string json(const Value& value, int64_t indent, bool ascii, std::string_view item_separator,
                   std::string_view key_separator, bool sort_keys);

 private:
  enum class Flow { normal, broke, continued };
  class Enter;

  void fail_text(const std::string& what);

  // Statements (template_run.cc).
  Flow execute(const TemplateNode& node);
  Flow execute(const std::vector<TemplateNodePtr>& body);
  Flow loop(const TemplateNode& node);
  void assign(const TemplateNode& target, const Value& value);
  void set(std::string_view name, const Value& value);
  void emit(std::string_view bytes);
  std::string captured(const std::vector<TemplateNodePtr>& body);
  void open_scope(TemplateScope* parent);
  void close_scope();
  void keep_scopes();
  Value call_macro(const Value& macro, TemplateCall& arguments);

  // Expressions (template_eval.cc).
  Value evaluate(const TemplateNode& node);
  Value evaluate_now(const TemplateNode& node);
  Value lookup(const std::string& name);
  bool arguments(const TemplateNode& node, TemplateCall* out);
  Value sliced(const Value& object, const TemplateNode& slice);
  Value compared(const TemplateNode& node);
  Value dict_of(const TemplateNode& node);

  // Functions and methods (template_methods.cc).
  Value call_function(const std::string& name, const TemplateCall& arguments);
  Value call_method(const Value& self, const std::string& name, const TemplateCall& arguments);
  Value string_method(const std::string& self, const std::string& name, const TemplateCall& arguments);
  Value braces(const Value& self, const TemplateCall& call);

  Value context_;
  TemplateLimits limits_;
  std::optional<std::time_t> now_;
  Status status_;
  const TemplateNode* at_ = nullptr;  // for the place in an error
  uint64_t steps_ = 0, made_ = 0, written_ = 0;
  uint32_t depth_ = 0;
  std::string* out_ = nullptr;
  std::unique_ptr<TemplateScope> scope_owner_;  // of the innermost scope; outer ones wait in open_
  TemplateScope* scope_ = nullptr;
  std::vector<std::pair<std::unique_ptr<TemplateScope>, TemplateScope*>> open_;
  std::vector<std::unique_ptr<TemplateScope>> kept_;
  std::vector<std::unique_ptr<TemplateNamespace>> spaces_;
};

/// The arguments of a filter, test or method by position or name; complains about any that it does not have.
class TemplateParameters {
 public:
  TemplateParameters(TemplateInterpreter& in, const std::string& what, const TemplateCall& call,
                     std::initializer_list<std::string_view> names);
  /// nullptr when not given.
  const Value* get(size_t i) const { return values_[i]; }
  bool ok() const { return ok_; }
  int64_t integer(size_t i, int64_t fallback);
  bool truth(size_t i, bool fallback) const { return values_[i] == nullptr ? fallback : values_[i]->truthy(); }
  std::string string(size_t i, std::string_view fallback);

 private:
  TemplateInterpreter& in_;
  std::vector<const Value*> values_;
  bool ok_ = true;
};

/// Methods that objects of a kind have, whether called or not.
bool has_method(const Value& object, std::string_view name);
bool is_function_name(std::string_view name);

using TemplateFilter = Value (*)(TemplateInterpreter&, const Value&, const TemplateCall&);
/// nullptr when this file's family has no such filter.
TemplateFilter find_text_filter(std::string_view name);
TemplateFilter find_sequence_filter(std::string_view name);

}  // namespace vibee
