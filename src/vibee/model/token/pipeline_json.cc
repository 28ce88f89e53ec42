// SPDX-License-Identifier: Apache-2.0
// The steps of a pipeline as tokenizer.json spells them: the inverse of the readers in tokenizer_json.cc.
#include "vibee/base/text/json_object.h"
#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/tokenizer_json_write.h"

namespace vibee {
namespace {

std::string typed(std::string_view type) { return JsonObject().text("type", type).str(); }

std::string pattern_json(std::string_view pattern, bool is_regex) {
  return JsonObject().text(is_regex ? "Regex" : "String", pattern).str();
}

std::string_view behavior_name(SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::removed: return "Removed";
    case SplitBehavior::isolated: return "Isolated";
    case SplitBehavior::merged_with_previous: return "MergedWithPrevious";
    case SplitBehavior::merged_with_next: return "MergedWithNext";
    case SplitBehavior::contiguous: break;
  }
  return "Contiguous";
}

std::string to_base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < n ? uint8_t(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string normalizer_json(const NormalizerStep& s) {
  switch (s.kind) {
    case NormalizerStep::nfc: return typed("NFC");
    case NormalizerStep::nfd: return typed("NFD");
    case NormalizerStep::nfkc: return typed("NFKC");
    case NormalizerStep::nfkd: return typed("NFKD");
    case NormalizerStep::lowercase: return typed("Lowercase");
    case NormalizerStep::strip_accents: return typed("StripAccents");
    case NormalizerStep::strip:
      return JsonObject().text("type", "Strip").boolean("strip_left", s.left).boolean("strip_right", s.right).str();
    case NormalizerStep::replace:
      return JsonObject()
          .text("type", "Replace")
          .raw("pattern", pattern_json(s.pattern, s.is_regex))
          .text("content", s.content)
          .str();
    case NormalizerStep::prepend: return JsonObject().text("type", "Prepend").text("prepend", s.content).str();
    case NormalizerStep::bert:
      return JsonObject()
          .text("type", "BertNormalizer")
          .boolean("clean_text", s.clean_text)
          .boolean("handle_chinese_chars", s.chinese_chars)
          .boolean("strip_accents", s.strip_accents_too)
          .boolean("lowercase", s.lower)
          .str();
    case NormalizerStep::precompiled: break;
  }
  return JsonObject().text("type", "Precompiled").text("precompiled_charsmap", to_base64(s.content)).str();
}

std::string split_json(const PreTokenizerStep& s) {
  return JsonObject()
      .text("type", "Split")
      .raw("pattern", pattern_json(s.pattern, s.is_regex))
      .text("behavior", behavior_name(s.behavior))
      .boolean("invert", s.invert)
      .str();
}

std::string metaspace_json(std::string_view sign, PrependScheme prepend, bool split) {
  return JsonObject()
      .text("type", "Metaspace")
      .text("replacement", sign)
      .text("prepend_scheme", prepend == PrependScheme::always  ? "always"
                              : prepend == PrependScheme::first ? "first"
                                                                : "never")
      .boolean("split", split)
      .str();
}

std::string digits_json(const PreTokenizerStep& s) {
  if (s.use_pattern) return split_json({.kind = PreTokenizerStep::split, .pattern = "\\p{N}", .is_regex = true});
  return JsonObject().text("type", "Digits").boolean("individual_digits", false).str();
}

std::string pre_tokenizer_json(const PreTokenizerStep& s) {
  switch (s.kind) {
    case PreTokenizerStep::split: return split_json(s);
    case PreTokenizerStep::metaspace: return metaspace_json(s.pattern, s.prepend, s.use_pattern);
    case PreTokenizerStep::digits: return digits_json(s);
    case PreTokenizerStep::punctuation:
      return JsonObject().text("type", "Punctuation").text("behavior", behavior_name(s.behavior)).str();
    case PreTokenizerStep::whitespace: return typed("Whitespace");
    case PreTokenizerStep::whitespace_split: return typed("WhitespaceSplit");
    case PreTokenizerStep::bert: return typed("BertPreTokenizer");
    case PreTokenizerStep::byte_level: break;
  }
  return JsonObject()
      .text("type", "ByteLevel")
      .boolean("add_prefix_space", s.add_prefix_space)
      .boolean("trim_offsets", true)
      .boolean("use_regex", s.use_pattern)
      .str();
}

std::string decoder_json(const DecoderStep& s) {
  switch (s.kind) {
    case DecoderStep::byte_level:
      return JsonObject()
          .text("type", "ByteLevel")
          .boolean("add_prefix_space", true)
          .boolean("trim_offsets", true)
          .boolean("use_regex", true)
          .str();
    case DecoderStep::byte_fallback: return typed("ByteFallback");
    case DecoderStep::metaspace:
      return metaspace_json(s.pattern, s.strip_first ? PrependScheme::always : PrependScheme::never, true);
    case DecoderStep::replace:
      return JsonObject()
          .text("type", "Replace")
          .raw("pattern", pattern_json(s.pattern, false))
          .text("content", s.content)
          .str();
    case DecoderStep::fuse: return typed("Fuse");
    case DecoderStep::strip:
      return JsonObject()
          .text("type", "Strip")
          .text("content", s.content)
          .integer("start", s.count)
          .integer("stop", 0)
          .str();
    case DecoderStep::wordpiece: break;
  }
  return JsonObject().text("type", "WordPiece").text("prefix", s.pattern).boolean("cleanup", s.cleanup).str();
}

}  // namespace

PipelineJson pipeline_json(const TokenizerSpec& spec) {
  PipelineJson out;
  for (const NormalizerStep& s : spec.normalizers) out.normalizers.push_back(normalizer_json(s));
  for (PreTokenizerStep s : spec.pre_tokenizers) {
    if (s.kind == PreTokenizerStep::byte_level && s.use_pattern && !s.add_prefix_space) {  // two steps in one
      out.pre_tokenizers.push_back(
          split_json({.kind = PreTokenizerStep::split, .pattern = kGpt2Pattern, .is_regex = true}));
      s.use_pattern = false;
    }
    out.pre_tokenizers.push_back(pre_tokenizer_json(s));
  }
  for (const DecoderStep& s : spec.decoders) out.decoders.push_back(decoder_json(s));
  return out;
}

}  // namespace vibee
