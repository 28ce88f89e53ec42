// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/template_lexer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || uint8_t(c) >= 0x80; }

/// All line ends as \n, and one at the very end gone, as Jinja reads its sources.
std::string unify_lines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), all_(source_) {}

  Result<std::vector<TemplateToken>> run() {
    while (at_ < all_.size()) {
      const size_t tag = next_tag(at_);
      std::string_view text = all_.substr(at_, tag - at_);
      if (tag >= all_.size()) {
        emit_text(text);
        break;
      }
      const char kind = all_[tag + 1];
      size_t inside = tag + 2;
      const char sign = inside < all_.size() && (all_[inside] == '-' || all_[inside] == '+') ? all_[inside] : 0;
      if (sign != 0) ++inside;
      emit_text(strip_before(text, sign, kind != '{', line_starting_));
      tag_ = tag;
      if (kind == '#') {
        VIBEE_TRY(comment(inside));
      } else if (const size_t body = kind == '%' ? word_tag(inside, "raw", false) : std::string_view::npos;
                 body != std::string_view::npos) {
        VIBEE_TRY(raw(body));
      } else {
        VIBEE_TRY(words(inside, kind == '%'));
      }
    }
    at_ = all_.size();
    push(TemplateToken::end, at_);
    return std::move(tokens_);
  }

 private:
  size_t next_tag(size_t from) const {
    for (size_t i = all_.find('{', from); i != std::string_view::npos && i + 1 < all_.size();
         i = all_.find('{', i + 1)) {
      if (all_[i + 1] == '{' || all_[i + 1] == '%' || all_[i + 1] == '#') return i;
    }
    return all_.size();
  }

  /// `block`: a tag whose line's leading white space goes with it.
  static std::string_view strip_before(std::string_view text, char sign, bool block, bool line_starting) {
    if (sign == '-') return py_strip(text, false, true);
    if (sign == '+' || !block) return text;
    const size_t line = text.rfind('\n') + 1;  // npos + 1 == 0
    if (line == 0 && !line_starting) return text;
    return py_strip(text.substr(line), true, false).empty() ? text.substr(0, line) : text;
  }

  /// Past a tag's end at `end` (of its two closing characters), with what white space its sign takes along.
  void leave_tag(size_t end, char sign, bool block) {
    if (sign == '-') {
      end = all_.size() - py_strip(all_.substr(end), true, false).size();
    } else if (sign != '+' && block && end < all_.size() && all_[end] == '\n') {
      ++end;
    }
    line_starting_ = all_[end - 1] == '\n';
    at_ = end;
  }

  Status comment(size_t from) {
    const size_t close = all_.find("#}", from);
    if (close == std::string_view::npos) return fail(tag_, "a comment is not closed: add #}}");
    leave_tag(close + 2, close > from ? all_[close - 1] : 0, true);
    return {};
  }

  /// Past `{%- word -%}` whose inside begins at `from`, or npos; sets line_starting_ and at_ only for the end of a raw
  /// block.
  size_t word_tag(size_t from, std::string_view word, bool closing) {
    const auto skip = [&](size_t i) { return all_.size() - py_strip(all_.substr(i), true, false).size(); };
    size_t i = skip(from);
    if (all_.substr(i, word.size()) != word) return std::string_view::npos;
    i = skip(i + word.size());
    char sign = i < all_.size() && (all_[i] == '-' || (closing && all_[i] == '+')) ? all_[i] : 0;
    if (sign != 0) ++i;
    if (all_.substr(i, 2) != "%}") return std::string_view::npos;
    leave_tag(i + 2, sign, closing);  // the begin of a raw block keeps the line end behind it
    return at_;
  }

  Status raw(size_t from) {
    const bool starting = line_starting_;
    for (size_t i = all_.find("{%", from); i != std::string_view::npos; i = all_.find("{%", i + 1)) {
      size_t inside = i + 2;
      const char sign = inside < all_.size() && (all_[inside] == '-' || all_[inside] == '+') ? all_[inside] : 0;
      if (word_tag(inside + (sign != 0), "endraw", true) == std::string_view::npos) continue;
      const std::string_view text = strip_before(all_.substr(from, i - from), sign, true, starting);
      const size_t after = std::exchange(at_, from);
      emit_text(text);
      at_ = after;
      return {};
    }
    return fail(tag_, "a raw block is not closed: add {{% endraw %}}");
  }

  Status words(size_t from, bool block) {
    push(block ? TemplateToken::block_begin : TemplateToken::print_begin, tag_);
    const std::string_view closer = block ? "%}" : "}}";
    std::string open;  // brackets not yet closed
    size_t i = from;
    for (;;) {
      while (i < all_.size()) {
        const Utf8Step step = utf8_step(all_.substr(i));
        if (step.kind != Utf8Step::character || !py_is_space(step.code)) break;
        i += step.length;
      }
      if (i >= all_.size()) return fail(tag_, "a tag is not closed: add {}", closer);
      const bool sign = (all_[i] == '-' || (block && all_[i] == '+')) && all_.substr(i + 1, 2) == closer;
      if (open.empty() && (sign || all_.substr(i, 2) == closer)) {
        push(block ? TemplateToken::block_end : TemplateToken::print_end, i);
        leave_tag(i + (sign ? 3 : 2), sign ? all_[i] : 0, block);
        return {};
      }
      if (is_digit(all_[i])) {
        VIBEE_TRY(number(&i));
      } else if (starts_name(all_[i])) {
        size_t end = i;
        while (end < all_.size() && (starts_name(all_[end]) || is_digit(all_[end]))) ++end;
        push(TemplateToken::name, i).value = all_.substr(i, end - i);
        i = end;
      } else if (all_[i] == '\'' || all_[i] == '"') {
        VIBEE_TRY(quoted(&i));
      } else {
        VIBEE_TRY(operation(&i, &open));
      }
    }
  }

  Status operation(size_t* i, std::string* open) {
    constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
    size_t n = 0;
    if (std::find(std::begin(kTwo), std::end(kTwo), all_.substr(*i, 2)) != std::end(kTwo)) {
      n = 2;
    } else if (kOne.find(all_[*i]) != std::string_view::npos) {
      n = 1;
    } else {
      return fail(*i, "character '{}' has no meaning in a tag", uint8_t(all_[*i]) < 32 ? '?' : all_[*i]);
    }
    const char c = all_[*i];
    if (n == 1 && (c == '(' || c == '[' || c == '{')) *open += c;
    if (n == 1 && (c == ')' || c == ']' || c == '}')) {
      const char begin = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open->empty() || open->back() != begin) return fail(*i, "'{}' closes nothing", c);
      open->pop_back();
    }
    push(TemplateToken::op, *i).value = all_.substr(*i, n);
    *i += n;
    return {};
  }

  Status number(size_t* i) {
    const size_t begin = *i;
    size_t end = begin;
    const auto digits = [&] {
      while (end < all_.size() &&
             (is_digit(all_[end]) || (all_[end] == '_' && end + 1 < all_.size() && is_digit(all_[end + 1]))))
        ++end;
    };
    const auto at = [&](size_t k) { return k < all_.size() ? all_[k] : '\0'; };
    int base = 10;
    bool real = false;
    const char mark = char(at(begin + 1) | 0x20);
    if (all_[begin] == '0' && (mark == 'x' || mark == 'o' || mark == 'b')) {
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : 2;
      end = begin + 2;
      const auto in_base = [&](char c) {
        const int d = is_digit(c) ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 99;
        return d < base;
      };
      while (in_base(at(end)) || (at(end) == '_' && in_base(at(end + 1)))) ++end;
    } else {
      digits();
      const bool after_dot = begin > 0 && all_[begin - 1] == '.';  // a.0.1 takes items, it holds no number 0.1
      if (!after_dot && at(end) == '.' && is_digit(at(end + 1))) {
        real = true;
        ++end;
        digits();
      }
      const size_t sign = at(end + 1) == '+' || at(end + 1) == '-' ? 1 : 0;
      if (!after_dot && (at(end) | 0x20) == 'e' && is_digit(at(end + 1 + sign))) {
        real = true;
        end += 1 + sign;
        digits();
      }
    }
    std::string text(all_.substr(begin, end - begin));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    TemplateToken& token = push(real ? TemplateToken::real : TemplateToken::integer, begin);
    token.value = text;
    const char* first = text.data() + (base == 10 ? 0 : 2);
    const char* last = text.data() + text.size();
    const auto parsed =
        real ? std::from_chars(first, last, token.number) : std::from_chars(first, last, token.whole, base);
    if (parsed.ec != std::errc() || parsed.ptr != last)
      return fail(begin, "number {} does not fit into 64 bits", text.substr(0, 40));
    *i = end;
    return {};
  }

  Status quoted(size_t* i) {
    const size_t begin = *i;
    const char quote = all_[begin];
    std::string out;
    size_t k = begin + 1;
    while (k < all_.size() && all_[k] != quote) {
      if (all_[k] != '\\' || k + 1 >= all_.size()) {
        out += all_[k++];
        continue;
      }
      const char c = all_[k + 1];
      k += 2;
      constexpr std::string_view kNames = "nrtabfv\\'\"", kMeans = "\n\r\t\a\b\f\v\\'\"";
      if (const size_t known = kNames.find(c); known != std::string_view::npos) {
        out += kMeans[known];
      } else if (c == '\n') {
        continue;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        VIBEE_TRY(code(k, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, &out));
        k += c == 'x' ? 2 : c == 'u' ? 4 : 8;
      } else if (c >= '0' && c <= '7') {
        size_t n = 1;
        while (n < 3 && k - 1 + n < all_.size() && all_[k - 1 + n] >= '0' && all_[k - 1 + n] <= '7') ++n;
        VIBEE_TRY(code(k - 1, n, 8, &out));
        k += n - 1;
      } else {
        out += {'\\', c};
      }
    }
    if (k >= all_.size()) return fail(begin, "a string is not closed");
    push(TemplateToken::string, begin).value = std::move(out);
    *i = k + 1;
    return {};
  }

  Status code(size_t from, size_t n, int base, std::string* out) {
    uint32_t value = 0;
    const std::string_view text = all_.substr(from, n);
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.size() < n || parsed.ec != std::errc() || parsed.ptr != text.data() + n)
      return fail(from, "an escape in a string is cut short");
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
      return fail(from, "an escape in a string names no character");
    append_utf8(value, out);
    return {};
  }

  void emit_text(std::string_view text) {
    if (!text.empty()) push(TemplateToken::text, at_).value = text;
  }

  TemplateToken& push(TemplateToken::Type type, size_t offset) {
    locate(offset);
    TemplateToken token;
    token.type = type;
    token.line = line_;
    token.column = uint32_t(located_ - line_begin_ + 1);
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  /// Moves the line counter to `offset`; tokens come in order, so the whole is one pass.
  void locate(size_t offset) {
    for (; located_ < offset; ++located_) {
      if (all_[located_] == '\n') {
        ++line_;
        line_begin_ = located_ + 1;
      }
    }
  }

  template <class... Args>
  Status fail(size_t offset, fmt::format_string<Args...> format, Args&&... args) {
    const auto line = 1 + std::count(all_.begin(), all_.begin() + std::ptrdiff_t(offset), '\n');
    const size_t begin = offset == 0 ? 0 : all_.rfind('\n', offset - 1) + 1;
    return error(Code::invalid, "chat template {}:{}: {}", line, offset - begin + 1,
                 fmt::format(format, std::forward<Args>(args)...));
  }

  std::string source_;
  std::string_view all_;
  std::vector<TemplateToken> tokens_;
  size_t at_ = 0;   // where the text after the last tag begins
  size_t tag_ = 0;  // where the tag being read begins
  bool line_starting_ = true;
  size_t located_ = 0, line_begin_ = 0;
  uint32_t line_ = 1;
};

}  // namespace

Result<std::vector<TemplateToken>> lex_template(std::string_view source) {
  constexpr size_t kMaxSource = 1 << 20;
  if (source.size() > kMaxSource)
    return error(Code::invalid, "chat template of {} bytes is longer than the {} supported", source.size(), kMaxSource);
  for (size_t i = 0; i < source.size();) {
    const Utf8Step step = utf8_step(source.substr(i));
    if (step.kind != Utf8Step::character) return error(Code::invalid, "chat template is not UTF-8 at byte {}", i);
    i += step.length;
  }
  return Lexer(unify_lines(source)).run();
}

}  // namespace vibee
