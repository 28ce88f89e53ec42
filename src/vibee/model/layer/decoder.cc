// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/layer/decoder.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

std::string block(uint32_t layer, std::string_view what) { return fmt::format("blk.{}.{}", layer, what); }
std::string part(std::string tensor, int64_t first, int64_t rows) {
  return rows == 0 ? std::move(tensor) : fmt::format("{}[{}:{}]", tensor, first, first + rows);
}
std::string gate_name(Gate gate) { return gate == Gate::silu ? "silu" : gate == Gate::gelu ? "gelu" : "gelu_tanh"; }

}  // namespace

WeightPart weight_part(std::string_view name) {
  WeightPart p;
  const size_t bracket = name.find('[');
  p.tensor = std::string(name.substr(0, bracket));
  if (bracket == std::string_view::npos) return p;
  p.whole = false;
  std::from_chars(name.data() + bracket + 1, name.data() + name.size(), p.first);
  return p;
}

DecoderBuilder::DecoderBuilder(const ModelConfig& config, FormatOf format_of, uint32_t lora_rank)
    : c_(config), format_of_(std::move(format_of)), lora_rank_(lora_rank) {
  g_.name = config.architecture;
}

ValueId DecoderBuilder::matrix(std::string tensor, int64_t n, int64_t k, int64_t first, int64_t rows) {
  const Format format = format_of_(tensor);
  return g_.source(Op::weight, {{Elem::stored, format}, {Dim{rows ? rows : n}, Dim{k}}},
                   {{"name", part(std::move(tensor), first, rows)}});
}
ValueId DecoderBuilder::stack(std::string tensor, int64_t experts, int64_t n, int64_t k) {
  const Format format = format_of_(tensor);
  return g_.source(Op::weight, {{Elem::stored, format}, {Dim{experts}, Dim{n}, Dim{k}}}, {{"name", std::move(tensor)}});
}
ValueId DecoderBuilder::vector(std::string tensor, int64_t n, int64_t first, int64_t rows) {
  return g_.source(Op::weight, {kF32, {Dim{rows ? rows : n}}}, {{"name", part(std::move(tensor), first, rows)}});
}

ValueId DecoderBuilder::norm(ValueId x, const std::string& name, int64_t width) {
  const ValueId weight = vector(name + ".weight", width);
  if (!c_.layer_norm) return g_.add(Op::rms_norm, {x, weight}, {{"eps", double(c_.eps)}});
  return g_.add(Op::layer_norm, {x, weight, vector(name + ".bias", width)}, {{"eps", double(c_.eps)}});
}
ValueId DecoderBuilder::head_norm(ValueId x, const std::string& name, int64_t width) {
  return g_.add(Op::rms_norm, {x, vector(name + ".weight", width)}, {{"eps", double(c_.eps)}});
}

ValueId DecoderBuilder::linear(ValueId x, const std::string& name, int64_t n, int64_t k, bool bias, int64_t first,
                               int64_t of) {
  const int64_t rows = of ? n : 0;
  ValueId y = g_.add(Op::linear, {ordered(x, name), matrix(name + ".weight", n, k, first, rows)});
  if (name.starts_with("blk.")) {
    if (training_) {
      y = learnt(y, x, part(name + ".weight", first, rows));
    } else if (lora_rank_) {
      y = adapted(y, x, part(name + ".weight", first, rows));
    }
  }
  return bias ? g_.add(Op::add, {y, vector(name + ".bias", n, first, rows)}) : y;
}

ValueId DecoderBuilder::ordered(ValueId x, const std::string& name) {
  const auto order = c_.input_orders.find(name);
  if (order == c_.input_orders.end()) return x;
  const auto [made, is_new] = ordered_.try_emplace({x, order->second}, 0);
  if (is_new) {
    const ValueId columns = g_.source(Op::weight, {kF32, {g_.type(x).dims[1]}}, {{"name", order->second}});
    made->second = g_.add(Op::permute_columns, {x, columns});
  }
  return made->second;
}

ValueId DecoderBuilder::adapted(ValueId y, ValueId x, std::string weight) {
  const int64_t target = lora_targets_++;
  const ValueId h =
      g_.add(Op::lora_down, {x}, {{"target", target}, {"rank", int64_t(lora_rank_)}, {"name", std::move(weight)}});
  return g_.add(Op::lora_up, {y, h}, {{"target", target}});
}

