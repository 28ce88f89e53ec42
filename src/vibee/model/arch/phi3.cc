// SPDX-License-Identifier: Apache-2.0
// Phi-3 (arXiv:2404.14219): query, key and value in one tensor, gate and up in another; rotary pairs are split halves.
// Long-context variants carry LongRoPE factors (arXiv:2402.13753); those of the original context are built.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"silu\""}};
constexpr HfKeyRule kKeys[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", GgufType::f32, 1e-5},
    {"sliding_window", "attention.sliding_window", GgufType::u32, {}},
};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.self_attn.qkv_proj.weight", "blk.{}.attn_qkv.weight"},
    {"model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight"},
};
constexpr HfArchitecture kHf[] = {{.model_type = "phi3",
                                   .class_name = "Phi3ForCausalLM",
                                   .id = "phi3",
                                   .base = &kHfDecoder,
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .rope = {.factors_long = true}}};

}  // namespace

Status configure_phi3(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  if (file.find("rope_factors_short.weight") == nullptr) return {};
  VIBEE_ASSIGN(const uint64_t original, file.get_u64("phi3.rope.scaling.original_context_length"));
  if (original == 0 || original > c->context)
    return error(Code::corrupt, "{}: key 'phi3.rope.scaling.original_context_length' is {}, not in 1 to {}",
                 file.path(), original, c->context);
  VIBEE_ASSIGN(c->rope_scale, file.get_f64_or("phi3.rope.scaling.attn_factor", 1));
  c->rope_factors = "rope_factors_short.weight";
  c->context = uint32_t(original);  // beyond it the long factors would hold
  return {};
}

std::span<const HfArchitecture> hf_phi3() { return kHf; }

}  // namespace vibee
