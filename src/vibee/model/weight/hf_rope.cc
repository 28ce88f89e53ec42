// SPDX-License-Identifier: Apache-2.0
// Rotary positions of config.json: `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` before it.
#include <cmath>
#include <numbers>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/hf_config.h"

namespace vibee {
namespace {

Result<double> number(const JsonValue* from, std::string_view key, std::optional<double> otherwise) {
  const JsonValue* value = from ? from->find(key) : nullptr;
  if (value == nullptr && otherwise) return *otherwise;
  if (value == nullptr || !value->is_number() || !(value->number > 0 && value->number < 1e15))
    return error(Code::corrupt, "rotary positions: key {} is {}, wanted a number above 0", quote(key),
                 value ? value->describe() : "missing");
  return value->number;
}

Result<std::vector<float>> factors(const JsonValue& scaling, std::string_view key, uint64_t pairs) {
  const JsonValue* list = scaling.find(key);
  if (list == nullptr || !list->is(JsonValue::Kind::array) || list->items.size() != pairs)
    return error(Code::corrupt, "rotary positions: key {} is {}, wanted {} numbers", quote(key),
                 list ? list->describe() : "missing", pairs);
  std::vector<float> out;
  for (const JsonValue& v : list->items) {
    if (!v.is_number() || !(v.number > 0 && v.number < 1e15))
      return error(Code::corrupt, "rotary positions: key {} holds {}", quote(key), v.describe());
    out.push_back(float(v.number));
  }
  return out;
}

}  // namespace

std::vector<float> llama3_factors(uint64_t dims, double theta, double factor, double low, double high, double context) {
  std::vector<float> out;
  for (uint64_t i = 0; i < dims; i += 2) {
    const double turns = context / (2 * std::numbers::pi * std::pow(theta, double(i) / double(dims)));
    if (turns > high) {
      out.push_back(1);
    } else if (turns < low) {
      out.push_back(float(factor));
    } else {
      const double smooth = (turns - low) / (high - low);
      out.push_back(float(1 / ((1 - smooth) / factor + smooth)));
    }
  }
  return out;
}

Status read_hf_rope(const JsonValue& config, const HfArchitecture& hf, uint64_t head_dim, GgufMetadata* metadata,
                    std::vector<HfComputed>* computed) {
  const auto set = [&](std::string_view key, GgufValue value) {
    (*metadata)[fmt::format("{}.rope.{}", hf.id, key)] = std::move(value);
  };
  const JsonValue* parameters = config.find("rope_parameters");
  const JsonValue* scaling = parameters ? parameters : config.find("rope_scaling");
  const JsonValue* local = nullptr;
  if (hf.rope.two_kinds && parameters && parameters->find("full_attention")) {
    scaling = parameters->find("full_attention");
    local = parameters->find("sliding_attention");
  }
  VIBEE_ASSIGN(double theta, number(&config, "rope_theta", hf.rope.theta));
  if (parameters != nullptr) {
    VIBEE_ASSIGN(theta, number(scaling, "rope_theta", theta));
  }
  set("freq_base", gguf_f32(float(theta)));
  if (hf.rope.two_kinds) {
    VIBEE_ASSIGN(double base, number(&config, "rope_local_base_freq", 10000));
    VIBEE_ASSIGN(base, number(local, "rope_theta", base));
    set("freq_base_swa", gguf_f32(float(base)));
    if (const JsonValue* type = local ? local->find("rope_type") : nullptr; type && type->text != "default")
      return error(Code::unsupported, "rotary positions: scaling {} of local layers is not built", type->describe());
  }
  VIBEE_ASSIGN(double partial, number(&config, "partial_rotary_factor", 1));
  VIBEE_ASSIGN(partial, number(parameters, "partial_rotary_factor", partial));
  const auto dims = uint64_t(double(head_dim) * std::min(partial, 1.0));
  set("dimension_count", gguf_u32(uint32_t(dims)));
  if (scaling == nullptr) return {};

  const JsonValue* kind = scaling->find("rope_type");
  if (kind == nullptr) kind = scaling->find("type");
  const std::string type = kind ? kind->text : parameters ? "default" : "";
  if (type == "default" || type == "none") return {};
  const JsonValue* original_at = scaling->find("original_max_position_embeddings") ? scaling : &config;
  if (hf.rope.factors_long && (type == "longrope" || type == "su" || type == "yarn")) {
    VIBEE_ASSIGN(const double context, number(original_at, "original_max_position_embeddings", {}));
    VIBEE_ASSIGN(const double whole, number(&config, "max_position_embeddings", {}));
    const double scale = whole / context;
    const double attention = scale <= 1 ? 1 : std::sqrt(1 + std::log(scale) / std::log(context));
    VIBEE_ASSIGN(const double factor, number(scaling, "attention_factor", attention));
    set("scaling.original_context_length", gguf_u32(uint32_t(std::min(context, 4e9))));
    set("scaling.attn_factor", gguf_f32(float(factor)));
    for (const char* length : {"long", "short"}) {
      VIBEE_ASSIGN(std::vector<float> values, factors(*scaling, fmt::format("{}_factor", length), dims / 2));
      computed->push_back({fmt::format("rope_factors_{}.weight", length), std::move(values)});
    }
    return {};
  }
  if (type == "linear" || type == "yarn") {
    VIBEE_ASSIGN(const double factor, number(scaling, "factor", {}));
    set("scaling.type", gguf_text(type));
    set("scaling.factor", gguf_f32(float(factor)));
    if (type == "linear") return {};
    for (std::string_view key : {"mscale", "mscale_all_dim"})
      if (scaling->find(key)) return error(Code::unsupported, "rotary positions: key {} is not built", quote(key));
    VIBEE_ASSIGN(const double context, number(original_at, "original_max_position_embeddings",
                                              config.find("max_position_embeddings")
                                                  ? std::optional(config.find("max_position_embeddings")->number)
                                                  : std::nullopt));
    set("scaling.original_context_length", gguf_u32(uint32_t(std::min(context, 4e9))));
    VIBEE_ASSIGN(const double fast, number(scaling, "beta_fast", 32));
    VIBEE_ASSIGN(const double slow, number(scaling, "beta_slow", 1));
    set("scaling.yarn_beta_fast", gguf_f32(float(fast)));
    set("scaling.yarn_beta_slow", gguf_f32(float(slow)));
    if (scaling->find("attention_factor")) {  // GGUF's stands before YaRN's own
      VIBEE_ASSIGN(const double attention, number(scaling, "attention_factor", {}));
      set("scaling.attn_factor", gguf_f32(float(attention / (1 + 0.1 * std::log(std::max(1.0, factor))))));
    }
    return {};
  }
  if (type == "llama3") {
    VIBEE_ASSIGN(const double factor, number(scaling, "factor", 8));
    VIBEE_ASSIGN(const double low, number(scaling, "low_freq_factor", 1));
    VIBEE_ASSIGN(const double high, number(scaling, "high_freq_factor", 4));
    VIBEE_ASSIGN(const double context, number(original_at, "original_max_position_embeddings", 8192));
    if (low >= high)
      return error(Code::corrupt, "rotary positions: low_freq_factor {} is not below high_freq_factor {}", low, high);
    computed->push_back({"rope_freqs.weight", llama3_factors(dims, theta, factor, low, high, context)});
    return {};
  }
  return error(Code::unsupported,
               "rotary positions: type {} is not built for model_type {}; default, linear, yarn{} are", quote(type),
               quote(hf.model_type), hf.rope.factors_long ? ", longrope" : ", llama3");
}

}  // namespace vibee
