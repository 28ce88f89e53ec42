// SPDX-License-Identifier: Apache-2.0
// Compiled plans against the interpreter on random decoders, and against each other by memcmp: instruction sets,
// threads, passes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/graph/ir/sample_decoder.h"
#include "vibee/graph/pass/pass.h"
#include "vibee/kit/trial_step.h"

namespace vibee {
namespace {

/// Logits of step 1, then of step 2.
std::vector<float> run_plan(const Graph& graph, const SampleWeights& weights, const Work& work, Isa isa,
                            uint32_t threads, KvFormat kv = KvFormat::f32, float outlier_threshold = 0) {
  PlanOptions o;
  o.max_rows = 40;
  o.max_logits = 4;
  o.max_context = 64;
  o.threads = threads;
  o.isa = isa;
  o.kv = kv;
  o.outlier_threshold = outlier_threshold;
  auto plan = Plan::compile(graph, weights.table(), o);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return {};
  auto cache = SampleCache::make(graph, kv, uint32_t(work.tokens.size()), o.max_context);
  EXPECT_TRUE(cache.ok());
  Team team(threads);
  std::vector<float> logits;
  for (const bool second : {false, true}) {
    const TrialStep step(work, second, [&](uint32_t s) { return cache->pages(s); });
    (*plan)->run(team, step.batch(), cache->views());
    logits.insert(logits.end(), (*plan)->outputs(),
                  (*plan)->outputs() + step.logits_rows.size() * (*plan)->output_width());
  }
  return logits;
}

std::string_view format_name(Format format) { return info(format).name; }

class PlanOf : public testing::TestWithParam<Format> {};

TEST_P(PlanOf, ARandomDecoderGivesTheInterpretersLogits) {
  RandomStream random(51, Purpose::test, uint32_t(GetParam()));
  for (uint32_t rows : {1u, 3u, 4u, 5u, 17u, 40u}) {
    const SampleDecoder decoder = random_decoder(random, GetParam());
    const Graph graph = sample_decoder(decoder);
    auto lowered = run_passes(graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status().message();
    const Work work(rows, decoder.vocab, random);
    std::vector<float> first;
    for (Isa isa : kIsas) {
      if (isa > detected_isa()) continue;
      auto weights = SampleWeights::make(graph, isa, rows);
      ASSERT_TRUE(weights.ok()) << weights.status().message();
      for (uint32_t threads : {1u, 2u}) {
        const std::vector<float> got = run_plan(*lowered, *weights, work, isa, threads);
        ASSERT_FALSE(got.empty());
        if (first.empty()) {
          first = got;
          const std::vector<float> want = run_interpreter(graph, *weights, work);
          const double allowed = tolerance(graph, *weights, work, want);
          EXPECT_LE(distance(got, want), allowed) << print(graph);
          // The bound must mean something: far below the logits themselves.
          EXPECT_LT(allowed, size_of(want) * (GetParam() == Format::f32 ? 2e-3 : 0.15));
          // What passes make means the same to the interpreter.
          EXPECT_LE(distance(run_interpreter(*lowered, *weights, work), want), allowed);
        }
        ASSERT_EQ(0, std::memcmp(got.data(), first.data(), first.size() * 4))
            << name(isa) << " threads " << threads << " rows " << rows;
      }
    }
  }
}

TEST_P(PlanOf, EveryPassIsExact) {
  RandomStream random(52, Purpose::test, uint32_t(GetParam()));
  for (uint32_t rows : {3u, 17u}) {
    const SampleDecoder decoder = random_decoder(random, GetParam());
    const Graph graph = sample_decoder(decoder);
    auto weights = SampleWeights::make(graph, detected_isa(), 9);
    ASSERT_TRUE(weights.ok());
    const Work work(rows, decoder.vocab, random);
    auto lowered = run_passes(graph);
    ASSERT_TRUE(lowered.ok());
    const std::vector<float> want = run_plan(*lowered, *weights, work, detected_isa(), 2);
    ASSERT_FALSE(want.empty());
    const auto check = [&](const Graph& g, std::string_view what) {
      const std::vector<float> got = run_plan(g, *weights, work, detected_isa(), 2);
      ASSERT_EQ(got.size(), want.size());
      EXPECT_EQ(0, std::memcmp(got.data(), want.data(), want.size() * 4)) << what << " rows " << rows << "\n"
                                                                          << print(g);
    };
    for (const Pass& pass : all_passes()) {
      const std::string disabled(pass.id);
      auto without = run_passes(graph, {&disabled, 1});
      ASSERT_TRUE(without.ok());
      check(*without, disabled);
    }
    check(graph, "no pass");
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, PlanOf,
                         testing::Values(Format::f32, Format::q8_0, Format::q4_0, Format::q4_1, Format::q5_0),
                         [](const auto& row) { return std::string(format_name(row.param)); });

/// Rows that a call makes, that a pass makes for several, and that a norm makes keep the same elements apart.
TEST(PlanOfOutliers, GivesTheInterpretersLogits) {
  RandomStream random(61, Purpose::test);
  for (const Format format : {Format::q8_0, Format::q4_1})
    for (const float threshold : {0.5f, 1.5f}) {
      for (uint32_t rows : {1u, 5u, 40u}) {
        const SampleDecoder decoder = random_decoder(random, format);
        const Graph graph = sample_decoder(decoder);
        const std::string disabled = "quantize_outputs";
        auto lowered = run_passes(graph, {&disabled, 1});
        ASSERT_TRUE(lowered.ok());
        const Work work(rows, decoder.vocab, random);
        std::vector<float> first;
        for (Isa isa : kIsas) {
          if (isa > detected_isa()) continue;
          auto weights = SampleWeights::make(graph, isa, rows);
          ASSERT_TRUE(weights.ok());
          for (uint32_t threads : {1u, 2u})
            for (const bool passes : {false, true}) {
              const Graph& g = passes ? *lowered : graph;
              const auto got = run_plan(g, *weights, work, isa, threads, KvFormat::f32, threshold);
              ASSERT_FALSE(got.empty());
              if (first.empty()) {
                first = got;
                const auto want = run_interpreter(graph, *weights, work, {}, threshold);
                EXPECT_LE(distance(got, want), tolerance(graph, *weights, work, want, threshold)) << print(graph);
                EXPECT_GT(distance(got, run_plan(g, *weights, work, isa, threads)), 0);
                const auto plain = run_plan(g, *weights, work, isa, threads, KvFormat::f32, 1e30f);
                EXPECT_EQ(plain, run_plan(g, *weights, work, isa, threads));
              }
              ASSERT_EQ(0, std::memcmp(got.data(), first.data(), first.size() * 4))
                  << name(isa) << " threads " << threads << " rows " << rows;
            }
        }
      }
    }
}

TEST(PlanOfOutliers, RefusesRowsThatAreQuantisedBlockByBlock) {
  SampleDecoder decoder;
  decoder.format = Format::q8_0;
  decoder.head_dim = 32;
  auto lowered = run_passes(sample_decoder(decoder));
  ASSERT_TRUE(lowered.ok());
  PlanOptions o;
  o.outlier_threshold = 6;
  EXPECT_NE(Plan::arena_bytes(*lowered, o).status().message().find("quantize_outputs"), std::string::npos);
}

/// A wrong model must not pass the comparison above.
TEST(Plan, ASmallChangeOfTheModelIsSeen) {
  RandomStream random(53, Purpose::test);
  const Graph graph = sample_decoder({});
  SampleDecoder other;
  other.split_halves = true;
  auto weights = SampleWeights::make(graph, Isa::scalar, 1);
  ASSERT_TRUE(weights.ok());
  const Work work(17, 96, random);
  const std::vector<float> want = run_interpreter(graph, *weights, work);
  EXPECT_GT(distance(run_plan(sample_decoder(other), *weights, work, Isa::scalar, 1), want),
            20 * tolerance(graph, *weights, work, want));
}

TEST(Plan, RotaryFactorsMustBeNumbersToDivideBy) {
  Graph g;
  const ValueId tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId positions = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("positions")}});
  const ValueId factors = g.source(Op::weight, {kF32, {Dim{16}}}, {{"name", std::string("factors")}});
  const ValueId table = g.source(Op::weight, {kF32, {Dim{48}, Dim{32}}}, {{"name", std::string("table")}});
  const ValueId turns = g.add(Op::rope_table, {positions, factors}, {{"dims", int64_t(32)}, {"base", 1e4}});
  const ValueId x = g.add(Op::rope, {g.add(Op::embed, {tokens, table}), turns},
                          {{"head_dim", int64_t(32)}, {"pairs", std::string("split")}});
  g.outputs = {g.add(Op::take_rows, {x})};
  ASSERT_TRUE(g.status().ok()) << g.status().message();
  auto weights = SampleWeights::make(g, Isa::scalar, 1);
  ASSERT_TRUE(weights.ok());
  WeightTable loaded = weights->table();
  EXPECT_TRUE(Plan::compile(g, loaded, {}).ok());
  for (const float bad : {0.0f, -1.0f, INFINITY, NAN}) {
    std::vector<float> values(16, 1.0f);
    values[9] = bad;
    loaded.vector = [&](std::string_view) { return values.data(); };
    const Status status = Plan::compile(g, loaded, {}).status();
    EXPECT_NE(status.message().find("'factors'"), std::string::npos) << bad << " " << status.message();
  }
}

/// Biases, layer norms, plain activations and experts: the plan against the interpreter, and the same bytes on every
/// instruction set, thread count and number of rows beside.
TEST(Plan, ExpertsBiasesAndLayerNormsGiveTheInterpretersRows) {
  RandomStream random(56, Purpose::test);
  for (const Format format : {Format::f32, Format::q8_0, Format::q4_0}) {
    Graph g;
    const auto weight = [&](const char* name, Format f, std::vector<Dim> dims) {
      return g.source(Op::weight, {{Elem::stored, f}, std::move(dims)}, {{"name", std::string(name)}});
    };
    const ValueId tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
    const ValueId positions = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("positions")}});
    const ValueId state = g.source(Op::state, {kState, {}}, {});
    const auto vec = [&](const char* name, int64_t n) { return weight(name, Format::f32, {Dim{n}}); };
    ValueId x = g.add(Op::add, {g.add(Op::embed, {tokens, weight("table", Format::f32, {Dim{48}, Dim{64}})}),
                                g.add(Op::embed, {positions, weight("places", Format::f32, {Dim{64}, Dim{64}})})});
    x = g.add(Op::layer_norm, {x, vec("w", 64), vec("b", 64)}, {{"eps", 1e-5}});
    ValueId h = g.add(Op::add, {g.add(Op::linear, {x, weight("up", format, {Dim{96}, Dim{64}})}), vec("up_b", 96)});
    h = g.add(Op::activation, {h}, {{"kind", std::string("gelu")}});
    x = g.add(Op::add, {x, g.add(Op::linear, {h, weight("down", format, {Dim{64}, Dim{96}})})});
    const ValueId route = g.add(Op::moe_route, {x, weight("router", Format::f32, {Dim{5}, Dim{64}})},
                                {{"k", int64_t(2)}, {"normalise", int64_t(1)}});
    const std::vector<Dim> shape = {Dim{5}, Dim{32}, Dim{64}};
    const ValueId m = g.add(Op::moe_gated, {x, route, weight("ge", format, shape), weight("ue", format, shape)},
                            {{"k", int64_t(2)}, {"gate", std::string("silu")}});
    x = g.add(Op::add, {x, g.add(Op::moe_down, {m, route, weight("de", format, {Dim{5}, Dim{64}, Dim{32}})},
                                 {{"k", int64_t(2)}})});
    g.outputs = {g.add(Op::linear, {g.add(Op::take_rows, {x}), weight("head", Format::f32, {Dim{48}, Dim{64}})}),
                 state};
    ASSERT_TRUE(g.status().ok()) << g.status().message();
    auto lowered = run_passes(g);
    ASSERT_TRUE(lowered.ok()) << lowered.status().message();
    for (const uint32_t rows : {1u, 3u, 17u, 40u}) {
      const Work work(rows, 48, random);
      std::vector<float> first;
      for (Isa isa : kIsas) {
        if (isa > detected_isa()) continue;
        auto weights = SampleWeights::make(g, isa, 7);
        ASSERT_TRUE(weights.ok()) << weights.status().message();
        for (const uint32_t threads : {1u, 2u, 3u}) {
          const std::vector<float> got = run_plan(*lowered, *weights, work, isa, threads);
          ASSERT_FALSE(got.empty());
          if (first.empty()) {
            first = got;
            const std::vector<float> want = run_interpreter(g, *weights, work);
            const double allowed = tolerance(g, *weights, work, want);
            EXPECT_LE(distance(got, want), allowed);
            EXPECT_LT(allowed, size_of(want) * (format == Format::f32 ? 2e-3 : 0.15));
          }
          ASSERT_EQ(0, std::memcmp(got.data(), first.data(), first.size() * 4)) << name(isa) << " " << threads;
        }
      }
    }
  }
}

