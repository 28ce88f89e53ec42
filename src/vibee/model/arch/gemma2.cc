// SPDX-License-Identifier: Apache-2.0
// Gemma 2 (Gemma Team 2024, arXiv:2408.00118): every other layer local, scores and logits softly capped, norms before
// and after each block.
#include <cmath>

#include "vibee/model/arch/gemma_hf.h"

namespace vibee {
namespace {
constexpr GemmaShape kShape = {46, [](size_t i) { return i % 2 == 0; }, "every other layer local, from the first,"};

Status check(const JsonValue& config, GgufMetadata*) { return check_gemma(config, kShape); }
void complete(const Checkpoint& file, JsonObject* config) { complete_gemma(file, "gemma2", kShape, config); }

constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"gelu_pytorch_tanh\""}};
constexpr HfKeyRule kKeys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", GgufType::f32, 50},
    {"final_logit_softcapping", "final_logit_softcapping", GgufType::f32, 30},
};
constexpr HfArchitecture kHf[] = {{.model_type = "gemma2",
                                   .class_name = "Gemma2ForCausalLM",
                                   .id = "gemma2",
                                   .base = &kHfGemma,
                                   .keys = kKeys,
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
