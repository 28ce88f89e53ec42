// SPDX-License-Identifier: Apache-2.0
// OLMo 2 (arXiv:2501.00656): norms after each block instead of before, and of whole rows of queries and keys.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"silu\""}};
constexpr HfKeyRule kKeys[] = {{"rms_norm_eps", "attention.layer_norm_rms_epsilon", GgufType::f32, 1e-5}};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
};
constexpr HfArchitecture kHf[] = {{.model_type = "olmo2",
                                   .class_name = "Olmo2ForCausalLM",
                                   .id = "olmo2",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed}};

}  // namespace

Status configure_olmo2(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = c->post_norms = true;
  c->pre_norms = false;
  return {};
}

std::span<const HfArchitecture> hf_olmo2() { return kHf; }

}  // namespace vibee
