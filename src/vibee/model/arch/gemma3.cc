// SPDX-License-Identifier: Apache-2.0
// Gemma 3 (Gemma Team 2025, arXiv:2503.19786): five local layers to a global one, norms before and after each block and
// on every query and key head, GELU gate, embeddings scaled by sqrt(dim). Norm weights in GGUF already hold 1 + w.
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
      layers == 62 ? number("hidden_size", 0) / number("num_attention_heads", 1) : number("head_dim", 256);
  if (scalar != wanted)
    return error(Code::unsupported, "key \"query_pre_attn_scalar\" is {}; {} is built for this shape", scalar, wanted);
  const JsonValue* types = config.find("layer_types");
  for (size_t i = 0; types != nullptr && i < types->items.size(); ++i)
    if ((types->items[i].text == "sliding_attention") != ((i + 1) % 6 != 0))
      return error(Code::unsupported,
                   "key \"layer_types\" makes layer {} {}; a global layer after every five local ones is built", i,
                   types->items[i].describe());
  if (types == nullptr && number("sliding_window_pattern", 6) != 6)
    return error(Code::unsupported, "key \"sliding_window_pattern\" is {}; only 6 is built",
                 number("sliding_window_pattern", 6));
  return {};
}

void complete(const Checkpoint& file, JsonObject* config) {
  const auto number = [&](std::string_view key) { return file.get_u64_or(fmt::format("gemma3.{}", key), 0).value(); };
  const uint64_t wide = number("embedding_length") / std::max<uint64_t>(1, number("attention.head_count"));
  const uint64_t head = file.has("gemma3.attention.key_length") ? number("attention.key_length") : wide;
  config->integer("query_pre_attn_scalar", number("block_count") == 62 ? wide : head);
}

constexpr HfFixedKey kFixed[] = {{"hidden_activation", "\"gelu_pytorch_tanh\""},
                                 {"use_bidirectional_attention", "false"}};
constexpr HfKeyRule kKeys[] = {
    {"head_dim", "attention.key_length", GgufType::u32, 256},
    {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, 4},
    {"sliding_window", "attention.sliding_window", GgufType::u32, 4096},
    {"max_position_embeddings", "context_length", GgufType::u32, 131072},
};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", HfTransform::add_one},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", HfTransform::add_one},
    {"model.norm.weight", "output_norm.weight", HfTransform::add_one},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", HfTransform::add_one},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", HfTransform::add_one},
};
constexpr HfArchitecture kHf[] = {{.model_type = "gemma3_text",
                                   .class_name = "Gemma3ForCausalLM",
                                   .id = "gemma3",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .rope = {.theta = 1e6, .two_kinds = true},
                                   .tied = true,
                                   .check = check,
                                   .complete = complete}};

}  // namespace

Status configure_gemma3(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = c->post_norms = true;
  c->activation = Gate::gelu_tanh;
  c->embed_scale = std::sqrt(float(c->dim));
  // The 27B model scales scores by its width a head instead of the head dimension.
  if (c->layers == 62) c->attention_scale = 1.0f / std::sqrt(float(c->dim) / float(c->heads));
  c->kinds[0].window = 0;
  LayerKind local = c->kinds[0];
  local.rope_base = 10000;
  local.rope_factor = 1;
  if (file.has("gemma3.rope.freq_base_swa")) {
    VIBEE_ASSIGN(local.rope_base, file.get_f64("gemma3.rope.freq_base_swa"));
  }
  VIBEE_ASSIGN(const uint64_t window, file.get_u64("gemma3.attention.sliding_window"));
  if (window == 0 || window > c->context)
    return error(Code::corrupt, "{}: key 'gemma3.attention.sliding_window' is {}, not in 1 to {}", file.path(), window,
                 c->context);
  local.window = uint32_t(window);
  c->kinds.push_back(local);
  for (uint32_t i = 0; i < c->layers; ++i) c->layer_kind[i] = (i + 1) % 6 != 0;
  return {};
}

std::span<const HfArchitecture> hf_gemma3() { return kHf; }

}  // namespace vibee
