// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/regex_syntax.h"

#include <algorithm>
#include <optional>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr uint32_t kMaxNesting = 64, kMaxCount = 100'000;
constexpr size_t kMaxPattern = 65'536;

const CharSet& digits() {
  static const CharSet set{{'0', '9'}};
  return set;
}
const CharSet& word() {
  static const CharSet set{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return set;
}
const CharSet& spaces() {
  static const CharSet set{{'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
                           {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
  return set;
}
const CharSet& line_ends() {
  static const CharSet set{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
  return set;
}

class Parser {
 public:
  Parser(Regular& regular, std::string_view text, CharWriter write, bool search)
      : regular_(regular), text_(text), write_(write), search_(search) {}

  Result<Re> whole() {
    if (text_.size() > kMaxPattern) return unsupported("a pattern of more than 64 KiB");
    const Re any = search_ ? regular_.repeat(write_(regular_, CharSet::all()), 0, Regular::kForever) : Regular::kEmpty;
    std::vector<Re> branches;
    do {
      std::vector<Re> parts;
      if (!take('^')) parts.push_back(any);
      VIBEE_TRY(branch(&parts));
      if (!take('$')) parts.push_back(any);
      branches.push_back(regular_.sequence(parts));
    } while (take('|'));
    if (at_ < text_.size()) return unexpected();
    return regular_.any_of(std::move(branches));
  }

 private:
  bool more() const { return at_ < text_.size(); }
  char next() const { return more() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
  }
  Status invalid(std::string_view what) const { return error(Code::invalid, "pattern, byte {}: {}", at_, what); }
  Status unsupported(std::string_view what) const {
    return error(Code::unsupported, "pattern, byte {}: {} is not supported", at_, what);
  }
  Status unexpected() const {
    if (!more()) return invalid("ends too early");
    if (next() == '^' || next() == '$') return unsupported("an anchor inside an alternative");
    return invalid(fmt::format("{} is out of place", quote(text_.substr(at_, 1))));
  }

  Result<Re> alternatives() {
    std::vector<Re> branches;
    do {
      std::vector<Re> parts;
      VIBEE_TRY(branch(&parts));
      branches.push_back(regular_.sequence(parts));
    } while (take('|'));
    return regular_.any_of(std::move(branches));
  }

  Status branch(std::vector<Re>* parts) {
    while (more() && next() != '|' && next() != ')' && next() != '$') {
      VIBEE_ASSIGN(Re part, atom());
      VIBEE_TRY(quantify(&part));
      parts->push_back(part);
    }
    return {};
  }

  Result<Re> atom() {
    if (take('(')) {
      if (++nesting_ > kMaxNesting) return unsupported("nesting of more than 64 groups");
      if (take("?:")) {
      } else if (take("?=") || take("?!") || take("?<=") || take("?<!")) {
        return unsupported("lookaround");
      } else if (take("?<")) {
        while (more() && next() != '>') ++at_;
        if (!take('>')) return unexpected();
      } else if (next() == '?') {
        return unexpected();
      }
      VIBEE_ASSIGN(const Re inside, alternatives());
      if (!take(')')) return unexpected();
      --nesting_;
      return inside;
    }
    if (take('[')) return char_class();
    if (take('.')) return write_(regular_, line_ends().complement());
    if (next() == '\\') {
      CharSet set;
      VIBEE_TRY(escape(false, &set).take_status());
      return write_(regular_, set);
    }
    if (std::string_view("*+?^]{}").find(next()) != std::string_view::npos) {
      if (next() != ']' && next() != '}') return unexpected();  // those two stand for themselves outside of the flag u
    }
    VIBEE_ASSIGN(const uint32_t code, character());
    return write_(regular_, {{code, code}});
  }

  Result<uint32_t> character() {
    const Utf8Step step = utf8_step(text_.substr(at_));
    if (step.kind != Utf8Step::character) return invalid("not UTF-8");
    at_ += step.length;
    return step.code;
  }

  Status quantify(Re* part) {
    uint32_t least = 0, most = Regular::kForever;
    if (take('*')) {
    } else if (take('+')) {
      least = 1;
    } else if (take('?')) {
      most = 1;
    } else if (take('{')) {
      VIBEE_ASSIGN(least, count());
      most = least;
      if (take(',')) {
        most = Regular::kForever;
        if (next() != '}') {
          VIBEE_ASSIGN(most, count());
        }
      }
      if (!take('}')) return unexpected();
      if (least > most) return invalid("counts out of order");
    } else {
      return {};
    }
    take('?');  // lazy
    if (more() && std::string_view("*+?{").find(next()) != std::string_view::npos) return unexpected();
    *part = regular_.repeat(*part, least, most);
    return {};
  }

  Result<uint32_t> count() {
    uint32_t value = 0;
    if (next() < '0' || next() > '9') return unexpected();
    while (next() >= '0' && next() <= '9') {
      value = value * 10 + uint32_t(next() - '0');
      if (value > kMaxCount) return unsupported("a count above 100000");
      ++at_;
    }
    return value;
  }

  Result<uint32_t> hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = next();
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit < 0) return invalid("expected a hexadecimal digit");
      value = value * 16 + uint32_t(digit);
    }
    return value;
  }

  /// Adds what an escape names; the code point when it is a single one.
  Result<std::optional<uint32_t>> escape(bool in_class, CharSet* set) {
    ++at_;
    const char c = next();
    const auto one = [&](uint32_t code) -> Result<std::optional<uint32_t>> {
      set->add(code, code);
      return std::optional(code);
    };
    const auto several = [&](const CharSet& chars) -> Result<std::optional<uint32_t>> {
      set->add(chars);
      return std::optional<uint32_t>();
    };
    if (c >= '1' && c <= '9') return unsupported("a back reference");
    if (!more()) return unexpected();
    ++at_;
    switch (c) {
      case 'd': return several(digits());
      case 'D': return several(digits().complement());
      case 'w': return several(word());
      case 'W': return several(word().complement());
      case 's': return several(spaces());
      case 'S': return several(spaces().complement());
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'v': return one('\v');
      case 'f': return one('\f');
      case 'r': return one('\r');
      case '0': return one(0);
      case 'b':
        if (in_class) return one('\b');
        [[fallthrough]];
      case 'B': return unsupported("a word boundary");
      case 'k': return unsupported("a back reference");
      case 'p':
      case 'P': return unsupported("a Unicode property");
      case 'c':
        if ((next() | 32) < 'a' || (next() | 32) > 'z') return unexpected();
        return one(uint32_t(text_[at_++]) & 31);
      case 'x': {
        VIBEE_ASSIGN(const uint32_t code, hex(2));
        return one(code);
      }
      case 'u': {
        uint32_t code = 0;
        if (take('{')) {
          while (more() && next() != '}') {
            VIBEE_ASSIGN(const uint32_t digit, hex(1));
            code = code * 16 + digit;
            if (code > 0x10ffff) return invalid("a code point above 10FFFF");
          }
          if (!take('}')) return unexpected();
        } else {
          VIBEE_ASSIGN(code, hex(4));
          if (code >= 0xd800 && code < 0xdc00 && take("\\u")) {
            VIBEE_ASSIGN(const uint32_t low, hex(4));
            if (low < 0xdc00 || low > 0xdfff) return invalid("a lone surrogate");
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          }
          if (code >= 0xd800 && code <= 0xdfff) return invalid("a lone surrogate");
        }
        return one(code);
      }
      default: break;
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
      return unsupported(fmt::format("the escape {}", quote(text_.substr(at_ - 2, 2))));
    --at_;
    VIBEE_ASSIGN(const uint32_t code, character());
    return one(code);
  }

  Result<Re> char_class() {
    const bool negated = take('^');
    CharSet set;
    while (!take(']')) {
      if (!more()) return unexpected();
      std::optional<uint32_t> low;
      VIBEE_ASSIGN(low, member(&set));
      if (next() != '-' || at_ + 1 >= text_.size() || text_[at_ + 1] == ']') continue;
      if (!low) return invalid("a range from a class");
      ++at_;
      std::optional<uint32_t> high;
      VIBEE_ASSIGN(high, member(&set));
      if (!high) return invalid("a range to a class");
      if (*low > *high) return invalid("a range out of order");
      set.add(*low, *high);
    }
    return write_(regular_, negated ? set.complement() : set);
  }

  Result<std::optional<uint32_t>> member(CharSet* set) {
    if (next() == '\\') return escape(true, set);
    VIBEE_ASSIGN(const uint32_t code, character());
    set->add(code, code);
    return std::optional(code);
  }

  Regular& regular_;
  std::string_view text_;
  CharWriter write_;
  bool search_;
  size_t at_ = 0;
  uint32_t nesting_ = 0;
};

}  // namespace

Result<Re> parse_regex(Regular& regular, std::string_view pattern, CharWriter write, bool search) {
  return Parser(regular, pattern, write, search).whole();
}

}  // namespace vibee
