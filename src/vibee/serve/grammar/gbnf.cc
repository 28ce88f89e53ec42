// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/utf8.h"
#include "vibee/serve/grammar/char_set.h"

namespace vibee {
namespace {

constexpr uint32_t kMaxNesting = 32, kMaxCalls = 100, kMaxCount = 100'000;  // what recursion goes through
constexpr size_t kMaxText = 1 << 20;

/// A part of a rule's body.
struct Part {
  enum Kind : uint8_t { characters, call, sequence, choice, repetition };
  Kind kind;
  Re expression = Regular::kEmpty;  ///< characters
  uint32_t rule = 0;                ///< call
  uint32_t least = 0, most = 0;     ///< repetition
  std::vector<Part> parts = {};
};

struct Definition {
  std::string name;
  size_t line = 0;  ///< where it is defined, or first called
  std::optional<Part> body;
};

class Parser {
 public:
  Parser(std::string_view text, Regular& regular) : text_(text), regular_(regular) {}

  Result<std::vector<Definition>> grammar() {
    if (text_.size() > kMaxText) return unsupported("a grammar of more than 1 MiB");
    space(true);
    while (more()) {
      const size_t line = line_;
      VIBEE_ASSIGN(const std::string name, rule_name());
      space(false);
      if (!take("::=")) return expected("::=");
      space(true);
      const uint32_t rule = number_of(name);
      if (definitions_[rule].body) return invalid(fmt::format("the rule {} is defined twice", quote(name)));
      rule_ = rule;
      VIBEE_ASSIGN(Part body, choice(false));
      definitions_[rule].line = line;
      definitions_[rule].body = std::move(body);
      if (more() && next() != '\n' && next() != '\r') return expected("the end of the rule");
      space(true);
    }
    for (const Definition& d : definitions_)
      if (!d.body) return error(Code::invalid, "line {}: the rule {} is not defined", d.line, quote(d.name));
    if (!numbers_.contains("root")) return invalid("there is no rule \"root\"");
    return std::move(definitions_);
  }
  uint32_t root() const { return numbers_.at("root"); }

 private:
  bool more() const { return at_ < text_.size(); }
  char next() const { return more() ? text_[at_] : '\0'; }
  bool take(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
  }
  static bool in_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  }
  /// Skips blanks and comments, and ends of lines where the rule goes on behind them.
  void space(bool lines) {
    for (; more(); ++at_) {
      if (next() == '#') {
        while (more() && next() != '\n') ++at_;
        if (!more()) return;
      }
      if (next() == '\n' || next() == '\r') {
        if (!lines) return;
        line_ += next() == '\n';
      } else if (next() != ' ' && next() != '\t') {
        return;
      }
    }
  }
  Status invalid(std::string_view what) const { return error(Code::invalid, "line {}{}: {}", line_, in_rule(), what); }
  Status unsupported(std::string_view what) const {
    return error(Code::unsupported, "line {}{}: {} is not supported", line_, in_rule(), what);
  }
  Status expected(std::string_view what) const {
    return invalid(fmt::format("expected {} before {}", what, more() ? quote(text_.substr(at_, 1)) : "the end"));
  }
  std::string in_rule() const { return rule_ ? fmt::format(", rule {}", quote(definitions_[*rule_].name)) : ""; }

  Result<std::string> rule_name() {
    const size_t begin = at_;
    while (more() && in_name(next())) ++at_;
    if (at_ == begin) return expected("the name of a rule");
    return std::string(text_.substr(begin, at_ - begin));
  }
  uint32_t number_of(const std::string& name) {
    const auto [at, fresh] = numbers_.emplace(name, uint32_t(definitions_.size()));
    if (fresh) definitions_.push_back({name, line_, {}});
    return at->second;
  }

  Result<Part> choice(bool nested) {
    Part out{Part::choice};
    do {
      space(true);
      VIBEE_ASSIGN(Part branch, sequence(nested));
      out.parts.push_back(std::move(branch));
    } while (take("|"));
    if (out.parts.size() == 1) return std::move(out.parts[0]);
    return out;
  }