ValueId DecoderBuilder::learnt(ValueId y, ValueId x, const std::string& weight) {
  const std::string tensor = weight_part(weight).tensor;
  const size_t begin = tensor.find('.', 4) + 1;  // behind "blk.N."
  const std::string name = tensor.substr(begin, tensor.rfind('.') - begin);
  products_.insert(name);
  const auto& targets = adapter_.targets;
  if (adapter_.rank == 0 || (!targets.empty() && std::find(targets.begin(), targets.end(), name) == targets.end()))
    return y;
  const int64_t rank = adapter_.rank, n = g_.type(y).dims[1].n, k = g_.type(x).dims[1].n;
  if (rank > std::min(n, k) && adapter_status_.ok())
    adapter_status_ = error(Code::invalid, "an adapter of rank {}: {} is {} x {}; a rank is at most the shorter side",
                            rank, weight, n, k);
  const auto half = [&](std::string full, int64_t rows, int64_t columns) {
    return g_.source(Op::weight, {kF32, {Dim{rows}, Dim{columns}}}, {{"name", std::move(full)}});
  };
  auto rows = lora_rows_.find(tensor);
  if (rows == lora_rows_.end())
    rows = lora_rows_.emplace(tensor, g_.add(Op::linear, {x, half(tensor + ".lora_a", rank, k)})).first;
  const ValueId more = g_.add(Op::linear, {rows->second, half(weight + ".lora_b", n, rank)});
  return g_.add(Op::add, {y, g_.add(Op::scale, {more}, {{"by", adapter_.scale}})});
}

Status DecoderBuilder::check_targets() const {
  VIBEE_TRY(Status(adapter_status_));
  std::string known;
  for (const std::string& name : products_) known += (known.empty() ? "" : ", ") + name;
  for (const std::string& target : adapter_.targets)
    if (!products_.contains(target))
      return error(Code::invalid, "{} is no product of a layer that an adapter can change; this model has {}",
                   quote(target, 60), known);
  return {};
}

ValueId DecoderBuilder::attention(ValueId x, uint32_t layer) {
  const int64_t d = c_.head_dim, q_width = c_.heads * d, kv_width = c_.kv_heads * d, all = q_width + 2 * kv_width;
  const ValueId h = c_.pre_norms ? norm(x, block(layer, "attn_norm"), c_.dim) : x;
  const auto project = [&](const char* name, int64_t n, int64_t first) {
    if (c_.fused_qkv) return linear(h, block(layer, "attn_qkv"), n, c_.dim, c_.qkv_bias, first, all);
    return linear(h, block(layer, name), n, c_.dim, c_.qkv_bias);
  };
  ValueId q = project("attn_q", q_width, 0), k = project("attn_k", kv_width, q_width);
  const ValueId v = project("attn_v", kv_width, q_width + kv_width);
  if (c_.qk_norm) {
    q = head_norm(q, block(layer, "attn_q_norm"), c_.qk_norm_whole ? q_width : d);
    k = head_norm(k, block(layer, "attn_k_norm"), c_.qk_norm_whole ? kv_width : d);
  }
  if (!c_.learned_positions) {
    const Attrs turn = {{"head_dim", d}, {"pairs", std::string(c_.split_halves ? "split" : "adjacent")}};
    const ValueId table = tables_[c_.layer_kind[layer]];
    q = g_.add(Op::rope, {q, table}, turn);
    k = g_.add(Op::rope, {k, table}, turn);
  }
  const ValueId a = attend(q, k, v, layer);
  const ValueId o = linear(a, block(layer, "attn_output"), c_.dim, q_width, c_.output_bias);
  return c_.post_norms ? norm(o, block(layer, "post_attention_norm"), c_.dim) : o;
}

