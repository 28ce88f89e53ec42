// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/hf_config.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr HfKeyRule kKeys[] = {
    {"vocab_size", "vocab_size", GgufType::u32, {}},
    {"hidden_size", "embedding_length", GgufType::u32, {}},
    {"num_hidden_layers", "block_count", GgufType::u32, {}},
    {"intermediate_size", "feed_forward_length", GgufType::u32, {}},
    {"num_attention_heads", "attention.head_count", GgufType::u32, {}},
    {"num_key_value_heads", "attention.head_count_kv", GgufType::u32, {}},
    {"head_dim", "attention.key_length", GgufType::u32, {}},
    {"max_position_embeddings", "context_length", GgufType::u32, {}},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", GgufType::f32, 1e-6},
};

constexpr HfTensorRule kTensors[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
    {"model.layers.{}.self_attn.rotary_emb.inv_freq", ""},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

/// Rows of an architecture and its bases, nearest first, one for each value of `key`.
template <class Row>
std::vector<Row> inherited(const HfArchitecture& hf, std::span<const Row> HfArchitecture::*table,
                           std::string_view Row::*key) {
  std::vector<Row> all;
  for (const HfArchitecture* a = &hf; a != nullptr; a = a->base) {
    const size_t own = all.size();
    for (const Row& row : a->*table)
      if (std::none_of(all.begin(), all.begin() + ptrdiff_t(own), [&](const Row& r) { return r.*key == row.*key; }))
        all.push_back(row);
  }
  return all;
}

bool absent(const JsonValue& config, std::string_view key) {
  return std::find(config.names.begin(), config.names.end(), key) == config.names.end();
}

/// A config's value as one of the JSON texts of a fixed row.
std::string json_text(const JsonValue& v) { return v.is(JsonValue::Kind::text) ? '"' + v.text + '"' : v.describe(); }

}  // namespace

constinit const HfArchitecture kHfDecoder = {
    .model_type = "", .class_name = "", .id = "", .keys = kKeys, .tensors = kTensors};

std::vector<HfKeyRule> hf_keys(const HfArchitecture& hf) {
  return inherited(hf, &HfArchitecture::keys, &HfKeyRule::gguf);
}
std::vector<HfTensorRule> hf_tensors(const HfArchitecture& hf) {
  return inherited(hf, &HfArchitecture::tensors, &HfTensorRule::hf);
}
std::vector<HfFixedKey> hf_fixed(const HfArchitecture& hf) {
  return inherited(hf, &HfArchitecture::fixed, &HfFixedKey::hf);
}

Result<const HfArchitecture*> find_hf_architecture(const JsonValue& config,
                                                   std::span<const HfArchitecture* const> known) {
  const JsonValue* type = config.find("model_type");
  if (type == nullptr || !type->is(JsonValue::Kind::text))
    return error(Code::corrupt, "key \"model_type\" is {}", type ? type->describe() : "missing");
  std::string all;
  for (const HfArchitecture* hf : known) {
    if (hf->model_type == type->text) return hf;
    all += (all.empty() ? "" : ", ") + std::string(hf->model_type);
  }
  return error(Code::unsupported, "model_type {} is not built; {} are", quote(type->text), all);
}

Status read_hf_config(const JsonValue& config, const HfArchitecture& hf, GgufMetadata* metadata,
                      std::vector<HfComputed>* computed) {
  for (const HfFixedKey& fixed : hf_fixed(hf)) {
    const JsonValue* value = config.find(fixed.hf);
    if (value == nullptr) continue;
    const std::string text = json_text(*value), list = '|' + std::string(fixed.values) + '|';
    if (list.find('|' + text + '|') == std::string::npos)
      return error(Code::unsupported, "key {} is {}; built for model_type {}: {}", quote(fixed.hf), value->describe(),
                   quote(hf.model_type), fixed.values);
  }
  std::map<std::string_view, double> numbers;
  const std::vector<HfKeyRule> rules = hf_keys(hf);
  const auto put = [&](const HfKeyRule& rule, double v) {
    numbers[rule.gguf] = v;
    (*metadata)[fmt::format("{}.{}", hf.id, rule.gguf)] =
        rule.type == GgufType::f32 ? gguf_f32(float(v)) : gguf_u32(uint32_t(v));
  };
  for (const HfKeyRule& rule : rules) {
    const JsonValue* value = config.find(rule.hf);
    if (value == nullptr) continue;
    const double v = value->number;
    const bool fits = rule.type == GgufType::f32 ? std::isfinite(v) : v >= 0 && v <= 4294967295.0 && v == std::floor(v);
    if (!value->is_number() || !fits)
      return error(Code::corrupt, "key {} is {}, wanted {}", quote(rule.hf), value->describe(),
                   rule.type == GgufType::f32 ? "a number" : "an integer from 0 to 2^32 - 1");
    put(rule, v);
  }
  for (const HfKeyRule& rule : rules)  // several keys may give one value
    if (rule.otherwise && absent(config, rule.hf) && !numbers.contains(rule.gguf)) put(rule, *rule.otherwise);
  (*metadata)["general.architecture"] = gguf_text(hf.id);
  const double dim = numbers["embedding_length"], heads = numbers["attention.head_count"];
  if (!(dim >= 1 && heads >= 1 && heads <= dim))
    return error(Code::corrupt, "its hidden size is {} and its number of heads {}", dim, heads);
  uint64_t head_dim = uint64_t(dim / heads);
  if (numbers.contains("attention.key_length")) {
    head_dim = uint64_t(numbers["attention.key_length"]);
    (*metadata)[fmt::format("{}.attention.value_length", hf.id)] = gguf_u32(uint32_t(head_dim));
  }
  if (head_dim < 1 || head_dim > 4096) return error(Code::corrupt, "a head has {} dimensions", head_dim);
  if (!hf.rope.none) VIBEE_TRY(read_hf_rope(config, hf, head_dim, metadata, computed));
  return hf.check ? hf.check(config, metadata) : Status();
}

}  // namespace vibee
