// SPDX-License-Identifier: Apache-2.0
// Gemma 2 (Gemma Team 2024, arXiv:2408.00118): every other layer local, scores and logits softly capped, norms before
// and after each block.
#include <algorithm>
#include <cmath>

#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
// Scores are scaled by the head dimension, in the 27B model by the width a head: what configure does below.
Status check(const JsonValue& config, GgufMetadata*) {
  const auto number = [&](std::string_view key, double otherwise) {
    const JsonValue* v = config.find(key);
    return v && v->is_number() ? v->number : otherwise;
  };
  const double layers = number("num_hidden_layers", 0), scalar = number("query_pre_attn_scalar", 256);
  const double wanted =
      layers == 46 ? number("hidden_size", 0) / number("num_attention_heads", 1) : number("head_dim", 256);
  if (scalar != wanted)
    return error(Code::unsupported, "key \"query_pre_attn_scalar\" is {}; {} is built for this shape", scalar, wanted);
  const JsonValue* types = config.find("layer_types");
  for (size_t i = 0; types != nullptr && i < types->items.size(); ++i)
    if ((types->items[i].text == "sliding_attention") != (i % 2 == 0))
      return error(Code::unsupported,
                   "key \"layer_types\" makes layer {} {}; every other layer local, from the first, is built", i,
                   types->items[i].describe());
  return {};
}

void complete(const Checkpoint& file, JsonObject* config) {
  const auto number = [&](std::string_view key) { return file.get_u64_or(fmt::format("gemma2.{}", key), 0).value(); };
  const uint64_t wide = number("embedding_length") / std::max<uint64_t>(1, number("attention.head_count"));
  const uint64_t head = file.has("gemma2.attention.key_length") ? number("attention.key_length") : wide;
  config->integer("query_pre_attn_scalar", number("block_count") == 46 ? wide : head);
}

constexpr HfFixedKey kFixed[] = {{"hidden_activation", "\"gelu_pytorch_tanh\""},
                                 {"hidden_act", "\"gelu_pytorch_tanh\""}};
constexpr HfKeyRule kKeys[] = {
    {"head_dim", "attention.key_length", GgufType::u32, 256},
    {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, 4},
    {"sliding_window", "attention.sliding_window", GgufType::u32, 4096},
    {"attn_logit_softcapping", "attn_logit_softcapping", GgufType::f32, 50},
    {"final_logit_softcapping", "final_logit_softcapping", GgufType::f32, 30},
};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", HfTransform::add_one},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", HfTransform::add_one},
    {"model.norm.weight", "output_norm.weight", HfTransform::add_one},
};
constexpr HfArchitecture kHf[] = {{.model_type = "gemma2",
                                   .class_name = "Gemma2ForCausalLM",
                                   .id = "gemma2",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .tied = true,
                                   .check = check,
                                   .complete = complete}};

}  // namespace

Status configure_gemma2(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = c->post_norms = true;
  c->activation = Gate::gelu_tanh;
  c->embed_scale = std::sqrt(float(c->dim));
  // The 27B model scales scores by its width a head instead of the head dimension.
  if (c->layers == 46) c->attention_scale = 1.0f / std::sqrt(float(c->dim) / float(c->heads));
  VIBEE_ASSIGN(const double scores, file.get_f64_or("gemma2.attn_logit_softcapping", 50));
  VIBEE_ASSIGN(const double logits, file.get_f64_or("gemma2.final_logit_softcapping", 30));
  if (!(scores > 0 && scores < 1e6 && logits > 0 && logits < 1e6))
    return error(Code::corrupt, "{}: keys 'gemma2.*_logit_softcapping' are {} and {}", file.path(), scores, logits);
  c->attention_cap = float(scores);
  c->logit_cap = float(logits);
  LayerKind global = c->kinds[0];
  global.window = 0;
  c->kinds.push_back(global);
  for (uint32_t i = 0; i < c->layers; ++i) c->layer_kind[i] = i % 2;
  return {};
}

std::span<const HfArchitecture> hf_gemma2() { return kHf; }

}  // namespace vibee