/// Attention without a causal mask, token types and pooled rows: a row a sequence, the interpreter's, with the same
/// bytes on every instruction set, thread count and whatever else is in the step.
TEST(Plan, WholeTextsArePooledAsTheInterpreterDoes) {
  const std::vector<uint32_t> lengths = {1, 3, 17, 2, 30, 1};
  for (const Pooling pooling : {Pooling::mean, Pooling::max, Pooling::cls, Pooling::last}) {
    Graph g;
    const auto matrix = [&](const char* name, int64_t n) {
      return g.source(Op::weight, {kF32, {Dim{n}, Dim{64}}}, {{"name", std::string(name)}});
    };
    const auto input = [&](const char* name) {
      return g.source(Op::input, {kI32, {kRows}}, {{"name", std::string(name)}});
    };
    ValueId state = g.source(Op::state, {kState, {}}, {});
    const ValueId x = g.add(Op::add, {g.add(Op::embed, {input("tokens"), matrix("table", 48)}),
                                      g.add(Op::embed, {input("types"), matrix("types", 2)})});
    state =
        g.add(Op::kv_append, {state, g.add(Op::linear, {x, matrix("k", 64)}), g.add(Op::linear, {x, matrix("v", 64)})},
              {{"layer", int64_t(0)}});
    const ValueId a = g.add(Op::attention, {g.add(Op::linear, {x, matrix("q", 64)}), state},
                            {{"layer", int64_t(0)},
                             {"heads", int64_t(8)},
                             {"kv_heads", int64_t(8)},
                             {"head_dim", int64_t(8)},
                             {"causal", int64_t(0)}});
    const ValueId p = g.add(Op::pool_rows, {a}, {{"kind", std::string(name(pooling))}});
    g.outputs = {g.add(Op::linear, {p, matrix("head", 5)}), state};
    ASSERT_TRUE(g.status().ok()) << g.status().message();

    RandomStream random(57, Purpose::test);
    std::vector<int32_t> tokens, types, positions;
    std::vector<SequenceRows> sequences;
    std::vector<uint32_t> wanted;
    for (const uint32_t n : lengths) {
      sequences.push_back({uint32_t(tokens.size()), n, 0, nullptr});
      for (uint32_t i = 0; i < n; ++i) {
        tokens.push_back(int32_t(random.below(48)));
        types.push_back(int32_t(random.below(2)));
        positions.push_back(int32_t(i));
      }
      wanted.push_back(uint32_t(tokens.size()) - 1);
    }
    std::vector<float> first;
    for (Isa isa : kIsas) {
      if (isa > detected_isa()) continue;
      auto weights = SampleWeights::make(g, isa, 9);
      ASSERT_TRUE(weights.ok()) << weights.status().message();
      for (const uint32_t threads : {1u, 2u, 3u}) {
        PlanOptions o;
        o.max_rows = 64;
        o.max_logits = 8;
        o.max_context = 64;
        o.threads = threads;
        o.isa = isa;
        o.kv = KvFormat::f32;
        auto plan = Plan::compile(g, weights->table(), o);
        ASSERT_TRUE(plan.ok()) << plan.status().message();
        auto cache = SampleCache::make(g, o.kv, uint32_t(lengths.size()), o.max_context);
        ASSERT_TRUE(cache.ok());
        for (size_t i = 0; i < sequences.size(); ++i) sequences[i].pages = cache->pages(uint32_t(i));
        Team team(threads);
        (*plan)->run(team, {tokens, positions, sequences, wanted, types}, cache->views());
        std::vector<float> got((*plan)->outputs(), (*plan)->outputs() + lengths.size() * 5);
        if (first.empty()) first = got;
        ASSERT_EQ(0, std::memcmp(got.data(), first.data(), first.size() * 4)) << name(isa) << " " << threads;
        for (size_t i = 0; i < sequences.size(); ++i) {  // alone
          const SequenceRows& s = sequences[i];
          const SequenceRows one{0, s.rows, 0, s.pages};
          const auto part = [&](const std::vector<int32_t>& all) { return std::span(all).subspan(s.row, s.rows); };
          const uint32_t last = s.rows - 1;
          (*plan)->run(team, {part(tokens), part(positions), {&one, 1}, {&last, 1}, part(types)}, cache->views());
          ASSERT_EQ(0, std::memcmp((*plan)->outputs(), &first[i * 5], 20)) << name(isa) << " text " << i;
        }
      }
    }
    auto weights = SampleWeights::make(g, Isa::scalar, 9);
    std::vector<float> want;
    for (const SequenceRows& s : sequences) {
      InterpretInputs in;
      in.integers["tokens"].assign(tokens.begin() + s.row, tokens.begin() + s.row + s.rows);
      in.integers["types"].assign(types.begin() + s.row, types.begin() + s.row + s.rows);
      auto out = interpret(g, in, weights->files(), {s.rows, 1});
      ASSERT_TRUE(out.ok()) << out.status().message();
      want.insert(want.end(), (*out)[0].f.begin(), (*out)[0].f.end());
    }
    EXPECT_LT(distance(first, want), 1e-5) << name(pooling);
    EXPECT_GT(size_of(want), 0.1);
  }
}

