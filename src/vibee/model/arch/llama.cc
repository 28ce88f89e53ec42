// SPDX-License-Identifier: Apache-2.0
// Llama 1 to 3 (Touvron et al. 2023, arXiv:2302.13971; Llama 3 frequency factors from rope_freqs.weight), Mistral (its
// window) and Mixtral (arXiv:2401.04088; experts): pre-norm, rotary positions on adjacent pairs (as GGUF stores them),
// SwiGLU.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfTensorRule kPairs[] = {
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", HfTransform::permute_heads},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", HfTransform::permute_heads},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", HfTransform::permute_kv_heads},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", HfTransform::permute_kv_heads},
};
constexpr HfFixedKey kSilu[] = {{"hidden_act", "\"silu\""}};
constexpr HfArchitecture kLlama = {.model_type = "llama",
                                   .class_name = "LlamaForCausalLM",
                                   .id = "llama",
                                   .base = &kHfDecoder,
                                   .tensors = kPairs,
                                   .fixed = kSilu};

constexpr HfKeyRule kMistralKeys[] = {
    {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, 8},
    {"sliding_window", "attention.sliding_window", GgufType::u32, 4096},
};

constexpr HfKeyRule kMixtralKeys[] = {
    {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, 8},
    {"sliding_window", "attention.sliding_window", GgufType::u32, {}},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", GgufType::f32, 1e-5},
    {"num_local_experts", "expert_count", GgufType::u32, 8},
    {"num_experts_per_tok", "expert_used_count", GgufType::u32, 2},
};
constexpr HfTensorRule kMixtralTensors[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{e}.w1.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{e}.w2.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{e}.w3.weight", "blk.{}.ffn_up_exps.weight"},
};

constexpr HfArchitecture kHf[] = {
    kLlama,
    {.model_type = "mistral", .class_name = "MistralForCausalLM", .id = "llama", .base = &kLlama, .keys = kMistralKeys},
    {.model_type = "mixtral",
     .class_name = "MixtralForCausalLM",
     .id = "llama",
     .base = &kLlama,
     .keys = kMixtralKeys,
     .tensors = kMixtralTensors,
     .rope = {.theta = 1e6}},
};

}  // namespace

Status configure_llama(const Checkpoint& file, ModelConfig* c) { return read_common(file, c); }

std::span<const HfArchitecture> hf_llama() { return kHf; }

}  // namespace vibee
