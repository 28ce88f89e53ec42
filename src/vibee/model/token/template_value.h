// SPDX-License-Identifier: Apache-2.0
// Values of the template language: Python's, as far as a template can tell. All are immutable but namespaces and
// iterators, and containers know their depth, so that no value is too deep to print, compare or free.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vibee {

struct TemplateNode;
struct TemplateScope;
struct TemplateNamespace;
struct TemplateLoop;
class TemplateValue;

using TemplateList = std::vector<TemplateValue>;

class TemplateValue {
 public:
  enum class Kind : uint8_t {
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    list,
    tuple,
    dict,
    iterator,
    space,
    macro,
    method,
    function,
    loop
  };

  TemplateValue() = default;  // undefined
  /// Undefined, with what to say about it when it is used.
  static TemplateValue undefined(std::string what);
  static TemplateValue none();
  static TemplateValue of(bool b);
  static TemplateValue of(int64_t i);
  static TemplateValue of(double d);
  static TemplateValue of(std::string s);
  /// Text that `safe` or `escape` made (Python's Markup): adding other text to it escapes that for HTML.
  static TemplateValue markup(std::string s);
  static TemplateValue list(TemplateList items);
  static TemplateValue tuple(TemplateList items);
  static TemplateValue dict(std::vector<std::pair<TemplateValue, TemplateValue>> items);
  /// What Python's generators are to a template: true, without length, gone once read.
  static TemplateValue iterator(TemplateList items);
  static TemplateValue space(TemplateNamespace* s);
  static TemplateValue macro(const TemplateNode* node, TemplateScope* scope);
  static TemplateValue method(TemplateValue self, std::string name);
  static TemplateValue function(std::string name);
  static TemplateValue loop(std::shared_ptr<TemplateLoop> state);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_none() const { return kind_ == Kind::none; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_markup() const { return kind_ == Kind::string && integer_ != 0; }
  bool is_sequence() const { return kind_ == Kind::list || kind_ == Kind::tuple; }
  /// bool counts as an integer, as in Python.
  bool is_integer() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_integer() || kind_ == Kind::real; }

  int64_t integer() const { return integer_; }
  double real() const { return kind_ == Kind::real ? real_ : double(integer_); }
  const std::string& string() const { return *static_cast<const std::string*>(object_.get()); }
  const TemplateList& items() const;  ///< of a list or tuple
  const std::vector<std::pair<TemplateValue, TemplateValue>>& pairs() const;
  TemplateList take() const;       ///< what is left of an iterator, which then is empty
  TemplateValue take_one() const;  ///< the next item of an iterator, or undefined
  TemplateNamespace* space() const { return space_; }
  const TemplateNode* macro_node() const { return macro_; }
  TemplateScope* macro_scope() const { return scope_; }
  const TemplateValue& method_self() const;
  const std::string& name() const;  ///< of a method or function; of an undefined value what it says
  TemplateLoop& loop() const { return *static_cast<TemplateLoop*>(const_cast<void*>(object_.get())); }

  /// Nesting of containers: 0 for a scalar.
  uint32_t depth() const;
  /// About the bytes of text it would take: what printing or comparing it costs. Kept with each container, because a
  /// value that holds another one twice, and so on, is small in memory and huge in print.
  uint64_t weight() const;
  bool truthy() const;
  const char* type_name() const;
  /// The value of a key, or nullptr; only on a dict.
  const TemplateValue* find(const TemplateValue& key) const;
  const TemplateValue* find(std::string_view key) const;

 private:
  Kind kind_ = Kind::undefined;
  union {
    int64_t integer_ = 0;
    double real_;
    TemplateNamespace* space_;
    const TemplateNode* macro_;
  };
  TemplateScope* scope_ = nullptr;
  std::shared_ptr<const void> object_;
};

struct TemplateNamespace {
  std::vector<std::pair<std::string, TemplateValue>> values;
};

/// The variable `loop`.
struct TemplateLoop {
  TemplateList items;
  size_t index = 0;
  uint32_t inner_depth = 0;  ///< TemplateValue::depth() of the deepest item
};

constexpr uint32_t kMaxValueDepth = 64;

/// Python's ==.
bool equal(const TemplateValue& a, const TemplateValue& b);
/// Whether a value can be a key of a dict: strings, numbers, booleans, none.
bool is_key(const TemplateValue& value);
/// Python's str() and repr(); an undefined value is empty.
std::string to_text(const TemplateValue& value);
std::string to_repr(const TemplateValue& value);

}  // namespace vibee
