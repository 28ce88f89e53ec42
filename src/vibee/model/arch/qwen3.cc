// SPDX-License-Identifier: Apache-2.0
// Qwen 3 (arXiv:2505.09388): norms on every query and key head instead of biases; rotary pairs are split halves.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"silu\""}, {"use_sliding_window", "false"}};
constexpr HfKeyRule kKeys[] = {{"head_dim", "attention.key_length", GgufType::u32, 128}};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
};
constexpr HfArchitecture kHf[] = {{.model_type = "qwen3",
                                   .class_name = "Qwen3ForCausalLM",
                                   .id = "qwen3",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed}};

}  // namespace

Status configure_qwen3(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  return {};
}

std::span<const HfArchitecture> hf_qwen3() { return kHf; }

}  // namespace vibee
