// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/arch/arch.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "vibee/base/text/quote.h"
#include "vibee/kernels/attention/attention.h"
#include "vibee/model/layer/decoder.h"
#include "vibee/model/weight/gguf.h"
#include "vibee/model/weight/hf_names.h"

namespace vibee {
namespace {

constexpr Architecture kArchitectures[] = {
#define VIBEE_ARCHITECTURE(id) {#id, configure_##id, hf_##id},
#include "vibee/model/arch/architectures.inc"
#undef VIBEE_ARCHITECTURE
};

/// A size from the metadata, refused outside [1, most].
Status size(const Checkpoint& file, const std::string& key, uint64_t most, uint32_t* out) {
  VIBEE_ASSIGN(const uint64_t v, file.get_u64(key));
  if (v == 0 || v > most) return error(Code::corrupt, "{}: key '{}' is {}, not in 1 to {}", file.path(), key, v, most);
  *out = uint32_t(v);
  return {};
}

std::string text_of(std::span<const uint64_t> shape) {
  std::string text;
  for (uint64_t n : shape) text += (text.empty() ? "" : " x ") + std::to_string(n);
  return text;
}
/// The first five of a list, and how many more.
std::string first_five(const std::vector<std::string>& all) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(all.size(), 5); ++i) text += (i ? ", " : "") + all[i];
  return all.size() > 5 ? fmt::format("{} and {} more", text, all.size() - 5) : text;
}
bool same_shape(std::span<const uint64_t> a, std::span<const uint64_t> b) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i)
    if ((i < a.size() ? a[i] : 1) != (i < b.size() ? b[i] : 1)) return false;
  return true;
}

/// Tensors that files carry and a graph may not read: computed tables, factors of the context lengths that are not
/// built.
bool may_be_ignored(std::string_view name) {
  return name == "rope_freqs.weight" || name == "rope_factors_long.weight" || name == "rope_factors_short.weight" ||
         name == "cls.weight" || name == "cls.bias" ||  // BERT's pooler, where no classifier stands on it
         name.ends_with(".rope_freqs.weight") || name.ends_with("attn_rot_embd") || name.ends_with(".attn_masked_bias");
}

/// Every weight of the graph against the file's tensors, before the first allocation: a hostile header must not reach a
/// kernel.
Status check_tensors(const Checkpoint& file, const ModelConfig& c) {
  VIBEE_ASSIGN(const Graph graph, DecoderBuilder(c, [](std::string_view) { return Format::f32; }).build());
  std::map<std::string, std::vector<uint64_t>, std::less<>> wanted;  // in the file's order of sizes
  for (const Node& node : graph.nodes) {
    if (node.op != Op::weight) continue;
    const WeightPart part = weight_part(node.text("name"));
    const std::vector<Dim>& dims = graph.type(node.out[0]).dims;
    std::vector<uint64_t> shape;
    for (size_t i = dims.size(); i-- > 0;) shape.push_back(uint64_t(dims[i].n));
    std::vector<uint64_t>& known = wanted[part.tensor];
    if (part.whole) {
      known = shape;
    } else {  // parts cover their tensor
      shape.back() += uint64_t(part.first);
      if (known.empty() || known.back() < shape.back()) known = shape;
    }
  }
  // The order of a product; the graph may read it under another's name.
  const auto is_order_of = [&](const std::string& name) {
    if (!name.ends_with(kOrderSuffix)) return false;
    const std::string weight = name.substr(0, name.size() - kOrderSuffix.size()) + ".weight";
    return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
      return node.op == Op::linear && weight_part(graph.producer(node.in[1]).text("name")).tensor == weight &&
             graph.producer(node.in[0]).op == Op::permute_columns;
    });
  };
  std::vector<std::string> missing, misshaped, extra;
  for (const auto& [name, shape] : wanted) {
    const TensorInfo* t = file.find(name);
    if (t == nullptr) {
      missing.push_back(fmt::format("'{}'", name));
    } else if (!same_shape(t->shape, shape)) {
      misshaped.push_back(fmt::format("'{}' is {}, the metadata asks for {}", name, text_of(t->shape), text_of(shape)));
    }
  }
  for (const TensorInfo& t : file.tensors())
    if (!wanted.contains(t.name) && !may_be_ignored(t.name) && !is_order_of(t.name))
      extra.push_back(fmt::format("{}", quote(t.name)));
  std::string what;
  const auto say = [&](std::string_view kind, const std::vector<std::string>& list) {
    if (!list.empty()) what += fmt::format("{}{}: {}", what.empty() ? "" : "; ", kind, first_five(list));
  };
  say("missing tensors", missing);
  say("misshaped", misshaped);
  say("not of this architecture", extra);
  if (what.empty()) return {};
  return error(Code::corrupt, "{}: {}; the file is damaged or not a plain '{}'", file.path(), what, c.architecture);
}

