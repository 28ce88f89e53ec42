// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/arch/gemma_hf.h"

#include <algorithm>

namespace vibee {
namespace {

constexpr HfFixedKey kFixed[] = {{"hidden_activation", "\"gelu_pytorch_tanh\""}};
constexpr HfKeyRule kKeys[] = {
    {"head_dim", "attention.key_length", GgufType::u32, 256},
    {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, 4},
    {"sliding_window", "attention.sliding_window", GgufType::u32, 4096},
};
constexpr HfTensorRule kTensors[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", HfTransform::add_one},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", HfTransform::add_one},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", HfTransform::add_one},
    {"model.norm.weight", "output_norm.weight", HfTransform::add_one},
};

}  // namespace

constinit const HfArchitecture kHfGemma = {.base = &kHfDecoder, .keys = kKeys, .tensors = kTensors, .fixed = kFixed};

Status check_gemma(const JsonValue& config, const GemmaShape& shape) {
  const auto number = [&](std::string_view key, double otherwise) {
    const JsonValue* v = config.find(key);
    return v && v->is_number() ? v->number : otherwise;
  };
  const bool widest = number("num_hidden_layers", 0) == double(shape.widest_layers);
  const double scalar = number("query_pre_attn_scalar", 256);
  const double wanted = widest ? number("hidden_size", 0) / number("num_attention_heads", 1) : number("head_dim", 256);
  if (scalar != wanted)
    return error(Code::unsupported, "key \"query_pre_attn_scalar\" is {}; {} is built for this shape", scalar, wanted);
  const JsonValue* types = config.find("layer_types");
  for (size_t i = 0; types != nullptr && i < types->items.size(); ++i)
    if ((types->items[i].text == "sliding_attention") != shape.local(i))
      return error(Code::unsupported, "key \"layer_types\" makes layer {} {}; {} is built", i,
                   types->items[i].describe(), shape.pattern);
  return {};
}

void complete_gemma(const Checkpoint& file, std::string_view id, const GemmaShape& shape, JsonObject* config) {
  const auto number = [&](std::string_view key) { return file.get_u64_or(fmt::format("{}.{}", id, key), 0).value(); };
  const uint64_t wide = number("embedding_length") / std::max<uint64_t>(1, number("attention.head_count"));
  const uint64_t head = file.has(fmt::format("{}.attention.key_length", id)) ? number("attention.key_length") : wide;
  config->integer("query_pre_attn_scalar", number("block_count") == shape.widest_layers ? wide : head);
}

}  // namespace vibee
