// SPDX-License-Identifier: Apache-2.0
// At most three bytes are ever held back: a beginning of a character that its next byte may still complete.
#include "vibee/model/token/detokenizer.h"

#include <algorithm>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// Appends what of `text` is decided to `out` and returns where the undecided rest begins.
size_t take_whole(std::string_view text, std::string* out) {
  size_t i = 0;
  while (i < text.size()) {
    const Utf8Step step = utf8_step(text.substr(i));
    if (step.kind == Utf8Step::partial) break;
    *out += step.kind == Utf8Step::character ? text.substr(i, step.length) : kReplacement;
    i += step.length;
  }
  return i;
}

}  // namespace

std::string StreamDecoder::push(int32_t id) {
  const bool spoken = show_special_ || std::find(spoken_.begin(), spoken_.end(), id) != spoken_.end();
  if (tokenizer_->is_control(id) && !spoken) return {};
  std::string_view piece = tokenizer_->piece(id);
  if (strip_ && !piece.empty() && !tokenizer_->is_control(id)) {
    if (piece[0] == ' ') piece.remove_prefix(1);
    strip_ = false;
  }
  held_ += piece;
  std::string out;
  held_.erase(0, take_whole(held_, &out));
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = held_.empty() ? std::string() : std::string(kReplacement);
  held_.clear();
  strip_ = false;
  return out;
}

std::string decode(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  StreamDecoder decoder(tokenizer, false, true);
  std::string out;
  for (const int32_t id : ids) out += decoder.push(id);
  return out + decoder.finish();
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  if (take_whole(text, &out) < text.size()) out += kReplacement;
  return out;
}

}  // namespace vibee
