// SPDX-License-Identifier: Apache-2.0
// Type rules, good and bad for every op; what the verifier catches; dead code.
#include "vibee/graph/ir/ir.h"

#include <gtest/gtest.h>

#include <set>

namespace vibee {
namespace {

/// Values that rules are tried on, by name.
struct Values {
  Graph g;
  std::vector<std::pair<std::string, ValueId>> named;
  Values() {
    const auto add = [&](const char* name, Op op, Type type) {
      named.emplace_back(name, g.source(op, std::move(type), {{"name", std::string(name)}}));
    };
    const auto stored = [](Format f) { return Elem{Elem::stored, f}; };
    add("x", Op::input, {kF32, {kRows, Dim{64}}});
    add("y", Op::input, {kF32, {kRows, Dim{64}}});
    add("wide", Op::input, {kF32, {kRows, Dim{96}}});
    add("column", Op::input, {kF32, {kRows, Dim{1}}});
    add("vec", Op::weight, {kF32, {Dim{64}}});
    add("head", Op::weight, {kF32, {Dim{32}}});
    add("w", Op::weight, {kF32, {Dim{96}, Dim{64}}});
    add("square", Op::weight, {kF32, {Dim{64}, Dim{64}}});
    add("q", Op::weight, {stored(Format::q8_0), {Dim{64}, Dim{64}}});
    add("kv", Op::weight, {stored(Format::q8_0), {Dim{32}, Dim{64}}});
    add("act", Op::input, {kAct8, {kRows, Dim{64}}});
    add("packed", Op::input, {{Elem::compressed, Format::f32, 2}, {kRows, Dim{64}}});
    add("table", Op::input, {kF32, {kRows, Dim{32}}});
    add("ids", Op::input, {kI32, {kRows}});
    add("half", Op::input, {stored(Format::f16), {kRows, Dim{64}}});
    add("s", Op::state, {kState, {}});
    add("keys", Op::input, {kF32, {kRows, Dim{32}}});
    add("route", Op::input, {kF32, {kRows, Dim{4}}});
    add("router", Op::weight, {kF32, {Dim{8}, Dim{64}}});
    add("experts", Op::weight, {stored(Format::q8_0), {Dim{8}, Dim{32}, Dim{64}}});
    add("downs", Op::weight, {stored(Format::q8_0), {Dim{8}, Dim{64}, Dim{32}}});
    add("picked", Op::input, {kF32, {kLogitsRows, Dim{64}}});
    add("sums", Op::input, {kF32, {kRows, Dim{2}}});
    add("scores", Op::input, {kF32, {kRows, Dim{8}}});
    add("one", Op::input, {kF32, {Dim{1}}});
  }
  std::vector<ValueId> ids(const std::vector<std::string>& names) const {
    std::vector<ValueId> out;
    for (const std::string& name : names)
      for (const auto& [n, id] : named)
        if (n == name) out.push_back(id);
    EXPECT_EQ(out.size(), names.size());
    return out;
  }
};

const Attrs kHeads = {
    {"heads", int64_t(2)}, {"kv_heads", int64_t(1)}, {"head_dim", int64_t(32)}, {"layer", int64_t(0)}};
Attrs with(Attrs attrs, Attrs more) {
  attrs.insert(attrs.begin(), more.begin(), more.end());  // the first of two equal keys counts
  return attrs;
}
Attrs integers(const std::vector<std::pair<std::string, int64_t>>& list) {
  Attrs attrs;
  attrs.reserve(list.size());
  for (const auto& [key, value] : list) attrs.emplace_back(key, value);
  return attrs;
}

struct Case {
  Op op;
  std::vector<std::string> in;
  Attrs attrs;
  std::string result;  ///< types of the outputs; empty: refused
};

const Attrs kSilu = {{"gate", std::string("silu")}};
const Attrs kTurn = {{"head_dim", int64_t(32)}, {"pairs", std::string("split")}};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (Op op : {Op::add, Op::sub, Op::mul, Op::div, Op::maximum, Op::minimum, Op::less})
    for (const Case& c : std::vector<Case>{{op, {"x", "y"}, {}, "f32[T,64]"},
                                           {op, {"x", "vec"}, {}, "f32[T,64]"},
                                           {op, {"column", "x"}, {}, "f32[T,64]"},
                                           {op, {"x", "wide"}, {}, ""},
                                           {op, {"x", "picked"}, {}, ""},
                                           {op, {"x", "half"}, {}, op == Op::mul ? "f32[T,64]" : ""},
                                           {op, {"x"}, {}, ""}})
      all.push_back(c);
  for (Op op : {Op::neg, Op::abs, Op::exp, Op::log, Op::sqrt, Op::tanh, Op::scale})
    for (const Case& c : std::vector<Case>{
             {op, {"x"}, {}, "f32[T,64]"}, {op, {"ids"}, {}, ""}, {op, {"s"}, {}, ""}, {op, {"act"}, {}, ""}})
      all.push_back(c);
  const std::vector<Case> rest = {
      {Op::layer_norm, {"x", "vec", "vec"}, {{"eps", 1e-5}}, "f32[T,64]"},
      {Op::layer_norm, {"wide", "vec", "vec"}, {{"eps", 1e-5}}, ""},
      {Op::layer_norm, {"x", "vec", "head"}, {{"eps", 1e-5}}, ""},
      {Op::activation, {"x"}, {{"kind", std::string("gelu")}}, "f32[T,64]"},
      {Op::activation, {"x"}, {{"kind", std::string("relu6")}}, ""},
      {Op::moe_route, {"x", "router"}, integers({{"k", 2}}), "f32[T,4]"},
      {Op::moe_route, {"x", "router"}, integers({{"k", 9}}), ""},
      {Op::moe_route, {"wide", "router"}, integers({{"k", 2}}), ""},
      {Op::moe_gated,
       {"x", "route", "experts", "experts"},
       {{"k", int64_t(2)}, {"gate", std::string("silu")}},
       "f32[T,64]"},
      {Op::moe_gated, {"x", "route", "experts", "downs"}, {{"k", int64_t(2)}, {"gate", std::string("silu")}}, ""},
      {Op::moe_gated, {"x", "route", "experts", "experts"}, integers({{"k", 2}}), ""},
      {Op::moe_gated, {"x", "keys", "experts", "experts"}, {{"k", int64_t(2)}, {"gate", std::string("silu")}}, ""},
      {Op::moe_down, {"x", "route", "downs"}, integers({{"k", 2}}), "f32[T,64]"},
      {Op::moe_down, {"x", "route", "w"}, integers({{"k", 2}}), ""},
      {Op::permute_columns, {"x", "vec"}, {}, "f32[T,64]"},
      {Op::permute_columns, {"x", "head"}, {}, ""},
      {Op::permute_columns, {"x", "ids"}, {}, ""},
      {Op::softmax, {"x"}, {}, "f32[T,64]"},
      {Op::softmax, {"vec"}, {}, ""},
      {Op::soft_cap, {"x"}, {{"cap", 30.0}}, "f32[T,64]"},
      {Op::soft_cap, {"x"}, {{"cap", 0.0}}, ""},
      {Op::soft_cap, {"ids"}, {{"cap", 30.0}}, ""},
      {Op::select, {"x", "y", "x"}, {}, "f32[T,64]"},
      {Op::select, {"x", "y", "wide"}, {}, ""},
      {Op::reshape, {"x"}, integers({{"rows", 2}, {"cols", 32}}), "f32[T*2,32]"},
      {Op::reshape, {"w"}, integers({{"rows", 64}, {"cols", 96}}), "f32[64,96]"},
      {Op::reshape, {"x"}, integers({{"rows", 3}, {"cols", 32}}), ""},
      {Op::reshape, {"x"}, integers({{"rows", int64_t(1) << 40}, {"cols", int64_t(1) << 40}}), ""},
      {Op::transpose, {"w"}, {}, "f32[64,96]"},
      {Op::transpose, {"vec"}, {}, ""},
      {Op::slice, {"x"}, integers({{"begin", 8}, {"end", 24}}), "f32[T,16]"},
      {Op::slice, {"x"}, integers({{"begin", 8}, {"end", 65}}), ""},
      {Op::slice, {"x"}, integers({{"begin", 8}, {"end", 8}}), ""},
      {Op::concat, {"x", "wide"}, {}, "f32[T,160]"},
      {Op::concat, {"x", "w"}, {}, ""},
      {Op::sum, {"x"}, {}, "f32[T,1]"},
      {Op::sum, {"vec"}, {}, ""},
      {Op::reduce_max, {"x"}, {}, "f32[T,1]"},
      {Op::reduce_max, {"ids"}, {}, ""},
      {Op::matmul, {"x", "square"}, {}, "f32[T,64]"},
      {Op::matmul, {"x", "w"}, {}, ""},
      {Op::gather, {"ids", "w"}, {}, "f32[T,64]"},
      {Op::gather, {"x", "w"}, {}, ""},
      {Op::embed, {"ids", "q"}, {}, "f32[T,64]"},
      {Op::embed, {"ids", "vec"}, {}, ""},
      {Op::rms_norm, {"x", "vec"}, {}, "f32[T,64]"},
      {Op::rms_norm, {"x", "head"}, {}, "f32[T,64]"},
      {Op::rms_norm, {"wide", "vec"}, {}, ""},
      {Op::norm_quantize, {"x", "vec"}, {}, "act8[T,64]"},
      {Op::norm_quantize, {"column", "vec"}, {}, ""},
      {Op::norm_quantize, {"x", "vec", "vec"}, {}, "act8[T,64]"},
      {Op::norm_quantize, {"x", "vec", "head"}, {}, ""},
      {Op::quantize, {"x", "vec"}, {}, "act8[T,64]"},
      {Op::quantize, {"x", "head"}, {}, ""},
      {Op::quantize, {"x"}, {}, "act8[T,64]"},
      {Op::quantize, {"x"}, {{"rule", std::string("row")}}, "row8[T,64]"},
      {Op::quantize, {"x"}, {{"rule", std::string("int4x64")}}, "int4x64[T,64]"},
      {Op::quantize, {"x"}, {{"rule", std::string("atom32")}}, "atom32[T,64]"},
      {Op::quantize, {"x"}, {{"rule", std::string("int4x128")}}, ""},
      {Op::quantize, {"x"}, {{"rule", std::string("act8")}}, ""},
      {Op::quantize, {"x"}, {{"rule", std::string("column")}}, ""},
      {Op::quantize, {"column"}, {}, ""},
      {Op::gated, {"x", "y"}, kSilu, "f32[T,64]"},
      {Op::gated, {"x", "y"}, {}, ""},
      {Op::gated, {"x", "wide"}, kSilu, ""},
      {Op::linear, {"x", "w"}, {}, "f32[T,96]"},
      {Op::linear, {"act", "q"}, {}, "f32[T,64]"},
      {Op::linear, {"wide", "w"}, {}, ""},
      {Op::linear, {"act", "w"}, {}, ""},
      {Op::linear, {"x", "vec"}, {}, ""},
      {Op::linear_add, {"x", "square", "y"}, {}, "f32[T,64]"},
      {Op::linear_add, {"x", "w", "y"}, {}, ""},
      {Op::lora_down, {"x"}, {{"target", int64_t(0)}, {"rank", int64_t(4)}}, "f32[T,4]"},
      {Op::lora_down, {"x"}, {{"target", int64_t(0)}}, ""},
      {Op::lora_down, {"w"}, {{"target", int64_t(0)}, {"rank", int64_t(4)}}, ""},
      {Op::lora_up, {"x", "y"}, {{"target", int64_t(0)}}, "f32[T,64]"},
      {Op::lora_up, {"x", "w"}, {{"target", int64_t(0)}}, ""},
      {Op::linear_lora, {"x", "square", "y"}, {{"target", int64_t(0)}}, "f32[T,64]"},
      {Op::linear_lora, {"x", "square", "y"}, {}, ""},
      {Op::linear_gated, {"x", "w", "w"}, kSilu, "f32[T,96]"},
      {Op::linear_gated, {"act", "q", "q"}, with(kSilu, {{"quantized", int64_t(1)}}), "act8[T,64]"},
      {Op::linear_gated, {"x", "w", "square"}, kSilu, ""},
      {Op::linear_gated, {"x", "w", "w"}, {}, ""},
      {Op::linear_qkv, {"act", "q", "kv", "kv", "table", "s"}, kHeads, "f32[T,64] f32[T,32] f32[T,32] state"},
      {Op::linear_qkv,
       {"act", "q", "kv", "kv", "table", "s", "head", "head"},
       kHeads,
       "f32[T,64] f32[T,32] f32[T,32] state"},
      {Op::linear_qkv, {"act", "q", "kv", "kv", "table", "s", "head"}, kHeads, ""},
      {Op::linear_qkv, {"act", "q", "kv", "kv", "table", "s", "vec", "vec"}, kHeads, ""},
      {Op::linear_qkv, {"act", "q", "q", "kv", "table", "s"}, kHeads, ""},
      {Op::linear_qkv, {"act", "q", "kv", "kv", "x", "s"}, kHeads, ""},
      {Op::linear_qkv,
       {"act", "q", "kv", "kv", "table", "s"},
       with(kHeads, {{"heads", int64_t(-2)}, {"head_dim", int64_t(-32)}}),
       ""},
      {Op::rope_table, {"ids"}, {{"dims", int64_t(32)}, {"base", 10000.0}}, "f32[T,32]"},
      {Op::rope_table, {"ids"}, {{"dims", int64_t(31)}, {"base", 10000.0}}, ""},
      {Op::rope_table, {"x"}, {{"dims", int64_t(32)}, {"base", 10000.0}}, ""},
      {Op::rope, {"x", "table"}, kTurn, "f32[T,64]"},
      {Op::rope, {"x", "wide"}, kTurn, ""},
      {Op::rope, {"x", "column"}, kTurn, ""},
      {Op::kv_append, {"s", "keys", "keys"}, {}, "state"},
      {Op::kv_append, {"s", "keys", "x"}, {}, ""},
      {Op::kv_append, {"keys", "keys", "keys"}, {}, ""},
      {Op::attention, {"x", "s"}, kHeads, "f32[T,64]"},
      {Op::attention, {"x", "s"}, with(kHeads, {{"quantized", int64_t(1)}}), "act8[T,64]"},
      {Op::attention, {"wide", "s"}, kHeads, ""},
      {Op::attention, {"x", "y"}, kHeads, ""},
      {Op::attention, {"x", "s"}, with(kHeads, {{"kv_heads", int64_t(3)}}), ""},
      {Op::attention, {"x", "s"}, with(kHeads, {{"heads", int64_t(1) << 62}}), ""},
      {Op::take_rows, {"x"}, {}, "f32[S,64]"},
      {Op::take_rows, {"picked"}, {}, ""},
      {Op::attention, {"x", "s"}, with(kHeads, {{"causal", int64_t(0)}}), "f32[T,64]"},
      {Op::attention, {"x", "s"}, with(kHeads, {{"causal", int64_t(0)}, {"window", int64_t(4)}}), ""},
      {Op::pool_rows, {"x"}, {{"kind", std::string("mean")}}, "f32[S,64]"},
      {Op::pool_rows, {"x"}, {{"kind", std::string("sum")}}, ""},
      {Op::pool_rows, {"picked"}, {{"kind", std::string("last")}}, ""},
      {Op::scatter, {"ids", "x", "w"}, {}, "f32[96,64]"},
      {Op::scatter, {"ids", "wide", "w"}, {}, ""},
      {Op::scatter, {"ids", "picked", "w"}, {}, ""},
      {Op::expand, {"column", "x"}, {}, "f32[T,64]"},
      {Op::expand, {"x", "column"}, {}, ""},
      {Op::sum_to, {"x", "vec"}, {}, "f32[64]"},
      {Op::sum_to, {"vec", "x"}, {}, ""},
      {Op::cast, {"x"}, {{"to", std::string("bf16")}}, "bf16[T,64]"},
      {Op::cast, {"half"}, {{"to", std::string("f32")}}, "f32[T,64]"},
      {Op::cast, {"half"}, {{"to", std::string("bf16")}}, ""},
      {Op::cast, {"x"}, {{"to", std::string("f32")}}, ""},
      {Op::cast, {"x"}, {{"to", std::string("q8_0")}}, ""},
      {Op::cast, {"ids"}, {{"to", std::string("f16")}}, ""},
      {Op::cast, {"x"}, {}, ""},
      {Op::compress, {"x"}, integers({{"bits", 4}, {"array", 0}}), "bits4[T,64]"},
      {Op::compress, {"half"}, integers({{"bits", 1}, {"array", 7}}), "bits1[T,64]"},
      {Op::compress, {"x"}, integers({{"bits", 3}, {"array", 0}}), ""},
      {Op::compress, {"x"}, integers({{"bits", 4}}), ""},
      {Op::compress, {"x"}, integers({{"bits", 4}, {"array", 1 << 20}}), ""},
      {Op::compress, {"ids"}, integers({{"bits", 4}, {"array", 0}}), ""},
      {Op::decompress, {"packed"}, {}, "f32[T,64]"},
      {Op::decompress, {"x"}, {}, ""},
      {Op::linear, {"packed", "w"}, {}, ""},
      {Op::linear, {"half", "w"}, {}, "f32[T,96]"},
      {Op::gated, {"half", "x"}, kSilu, "f32[T,64]"},
      {Op::activation, {"half"}, {{"kind", std::string("gelu")}}, "f32[T,64]"},
      {Op::activation_dx, {"half", "x"}, {{"kind", std::string("gelu")}}, "f32[T,64]"},
      {Op::activation_dx, {"x", "half"}, {{"kind", std::string("gelu")}}, ""},
      {Op::linear_dw, {"wide", "half"}, {}, "f32[96,64]"},
      {Op::linear_dx, {"half", "square"}, {}, ""},
      {Op::pad, {"x"}, integers({{"before", 1}, {"after", 2}}), "f32[T,67]"},
      {Op::pad, {"x"}, integers({{"before", -1}, {"after", 2}}), ""},
      {Op::self_attention, {"x", "keys", "keys", "ids"}, kHeads, "f32[T,64] f32[T,2]"},
      {Op::self_attention, {"x", "x", "keys", "ids"}, kHeads, ""},
      {Op::self_attention, {"x", "keys", "keys", "column"}, kHeads, ""},
      {Op::self_attention, {"x", "keys", "keys", "ids"}, with(kHeads, {{"causal", int64_t(0)}}), ""},
      {Op::self_attention_dx, {"x", "keys", "keys", "ids", "x", "sums", "x"}, kHeads, "f32[T,64] f32[T,32] f32[T,32]"},
      {Op::self_attention_dx, {"x", "keys", "keys", "ids", "x", "x", "x"}, kHeads, ""},
      {Op::cross_entropy, {"x", "w", "ids", "column"}, {}, "f32[1] f32[T,1]"},
      {Op::cross_entropy, {"x", "square", "ids", "column", "vec"}, {}, "f32[1] f32[T,1]"},
      {Op::cross_entropy, {"x", "w", "ids", "column", "vec"}, {}, ""},
      {Op::cross_entropy, {"x", "w", "column", "column"}, {}, ""},
      {Op::cross_entropy_dx, {"x", "w", "ids", "column", "column", "one"}, {}, "f32[T,64]"},
      {Op::cross_entropy_dx, {"x", "w", "ids", "column", "x", "one"}, {}, ""},
      {Op::cross_entropy_dw, {"x", "w", "ids", "column", "column", "one"}, {}, "f32[96,64]"},
      {Op::cross_entropy_dw, {"x", "square", "ids", "column", "column", "one", "vec"}, {}, "f32[64,64] f32[64]"},
      {Op::cross_entropy_dw, {"wide", "w", "ids", "column", "column", "one"}, {}, ""},
      {Op::rms_norm_dx, {"x", "head", "x"}, {}, "f32[T,64]"},
      {Op::rms_norm_dx, {"x", "head", "wide"}, {}, ""},
      {Op::rms_norm_dw, {"x", "head", "x"}, {}, "f32[32]"},
      {Op::rms_norm_dw, {"x", "w", "x"}, {}, ""},
      {Op::layer_norm_dx, {"x", "vec", "x"}, {}, "f32[T,64]"},
      {Op::layer_norm_dx, {"x", "head", "x"}, {}, ""},
      {Op::layer_norm_dw, {"x", "vec", "x"}, {}, "f32[64]"},
      {Op::layer_norm_dw, {"x", "head", "x"}, {}, ""},
      {Op::activation_dx, {"x", "y"}, {{"kind", std::string("silu")}}, "f32[T,64]"},
      {Op::activation_dx, {"x", "y"}, {}, ""},
      {Op::linear_dx, {"wide", "w"}, {}, "f32[T,64]"},
      {Op::linear_dx, {"x", "w"}, {}, ""},
      {Op::linear_dw, {"wide", "x"}, {}, "f32[96,64]"},
      {Op::linear_dw, {"x", "picked"}, {}, ""},
      {Op::moe_route_dx, {"scores", "route", "route"}, integers({{"k", 2}}), "f32[T,8]"},
      {Op::moe_route_dx, {"scores", "route", "scores"}, integers({{"k", 2}}), ""},
      {Op::moe_gated_dx, {"x", "route", "experts", "experts", "x"}, with(kSilu, integers({{"k", 2}})), "f32[T,64]"},
      {Op::moe_gated_dx, {"x", "route", "experts", "downs", "x"}, with(kSilu, integers({{"k", 2}})), ""},
      {Op::moe_gated_dw,
       {"x", "route", "experts", "experts", "x"},
       with(kSilu, integers({{"k", 2}})),
       "f32[8,32,64] f32[8,32,64]"},
      {Op::moe_gated_dw, {"x", "route", "experts", "experts", "wide"}, with(kSilu, integers({{"k", 2}})), ""},
      {Op::moe_down_dx, {"x", "route", "downs", "x"}, integers({{"k", 2}}), "f32[T,64] f32[T,4]"},
      {Op::moe_down_dx, {"x", "route", "downs", "wide"}, integers({{"k", 2}}), ""},
      {Op::moe_down_dw, {"x", "route", "downs", "x"}, integers({{"k", 2}}), "f32[8,64,32]"},
      {Op::moe_down_dw, {"wide", "route", "downs", "x"}, integers({{"k", 2}}), ""},
      {Op::input, {}, {}, ""},
      {Op::weight, {}, {}, ""},
      {Op::state, {}, {}, ""},
      {Op::constant, {}, {}, ""},
  };
  all.insert(all.end(), rest.begin(), rest.end());
  return all;
}

TEST(Types, EveryOpHasItsRule) {
  std::set<Op> good, bad;
  for (const Case& c : cases()) {
    Values v;
    const Node node{c.op, v.ids(c.in), {}, c.attrs};
    auto types = infer(v.g, node);
    std::string got;
    if (types.ok())
      for (const Type& t : *types) got += (got.empty() ? "" : " ") + to_string(t);
    std::string inputs;
    for (ValueId id : node.in) inputs += " " + to_string(v.g.type(id));
    EXPECT_EQ(got, c.result) << info(c.op).name << inputs << " " << types.status().message();
    (c.result.empty() ? bad : good).insert(c.op);
    if (types.ok()) continue;
    // A refusal names the op and the types it received (or how many inputs).
    const std::string& message = types.status().message();
    EXPECT_NE(message.find(fmt::format("[{}]", info(c.op).name)), std::string::npos) << message;
    if (message.find("inputs, received") == std::string::npos) {
      for (ValueId id : node.in) EXPECT_NE(message.find(to_string(v.g.type(id))), std::string::npos) << message;
    }
  }
#define VIBEE_OP(name, level, fewest, most, outputs)            \
  EXPECT_TRUE(bad.count(Op::name)) << #name " has no bad case"; \
  EXPECT_TRUE(good.count(Op::name) || OpLevel::level == OpLevel::source) << #name " has no good case";
#include "vibee/graph/ir/ops.inc"
#undef VIBEE_OP
}

Graph chain() {
  Graph g;
  const ValueId x = g.source(Op::input, {kF32, {kRows, Dim{8}}}, {{"name", std::string("x")}});
  g.add(Op::neg, {x});
  g.outputs = {g.add(Op::exp, {x})};
  EXPECT_TRUE(verify(g).ok());
  return g;
}

void expect_refused(const Graph& g, std::string_view words) {
  const Status status = verify(g);
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(Verify, NamesWhatIsWrong) {
  Graph g = chain();
  g.nodes[1].in = {2};
  expect_refused(g, "node 1 (neg): %2 is used before it is defined");
  g = chain();
  g.values[2].type = {kF32, {kRows, Dim{9}}};
  expect_refused(g, "node 2 (exp): %2 is declared f32[T,9], inferred f32[T,8]");
  g = chain();
  g.nodes[2].out = {1};
  expect_refused(g, "node 2 (exp): %1 is defined twice");
  g = chain();
  g.values[2].producer = 0;
  expect_refused(g, "node 2 (exp): %2 names another producer");
  g = chain();
  g.outputs = {7};
  expect_refused(g, "return: %7 is not defined");
  g = chain();
  g.nodes[2].in = {0, 1};
  expect_refused(g, "node 2 (exp): [exp] takes 1 to 1 inputs, received 2");
  g = chain();
  g.nodes[0].in = {0};
  expect_refused(g, "node 0 (input)");
  g = chain();
  g.values[0].type = {kAct8, {kRows, Dim{8}}};
  expect_refused(g, "act8 rows must be multiples of 32");
  g = chain();
  g.values[0].type = {{Elem::stored, Format::q8_0}, {kRows, Dim{8}}};
  expect_refused(g, "whole blocks of 32");
}

TEST(Verify, AStateIsReplacedOnce) {
  Graph g;
  const ValueId s = g.source(Op::state, {kState, {}}, {});
  const ValueId k = g.source(Op::input, {kF32, {kRows, Dim{8}}}, {});
  const ValueId one = g.add(Op::kv_append, {s, k, k}), two = g.add(Op::kv_append, {one, k, k});
  g.outputs = {two};
  EXPECT_TRUE(verify(g).ok());
  Graph twice = g;
  twice.outputs = {twice.add(Op::kv_append, {one, k, k})};
  expect_refused(twice, "state %2 was already replaced");
  Graph late = g;  // attention may not read what was overwritten
  late.outputs = {
      late.add(Op::attention, {k, one}, {{"heads", int64_t(1)}, {"kv_heads", int64_t(1)}, {"head_dim", int64_t(8)}})};
  expect_refused(late, "state %2 was already replaced");
}

TEST(Graph, TheFirstErrorSticks) {
  Graph g;
  g.add(Op::neg, {3});
  const std::string first = g.status().message();
  EXPECT_NE(first.find("no value %3"), std::string::npos);
  g.add(Op::exp, {});
  EXPECT_EQ(g.status().message(), first);
}

TEST(Graph, DropDeadKeepsWhatOutputsNeed) {
  Graph g = chain();
  const Graph small = drop_dead(g);
  EXPECT_TRUE(verify(small).ok());
  EXPECT_EQ(print(small), "graph g {\n  %0:f32[T,8] = input {name=\"x\"}\n  %1:f32[T,8] = exp(%0)\n  return %1\n}\n");
  EXPECT_EQ(print(drop_dead(small)), print(small));
}

TEST(Graph, ConstantsAreChecked) {
  const auto status = [](Type type, Attrs attrs) {
    Graph g;
    g.outputs = {g.source(Op::constant, std::move(type), std::move(attrs))};
    return verify(g).message();
  };
  const Type two{kF32, {Dim{2}}};
  EXPECT_EQ(status(two, {{"value", 2.0}}), "");
  EXPECT_EQ(status(two, {{"value", int64_t(2)}}), "");
  EXPECT_EQ(status(two, {{"values", std::string("1 -2.5e-3")}}), "");
  EXPECT_NE(status(two, {{"values", std::string("1")}}).find("has 1 values, not 2"), std::string::npos);
  EXPECT_NE(status(two, {{"values", std::string("1 x")}}).find("value 1 is not a number"), std::string::npos);
  EXPECT_NE(status(two, {}).find("needs either"), std::string::npos);
  EXPECT_NE(status(two, {{"value", 1.0}, {"values", std::string("1 2")}}).find("needs either"), std::string::npos);
  EXPECT_NE(status(two, {{"value", std::string("1")}}).find("needs a number"), std::string::npos);
  EXPECT_NE(status({kF32, {kRows}}, {{"value", 1.0}}).find("at most"), std::string::npos);
  EXPECT_NE(status({kI32, {Dim{2}}}, {{"value", 1.0}}).find("must be f32"), std::string::npos);
}

}  // namespace
}  // namespace vibee
