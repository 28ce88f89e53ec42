// SPDX-License-Identifier: Apache-2.0
// Qwen 3 with experts (arXiv:2505.09388): every layer routes to expert_used_count of expert_count experts, whose
// weights are made to sum to one.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
// transformers' default of norm_topk_prob is false, so a config without the key is refused as well.
Status check(const JsonValue& config, GgufMetadata*) {
  const JsonValue* normalised = config.find("norm_topk_prob");
  if (normalised == nullptr || !normalised->boolean)
    return error(Code::unsupported, "key \"norm_topk_prob\" is {}; only true is built",
                 normalised ? normalised->describe() : "missing");
  const JsonValue* dense = config.find("mlp_only_layers");
  if (dense != nullptr && !dense->items.empty())
    return error(Code::unsupported, "key \"mlp_only_layers\" is {}; only layers with experts are built",
                 dense->describe());
  return {};
}

constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"silu\""},
                                 {"norm_topk_prob", "true"},
                                 {"use_sliding_window", "false"},
                                 {"decoder_sparse_step", "1"}};
constexpr HfKeyRule kKeys[] = {
    {"num_experts", "expert_count", GgufType::u32, 128},
    {"num_local_experts", "expert_count", GgufType::u32, {}},  // its name since transformers 5
    {"num_experts_per_tok", "expert_used_count", GgufType::u32, 8},
    {"moe_intermediate_size", "expert_feed_forward_length", GgufType::u32, 768},
};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
    {"model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.mlp.experts.{e}.gate_proj.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.mlp.experts.{e}.up_proj.weight", "blk.{}.ffn_up_exps.weight"},
    {"model.layers.{}.mlp.experts.{e}.down_proj.weight", "blk.{}.ffn_down_exps.weight"},
};
constexpr HfArchitecture kHf[] = {{.model_type = "qwen3_moe",
                                   .class_name = "Qwen3MoeForCausalLM",
                                   .id = "qwen3moe",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .check = check}};

}  // namespace

Status configure_qwen3moe(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  if (c->experts == 0) return error(Code::corrupt, "{}: key 'qwen3moe.expert_count' is missing", file.path());
  c->split_halves = true;
  return {};
}

std::span<const HfArchitecture> hf_qwen3moe() { return kHf; }

}  // namespace vibee
