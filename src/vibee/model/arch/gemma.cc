// SPDX-License-Identifier: Apache-2.0
// Gemma (Gemma Team 2024, arXiv:2403.08295): GELU gate, embeddings scaled by sqrt(dim). Norm weights in GGUF already
// hold 1 + w.
#include <cmath>

#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"hidden_activation", "\"gelu_pytorch_tanh\""},
                                 {"hidden_act", "\"gelu_pytorch_tanh\"|\"gelu\""}};
constexpr HfKeyRule kKeys[] = {{"head_dim", "attention.key_length", GgufType::u32, 256},
                               {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, 16}};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", HfTransform::add_one},
    {"model.norm.weight", "output_norm.weight", HfTransform::add_one},
};
constexpr HfArchitecture kHf[] = {{.model_type = "gemma",
                                   .class_name = "GemmaForCausalLM",
                                   .id = "gemma",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .tied = true}};

}  // namespace

Status configure_gemma(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  c->activation = Gate::gelu_tanh;
  c->embed_scale = std::sqrt(float(c->dim));
  return {};
}

std::span<const HfArchitecture> hf_gemma() { return kHf; }

}  // namespace vibee
