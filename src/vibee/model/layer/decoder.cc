// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/layer/decoder.h"

#include <cmath>

namespace vibee {
namespace {

std::string block(uint32_t layer, std::string_view what) { return fmt::format("blk.{}.{}.weight", layer, what); }

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelConfig& config, FormatOf format_of)
    : c_(config), format_of_(std::move(format_of)) {
  g_.name = config.architecture;
}

ValueId DecoderBuilder::matrix(std::string name, uint32_t n, uint32_t k) {
  const Format format = format_of_(name);
  return g_.source(Op::weight, {{Elem::stored, format}, {Dim{n}, Dim{k}}}, {{"name", std::move(name)}});
}
ValueId DecoderBuilder::vector(std::string name, uint32_t n) {
  return g_.source(Op::weight, {kF32, {Dim{n}}}, {{"name", std::move(name)}});
}
ValueId DecoderBuilder::norm(ValueId x, std::string name, uint32_t width) {
  return g_.add(Op::rms_norm, {x, vector(std::move(name), width)}, {{"eps", double(c_.eps)}});
}

ValueId DecoderBuilder::attention_block(ValueId x, uint32_t layer) {
  const LayerKind& kind = c_.kinds[c_.layer_kind[layer]];
  const uint32_t d = c_.head_dim, q_width = c_.heads * d, kv_width = c_.kv_heads * d;
  const ValueId h = norm(x, block(layer, "attn_norm"), c_.dim);
  ValueId q = g_.add(Op::linear, {h, matrix(block(layer, "attn_q"), q_width, c_.dim)});
  ValueId k = g_.add(Op::linear, {h, matrix(block(layer, "attn_k"), kv_width, c_.dim)});
  const ValueId v = g_.add(Op::linear, {h, matrix(block(layer, "attn_v"), kv_width, c_.dim)});
  if (c_.qk_norm) {
    q = norm(q, block(layer, "attn_q_norm"), d);
    k = norm(k, block(layer, "attn_k_norm"), d);
  }
  const Attrs turn = {{"head_dim", int64_t(d)}, {"pairs", std::string(c_.split_halves ? "split" : "adjacent")}};
  const ValueId table = tables_[c_.layer_kind[layer]];
  q = g_.add(Op::rope, {q, table}, turn);
  k = g_.add(Op::rope, {k, table}, turn);
  state_ = g_.add(Op::kv_append, {state_, k, v}, {{"layer", int64_t(layer)}});
  Attrs attrs = {{"layer", int64_t(layer)},
                 {"heads", int64_t(c_.heads)},
                 {"kv_heads", int64_t(c_.kv_heads)},
                 {"head_dim", int64_t(d)},
                 {"scale", c_.attention_scale > 0 ? double(c_.attention_scale) : 1.0 / std::sqrt(double(d))}};
  if (kind.window) attrs.emplace_back("window", int64_t(kind.window));
  if (c_.attention_cap > 0) attrs.emplace_back("soft_cap", double(c_.attention_cap));
  const ValueId a = g_.add(Op::attention, {q, state_}, std::move(attrs));
  ValueId o = g_.add(Op::linear, {a, matrix(block(layer, "attn_output"), c_.dim, q_width)});
  if (c_.post_norms) o = norm(o, block(layer, "post_attention_norm"), c_.dim);
  return g_.add(Op::add, {x, o});
}

ValueId DecoderBuilder::feed_forward(ValueId x, uint32_t layer) {
  const ValueId h = norm(x, block(layer, "ffn_norm"), c_.dim);
  const ValueId gate = g_.add(Op::linear, {h, matrix(block(layer, "ffn_gate"), c_.ff, c_.dim)});
  const ValueId up = g_.add(Op::linear, {h, matrix(block(layer, "ffn_up"), c_.ff, c_.dim)});
  const ValueId m = g_.add(Op::gated, {gate, up}, {{"gate", std::string(c_.gelu ? "gelu_tanh" : "silu")}});
  ValueId down = g_.add(Op::linear, {m, matrix(block(layer, "ffn_down"), c_.dim, c_.ff)});
  if (c_.post_norms) down = norm(down, block(layer, "post_ffw_norm"), c_.dim);
  return g_.add(Op::add, {x, down});
}

Result<Graph> DecoderBuilder::build() {
  const ValueId tokens = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId positions = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("positions")}});
  state_ = g_.source(Op::state, {kState, {}}, {});
  for (const LayerKind& kind : c_.kinds) {
    Attrs attrs = {{"dims", int64_t(c_.rope_dims)}, {"base", kind.rope_base}};
    if (kind.rope_factor != 1) attrs.emplace_back("factor", kind.rope_factor);
    tables_.push_back(g_.add(Op::rope_table, {positions}, std::move(attrs)));
  }
  const ValueId embedding = matrix("token_embd.weight", c_.vocab, c_.dim);
  Attrs scale;
  if (c_.embed_scale != 1) scale.emplace_back("scale", double(c_.embed_scale));
  ValueId x = g_.add(Op::embed, {tokens, embedding}, std::move(scale));
  for (uint32_t layer = 0; layer < c_.layers; ++layer) x = feed_forward(attention_block(x, layer), layer);
  x = norm(g_.add(Op::take_rows, {x}), "output_norm.weight", c_.dim);
  ValueId logits = g_.add(Op::linear, {x, c_.tied ? embedding : matrix("output.weight", c_.vocab, c_.dim)});
  if (c_.logit_cap > 0) logits = g_.add(Op::soft_cap, {logits}, {{"cap", double(c_.logit_cap)}});
  VIBEE_TRY(Status(g_.status()));
  g_.outputs = {logits, state_};
  VIBEE_TRY(verify(g_));
  return std::move(g_);
}

}  // namespace vibee