/// Scaling of rotary positions: linear, or YaRN.
Status read_rope_scaling(const Checkpoint& file, ModelConfig* c, LayerKind* kind) {
  const auto key = [&](std::string_view k) { return fmt::format("{}.rope.scaling.{}", c->architecture, k); };
  VIBEE_ASSIGN(const std::string type, file.get_string_or(key("type"), "linear"));
  if (type == "none" || type == "longrope") return {};
  VIBEE_ASSIGN(kind->rope_factor, file.get_f64(key("factor")));
  if (!(kind->rope_factor > 0 && kind->rope_factor < 1e6))
    return error(Code::corrupt, "{}: key '{}' is {}", file.path(), key("factor"), kind->rope_factor);
  if (type == "linear") return {};
  if (type != "yarn")
    return error(Code::unsupported, "{}: key '{}' is '{}'; none, linear, yarn and longrope are built", file.path(),
                 key("type"), type);
  VIBEE_TRY(size(file, key("original_context_length"), 1u << 26, &c->yarn_context));
  VIBEE_ASSIGN(c->yarn_fast, file.get_f64_or(key("yarn_beta_fast"), 32));
  VIBEE_ASSIGN(c->yarn_slow, file.get_f64_or(key("yarn_beta_slow"), 1));
  VIBEE_ASSIGN(const double attention, file.get_f64_or(key("attn_factor"), 1));
  if (!(c->yarn_fast > 0 && c->yarn_slow > 0 && attention > 0 && attention < 100))
    return error(Code::corrupt, "{}: keys '{}' are out of range", file.path(), key("yarn_..."));
  c->rope_scale = attention * (1 + 0.1 * std::log(std::max(1.0, kind->rope_factor)));
  return {};
}

/// How an embedding is made of the rows: keys of GGUF, and of ours where it has none.
Status read_pooling(const Checkpoint& file, ModelConfig* c) {
  const std::string key = fmt::format("{}.pooling_type", c->architecture);
  if (file.has("vibee.pooling")) {
    VIBEE_ASSIGN(const std::string text, file.get_string("vibee.pooling"));
    c->pooling = find_pooling(text);
    if (!c->pooling) return error(Code::corrupt, "{}: key 'vibee.pooling' is {}", file.path(), quote(text));
  } else if (file.has(key)) {
    VIBEE_ASSIGN(const uint64_t type, file.get_u64(key));  // llama.cpp's LLAMA_POOLING_TYPE_*: none 0, rank 4
    if (type > 4) return error(Code::unsupported, "{}: key '{}' is {}, 0 to 4 are built", file.path(), key, type);
    constexpr std::optional<Pooling> kTypes[] = {{}, Pooling::mean, Pooling::cls, Pooling::last, {}};
    c->pooling = kTypes[type];
  }
  VIBEE_ASSIGN(c->normalise, file.get_bool_or("vibee.normalise", true));
  VIBEE_ASSIGN(c->sigmoid, file.get_bool_or("vibee.score.sigmoid", true));
  VIBEE_ASSIGN(const uint64_t most, file.get_u64_or("vibee.text_tokens", UINT32_MAX));
  if (most == 0) return error(Code::corrupt, "{}: key 'vibee.text_tokens' is 0", file.path());
  c->text_tokens = uint32_t(std::min<uint64_t>(most, UINT32_MAX));
  return {};
}