/// x + x W with x a product: the sum may not overwrite x while others still read it.
TEST(Plan, AResidualThatIsAlsoTheProductsInputKeepsItsMemory) {
  RandomStream random(54, Purpose::test);
  Graph g;
  const ValueId tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const auto matrix = [&](const char* name) {
    return g.source(Op::weight, {kF32, {Dim{64}, Dim{64}}}, {{"name", std::string(name)}});
  };
  const ValueId state = g.source(Op::state, {kState, {}}, {});
  const ValueId x = g.add(Op::linear, {g.add(Op::embed, {tokens, matrix("table")}), matrix("a")});
  const ValueId y = g.add(Op::add, {x, g.add(Op::linear, {x, matrix("b")})});
  g.outputs = {g.add(Op::linear, {g.add(Op::take_rows, {y}), matrix("c")}), state};
  ASSERT_TRUE(g.status().ok());
  auto lowered = run_passes(g);
  ASSERT_TRUE(lowered.ok());
  ASSERT_NE(print(*lowered).find("linear_add"), std::string::npos);
  auto weights = SampleWeights::make(g, Isa::scalar, 1);
  ASSERT_TRUE(weights.ok());
  for (uint32_t rows : {2u, 17u}) {
    const Work work(rows, 64, random);
    const auto want = run_interpreter(g, *weights, work);
    for (uint32_t threads : {1u, 2u})
      EXPECT_LE(distance(run_plan(*lowered, *weights, work, Isa::scalar, threads), want),
                tolerance(g, *weights, work, want));
  }
}

