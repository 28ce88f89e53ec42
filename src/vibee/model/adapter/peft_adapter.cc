// SPDX-License-Identifier: Apache-2.0
// Adapters of PEFT (huggingface/peft, src/peft/tuners/lora/config.py and layer.py): modules are named as transformers
// names them, so the architecture's tensor rules say which tensor of the model each is and how its rows lie.
#include <algorithm>
#include <cmath>

#include "vibee/base/text/quote.h"
#include "vibee/model/adapter/adapter_parts.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/hf_config.h"
#include "vibee/model/weight/hf_names.h"
#include "vibee/model/weight/safetensors.h"

namespace vibee {
namespace {

constexpr uint64_t kMaxConfig = 4 << 20;
constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight";

/// Keys of adapter_config.json that change what an adapter computes in ways that are not built.
struct RefusedKey {
  std::string_view key, why;
};
constexpr RefusedKey kRefused[] = {
    {"use_dora", "weight-decomposed adapters (DoRA)"},
    {"modules_to_save", "modules that were trained whole"},
    {"lora_bias", "biases of adapters"},
    {"layer_replication", "layers that are repeated"},
    {"trainable_token_indices", "embeddings that were trained"},
    {"alora_invocation_tokens", "adapters that begin at a token"},
    {"use_qalora", "adapters of pooled inputs (QALoRA)"},
    {"megatron_config", "adapters of parallel layers"},
    {"target_parameters", "adapters of parameters instead of modules"},
    {"use_bdlora", "block-diagonal adapters"},
    {"arrow_config", "adapters that a router mixes"},
};

bool says_no(const JsonValue& v) {
  switch (v.kind) {
    case JsonValue::Kind::null: return true;
    case JsonValue::Kind::boolean: return !v.boolean;
    case JsonValue::Kind::array:
    case JsonValue::Kind::object: return v.items.empty();
    default: return false;
  }
}

bool is_literal(std::string_view pattern) {
  return std::all_of(pattern.begin(), pattern.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
}
/// Whether a module's name is `pattern` or ends in "." and it: what PEFT's patterns mean where they are plain names.
bool names_module(std::string_view pattern, std::string_view module) {
  if (!module.ends_with(pattern)) return false;
  return module.size() == pattern.size() || module[module.size() - pattern.size() - 1] == '.';
}

class PeftReader {
 public:
  PeftReader(const ModelConfig& base, AdapterBuilder builder) : base_(base), builder_(std::move(builder)) {}

  Result<AdapterFile> run(std::string_view config_text, const Safetensors& weights) {
    where_ = quote(builder_.path(), 400);
    auto config = parse_json(config_text);
    if (!config.ok()) return config.take_status().within(where_ + ": adapter_config.json");
    VIBEE_TRY(read_config(*config).within(where_ + ": adapter_config.json"));
    for (const SafetensorsTensor& t : weights.tensors()) {
      const bool a = t.name.ends_with(kA), b = t.name.ends_with(kB);
      if (!t.name.starts_with(kPrefix) || !(a || b) || t.name.size() < kPrefix.size() + kA.size())
        return error(Code::unsupported, "{}: tensor {} is not of an adapter that is built: names are {}MODULE{}, or {}",
                     where_, quote(t.name), kPrefix, kA, kB);
      Halves& halves = modules_[t.name.substr(kPrefix.size(), t.name.size() - kPrefix.size() - kA.size())];
      (a ? halves.a : halves.b) = &t;
    }
    for (const auto& [module, halves] : modules_) VIBEE_TRY(add(weights, module, halves));
    for (const std::string& target : targets_)
      if (std::none_of(modules_.begin(), modules_.end(), [&](const auto& m) { return names_module(target, m.first); }))
        return error(Code::corrupt, "{}: target_modules names {}, no tensor is of it", where_, quote(target));
    return builder_.finish();
  }

 private:
  struct Halves {
    const SafetensorsTensor *a = nullptr, *b = nullptr;
  };
  using Pattern = std::vector<std::pair<std::string, double>>;

  Status read_config(const JsonValue& c) {
    if (!c.is(JsonValue::Kind::object)) return error(Code::corrupt, "is no object");
    const JsonValue* type = c.find("peft_type");
    if (type == nullptr || type->text != "LORA")
      return error(Code::unsupported, "peft_type {} is not built; LORA is", type ? type->describe() : "is missing: it");
    for (const RefusedKey& refused : kRefused)
      if (const JsonValue* v = c.find(refused.key); v && !says_no(*v))
        return error(Code::unsupported, "{} {}: {} are not built", refused.key, v->describe(), refused.why);
    if (const JsonValue* bias = c.find("bias"); bias && bias->text != "none")
      return error(Code::unsupported, "bias {}: trained biases are not built; only none", bias->describe());
    if (const JsonValue* init = c.find("init_lora_weights"))
      for (std::string_view changed : {"pissa", "olora", "loftq", "corda", "lora_ga"})
        if (init->text.starts_with(changed))
          return error(Code::unsupported,
                       "init_lora_weights {}: the model's own weights were changed with the adapter; convert it with "
                       "PEFT's path_initial_model_for_weight_conversion",
                       init->describe());
    VIBEE_TRY(number(c, "r", &rank_));
    VIBEE_TRY(number(c, "lora_alpha", &alpha_));
    if (const JsonValue* rs = c.find("use_rslora")) rslora_ = rs->boolean;
    VIBEE_TRY(pattern(c, "rank_pattern", &ranks_));
    VIBEE_TRY(pattern(c, "alpha_pattern", &alphas_));
    if (const JsonValue* targets = c.find("target_modules"); targets && targets->is(JsonValue::Kind::array))
      for (const JsonValue& t : targets->items) targets_.push_back(t.text);
    return {};
  }
  static Status number(const JsonValue& c, std::string_view key, double* out) {
    const JsonValue* v = c.find(key);
    if (v == nullptr || !v->is_number()) return error(Code::corrupt, "needs the number {}", key);
    *out = v->number;
    return {};
  }
  static Status pattern(const JsonValue& c, std::string_view key, Pattern* out) {
    const JsonValue* v = c.find(key);
    if (v == nullptr) return {};
    for (size_t i = 0; i < v->names.size(); ++i) {
      if (!is_literal(v->names[i]))
        return error(Code::unsupported, "{} {}: regular expressions are not built; use names of modules", key,
                     quote(v->names[i]));
      if (!v->items[i].is_number()) return error(Code::corrupt, "{} {}: is no number", key, quote(v->names[i]));
      out->emplace_back(v->names[i], v->items[i].number);
    }
    return {};
  }
  static double value_for(const Pattern& pattern, std::string_view module, double otherwise) {
    for (const auto& [name, value] : pattern)
      if (names_module(name, module)) return value;
    return otherwise;
  }

  Status add(const Safetensors& weights, const std::string& module, const Halves& halves) {
    const auto bad = [&](Code code, std::string_view what) {
      return error(code, "{}: {}: {}", where_, quote(module), what);
    };
    if (halves.a == nullptr || halves.b == nullptr)
      return bad(Code::corrupt, fmt::format("has no tensor {}", halves.a ? "lora_B" : "lora_A"));
    for (const SafetensorsTensor* t : {halves.a, halves.b}) {
      if (!t->format)
        return bad(Code::unsupported, fmt::format("its tensors are {}; F32, F16 and BF16 are read", t->dtype));
      if (t->shape.size() != 2) return bad(Code::corrupt, "A and B must be matrices");
    }
    std::string tensor;
    AdapterPart a = part_of(weights, *halves.a), b = part_of(weights, *halves.b);
    for (const HfArchitecture* hf : hf_architectures()) {
      if (hf->id != base_.architecture) continue;
      const std::vector<HfTensorRule> rules = hf_tensors(*hf);
      HfMatch match;
      const HfTensorRule* rule = hf_rule_of(rules, *hf, module + ".weight", &match);
      if (rule == nullptr) continue;
      tensor = rule->gguf;
      if (const size_t at = tensor.find("{}"); at != std::string::npos)
        tensor.replace(at, 2, std::to_string(match.layer));
      if (rule->transform == HfTransform::permute_heads) b.head = b.rows / std::max(1u, base_.heads);
      if (rule->transform == HfTransform::permute_kv_heads) b.head = b.rows / std::max(1u, base_.kv_heads);
      break;
    }
    if (!builder_.has(tensor))
      return bad(Code::unsupported,
                 fmt::format("is not a module that adapters can change in {}: products of its layers",
                             quote(base_.architecture)));
    const double rank = value_for(ranks_, module, rank_), alpha = value_for(alphas_, module, alpha_);
    if (rank != double(a.rows))
      return bad(Code::corrupt, fmt::format("A has {} rows, adapter_config.json says rank {}", a.rows, rank));
    return builder_.add(tensor, module, a, b, float(alpha / (rslora_ ? std::sqrt(rank) : rank)));
  }
  static AdapterPart part_of(const Safetensors& file, const SafetensorsTensor& t) {
    AdapterPart part{t.name, *t.format, t.shape[0], t.shape[1], 0, {}};
    part.read = [&file, &t](uint64_t offset, std::span<uint8_t> out) { return file.read(t, offset, out); };
    return part;
  }

  const ModelConfig& base_;
  AdapterBuilder builder_;
  std::string where_;
  std::map<std::string, Halves> modules_;
  std::vector<std::string> targets_;
  double rank_ = 0, alpha_ = 0;
  bool rslora_ = false;
  Pattern ranks_, alphas_;
};

}  // namespace

Result<AdapterFile> read_peft_adapter(const std::string& directory, const ModelConfig& base, AdapterBuilder builder) {
  VIBEE_ASSIGN(const std::string config, read_small_file(directory + "/adapter_config.json", kMaxConfig));
  VIBEE_ASSIGN(const Safetensors weights, open_safetensors(directory + "/adapter_model.safetensors"));
  return PeftReader(base, std::move(builder)).run(config, weights);
}

Result<AdapterFile> parse_peft_adapter(std::string_view config, std::span<const uint8_t> bytes, std::string name,
                                       const ModelConfig& base, std::span<const AdaptedProduct> products,
                                       uint32_t max_rank) {
  VIBEE_ASSIGN(const Safetensors weights, parse_safetensors(bytes, name));
  return PeftReader(base, AdapterBuilder(std::move(name), products, max_rank)).run(config, weights);
}

}  // namespace vibee