  Result<Part> sequence(bool nested) {
    Part out{Part::sequence};
    for (space(nested); more(); space(nested)) {
      const char c = next();
      if (c == '|' || c == ')' || c == '\n' || c == '\r') break;
      VIBEE_ASSIGN(Part part, single());
      VIBEE_TRY(repeat(&part));
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  Result<Part> single() {
    if (take("\"")) {
      std::vector<Re> chars;
      while (!take("\"")) {
        if (!more() || next() == '\n') return expected("a quote");
        VIBEE_ASSIGN(const uint32_t code, character());
        chars.push_back(utf8_char(regular_, {{code, code}}));
      }
      return Part{Part::characters, regular_.sequence(chars)};
    }
    if (take("[")) {
      const bool negated = take("^");
      CharSet set;
      while (!take("]")) {
        if (!more() || next() == '\n') return expected("]");
        VIBEE_ASSIGN(const uint32_t low, character());
        uint32_t high = low;
        if (next() == '-' && text_.substr(at_ + 1, 1) != "]") {
          ++at_;
          if (!more()) return expected("]");
          VIBEE_ASSIGN(high, character());
          if (high < low) return invalid("a range out of order");
        }
        set.add(low, high);
      }
      return Part{Part::characters, utf8_char(regular_, negated ? set.complement() : set)};
    }
    if (take(".")) return Part{Part::characters, utf8_char(regular_, CharSet::all())};
    if (take("(")) {
      if (++nesting_ > kMaxNesting) return unsupported("nesting of more than 32 groups");
      VIBEE_ASSIGN(Part inside, choice(true));
      if (!take(")")) return expected(")");
      --nesting_;
      return inside;
    }
    if (!in_name(next())) return expected("a text, a class, a group or a rule");
    VIBEE_ASSIGN(const std::string name, rule_name());
    Part out{Part::call};
    out.rule = number_of(name);
    return out;
  }

  Result<uint32_t> character() {
    if (!take("\\")) {
      const Utf8Step step = utf8_step(text_.substr(at_));
      if (step.kind != Utf8Step::character) return invalid("not UTF-8");
      at_ += step.length;
      return step.code;
    }
    const char c = next();
    ++at_;
    switch (c) {
      case 'n': return uint32_t('\n');
      case 'r': return uint32_t('\r');
      case 't': return uint32_t('\t');
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^': return uint32_t(c);
      case 'x': return hex(2);
      case 'u': return hex(4);
      case 'U': return hex(8);
      default: return invalid(fmt::format("the escape {} is not known", quote(text_.substr(at_ - 2, 2))));
    }
  }

  Result<uint32_t> hex(size_t digits) {
    uint64_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = next();
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit < 0) return expected("a hexadecimal digit");
      value = value * 16 + uint64_t(digit);
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return invalid("an escape that is no character");
    return uint32_t(value);
  }

  Status repeat(Part* part) {
    for (uint32_t repeats = 0;; ++repeats) {
      uint32_t least = 0, most = Regular::kForever;
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (take("{")) {
        space(false);
        VIBEE_ASSIGN(least, count());
        most = least;
        if (take(",")) {
          space(false);
          most = Regular::kForever;
          if (next() != '}') {
            VIBEE_ASSIGN(most, count());
          }
        }
        if (!take("}")) return expected("}");
        if (least > most) return invalid("counts out of order");
      } else {
        return {};
      }
      if (repeats == 2) return unsupported("more than two repetitions of the same");
      Part out{Part::repetition};
      out.least = least;
      out.most = most;
      out.parts.push_back(std::move(*part));
      *part = std::move(out);
    }
  }

  Result<uint32_t> count() {
    uint32_t value = 0;
    if (next() < '0' || next() > '9') return expected("a number");
    for (; next() >= '0' && next() <= '9'; ++at_) {
      value = value * 10 + uint32_t(next() - '0');
      if (value > kMaxCount) return unsupported("a count above 100000");
    }
    space(false);
    return value;
  }

  std::string_view text_;
  Regular& regular_;
  std::vector<Definition> definitions_;
  std::map<std::string, uint32_t> numbers_;
  std::optional<uint32_t> rule_;
  size_t at_ = 0, line_ = 1;
  uint32_t nesting_ = 0;
};

/// Rules and automata of what was parsed.
class Translation {
 public:
  Translation(const std::vector<Definition>& definitions, Rules& rules)
      : definitions_(definitions), rules_(rules), regular_(definitions.size(), unknown), symbols_(definitions.size()) {
    expressions_.resize(definitions.size());
  }

  Result<Symbol> rule(uint32_t number) {
    VIBEE_TRY(find_regular(number, 0));
    for (uint32_t r = 0; r < definitions_.size(); ++r) {
      VIBEE_TRY(find_regular(r, 0));
      if (regular_[r] == no) symbols_[r] = rules_.add(fmt::format("the rule {}", quote(definitions_[r].name)));
    }
    for (uint32_t r = 0; r < definitions_.size(); ++r) {
      if (regular_[r] != no) continue;
      now_ = r;
      VIBEE_TRY(alternatives(*symbols_[r], *definitions_[r].body));
    }
    now_ = number;
    return call(number);
  }

 private:
  enum Regularity : uint8_t { unknown, open, yes, no };

  /// Whether a rule leads to no circle of calls.
  Status find_regular(uint32_t rule, uint32_t depth) {
    if (regular_[rule] == yes || regular_[rule] == no) return {};
    if (depth > kMaxCalls)
      return error(Code::unsupported, "rules that call one another more than {} deep are not supported", kMaxCalls);
    if (regular_[rule] == open) {
      regular_[rule] = no;
      return {};
    }
    regular_[rule] = open;
    VIBEE_TRY(find_calls(*definitions_[rule].body, depth + 1));
    if (regular_[rule] == open) regular_[rule] = is_regular(*definitions_[rule].body) ? yes : no;
    if (regular_[rule] == yes) expressions_[rule] = expression(*definitions_[rule].body);
    return {};
  }
  Status find_calls(const Part& part, uint32_t depth) {
    if (part.kind == Part::call) VIBEE_TRY(find_regular(part.rule, depth));
    for (const Part& p : part.parts) VIBEE_TRY(find_calls(p, depth));
    return {};
  }
  bool is_regular(const Part& part) const {
    if (part.kind == Part::call) return regular_[part.rule] == yes;
    return std::ranges::all_of(part.parts, [&](const Part& p) { return is_regular(p); });
  }

