// SPDX-License-Identifier: Apache-2.0
// Gemma 3 (Gemma Team 2025, arXiv:2503.19786): five local layers to a global one, norms before and after each block and
// on every query and key head, GELU gate, embeddings scaled by sqrt(dim). Norm weights in GGUF already hold 1 + w.
#include <cmath>

#include "vibee/model/arch/gemma_hf.h"

namespace vibee {
namespace {
constexpr GemmaShape kShape = {62, [](size_t i) { return (i + 1) % 6 != 0; },
                               "a global layer after every five local ones"};

Status check(const JsonValue& config, GgufMetadata*) {
  VIBEE_TRY(check_gemma(config, kShape));
  const JsonValue* pattern = config.find("sliding_window_pattern");
  if (config.find("layer_types") == nullptr && pattern && pattern->is_number() && pattern->number != 6)
    return error(Code::unsupported, "key \"sliding_window_pattern\" is {}; only 6 is built", pattern->number);
  return {};
}
void complete(const Checkpoint& file, JsonObject* config) { complete_gemma(file, "gemma3", kShape, config); }

constexpr HfFixedKey kFixed[] = {{"use_bidirectional_attention", "false"}};
constexpr HfKeyRule kKeys[] = {
    {"max_position_embeddings", "context_length", GgufType::u32, 131072},
};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", HfTransform::add_one},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", HfTransform::add_one},
};
constexpr HfArchitecture kHf[] = {{.model_type = "gemma3_text",
                                   .class_name = "Gemma3ForCausalLM",
                                   .id = "gemma3",
                                   .base = &kHfGemma,
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
