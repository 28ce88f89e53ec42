// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/hf_write_config.h"

#include <algorithm>
#include <set>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// The shortest decimal that reads back as the same float.

/// `rope_theta` and `rope_scaling`: transformers 5 still reads this older form, 4 reads no other.
Status write_rope(const HfArchitecture& hf, const Checkpoint& file, uint64_t head_dim, JsonObject* config) {
  const auto key = [&](std::string_view k) { return fmt::format("{}.rope.{}", hf.id, k); };
  VIBEE_ASSIGN(const double theta, file.get_f64_or(key("freq_base"), 10000));
  config->raw("rope_theta", json_float(float(theta)));
  if (hf.rope.two_kinds) {
    VIBEE_ASSIGN(const double local, file.get_f64_or(key("freq_base_swa"), 10000));
    config->raw("rope_local_base_freq", json_float(float(local)));
  }
  VIBEE_ASSIGN(const uint64_t dims, file.get_u64_or(key("dimension_count"), head_dim));
  if (dims != head_dim) config->number("partial_rotary_factor", double(dims) / double(head_dim));
  if (const TensorInfo* table = file.find("rope_freqs.weight")) {
    // GGUF keeps the table, not what it was computed from: only Llama 3's own settings are recognised.
    std::vector<uint8_t> raw(table->bytes);
    std::vector<float> values(table->elements());
    VIBEE_TRY(file.read(*table, 0, raw));
    info(table->format).decode(raw.data(), values.size(), values.data());
    const double factor = values.empty() ? 0 : values.back();
    if (values != llama3_factors(dims, theta, factor, 1, 4, 8192))
      return error(Code::unsupported,
                   "tensor \"rope_freqs.weight\" is not that of Llama 3 (factors 1 and 4, 8192 "
                   "positions); config.json cannot say it");
    config->raw("rope_scaling", JsonObject()
                                    .text("rope_type", "llama3")
                                    .raw("factor", json_float(float(factor)))
                                    .number("low_freq_factor", 1)
                                    .number("high_freq_factor", 4)
                                    .integer("original_max_position_embeddings", 8192)
                                    .str());
    return {};
  }
  if (file.find("rope_factors_long.weight"))
    return error(Code::unsupported, "LongRoPE factors are read, not written to config.json");
  if (!file.has(key("scaling.factor"))) return {};
  VIBEE_ASSIGN(const std::string type, file.get_string_or(key("scaling.type"), "linear"));
  VIBEE_ASSIGN(const double factor, file.get_f64(key("scaling.factor")));
  if (type == "none") return {};
  JsonObject scaling;
  scaling.text("rope_type", type).raw("factor", json_float(float(factor)));
  if (type == "yarn") {
    VIBEE_ASSIGN(const uint64_t context, file.get_u64(key("scaling.original_context_length")));
    VIBEE_ASSIGN(const double fast, file.get_f64_or(key("scaling.yarn_beta_fast"), 32));
    VIBEE_ASSIGN(const double slow, file.get_f64_or(key("scaling.yarn_beta_slow"), 1));
    VIBEE_ASSIGN(const double attention, file.get_f64_or(key("scaling.attn_factor"), 1));
    if (attention != 1) return error(Code::unsupported, "key \"{}\" is not written", key("scaling.attn_factor"));
    scaling.integer("original_max_position_embeddings", context);
    scaling.raw("beta_fast", json_float(float(fast))).raw("beta_slow", json_float(float(slow)));
  } else if (type != "linear") {
    return error(Code::unsupported, "rotary scaling {} is not written", quote(type));
  }
  config->raw("rope_scaling", scaling.str());
  return {};
}

}  // namespace

Result<std::string> write_hf_config(const HfArchitecture& hf, const Checkpoint& file, Format format,
                                    std::string_view more, const std::string& value) {
  JsonObject config;
  const bool classifies = file.find("cls.output.weight") != nullptr && !hf.classifier_name.empty();
  config.raw("architectures", json_array({json_quote(classifies ? hf.classifier_name : hf.class_name)}));
  config.text("model_type", hf.model_type);
  config.text("dtype", format == Format::f32 ? "float32" : format == Format::f16 ? "float16" : "bfloat16");
  const auto key = [&](std::string_view k) { return fmt::format("{}.{}", hf.id, k); };
  VIBEE_ASSIGN(const uint64_t dim, file.get_u64(key("embedding_length")));
  VIBEE_ASSIGN(const uint64_t heads, file.get_u64(key("attention.head_count")));
  if (heads == 0) return error(Code::corrupt, "key {} is 0", quote(key("attention.head_count")));
  VIBEE_ASSIGN(const uint64_t head_dim, file.get_u64_or(key("attention.key_length"), dim / heads));
  std::set<std::string_view> written;
  for (const HfKeyRule& rule : hf_keys(hf)) {
    if (!written.insert(rule.hf).second) continue;
    if (rule.gguf == "attention.key_length") {
      config.integer(rule.hf, head_dim);
    } else if (!file.has(key(rule.gguf))) {
      if (rule.gguf == "vocab_size") {
        VIBEE_ASSIGN(const TensorInfo* embedding, file.tensor("token_embd.weight"));
        config.integer(rule.hf, embedding->rows());
      } else if (rule.otherwise) {
        config.raw(rule.hf, "null");  // or its default would be read
      }
    } else if (rule.type == GgufType::f32) {
      VIBEE_ASSIGN(const double v, file.get_f64(key(rule.gguf)));
      config.raw(rule.hf, json_float(float(v)));
    } else {
      VIBEE_ASSIGN(const uint64_t v, file.get_u64(key(rule.gguf)));
      config.integer(rule.hf, v);
    }
  }
  for (const HfFixedKey& fixed : hf_fixed(hf)) config.raw(fixed.hf, fixed.values.substr(0, fixed.values.find('|')));
  if (!hf.rope.none) VIBEE_TRY(write_rope(hf, file, head_dim, &config));
  config.boolean("tie_word_embeddings", file.find("output.weight") == nullptr);
  config.boolean("attention_bias", file.find("blk.0.attn_q.bias") != nullptr);
  config.boolean("mlp_bias", file.find("blk.0.ffn_up.bias") != nullptr);
  for (const char* token : {"bos", "eos", "pad"}) {
    const std::string id =
        fmt::format("tokenizer.ggml.{}{}_token_id", token, std::string_view(token) == "pad" ? "ding" : "");
    if (!file.has(id)) {
      config.raw(fmt::format("{}_token_id", token), "null");
      continue;
    }
    VIBEE_ASSIGN(const uint64_t v, file.get_u64(id));
    config.integer(fmt::format("{}_token_id", token), v);
  }
  if (hf.complete) hf.complete(file, &config);
  if (!more.empty()) config.raw(more, value);
  return config.str() + "\n";
}

}  // namespace vibee