  Re expression(const Part& part) {
    Regular& regular = rules_.regular;
    std::vector<Re> inside;
    for (const Part& p : part.parts) inside.push_back(expression(p));
    switch (part.kind) {
      case Part::characters: return part.expression;
      case Part::call: return expressions_[part.rule];
      case Part::sequence: return regular.sequence(inside);
      case Part::choice: return regular.any_of(std::move(inside));
      case Part::repetition: break;
    }
    return regular.repeat(inside[0], part.least, part.most);
  }

  Result<Symbol> terminal(Re expression) {
    auto made = rules_.terminal(expression);
    if (!made.ok()) return made.take_status().within(fmt::format("the rule {}", quote(definitions_[now_].name)));
    return made;
  }
  Result<Symbol> call(uint32_t rule) {
    if (regular_[rule] == yes) return terminal(expressions_[rule]);
    return *symbols_[rule];
  }

  /// The alternatives of a rule whose body is `part`; what is regular in a row is one automaton.
  Status alternatives(Symbol rule, const Part& part) {
    if (part.kind != Part::choice) {
      VIBEE_ASSIGN(Rules::Alternative symbols, symbols_of(part));
      return rules_.alternative(rule, std::move(symbols));
    }
    std::vector<Re> regular;
    for (const Part& branch : part.parts) {
      if (is_regular(branch)) {
        regular.push_back(expression(branch));
        continue;
      }
      VIBEE_TRY(alternatives(rule, branch));
    }
    if (regular.empty()) return {};
    VIBEE_ASSIGN(const Symbol symbol, terminal(rules_.regular.any_of(std::move(regular))));
    return rules_.alternative(rule, {symbol});
  }

  Result<Rules::Alternative> symbols_of(const Part& part) {
    Rules::Alternative out;
    if (part.kind != Part::sequence) {
      VIBEE_ASSIGN(const Symbol symbol, symbol_of(part));
      out.push_back(symbol);
      return out;
    }
    std::vector<Re> run;
    const auto flush = [&]() -> Status {
      if (run.empty()) return {};
      VIBEE_ASSIGN(const Symbol symbol, terminal(rules_.regular.sequence(run)));
      out.push_back(symbol);
      run.clear();
      return {};
    };
    for (const Part& p : part.parts) {
      if (is_regular(p)) {
        run.push_back(expression(p));
        continue;
      }
      VIBEE_TRY(flush());
      VIBEE_ASSIGN(const Symbol symbol, symbol_of(p));
      out.push_back(symbol);
    }
    VIBEE_TRY(flush());
    return out;
  }

  Result<Symbol> symbol_of(const Part& part) {
    if (is_regular(part)) return terminal(expression(part));
    if (part.kind == Part::call) return *symbols_[part.rule];
    const std::string name = fmt::format("the rule {}", quote(definitions_[now_].name));
    if (part.kind != Part::repetition) {
      const Symbol inside = rules_.add(name);
      VIBEE_TRY(alternatives(inside, part));
      return inside;
    }
    // {n,m}: n times, then one rule a further time that may also stop, or one that goes round.
    VIBEE_ASSIGN(const Symbol item, symbol_of(part.parts[0]));
    Symbol rest = rules_.add(name);
    VIBEE_TRY(rules_.alternative(rest, {}));
    if (part.most == Regular::kForever) {
      VIBEE_TRY(rules_.alternative(rest, {item, rest}));
    } else {
      for (uint32_t i = part.least; i < part.most; ++i) {
        const Symbol one_more = rules_.add(name);
        VIBEE_TRY(rules_.alternative(one_more, {}));
        VIBEE_TRY(rules_.alternative(one_more, {item, rest}));
        rest = one_more;
      }
    }
    Rules::Alternative symbols(part.least, item);
    symbols.push_back(rest);
    const Symbol out = rules_.add(name);
    VIBEE_TRY(rules_.alternative(out, std::move(symbols)));
    return out;
  }

  const std::vector<Definition>& definitions_;
  Rules& rules_;
  std::vector<Regularity> regular_;
  std::vector<std::optional<Symbol>> symbols_;
  std::vector<Re> expressions_;
  uint32_t now_ = 0;
};

}  // namespace

Result<Symbol> rules_of_gbnf(std::string_view text, Rules& rules) {
  Parser parser(text, rules.regular);
  VIBEE_ASSIGN(const std::vector<Definition> definitions, parser.grammar());
  return Translation(definitions, rules).rule(parser.root());
}

}  // namespace vibee
