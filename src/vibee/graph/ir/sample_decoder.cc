// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/ir/sample_decoder.h"

#include <cmath>

namespace vibee {
namespace {

struct Builder {
  const SampleDecoder& c;
  Graph g;

  ValueId matrix(std::string name, int64_t n, int64_t k) { return matrix(std::move(name), n, k, c.format); }
  ValueId matrix(std::string name, int64_t n, int64_t k, Format format) {
    return g.source(Op::weight, {{Elem::stored, format}, {Dim{n}, Dim{k}}}, {{"name", std::move(name)}});
  }
  ValueId norm(ValueId x, std::string name, int64_t n) {
    return g.add(Op::rms_norm, {x, g.source(Op::weight, {kF32, {Dim{n}}}, {{"name", std::move(name)}})},
                 {{"eps", 1e-5}});
  }
  ValueId linear(ValueId x, ValueId w) { return g.add(Op::linear, {x, w}); }

  ValueId attention(ValueId x, ValueId table, ValueId* state, int64_t layer) {
    const auto name = [&](std::string_view what) { return fmt::format("l{}.{}", layer, what); };
    const int64_t d = c.head_dim;
    const ValueId h = norm(x, name("norm"), c.dim);
    ValueId q = linear(h, matrix(name("q"), c.heads * d, c.dim));
    ValueId k = linear(h, matrix(name("k"), c.kv_heads * d, c.dim));
    const ValueId v = linear(h, matrix(name("v"), c.kv_heads * d, c.dim, c.value_format));
    if (c.qk_norm) {
      q = norm(q, name("q_norm"), d);
      k = norm(k, name("k_norm"), d);
    }
    const Attrs turn = {{"head_dim", d}, {"pairs", std::string(c.split_halves ? "split" : "adjacent")}};
    q = g.add(Op::rope, {q, table}, turn);
    k = g.add(Op::rope, {k, table}, turn);
    *state = g.add(Op::kv_append, {*state, k, v}, {{"layer", layer}});
    Attrs attrs = {{"layer", layer},
                   {"heads", c.heads},
                   {"kv_heads", c.kv_heads},
                   {"head_dim", d},
                   {"scale", 1 / std::sqrt(double(d))}};
    if (c.window) attrs.emplace_back("window", c.window);
    if (c.attention_cap > 0) attrs.emplace_back("soft_cap", c.attention_cap);
    ValueId o = linear(g.add(Op::attention, {q, *state}, std::move(attrs)), matrix(name("o"), c.dim, c.heads * d));
    if (c.post_norms) o = norm(o, name("post_attention"), c.dim);
    return g.add(Op::add, {x, o});
  }

  ValueId feed_forward(ValueId x, int64_t layer) {
    const auto name = [&](std::string_view what) { return fmt::format("l{}.{}", layer, what); };
    const ValueId h = norm(x, name("ff_norm"), c.dim);
    const ValueId gate = linear(h, matrix(name("gate"), c.ff, c.dim)), up = linear(h, matrix(name("up"), c.ff, c.dim));
    const ValueId m = g.add(Op::gated, {gate, up}, {{"gate", std::string(c.gelu ? "gelu_tanh" : "silu")}});
    ValueId down = linear(m, matrix(name("down"), c.dim, c.ff));
    if (c.post_norms) down = norm(down, name("post_ff"), c.dim);
    return g.add(Op::add, {x, down});
  }
};

}  // namespace

Graph sample_decoder(const SampleDecoder& c) {
  Builder b{c, {}};
  b.g.name = c.name;
  const ValueId tokens = b.g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId positions = b.g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("positions")}});
  ValueId state = b.g.source(Op::state, {kState, {}}, {});
  const ValueId table = b.g.add(Op::rope_table, {positions}, {{"dims", c.rope_dims}, {"base", 10000.0}});
  const ValueId embedding = b.matrix("embedding", c.vocab, c.dim);
  Attrs scale;
  if (c.embed_scale != 1) scale.emplace_back("scale", c.embed_scale);
  ValueId x = b.g.add(Op::embed, {tokens, embedding}, std::move(scale));
  for (int64_t layer = 0; layer < c.layers; ++layer) x = b.feed_forward(b.attention(x, table, &state, layer), layer);
  x = b.norm(b.g.add(Op::take_rows, {x}), "norm", c.dim);
  ValueId logits = b.linear(x, c.tied ? embedding : b.matrix("head", c.vocab, c.dim));
  if (c.logit_cap > 0) logits = b.g.add(Op::soft_cap, {logits}, {{"cap", c.logit_cap}});
  VIBEE_CHECK(b.g.status().ok(), "{}", b.g.status().message());
  b.g.outputs = {logits, state};
  return std::move(b.g);
}

SampleDecoder random_decoder(RandomStream& random, Format format) {
  const auto coin = [&] { return random.below(2) == 1; };
  SampleDecoder c;
  c.format = c.value_format = format;
  if (random.below(4) == 0) c.value_format = Format::f32;
  c.vocab = 33 + random.below(80);
  c.dim = 32 * (1 + random.below(3));
  c.layers = 1 + random.below(2);
  c.kv_heads = 1 + random.below(2);
  c.heads = c.kv_heads * (1 + random.below(3));
  const bool whole_blocks = format != Format::f32;  // the product after attention reads heads * head_dim columns
  c.head_dim = whole_blocks ? 32 * (1 + random.below(2)) : 8 * (1 + random.below(5));
  if (whole_blocks && c.heads % 2 == 0 && coin()) c.head_dim = 16;
  c.rope_dims = coin() ? c.head_dim : 2 * (1 + random.below(uint32_t(c.head_dim / 2)));
  c.ff = 32 * (1 + random.below(4));
  c.window = coin() ? 0 : 1 + random.below(30);
  c.split_halves = coin();
  c.gelu = coin();
  c.qk_norm = coin();
  c.post_norms = coin();
  c.tied = coin();
  if (coin()) c.embed_scale = std::sqrt(double(c.dim));
  if (coin()) c.attention_cap = 20;
  if (coin()) c.logit_cap = 15;
  return c;
}

}  // namespace vibee