/// Two values in one place: a barrier lies between the last call that touches one and the first that writes the other,
/// whether row work is repeated or sliced. A residual overwritten by its own sum is the exception.
void expect_disjoint_in_time(const Graph& g, const SampleWeights& weights) {
  PlanOptions o;
  o.max_rows = 40;
  o.max_logits = 4;
  o.threads = 2;
  auto compiled = Plan::compile(g, weights.table(), o);
  ASSERT_TRUE(compiled.ok()) << compiled.status().message();
  const Plan& plan = **compiled;
  const auto calls = plan.calls();
  struct Life {
    uint64_t begin = 0, end = 0;
    int first = -1, last = -1;
  };
  std::vector<Life> lives(g.values.size());
  for (int c = 0; c < int(calls.size()); ++c) {
    for (ValueId id : calls[c].out) {
      if (g.type(id).elem.kind == Elem::state) continue;
      lives[id].begin = uint64_t(plan.pointer<uint8_t>(id, 0, false));
      lives[id].end = lives[id].begin + bytes(g.type(id), {40, 4});
      lives[id].first = lives[id].last = c;
    }
    for (ValueId id : calls[c].in)
      if (lives[id].first >= 0) lives[id].last = c;
  }
  for (ValueId a = 0; a < lives.size(); ++a)
    for (ValueId b = 0; b < lives.size(); ++b) {
      if (a == b || lives[a].first < 0 || lives[b].first < lives[a].first || lives[a].end <= lives[b].begin ||
          lives[b].end <= lives[a].begin)
        continue;
      const Call& writer = calls[lives[b].first];
      if (writer.op == Op::linear_add && writer.in[2] == a && writer.in[0] != a && lives[a].last == lives[b].first)
        continue;
      bool small = false, large = false;
      for (int c = lives[a].last + 1; c <= lives[b].first; ++c) {
        small |= calls[c].barrier_small;
        large |= calls[c].barrier_large;
      }
      EXPECT_TRUE(small && large) << "%" << a << " and %" << b << " in\n" << print(g);
    }
}