/// The variants that show in which tensors a file has.
Status read_variants(const Checkpoint& file, ModelConfig* c) {
  const auto has = [&](std::string_view name) { return file.find(fmt::format("blk.0.{}", name)) != nullptr; };
  c->fused_qkv = has("attn_qkv.weight");
  c->qkv_bias = has("attn_q.bias") || has("attn_qkv.bias");
  c->output_bias = has("attn_output.bias");
  c->ffn_bias = has("ffn_up.bias");
  c->head_bias = file.find("output.bias") != nullptr;
  c->fused_gate_up = c->gated && c->experts == 0 && !has("ffn_gate.weight");
  c->qk_norm = has("attn_q_norm.weight");
  if (c->qk_norm) c->qk_norm_whole = file.find("blk.0.attn_q_norm.weight")->elements() != c->head_dim;
  if (file.find("rope_freqs.weight") != nullptr) c->rope_factors = "rope_freqs.weight";
  return {};
}

/// Products whose inputs are sorted; equal orders have one name.
Status read_orders(const Checkpoint& file, ModelConfig* c) {
  std::map<std::vector<float>, std::string> known;
  for (const TensorInfo& t : file.tensors()) {
    if (!t.name.ends_with(kOrderSuffix)) continue;
    const auto bad = [&](std::string_view what) {
      return error(Code::corrupt, "{}: tensor {} {}", file.path(), quote(t.name), what);
    };
    if (t.shape.size() != 1 || t.format != Format::f32 || t.shape[0] > uint64_t(kMaxDim))
      return bad("is no f32 vector");
    std::vector<float> order(t.shape[0]);
    VIBEE_TRY(file.read(t, 0, {reinterpret_cast<uint8_t*>(order.data()), t.bytes}));
    std::vector<bool> seen(order.size());
    for (const float at : order) {
      if (!(at >= 0 && at < float(order.size())) || at != std::floor(at) || seen[size_t(at)])
        return bad(fmt::format("is no order of {} columns: it has {}", order.size(), at));
      seen[size_t(at)] = true;
    }
    const std::string product = t.name.substr(0, t.name.size() - kOrderSuffix.size());
    c->input_orders[product] = known.try_emplace(std::move(order), t.name).first->second;
  }
  return {};
}

Status not_built(const Checkpoint& file, const std::string& architecture) {
  std::string known;
  for (const Architecture& a : kArchitectures) known += (known.empty() ? "" : ", ") + std::string(a.id);
  std::vector<std::string> names;
  for (const TensorInfo& t : file.tensors())
    if (!may_be_ignored(t.name)) names.push_back(t.name);
  return error(Code::unsupported, "{}: architecture {} is not built; {} are{}", file.path(), quote(architecture), known,
               hf_nearest(hf_architectures(), names, true, architecture));
}

}  // namespace

Result<Checkpoint> open_checkpoint(const std::string& path, uint32_t bits) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return open_hf(path, hf_architectures(), bits);
  if (bits != 0)
    return error(Code::invalid,
                 "--bits {}: {} stores one width; directories of `vibee quantize --scheme any` store several", bits,
                 quote(path, 400));
  return open_gguf(path);
}

std::span<const Architecture> architectures() { return kArchitectures; }

std::span<const HfArchitecture* const> hf_architectures() {
  static const std::vector<const HfArchitecture*> all = [] {
    std::vector<const HfArchitecture*> list;
    for (const Architecture& a : architectures())
      for (const HfArchitecture& hf : a.hf()) list.push_back(&hf);
    return list;
  }();
  return all;
}

