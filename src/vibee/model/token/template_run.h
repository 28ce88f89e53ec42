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
  std::vector<std::pair<std::string_view, TemplateValue>> variables;
  bool kept = false;  ///< a macro made here may outlive it
};

struct TemplateCall {
  TemplateList plain;
  std::vector<std::pair<std::string, TemplateValue>> named;
};

class TemplateInterpreter {
 public:
  TemplateInterpreter(TemplateValue context, const TemplateLimits& limits, std::optional<std::time_t> now)
      : context_(std::move(context)), limits_(limits), now_(now) {}

  Result<std::string> run(const TemplateNode& root);

  // What filters, tests and methods work with (template_filters.cc and its siblings).
  template <class... Args>
  TemplateValue fail(fmt::format_string<Args...> format, Args&&... args) {
    fail_text(fmt::format(format, std::forward<Args>(args)...));
    return {};
  }
  bool failed() const { return !status_.ok(); }
  /// Pays for `bytes` about to be made or looked at; false, and an error, when there is no more.
  bool charge(uint64_t bytes);
  TemplateValue text(std::string s) { return charge(s.size()) ? TemplateValue::of(std::move(s)) : TemplateValue(); }
  /// A container just made, unless it is too deep.
  TemplateValue made(TemplateValue container);
  TemplateValue iterator(TemplateList items) { return made(TemplateValue::iterator(std::move(items))); }
  TemplateValue list(TemplateList items) { return made(TemplateValue::list(std::move(items))); }
  /// A dict of these; a key that comes again replaces the value and keeps its place.
  TemplateValue distinct_dict(std::vector<std::pair<TemplateValue, TemplateValue>> pairs);
  /// Python's str(value), paid for.
  std::string shown(const TemplateValue& value);
  /// The same with the characters of HTML escaped, where it is not markup already.
  std::string escaped(const TemplateValue& value);
  /// Text that is markup where `from` is.
  static TemplateValue like(const TemplateValue& from, const TemplateValue& text) {
    return from.is_markup() && text.is_string() ? TemplateValue::markup(std::string(text.string())) : text;
  }
  /// The items that a loop over `value` sees; iterators are emptied.
  bool iterate(const TemplateValue& value, TemplateList* items);
  bool same(const TemplateValue& a, const TemplateValue& b);
  /// a < b for numbers, strings and lists; an error for the rest.
  bool less(const TemplateValue& a, const TemplateValue& b);
  bool contains(const TemplateValue& all, const TemplateValue& one);
  TemplateValue attribute(const TemplateValue& object, const std::string& name);
  TemplateValue item(const TemplateValue& object, const TemplateValue& key);
  /// "a.b.0": what filters take as attribute=.
  TemplateValue path(const TemplateValue& object, const TemplateValue& attribute);
  TemplateValue binary(std::string_view op, const TemplateValue& a, const TemplateValue& b);
  TemplateValue call(const TemplateValue& callee, TemplateCall& arguments);
  TemplateValue filter(const std::string& name, const TemplateValue& input, const TemplateCall& arguments);
  bool test(const std::string& name, const TemplateValue& input, const TemplateCall& arguments);
  std::string json(const TemplateValue& value, int64_t indent, bool ascii, std::string_view item_separator,
                   std::string_view key_separator, bool sort_keys);

 private:
  enum class Flow { normal, broke, continued };
  class Enter;

  void fail_text(const std::string& what);

  // Statements (template_run.cc).
  Flow execute(const TemplateNode& node);
  Flow execute(const std::vector<TemplateNodePtr>& body);
  Flow loop(const TemplateNode& node);
  void assign(const TemplateNode& target, const TemplateValue& value);
  void set(std::string_view name, const TemplateValue& value);
  void emit(std::string_view bytes);
  std::string captured(const std::vector<TemplateNodePtr>& body);
  void open_scope(TemplateScope* parent);
  void close_scope();
  void keep_scopes();
  TemplateValue call_macro(const TemplateValue& macro, TemplateCall& arguments);

  // Expressions (template_eval.cc).
  TemplateValue evaluate(const TemplateNode& node);
  TemplateValue evaluate_now(const TemplateNode& node);
  TemplateValue lookup(const std::string& name);
  bool arguments(const TemplateNode& node, TemplateCall* out);
  TemplateValue sliced(const TemplateValue& object, const TemplateNode& slice);
  TemplateValue compared(const TemplateNode& node);
  TemplateValue dict_of(const TemplateNode& node);

  // Functions and methods (template_methods.cc).
  TemplateValue call_function(const std::string& name, const TemplateCall& arguments);
  TemplateValue call_method(const TemplateValue& self, const std::string& name, const TemplateCall& arguments);
  TemplateValue string_method(const std::string& self, const std::string& name, const TemplateCall& arguments);
  TemplateValue braces(const TemplateValue& self, const TemplateCall& call);

  TemplateValue context_;
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
  const TemplateValue* get(size_t i) const { return values_[i]; }
  bool ok() const { return ok_; }
  int64_t integer(size_t i, int64_t fallback);
  bool truth(size_t i, bool fallback) const { return values_[i] == nullptr ? fallback : values_[i]->truthy(); }
  std::string string(size_t i, std::string_view fallback);

 private:
  TemplateInterpreter& in_;
  std::vector<const TemplateValue*> values_;
  bool ok_ = true;
};

/// Methods that objects of a kind have, whether called or not.
bool has_method(const TemplateValue& object, std::string_view name);
bool is_function_name(std::string_view name);

using TemplateFilter = TemplateValue (*)(TemplateInterpreter&, const TemplateValue&, const TemplateCall&);
/// nullptr when this file's family has no such filter.
TemplateFilter find_text_filter(std::string_view name);
TemplateFilter find_sequence_filter(std::string_view name);

}  // namespace vibee