TEST(Plan, ValuesInOnePlaceAreApartInTime) {
  RandomStream random(55, Purpose::test);
  for (int trial = 0; trial < 12; ++trial) {
    const Graph graph = sample_decoder(random_decoder(random, trial % 2 ? Format::q8_0 : Format::f32));
    auto weights = SampleWeights::make(graph, detected_isa(), 1);
    ASSERT_TRUE(weights.ok());
    expect_disjoint_in_time(graph, *weights);
    auto lowered = run_passes(graph);
    ASSERT_TRUE(lowered.ok());
    expect_disjoint_in_time(*lowered, *weights);
  }
  // A step of many rows has its barrier before the second product, a step of few before the last sum: the norm's place
  // must not be handed to that sum, for in the former kind of step no barrier stands between them.
  Graph g;
  const ValueId tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const auto matrix = [&](const char* name) {
    return g.source(Op::weight, {kF32, {Dim{64}, Dim{64}}}, {{"name", std::string(name)}});
  };
  const ValueId one = g.source(Op::weight, {kF32, {Dim{64}}}, {{"name", std::string("one")}});
  const ValueId x = g.add(Op::embed, {tokens, matrix("table")});
  const ValueId p = g.add(Op::linear, {x, matrix("a")});
  const ValueId n = g.add(Op::rms_norm, {x, one}, {{"eps", 1e-5}});
  const ValueId q = g.add(Op::linear, {n, matrix("b")});
  const ValueId sum = g.add(Op::add, {p, p});
  // x is read last, so that its place is not free either.
  g.outputs = {g.add(Op::linear, {g.add(Op::add, {g.add(Op::add, {sum, q}), x}), matrix("c")})};
  ASSERT_TRUE(g.status().ok());
  auto weights = SampleWeights::make(g, Isa::scalar, 1);
  ASSERT_TRUE(weights.ok());
  expect_disjoint_in_time(g, *weights);
}

