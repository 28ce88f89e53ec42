// SPDX-License-Identifier: Apache-2.0
// The normalizers of a TokenizerSpec, compiled.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/token/charsmap.h"
#include "vibee/model/token/normal_form.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

class Normalizer {
 public:
  static Result<Normalizer> make(const std::vector<NormalizerStep>& steps);
  bool empty() const { return steps_.empty(); }
  /// Bytes that are not UTF-8 pass through the steps that need characters as they are.
  Status apply(std::string_view text, std::string* out) const;

 private:
  struct Step {
    NormalizerStep what;
    std::optional<Regex> regex = {};
    std::optional<Charsmap> map = {};
    bool beyond_ascii = false;  ///< leaves ASCII text alone
  };
  Normalizer() = default;
  Status add(NormalizerStep step, bool beyond_ascii);
  static Status run(const Step& step, std::string* text);
  std::vector<Step> steps_;
};

}  // namespace vibee
