// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/arch/arch.h"

#include <cmath>

#include "vibee/kernels/attention/attention.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

constexpr Architecture kArchitectures[] = {
#define VIBEE_ARCHITECTURE(id) {#id, configure_##id},
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

Status expect(const Checkpoint& file, const std::string& name, std::initializer_list<uint64_t> shape) {
  const TensorInfo* t = file.find(name);
  if (t == nullptr) return error(Code::corrupt, "{}: tensor '{}' is missing", file.path(), name);
  bool same = true;
  for (size_t i = 0; i < std::max(t->shape.size(), shape.size()); ++i)
    same &= (i < t->shape.size() ? t->shape[i] : 1) == (i < shape.size() ? shape.begin()[i] : 1);
  if (same) return {};
  std::string have, want;
  for (uint64_t n : t->shape) have += (have.empty() ? "" : " x ") + std::to_string(n);
  for (uint64_t n : shape) want += (want.empty() ? "" : " x ") + std::to_string(n);
  return error(Code::corrupt, "{}: tensor '{}' is {}, the metadata asks for {}", file.path(), name, have, want);
}

/// The whole graph's weights before the first allocation: a hostile header must not reach a kernel.
Status check_tensors(const Checkpoint& file, const ModelConfig& c) {
  const uint64_t dim = c.dim, q = uint64_t(c.heads) * c.head_dim, kv = uint64_t(c.kv_heads) * c.head_dim, ff = c.ff;
  VIBEE_TRY(expect(file, "token_embd.weight", {dim, c.vocab}));
  VIBEE_TRY(expect(file, "output_norm.weight", {dim}));
  if (!c.tied) VIBEE_TRY(expect(file, "output.weight", {dim, c.vocab}));
  for (uint32_t i = 0; i < c.layers; ++i) {
    const auto name = [&](std::string_view what) { return fmt::format("blk.{}.{}.weight", i, what); };
    VIBEE_TRY(expect(file, name("attn_norm"), {dim}));
    VIBEE_TRY(expect(file, name("attn_q"), {dim, q}));
    VIBEE_TRY(expect(file, name("attn_k"), {dim, kv}));
    VIBEE_TRY(expect(file, name("attn_v"), {dim, kv}));
    VIBEE_TRY(expect(file, name("attn_output"), {q, dim}));
    VIBEE_TRY(expect(file, name("ffn_norm"), {dim}));
    VIBEE_TRY(expect(file, name("ffn_gate"), {dim, ff}));
    VIBEE_TRY(expect(file, name("ffn_up"), {dim, ff}));
    VIBEE_TRY(expect(file, name("ffn_down"), {ff, dim}));
    if (c.qk_norm) {
      VIBEE_TRY(expect(file, name("attn_q_norm"), {c.head_dim}));
      VIBEE_TRY(expect(file, name("attn_k_norm"), {c.head_dim}));
    }
    if (c.post_norms) {
      VIBEE_TRY(expect(file, name("post_attention_norm"), {dim}));
      VIBEE_TRY(expect(file, name("post_ffw_norm"), {dim}));
    }
  }
  return {};
}

}  // namespace

Result<Checkpoint> open_checkpoint(const std::string& path) { return open_gguf(path); }

std::span<const Architecture> architectures() { return kArchitectures; }

Status read_common(const Checkpoint& file, ModelConfig* c) {
  const auto key = [&](std::string_view k) { return fmt::format("{}.{}", c->architecture, k); };
  constexpr uint64_t kMost = 1u << 20;
  VIBEE_TRY(size(file, key("embedding_length"), kMost, &c->dim));
  VIBEE_TRY(size(file, key("block_count"), 4096, &c->layers));
  VIBEE_TRY(size(file, key("feed_forward_length"), kMost, &c->ff));
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
  VIBEE_ASSIGN(const double eps, file.get_f64(key("attention.layer_norm_rms_epsilon")));
  if (!(eps > 0 && eps < 1))
    return error(Code::corrupt, "{}: key '{}' is {}", file.path(), key("attention.layer_norm_rms_epsilon"), eps);
  c->eps = float(eps);
  LayerKind kind;
  if (file.has(key("rope.freq_base"))) {
    VIBEE_ASSIGN(kind.rope_base, file.get_f64(key("rope.freq_base")));
  }
  if (!(kind.rope_base >= 1 && kind.rope_base < 1e15))
    return error(Code::corrupt, "{}: key '{}' is {}", file.path(), key("rope.freq_base"), kind.rope_base);
  if (file.has(key("rope.scaling.factor"))) {
    VIBEE_ASSIGN(kind.rope_factor, file.get_f64(key("rope.scaling.factor")));
    VIBEE_ASSIGN(const std::string type, file.get_string(key("rope.scaling.type")));
    if (type == "none") kind.rope_factor = 1;
    if (type != "linear" && type != "none")
      return error(Code::unsupported, "{}: key '{}' is '{}'; linear is built", file.path(), key("rope.scaling.type"),
                   type);
    if (!(kind.rope_factor > 0 && kind.rope_factor < 1e6))
      return error(Code::corrupt, "{}: key '{}' is {}", file.path(), key("rope.scaling.factor"), kind.rope_factor);
  }
  c->kinds = {kind};
  c->layer_kind.assign(c->layers, 0);
  return {};
}

Result<ModelConfig> read_config(const Checkpoint& file) {
  ModelConfig c;
  VIBEE_ASSIGN(c.architecture, file.get_string("general.architecture"));
  if (file.has("general.name")) {
    VIBEE_ASSIGN(c.name, file.get_string("general.name"));
  }
  const TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[1] == 0 ||
      embedding->shape[1] > (1u << 20))
    return error(Code::corrupt, "{}: tensor 'token_embd.weight' is missing or not [dim, vocabulary]", file.path());
  c.vocab = uint32_t(embedding->shape[1]);
  c.tied = file.find("output.weight") == nullptr;
  std::string known;
  for (const Architecture& a : kArchitectures) {
    known += (known.empty() ? "" : ", ") + std::string(a.id);
    if (a.id != c.architecture) continue;
    VIBEE_TRY(a.configure(file, &c));
    VIBEE_TRY(check_tensors(file, c));
    return c;
  }
  return error(Code::unsupported, "{}: architecture '{}' is not built; {} are", file.path(), c.architecture, known);
}

}  // namespace vibee