Status read_common(const Checkpoint& file, ModelConfig* c) {
  const auto key = [&](std::string_view k) { return fmt::format("{}.{}", c->architecture, k); };
  constexpr uint64_t kMost = 1u << 20;
  VIBEE_TRY(size(file, key("embedding_length"), kMost, &c->dim));
  VIBEE_TRY(size(file, key("block_count"), 4096, &c->layers));
  if (file.has(key("expert_count"))) {
    VIBEE_TRY(size(file, key("expert_count"), 4096, &c->experts));
    VIBEE_TRY(size(file, key("expert_used_count"), c->experts, &c->experts_used));
  }
  const bool own_ff = c->experts > 0 && file.has(key("expert_feed_forward_length"));
  VIBEE_TRY(size(file, key(own_ff ? "expert_feed_forward_length" : "feed_forward_length"), kMost, &c->ff));
  c->expert_ff = c->ff;
  VIBEE_TRY(size(file, key("attention.head_count"), 4096, &c->heads));
  VIBEE_TRY(size(file, key("context_length"), 1u << 26, &c->context));
  c->kv_heads = c->heads;
  if (file.has(key("attention.head_count_kv")))
    VIBEE_TRY(size(file, key("attention.head_count_kv"), 4096, &c->kv_heads));
  if (c->dim % c->heads != 0 && !file.has(key("attention.key_length")))
    return error(Code::corrupt, "{}: key '{}' ({}) is not a multiple of the {} heads", file.path(),
                 key("embedding_length"), c->dim, c->heads);
  c->head_dim = c->dim / c->heads;
  if (file.has(key("attention.key_length"))) VIBEE_TRY(size(file, key("attention.key_length"), 4096, &c->head_dim));
  VIBEE_TRY(validate(AttentionShape{c->heads, c->kv_heads, c->head_dim}).within(file.path()));
  c->rope_dims = c->head_dim;
  if (file.has(key("rope.dimension_count")))
    VIBEE_TRY(size(file, key("rope.dimension_count"), c->head_dim, &c->rope_dims));
  if (c->rope_dims % 2 != 0)
    return error(Code::corrupt, "{}: key '{}' is {}, must be even", file.path(), key("rope.dimension_count"),
                 c->rope_dims);
  const std::string eps_key = key(c->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon");
  VIBEE_ASSIGN(const double eps, file.get_f64(eps_key));
  if (!(eps > 0 && eps < 1)) return error(Code::corrupt, "{}: key '{}' is {}", file.path(), eps_key, eps);
  c->eps = float(eps);
  LayerKind kind;
  if (file.has(key("rope.freq_base"))) {
    VIBEE_ASSIGN(kind.rope_base, file.get_f64(key("rope.freq_base")));
  }
  if (!(kind.rope_base >= 1 && kind.rope_base < 1e15))
    return error(Code::corrupt, "{}: key '{}' is {}", file.path(), key("rope.freq_base"), kind.rope_base);
  if (file.has(key("rope.scaling.factor")) || file.has(key("rope.scaling.type")))
    VIBEE_TRY(read_rope_scaling(file, c, &kind));
  if (file.has(key("attention.sliding_window"))) {
    VIBEE_ASSIGN(const uint64_t window, file.get_u64(key("attention.sliding_window")));
    if (window >= (1u << 26))
      return error(Code::corrupt, "{}: key '{}' is {}", file.path(), key("attention.sliding_window"), window);
    kind.window = window < c->context ? uint32_t(window) : 0;
  }
  c->kinds = {kind};
  c->layer_kind.assign(c->layers, 0);
  return read_variants(file, c);
}

Result<ModelConfig> read_config(const Checkpoint& file) {
  ModelConfig c;
  VIBEE_ASSIGN(c.architecture, file.get_string("general.architecture"));
  if (file.has("general.name")) {
    VIBEE_ASSIGN(c.name, file.get_string("general.name"));
  }
  const auto built = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                  [&](const Architecture& a) { return a.id == c.architecture; });
  if (built == std::end(kArchitectures)) return not_built(file, c.architecture);
  const TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[1] == 0 ||
      embedding->shape[1] > (1u << 20))
    return error(Code::corrupt, "{}: tensor 'token_embd.weight' is missing or not [dim, vocabulary]", file.path());
  c.vocab = uint32_t(embedding->shape[1]);
  c.tied = file.find("output.weight") == nullptr;
  VIBEE_TRY(built->configure(file, &c));
  VIBEE_TRY(read_pooling(file, &c));
  VIBEE_TRY(read_orders(file, &c));
  VIBEE_TRY(check_tensors(file, c));
  return c;
}

Status set_output(std::string_view path, Output output, std::optional<Pooling> pooling, ModelConfig* c) {
  c->output = output;
  if (pooling) c->pooling = pooling;
  if (output == Output::logits && !c->generates)
    return error(Code::unsupported, "{}: a model of architecture '{}' writes no text, it {}; use `vibee {}`", path,
                 c->architecture, c->labels ? "scores texts" : "embeds them", c->labels ? "rerank" : "embed");
  if (output == Output::scores && c->labels != 1)
    return error(Code::unsupported, "{}: has {}; reranking needs a classifier of one label", path,
                 c->labels ? fmt::format("a classifier of {} labels", c->labels) : std::string("no classifier"));
  if (output == Output::embedding && !c->pooling)
    return error(Code::unsupported,
                 "{}: its files do not say how rows become one embedding; say --pooling mean, cls, "
                 "max or last",
                 path);
  return {};
}

}  // namespace vibee
