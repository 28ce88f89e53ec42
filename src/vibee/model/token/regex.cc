// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "vibee/model/token/regex.h"

#include <pcre2.h>

#include <algorithm>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr size_t kMaxPattern = 1 << 16;
// White space is spelled out: \s of PCRE2 also takes U+180E, which is no white space in the Unicode of the other
// engines.
constexpr std::string_view kSpaces = "\\x{9}-\\x{d}\\x{85}\\p{Z}";
constexpr std::string_view kWord = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";

/// The characters of class escape `c` as the inside of a bracket, or nothing when both dialects read it alike.
std::string_view class_of(char c) {
  switch (c) {
    case 's': return kSpaces;
    case 'w': return kWord;
    case 'h': return "0-9a-fA-F";
    default: return {};
  }
}

Status refuse(std::string_view pattern, size_t at, std::string_view what) {
  return error(Code::unsupported, "pattern {} at byte {}: {}", quote(pattern, 80), at, what);
}

/// Length of the bracket expression at `at`, or 0 when it does not end.
size_t bracket_length(std::string_view pattern, size_t at) {
  size_t i = at + 1;
  if (i < pattern.size() && pattern[i] == '^') ++i;
  if (i < pattern.size() && pattern[i] == ']') ++i;
  while (i < pattern.size() && pattern[i] != ']') {
    if (pattern[i] == '\\') ++i;
    if (i < pattern.size() && pattern[i] == '[') {
      const size_t end = pattern.substr(i, 2) == "[:" ? pattern.find(":]", i + 2) : pattern.find(']', i);
      if (end == std::string_view::npos) return 0;
      i = end + (pattern.substr(i, 2) == "[:" ? 1 : 0);
    }
    ++i;
  }
  return i < pattern.size() ? i + 1 - at : 0;
}

Status translate_escape(std::string_view pattern, size_t* at, bool bracket, std::string* out) {
  const size_t i = *at;
  if (i + 1 >= pattern.size()) return refuse(pattern, i, "a backslash ends it");
  const char c = pattern[i + 1];
  *at += 2;
  const char lower = char(c | 0x20);
  if (c == 'u') {  // four hexadecimal digits
    if (i + 6 > pattern.size()) return refuse(pattern, i, "\\u needs four digits");
    *out += "\\x{" + std::string(pattern.substr(i + 2, 4)) + "}";
    *at += 4;
  } else if (const std::string_view set = class_of(lower);
             !set.empty() && (c == lower || (c == char(lower - 0x20) && !bracket))) {
    *out += bracket ? std::string(set) : (c == lower ? "[" : "[^") + std::string(set) + "]";
  } else {
    *out += pattern.substr(i, 2);
  }
  return {};
}

/// The bracket expression `inside` (with its brackets); [a&&[^b]] becomes a look-ahead before [a].
Status translate_bracket(std::string_view pattern, size_t begin, size_t length, std::string* out) {
  std::string_view body = pattern.substr(begin, length);
  std::string except;
  if (const size_t both = body.find("&&"); both != std::string_view::npos) {
    const std::string_view rest = body.substr(both + 2, body.size() - both - 3);
    if (body.substr(0, 2) == "[^" || rest.substr(0, 2) != "[^" || rest.find(']') != rest.size() - 1)
      return refuse(pattern, begin, "only [...&&[^...]] is supported of set intersections");
    const std::string inner = "[" + std::string(rest.substr(2));
    std::string translated;
    VIBEE_TRY(translate_bracket(inner, 0, inner.size(), &translated));
    except = "(?!" + translated + ")";
    body = body.substr(0, both);
  } else {
    body.remove_suffix(1);
  }
  std::string set = "[";
  size_t i = 1;
  if (i < body.size() && body[i] == '^') set += body[i++];
  if (i < body.size() && body[i] == ']') set += "\\]", ++i;
  while (i < body.size()) {
    if (body[i] == '\\') {
      // \S inside brackets stays: PCRE2's differs by U+180E only.
      VIBEE_TRY(translate_escape(body, &i, true, &set));
    } else if (body.substr(i, 2) == "[:") {
      const size_t end = body.find(":]", i);
      if (end == std::string_view::npos) return refuse(pattern, begin, "[: has no :]");
      set += body.substr(i, end + 2 - i);
      i = end + 2;
    } else if (body[i] == '[') {
      return refuse(pattern, begin + i, "a bracket inside brackets is not supported; write \\[");
    } else {
      set += body[i++];
    }
  }
  set += "]";
  *out += except.empty() ? set : "(?:" + except + set + ")";
  return {};
}