TEST(Plan, RefusesWhatOnlyTheInterpreterEvaluates) {
  const auto refused = [](const char* body) {
    auto g = parse_graph(
        fmt::format("graph g {{\n %0:i32[T] = input {{name=\"tokens\"}}\n %1:f32[64,32] = weight {{name=\"w\"}}\n"
                    " %2:f32[T,32] = embed(%0, %1)\n{}",
                    body));
    EXPECT_TRUE(g.ok()) << g.status().message();
    const Status status = Plan::arena_bytes(*g, {}).status();
    EXPECT_FALSE(status.ok()) << body;
    EXPECT_NE(status.message().find("interpreter"), std::string::npos) << status.message();
  };
  refused(" %3:f32[T,32] = exp(%2)\n return %3\n}");
  refused(" %3:f32[1] = constant {value=1.0}\n %4:f32[T,32] = add(%2, %3)\n return %4\n}");
  refused(" %3:f32[64,32] = scale(%1) {by=2.0}\n return %3\n}");
  refused(" %3:i32[T] = input {name=\"other\"}\n %4:f32[T,32] = embed(%3, %1)\n return %4\n}");
}

TEST(Interpret, SaysWhatIsMissing) {
  auto g = parse_graph(
      "graph g {\n %0:i32[T] = input {name=\"tokens\"}\n %1:f32[4,2] = weight {name=\"w\"}\n %2:f32[T,2] = gather(%0, "
      "%1)\n return %2\n}");
  ASSERT_TRUE(g.ok());
  InterpretInputs in;
  EXPECT_NE(interpret(*g, in, {}, {1, 1}).status().message().find("'tokens'"), std::string::npos);
  in.integers["tokens"] = {4};
  EXPECT_NE(interpret(*g, in, {}, {1, 1}).status().message().find("'w'"), std::string::npos);
  EXPECT_NE(interpret(*g, in, {{"w", std::vector<uint8_t>(32)}}, {1, 1}).status().message().find("index 4"),
            std::string::npos);
  EXPECT_NE(interpret(*g, in, {{"w", std::vector<uint8_t>(31)}}, {1, 1}).status().message().find("31 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace vibee