ValueId DecoderBuilder::attend(ValueId q, ValueId k, ValueId v, uint32_t layer) {
  const int64_t d = c_.head_dim, window = c_.kinds[c_.layer_kind[layer]].window;
  Attrs attrs = {{"layer", int64_t(layer)},
                 {"heads", int64_t(c_.heads)},
                 {"kv_heads", int64_t(c_.kv_heads)},
                 {"head_dim", d},
                 {"scale", c_.attention_scale > 0 ? double(c_.attention_scale) : 1.0 / std::sqrt(double(d))}};
  if (window) attrs.emplace_back("window", window);
  if (c_.attention_cap > 0) attrs.emplace_back("soft_cap", double(c_.attention_cap));
  if (!c_.causal) attrs.emplace_back("causal", int64_t(0));
  if (training_) return g_.add(Op::self_attention, {q, k, v, documents_}, std::move(attrs));
  state_ = g_.add(Op::kv_append, {state_, k, v}, {{"layer", int64_t(layer)}});
  return g_.add(Op::attention, {q, state_}, std::move(attrs));
}

ValueId DecoderBuilder::feed_forward(ValueId x, uint32_t layer) {
  const int64_t ff = c_.ff, dim = c_.dim;
  const ValueId h = c_.pre_norms ? norm(x, block(layer, "ffn_norm"), dim) : x;
  const std::string kind = gate_name(c_.activation);
  ValueId out;
  if (c_.experts > 0) {
    out = experts(h, layer);
  } else {
    ValueId m;
    if (!c_.gated) {
      m = g_.add(Op::activation, {linear(h, block(layer, "ffn_up"), ff, dim, c_.ffn_bias)}, {{"kind", kind}});
    } else {
      const bool fused = c_.fused_gate_up;  // gate rows first
      const ValueId gate =
          linear(h, block(layer, fused ? "ffn_up" : "ffn_gate"), ff, dim, c_.ffn_bias, 0, fused ? 2 * ff : 0);
      const ValueId up = linear(h, block(layer, "ffn_up"), ff, dim, c_.ffn_bias, fused ? ff : 0, fused ? 2 * ff : 0);
      m = g_.add(Op::gated, {gate, up}, {{"gate", kind}});
    }
    out = linear(m, block(layer, "ffn_down"), dim, ff, c_.ffn_bias);
  }
  return c_.post_norms ? norm(out, block(layer, "post_ffw_norm"), dim) : out;
}

ValueId DecoderBuilder::experts(ValueId x, uint32_t layer) {
  const int64_t e = c_.experts, ff = c_.expert_ff, dim = c_.dim, k = c_.experts_used;
  const ValueId route = g_.add(Op::moe_route, {x, matrix(block(layer, "ffn_gate_inp.weight"), e, dim)},
                               {{"k", k}, {"normalise", int64_t(c_.normalise_experts)}});
  const ValueId gate = stack(block(layer, "ffn_gate_exps.weight"), e, ff, dim);
  const ValueId up = stack(block(layer, "ffn_up_exps.weight"), e, ff, dim);
  const ValueId m = g_.add(Op::moe_gated, {x, route, gate, up}, {{"k", k}, {"gate", gate_name(c_.activation)}});
  return g_.add(Op::moe_down, {m, route, stack(block(layer, "ffn_down_exps.weight"), e, dim, ff)}, {{"k", k}});
}

ValueId DecoderBuilder::rope_table(ValueId positions, const LayerKind& kind) {
  Attrs attrs = {{"dims", int64_t(c_.rope_dims)}, {"base", kind.rope_base}};
  if (kind.rope_factor != 1) attrs.emplace_back("factor", kind.rope_factor);
  if (c_.rope_scale != 1) attrs.emplace_back("scale", c_.rope_scale);
  if (c_.yarn_context) {
    attrs.emplace_back("yarn_context", double(c_.yarn_context));
    attrs.emplace_back("beta_fast", c_.yarn_fast);
    attrs.emplace_back("beta_slow", c_.yarn_slow);
  }
  std::vector<ValueId> in = {positions};
  if (!c_.rope_factors.empty()) in.push_back(vector(c_.rope_factors, c_.rope_dims / 2));
  return g_.add(Op::rope_table, std::move(in), std::move(attrs));
}

