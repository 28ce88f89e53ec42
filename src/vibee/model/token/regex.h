// SPDX-License-Identifier: Apache-2.0
// Regular expressions of tokenizer files, run by PCRE2 (UTF, UCP, JIT). They are written for Oniguruma; what the two
// dialects spell differently is translated, what cannot be translated is refused.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

class Regex {
 public:
  /// Code::unsupported or Code::corrupt with the pattern's place and reason.
  static Result<Regex> make(std::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// Calls `visit(begin, end)` for every match in `text`, which must be valid UTF-8, in order; an empty match right
  /// behind another match does not count. The work is bounded: Code::invalid where a pattern backtracks past that.
  Status each(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

 private:
  struct Code;
  Regex();
  std::unique_ptr<Code> code_;
};

}  // namespace vibee
