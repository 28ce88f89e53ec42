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
class Value;

using ValueList = std::vector<Value>;

class Value {
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

  Value() = default;  // undefined
  /// Undefined, with what to say about it when it is used.
  static Value undefined(std::string what);
  static Value none();
  static Value of(bool b);
  static Value of(int64_t i);
  static Value of(double d);
  static Value of(std::string s);
  /// Text that `safe` or `escape` made (Python's Markup): adding other text to it escapes that for HTML.
  static Value markup(std::string s);
  static Value list(ValueList items);
  static Value tuple(ValueList items);
  static Value dict(std::vector<std::pair<Value, Value>> items);
  /// What Python's generators are to a template: true, without length, gone once read.
  static Value iterator(ValueList items);
  static Value space(TemplateNamespace* s);
  static Value macro(const TemplateNode* node, TemplateScope* scope);
  static Value method(Value self, std::string name);
  static Value function(std::string name);
  static Value loop(std::shared_ptr<TemplateLoop> state);

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
  const ValueList& items() const;  ///< of a list or tuple
  const std::vector<std::pair<Value, Value>>& pairs() const;
  ValueList take() const;  ///< what is left of an iterator, which then is empty
  Value take_one() const;  ///< the next item of an iterator, or undefined
  TemplateNamespace* space() const { return space_; }
  const TemplateNode* macro_node() const { return macro_; }
  TemplateScope* macro_scope() const { return scope_; }
  const Value& method_self() const;
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
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

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
  std::vector<std::pair<std::string, Value>> values;
};

/// The variable `loop`.
struct TemplateLoop {
  ValueList items;
  size_t index = 0;
  uint32_t inner_depth = 0;  ///< Value::depth() of the deepest item
};

constexpr uint32_t kMaxValueDepth = 64;

/// Python's ==.
bool equal(const Value& a, const Value& b);
/// Whether a value can be a key of a dict: strings, numbers, booleans, none.
bool is_key(const Value& value);
/// Python's str() and repr(); an undefined value is empty.
std::string to_text(const Value& value);
std::string to_repr(const Value& value);

}  // namespace vibee