ValueId DecoderBuilder::embedding(ValueId tokens, ValueId positions) {
  embedding_ = matrix("token_embd.weight", c_.vocab, c_.dim);
  Attrs scale;
  if (c_.embed_scale != 1) scale.emplace_back("scale", double(c_.embed_scale));
  ValueId x = g_.add(Op::embed, {tokens, embedding_}, std::move(scale));
  if (c_.token_types > 0) {
    const ValueId types = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("types")}});
    x = g_.add(Op::add, {x, g_.add(Op::embed, {types, matrix("token_types.weight", c_.token_types, c_.dim)})});
  }
  if (c_.learned_positions)
    x = g_.add(Op::add, {x, g_.add(Op::embed, {positions, matrix("position_embd.weight", c_.context, c_.dim)})});
  return c_.embedding_norm ? norm(x, "token_embd_norm", c_.dim) : x;
}

ValueId DecoderBuilder::output(ValueId x) {
  if (pools(c_.output)) {
    const Pooling pooling = c_.output == Output::scores ? Pooling::cls : c_.pooling.value_or(Pooling::mean);
    x = g_.add(Op::pool_rows, {output_norm(x)}, {{"kind", std::string(name(pooling))}});
    if (c_.output == Output::embedding) return x;
    x = g_.add(Op::soft_cap, {linear(x, "cls", c_.dim, c_.dim, true)}, {{"cap", 1.0}});  // tanh
    return linear(x, "cls.output", c_.labels, c_.dim, true);
  }
  x = output_norm(g_.add(Op::take_rows, {x}));
  if (c_.output == Output::hidden) return x;
  x = g_.add(Op::linear, {ordered(x, "output"), head()});
  if (c_.head_bias) x = g_.add(Op::add, {x, vector("output.bias", c_.vocab)});
  return c_.logit_cap > 0 ? g_.add(Op::soft_cap, {x}, {{"cap", double(c_.logit_cap)}}) : x;
}

ValueId DecoderBuilder::loss(ValueId x) {
  const ValueId targets = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("targets")}});
  const ValueId weights = g_.source(Op::input, {kF32, {kRows, Dim{1}}}, {{"name", std::string("loss_weights")}});
  const ValueId rows = ordered(output_norm(x), "output");
  std::vector<ValueId> in = {rows, head(), targets, weights};
  if (c_.head_bias) in.push_back(vector("output.bias", c_.vocab));
  Attrs attrs;
  if (c_.logit_cap > 0) attrs.emplace_back("soft_cap", double(c_.logit_cap));
  return g_.add(Op::cross_entropy, std::move(in), std::move(attrs));
}

ValueId DecoderBuilder::layers(ValueId tokens, ValueId positions) {
  if (!c_.learned_positions)
    for (const LayerKind& kind : c_.kinds) tables_.push_back(rope_table(positions, kind));
  ValueId x = embedding(tokens, positions);
  for (uint32_t layer = 0; layer < c_.layers; ++layer) {
    x = g_.add(Op::add, {x, attention(x, layer)});
    if (c_.sum_norms) x = norm(x, block(layer, "attn_output_norm"), c_.dim);
    x = g_.add(Op::add, {x, feed_forward(x, layer)});
    if (c_.sum_norms) x = norm(x, block(layer, "layer_output_norm"), c_.dim);
  }
  return x;
}

Result<Graph> DecoderBuilder::build() {
  const ValueId tokens = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId positions = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("positions")}});
  state_ = g_.source(Op::state, {kState, {}}, {});
  const ValueId x = output(layers(tokens, positions));
  VIBEE_TRY(Status(g_.status()));
  g_.outputs = {x, state_};
  VIBEE_TRY(verify(g_));
  return std::move(g_);
}

Result<Graph> DecoderBuilder::build_training(const TrainedAdapter& adapter) {
  if (!c_.generates || !c_.causal)
    return error(Code::unsupported, "{}: only models that predict the next token are trained", c_.architecture);
  training_ = true;
  adapter_ = adapter;
  const ValueId tokens = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId positions = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("positions")}});
  documents_ = g_.source(Op::input, {kI32, {kRows}}, {{"name", std::string("documents")}});
  const ValueId x = loss(layers(tokens, positions));
  VIBEE_TRY(check_targets());
  VIBEE_TRY(Status(g_.status()));
  g_.outputs = {x};
  VIBEE_TRY(verify(g_));
  return std::move(g_);
}

}  // namespace vibee
