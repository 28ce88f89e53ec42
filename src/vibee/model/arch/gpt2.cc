// SPDX-License-Identifier: Apache-2.0
// GPT-2 (Radford et al. 2019): layer norms with biases, learned positions, GELU without a gate, biases everywhere.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"activation_function", "\"gelu_new\"|\"gelu_pytorch_tanh\""},
                                 {"scale_attn_weights", "true"},
                                 {"scale_attn_by_inverse_layer_idx", "false"},
                                 {"add_cross_attention", "false"}};
// n_inner is null where it is four times the width.
Status check(const JsonValue& config, GgufMetadata* metadata) {
  if (config.find("n_inner") == nullptr && config.find("n_embd") != nullptr)
    (*metadata)["gpt2.feed_forward_length"] = gguf_u32(uint32_t(config.find("n_embd")->number) * 4);
  return {};
}

constexpr HfKeyRule kKeys[] = {
    {"vocab_size", "vocab_size", GgufType::u32, {}},
    {"n_embd", "embedding_length", GgufType::u32, 768},
    {"n_layer", "block_count", GgufType::u32, 12},
    {"n_head", "attention.head_count", GgufType::u32, 12},
    {"n_inner", "feed_forward_length", GgufType::u32, {}},
    {"n_positions", "context_length", GgufType::u32, 1024},
    {"layer_norm_epsilon", "attention.layer_norm_epsilon", GgufType::f32, 1e-5},
};
constexpr HfTensorRule kTensors[] = {
    {"transformer.wte.weight", "token_embd.weight"},
    {"transformer.wpe.weight", "position_embd.weight"},
    {"transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight"},
    {"transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias"},
    {"transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", HfTransform::transpose},
    {"transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias"},
    {"transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight", HfTransform::transpose},
    {"transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"},
    {"transformer.h.{}.attn.bias", ""},
    {"transformer.h.{}.attn.masked_bias", ""},
    {"transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"},
    {"transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"},
    {"transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", HfTransform::transpose},
    {"transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"},
    {"transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", HfTransform::transpose},
    {"transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"},
    {"transformer.ln_f.weight", "output_norm.weight"},
    {"transformer.ln_f.bias", "output_norm.bias"},
    {"lm_head.weight", "output.weight"},
};
constexpr HfArchitecture kHf[] = {{.model_type = "gpt2",
                                   .class_name = "GPT2LMHeadModel",
                                   .id = "gpt2",
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .rope = {.none = true},
                                   .tied = true,
                                   .prefix = "transformer.",
                                   .check = check}};

}  // namespace

Status configure_gpt2(const Checkpoint& file, ModelConfig* c) {
  c->layer_norm = c->learned_positions = true;
  c->gated = false;
  c->activation = Gate::gelu_tanh;
  return read_common(file, c);
}

std::span<const HfArchitecture> hf_gpt2() { return kHf; }

}  // namespace vibee