Result<std::string> translate(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size();) {
    if (pattern[i] == '\\') {
      VIBEE_TRY(translate_escape(pattern, &i, false, &out));
    } else if (pattern[i] == '[') {
      const size_t length = bracket_length(pattern, i);
      if (length == 0) return refuse(pattern, i, "the bracket does not end");
      VIBEE_TRY(translate_bracket(pattern, i, length, &out));
      i += length;
    } else {
      out += pattern[i++];
    }
  }
  return out;
}

struct FreeData {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : compiled(compiled) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(compiled); }
  pcre2_code* compiled;
};

Regex::Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::make(std::string_view pattern) {
  if (pattern.empty()) return error(vibee::Code::corrupt, "a pattern is empty");
  if (pattern.size() > kMaxPattern)
    return error(vibee::Code::unsupported, "a pattern of {} bytes is longer than the {} supported", pattern.size(),
                 kMaxPattern);
  VIBEE_ASSIGN(const std::string translated, translate(pattern));
  const std::unique_ptr<pcre2_compile_context, FreeData> context(pcre2_compile_context_create(nullptr));
  if (!context) return error(vibee::Code::no_memory, "no memory to compile a pattern");
  pcre2_set_parens_nest_limit(context.get(), 100);
  int code = 0;
  size_t offset = 0;
  // In Oniguruma's Ruby syntax ^ and $ are always those of lines.
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                    &offset, context.get());
  if (compiled == nullptr) {
    char reason[128] = "";
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(reason), sizeof reason);
    return error(vibee::Code::corrupt, "pattern {}: {}", quote(pattern, 80), reason);
  }
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // where it cannot, matching interprets: slower, same matches
  Regex made;
  made.code_ = std::make_unique<Code>(compiled);
  return made;
}

Status Regex::each(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
  const std::unique_ptr<pcre2_match_data, FreeData> data(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeData> context(pcre2_match_context_create(nullptr));
  if (!data || !context) return error(vibee::Code::no_memory, "no memory to match a pattern in {} bytes", text.size());
  // One match may walk back over one long run once or twice, never more: the limit is linear in the text.
  pcre2_set_match_limit(context.get(), uint32_t(std::min<uint64_t>(text.size() * 8 + 1000000, 0xffffffffu)));
  pcre2_set_heap_limit(context.get(), 1 << 16);  // KiB
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t from = 0, last_end = size_t(-1);
  while (from <= text.size()) {
    int found = pcre2_match(code_->compiled, subject, text.size(), from, 0, data.get(), context.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(code_->compiled, subject, text.size(), from, PCRE2_NO_JIT, data.get(), context.get());
    }
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      return error(vibee::Code::invalid,
                   "text cannot be cut into words at byte {} of {} (PCRE2 error {}): shorten or break up the text",
                   from, text.size(), found);
    }
    const size_t begin = pcre2_get_ovector_pointer(data.get())[0], end = pcre2_get_ovector_pointer(data.get())[1];
    if (begin > end || end < from)  // \K in a look-ahead
      return error(vibee::Code::invalid, "a pattern matched backwards at byte {}", from);
    if (begin == end && end == last_end) {
      if (end >= text.size()) break;
      from = end + utf8_step(text.substr(end)).length;
      last_end = size_t(-1);
      continue;
    }
    visit(begin, end);
    from = last_end = end;
  }
  return {};
}

}  // namespace vibee
