// SPDX-License-Identifier: Apache-2.0
// Qwen 2 and 2.5 (arXiv:2407.10671): Llama with biases on queries, keys and values; rotary pairs are split halves.
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"silu\""}, {"use_sliding_window", "false"}};
constexpr HfArchitecture kHf[] = {
    {.model_type = "qwen2", .class_name = "Qwen2ForCausalLM", .id = "qwen2", .base = &kHfDecoder, .fixed = kFixed}};

}  // namespace

Status configure_qwen2(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  return {};
}

std::span<const HfArchitecture> hf_qwen2() { return kHf; }

}  // namespace vibee
