// SPDX-License-Identifier: Apache-2.0
#include "vibee/plan/train/measure_rates.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <thread>

#include "vibee/base/thread/pinned_team.h"
#include "vibee/core/measure/measure.h"
#include "vibee/dist/transport/local.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/hw/device/probe.h"
#include "vibee/model/arch/arch.h"
#include "vibee/plan/train/train_price.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/run_state.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {
namespace {

/// Of times of one work the median, the lower of two.
double typical(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[(seconds.size() - 1) / 2];
}
/// Repeats until the times say enough: at least 5, at most 9, no longer than some 20 ms.
template <class F>
double timed(F&& work) {
  std::vector<double> seconds;
  double all = 0;
  while (seconds.size() < 5 || (seconds.size() < 9 && all < 0.02)) {
    seconds.push_back(work());
    all += seconds.back();
  }
  return typical(seconds);
}

Type rows_of(int64_t width) { return {kF32, {kRows, Dim{width}}}; }

/// Graphs under construction and their runs. Weights lie one behind the other in memory that is larger than caches, so
/// that a step finds them as it does those of a model.
class Trials {
 public:
  static constexpr uint64_t kWeights = 48u << 20;
  static Result<Trials> create(uint32_t threads, Isa isa) {
    Trials t(threads, isa);
    VIBEE_ASSIGN(t.weights_, HugeBuffer::allocate(kWeights));
    for (uint64_t i = 0; i < kWeights / 4; ++i) t.weights_.as<float>()[i] = 0.01f * float(int(i * 7 % 64) - 31);
    return t;
  }
  Team& team() { return *team_; }
  uint32_t threads() const { return threads_; }

  static Graph begin() {
    Graph g;
    for (const char* name : {"tokens", "positions", "documents", "targets"})
      g.source(Op::input, {kI32, {kRows}}, {{"name", std::string(name)}});
    g.source(Op::input, rows_of(1), {{"name", std::string("loss_weights")}});
    return g;
  }
  static constexpr ValueId kTokens = 0, kPositions = 1, kDocuments = 2, kTargets = 3, kFactors = 4;
  static ValueId weight(Graph* g, std::vector<Dim> dims) {
    return g->source(Op::weight, {kF32, std::move(dims)}, {{"name", fmt::format("w{}", g->nodes.size())}});
  }
  /// Rows of some width.
  static ValueId rows(Graph* g, int64_t width) {
    return g->add(Op::embed, {kTokens, weight(g, {Dim{16}, Dim{width}})});
  }

  /// Seconds from one output to the next, over steps of documents of one length: typical ones.
  Result<std::vector<double>> run(Graph graph, uint32_t rows, uint32_t length) {
    VIBEE_TRY(Status(graph.status()));
    const size_t outputs = graph.outputs.size();
    uint64_t next = 0;
    const auto place = [&](std::string_view name) -> void* {
      for (const Node& node : graph.nodes)
        if (node.op == Op::weight && node.text("name") == name) {
          const uint64_t size = bytes(graph.type(node.out[0]), {});
          if (next + size > kWeights) next = 0;
          next += (size + 63) / 64 * 64;
          return size <= kWeights ? weights_.data() + next - (size + 63) / 64 * 64 : nullptr;
        }
      return nullptr;
    };
    VIBEE_ASSIGN(const auto plan, TrainPlan::compile(graph, place, {rows, threads_, isa_}));
    std::vector<int32_t> tokens(rows), positions(rows), documents(rows), targets(rows);
    for (uint32_t r = 0; r < rows; ++r) {
      tokens[r] = targets[r] = int32_t(r % 16);
      documents[r] = int32_t(r / length * length);
      positions[r] = int32_t(r % length);
    }
    const std::vector<float> factors(rows, 1.0f / float(rows));
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
        {"tokens", tokens}, {"positions", positions}, {"documents", documents}, {"targets", targets}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
    std::vector<std::vector<double>> seconds(outputs);
    double all = 0;
    while (seconds[0].size() < 6 || (seconds[0].size() < 10 && all < 0.02)) {
      std::vector<double> at(outputs);
      const double begin = monotonic_seconds();
      VIBEE_TRY(plan->run(*team_, {integers, floats}, [&](size_t i, uint32_t tid) {
        if (tid == 0) at[i] = monotonic_seconds();
      }));
      for (size_t i = 0; i < outputs; ++i) seconds[i].push_back(at[i] - (i == 0 ? begin : at[i - 1]));
      all += at[outputs - 1] - begin;
    }
    std::vector<double> found;
    for (std::vector<double>& times : seconds) {
      times.erase(times.begin());  // touches memory
      found.push_back(typical(times));
    }
    return found;
  }

 private:
  Trials(uint32_t threads, Isa isa) : threads_(threads), isa_(isa), team_(std::make_unique<Team>(threads)) {}
  uint32_t threads_;
  Isa isa_;
  std::unique_ptr<Team> team_;
  HugeBuffer weights_;
};

using Grids = std::map<std::string, RateGrid, std::less<>>;

/// A product and its two gradients, at every combination of some sizes.
Status products(Trials& trials, Grids* grids) {
  const std::vector<double> sizes = {16, 64, 192, 512, 1536};
  const size_t n = sizes.size();
  for (const char* kind : {"linear", "linear_dx", "linear_dw"})
    (*grids)[kind] = {{sizes, sizes, sizes}, std::vector<double>(n * n * n)};
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      for (size_t l = 0; l < n; ++l) {
        Graph g = Trials::begin();
        const auto width = int64_t(sizes[j]), depth = int64_t(sizes[l]);
        const ValueId x = Trials::rows(&g, depth), w = Trials::weight(&g, {Dim{width}, Dim{depth}});
        const ValueId y = g.add(Op::linear, {x, w}), dx = g.add(Op::linear_dx, {y, w}),
                      dw = g.add(Op::linear_dw, {y, x});
        g.outputs = {x, y, dx, dw};
        VIBEE_ASSIGN(const std::vector<double> t, trials.run(std::move(g), uint32_t(sizes[i]), uint32_t(sizes[i])));
        const double units = sizes[i] * sizes[j] * sizes[l];
        const auto at = [&](size_t a, size_t b, size_t c) { return (a * n + b) * n + c; };
        (*grids)["linear"].rates[at(i, j, l)] = t[1] / units;
        (*grids)["linear_dx"].rates[at(i, l, j)] = t[2] / units;
        (*grids)["linear_dw"].rates[at(j, l, i)] = t[3] / units;
      }
  return {};
}

Status attention(Trials& trials, Grids* grids) {
  // Documents end anywhere in a block of 64 rows: these lengths end in the middle.
  const std::vector<double> lengths = {32, 96, 224, 992}, widths = {16, 64, 128}, groups = {1, 4};
  constexpr int64_t kHeads = 4;
  for (const char* kind : {"attention", "attention_dx"}) (*grids)[kind] = {{lengths, widths, groups}, {}};
  for (const double length : lengths)
    for (const double width : widths)
      for (const double group : groups) {
        Graph g = Trials::begin();
        const auto d = int64_t(width), kv = kHeads / int64_t(group);
        const ValueId q = Trials::rows(&g, kHeads * d), k = Trials::rows(&g, kv * d), v = Trials::rows(&g, kv * d);
        const Attrs attrs = {{"heads", kHeads}, {"kv_heads", kv}, {"head_dim", d}, {"scale", 1 / std::sqrt(width)}};
        const ValueId out = g.add(Op::self_attention, {q, k, v, Trials::kDocuments}, attrs);
        const ValueId dq = g.add(Op::self_attention_dx, {q, k, v, Trials::kDocuments, out, out + 1, q}, attrs);
        g.outputs = {v, out, dq};
        // A head's part of a row is a few lines of a cache that holds more than one thread's own.
        const auto rows = uint32_t(length * std::ceil(1500 / length));
        VIBEE_ASSIGN(const std::vector<double> t, trials.run(std::move(g), rows, uint32_t(length)));
        const double units = length * (length + 1) / 2 * (rows / length) * double(kHeads) * width;
        (*grids)["attention"].rates.push_back(t[1] / units);
        (*grids)["attention_dx"].rates.push_back(t[2] / units);
      }
  return {};
}

/// Everything that goes over rows and columns once, with what it reads and writes in the threads' own caches.
Status elementwise(Trials& trials, Grids* grids) {
  constexpr int64_t kWidth = 512, kHead = 64;
  struct Case {
    Op op;
    std::vector<ValueId> in;
    Attrs attrs;
  };
  for (const uint32_t rows : {8u, 128u}) {
    Graph begin = Trials::begin();
    // What activations read comes from products, whose threads divide columns as well; rows of the residual stream
    // are divided as they are read.
    const ValueId narrow = Trials::rows(&begin, 16),
                  x = begin.add(Op::linear, {narrow, Trials::weight(&begin, {Dim{kWidth}, Dim{16}})}),
                  y = Trials::rows(&begin, kWidth), vector = Trials::weight(&begin, {Dim{kWidth}}),
                  table = Trials::weight(&begin, {Dim{rows}, Dim{kWidth}});
    const Attrs turning = {{"dims", kHead}, {"base", 1e4}}, eps = {{"eps", 1e-5}};
    const Attrs packing = {{"bits", int64_t(4)}, {"array", int64_t(0)}};
    const ValueId packed = begin.add(Op::compress, {y}, packing);
    const ValueId turns = begin.add(Op::rope_table, {Trials::kPositions}, turning);
    std::vector<Case> cases = {{Op::embed, {Trials::kTokens, table}, {}},
                               {Op::scatter, {Trials::kTokens, y, table}, {}},
                               {Op::add, {y, y}, {}},
                               {Op::mul, {y, y}, {}},
                               {Op::scale, {y}, {{"by", 0.5}}},
                               {Op::soft_cap, {x}, {{"cap", 30.0}}},
                               {Op::rms_norm, {y, vector}, eps},
                               {Op::rms_norm_dx, {y, vector, y}, eps},
                               {Op::rms_norm_dw, {y, vector, y}, eps},
                               {Op::layer_norm, {y, vector, vector}, eps},
                               {Op::layer_norm_dx, {y, vector, y}, eps},
                               {Op::layer_norm_dw, {y, vector, y}, eps},
                               {Op::rope_table, {Trials::kPositions}, turning},
                               {Op::sum_to, {y, vector}, {}},
                               {Op::compress, {y}, packing},
                               {Op::decompress, {packed}, {}}};
    for (const char* pairs : {"split", "adjacent"})
      cases.push_back({Op::rope, {y, turns}, {{"head_dim", kHead}, {"pairs", std::string(pairs)}}});
    for (const char* kind : {"silu", "gelu", "gelu_tanh"}) {
      cases.push_back({Op::activation, {x}, {{"kind", std::string(kind)}}});
      cases.push_back({Op::activation_dx, {x, y}, {{"kind", std::string(kind)}}});
      cases.push_back({Op::gated, {x, y}, {{"gate", std::string(kind)}}});
    }
    for (const Case& c : cases) {
      Graph g = begin;
      const ValueId out = g.add(c.op, c.in, c.attrs);
      g.outputs = {turns, out};
      VIBEE_ASSIGN(const std::vector<double> t, trials.run(g, rows, rows));
      const double units = element_units(g, g.producer(out), rows);
      RateGrid& grid = (*grids)[element_kind(g.producer(out))];
      grid.axes.resize(1);
      grid.axes[0].push_back(units);
      grid.rates.push_back(t[1] / units);
    }
  }
  return {};
}

/// A logit of the loss, beside the products: with a narrow head, what remains of its time.
Status loss(Trials& trials, const MachineRates& products, Grids* grids) {
  constexpr uint32_t kRows = 256;
  constexpr int64_t kWidth = 16;
  for (const int64_t vocabulary : {1024, 16384}) {
    Graph g = Trials::begin();
    const ValueId x = Trials::rows(&g, kWidth), head = Trials::weight(&g, {Dim{vocabulary}, Dim{kWidth}});
    const ValueId loss = g.add(Op::cross_entropy, {x, head, Trials::kTargets, Trials::kFactors});
    g.outputs = {x, loss};
    VIBEE_ASSIGN(const std::vector<double> alone, trials.run(g, kRows, kRows));
    g.outputs = {loss};
    const std::string names[] = {std::string(g.producer(g.producer(x).in[1]).text("name")),
                                 std::string(g.producer(head).text("name"))};
    VIBEE_ASSIGN(Graph joint, differentiate(g, names));
    joint.outputs.insert(joint.outputs.begin(), joint.producer(joint.outputs[0]).in[0]);
    VIBEE_ASSIGN(const std::vector<double> whole, trials.run(joint, kRows, kRows));
    const double n = double(vocabulary), logits = kRows * n, units = logits * kWidth;
    const auto beyond = [&](double seconds, double known) { return std::max(seconds - known, 0.1 * seconds) / logits; };
    const double forward = products.seconds("linear", {kRows, n, kWidth}, units);
    const double backward = products.seconds("linear_dx", {kRows, kWidth, n}, units) +
                            products.seconds("linear_dw", {n, kWidth, kRows}, units);
    for (const auto& [kind, rate] : {std::pair("loss", beyond(alone[1], forward)),
                                     std::pair("loss_gradients", beyond(whole[1], forward + backward))}) {
      RateGrid& grid = (*grids)[kind];
      grid.axes.resize(1);
      grid.axes[0].push_back(logits);
      grid.rates.push_back(rate);
    }
  }
  return {};
}

/// A multiply-add of experts, which go row by row.
Status experts(Trials& trials, Grids* grids) {
  constexpr int64_t kWidth = 64, kExperts = 4, kChosen = 2;
  constexpr uint32_t kRows = 128;
  Graph g = Trials::begin();
  const ValueId x = Trials::rows(&g, kWidth), router = Trials::weight(&g, {Dim{kExperts}, Dim{kWidth}});
  const ValueId gate = Trials::weight(&g, {Dim{kExperts}, Dim{kWidth}, Dim{kWidth}}),
                up = Trials::weight(&g, {Dim{kExperts}, Dim{kWidth}, Dim{kWidth}});
  const ValueId route = g.add(Op::moe_route, {x, router}, {{"k", kChosen}});
  const ValueId y = g.add(Op::moe_gated, {x, route, gate, up}, {{"k", kChosen}, {"gate", std::string("silu")}});
  g.outputs = {route, y};
  VIBEE_ASSIGN(const std::vector<double> t, trials.run(std::move(g), kRows, kRows));
  const double units = double(kRows) * kChosen * 2 * kWidth * kWidth;
  (*grids)["experts"] = {{{units}}, {t[1] / units}};
  return {};
}

/// Floats of a weight that stays in its format.
Status decoding(Trials& trials, Grids* grids) {
  constexpr uint32_t kRows = 256, kWidth = 2048;
  VIBEE_ASSIGN(const HugeBuffer from, HugeBuffer::allocate(4 * kRows * kWidth));
  VIBEE_ASSIGN(const HugeBuffer to, HugeBuffer::allocate(4 * kRows * kWidth));
  std::fill_n(from.data(), from.size(), uint8_t(0x3c));
  for (const NumericFormat& format : all_formats()) {
    if (format.decode == nullptr || kWidth % format.block_elems != 0) continue;
    const double seconds = timed([&] {
      const Timer timer;
      trials.team().run([&](uint32_t tid) {
        const Range mine = share(kRows, tid, trials.threads());
        format.decode_rows(from.data() + mine.begin * format.row_bytes(kWidth), mine.end - mine.begin, kWidth,
                           to.as<float>(uint64_t(mine.begin) * kWidth * 4));
      });
      return timer.seconds();
    });
    (*grids)[fmt::format("decode {}", format.name)] = {{{double(kRows) * kWidth}}, {seconds / kRows / kWidth}};
  }
  return {};
}

/// An update and a checkpoint of small and larger models.
Status updates(uint32_t threads, Isa isa, const std::string& folder, Grids* grids) {
  for (const auto& [dim, vocabulary] : {std::pair(32u, 300u), std::pair(256u, 300u), std::pair(256u, 16000u)}) {
    NewModel model;
    model.dim = dim;
    model.layers = 1;
    model.heads = 2;
    model.vocab = vocabulary;
    model.context = 16;
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions options;
    options.max_rows = 16;
    options.threads = threads;
    options.isa = isa;
    VIBEE_ASSIGN(const auto step, TrainStep::create(file, config, options));
    std::vector<int32_t> tokens(16), documents(16);
    for (int32_t i = 0; i < 16; ++i) tokens[size_t(i)] = i;
    const std::vector<float> factors(16, 1.0f / 16);
    std::vector<double> seconds;
    for (int i = 0; i < 6; ++i) {
      VIBEE_ASSIGN([[maybe_unused]] const float loss, step->run({tokens, tokens, documents, factors}));
      if (i > 0) seconds.push_back(step->trace().update.end - step->trace().update.begin);
    }
    double parameters = 0;
    for (const TrainStep::Weight& w : step->weights()) parameters += double(w.count);
    RateGrid& grid = (*grids)["update"];
    grid.axes.resize(1);
    grid.axes[0].push_back(parameters);
    grid.rates.push_back(typical(seconds) / parameters);
    const std::string path = fmt::format("{}/rates-{}.run", folder, getpid());  // several processes may measure
    const double bytes = 12 * parameters;
    Status written;
    const double save = timed([&] {
      const Timer timer;
      if (written.ok()) written = save_run(path, *step, {1, 0, ""});
      return timer.seconds();
    });
    std::remove(path.c_str());
    VIBEE_TRY(std::move(written));
    RateGrid& checkpoint = (*grids)["checkpoint"];
    checkpoint.axes.resize(1);
    checkpoint.axes[0].push_back(bytes);
    checkpoint.rates.push_back(save / bytes);
  }
  return {};
}

/// A byte of a sum over two ranks of this process.
Status reductions(Grids* grids) {
  const CommProgram program = direct_all_reduce(2, 2);
  RateGrid grid{{{}}, {}};
  for (const uint64_t count : {uint64_t(1) << 12, uint64_t(1) << 17, uint64_t(1) << 21}) {
    std::vector<std::vector<float>> values(2, std::vector<float>(count, 1.0f));
    auto ends = local_network(2);
    CommThread first(std::move(ends[0])), second(std::move(ends[1]));
    Reduction a(program, 0, count, {values[0].data()}), b(program, 1, count, {values[1].data()});
    Status status;
    const double seconds = timed([&] {
      const Timer timer;
      first.submit(&a);
      second.submit(&b);
      for (CommThread* end : {&first, &second})
        if (Status over = end->wait(); !over.ok()) status = std::move(over);
      return timer.seconds();
    });
    VIBEE_TRY(std::move(status));
    grid.axes[0].push_back(4.0 * double(count));
    grid.rates.push_back(seconds / (4.0 * double(count)));
  }
  (*grids)["reduce"] = std::move(grid);
  return {};
}

double barrier_of(Team& team) {
  constexpr int kBarriers = 200;
  return timed([&] {
    const Timer timer;
    team.run([&](uint32_t) {
      for (int i = 0; i < kBarriers; ++i) team.barrier();
    });
    return timer.seconds() / kBarriers;
  });
}

constexpr std::string_view kNeeded[] = {"linear", "linear_dx", "linear_dw", "attention", "attention_dx",
                                        "loss",   "add",       "embed",     "experts",   "loss_gradients",
                                        "update", "reduce",    "checkpoint"};

}  // namespace

std::span<const std::string_view> needed_rates() { return kNeeded; }

size_t axes_of(std::string_view kind) { return kind.starts_with("linear") || kind.starts_with("attention") ? 3 : 1; }

Result<MachineRates> measure_rates(uint32_t threads, Isa isa, const std::string& folder,
                                   const std::function<bool(std::string_view)>& progress) {
  VIBEE_ASSIGN(Trials trials, Trials::create(threads, isa));
  MachineRates rates;
  rates.cpu = cpu_name();
  rates.isa = name(isa);
  rates.threads = threads;
  const auto stopped = [&](std::string_view what) {
    return progress(what) ? Status() : error(Code::invalid, "stopped");
  };
  Grids& grids = rates.grids;
  {
    const PinnedTeam pinned(trials.team());
    VIBEE_TRY(stopped("the machine"));
    const uint64_t own = cache_bytes(2), cache = cache_bytes(3);
    // Not all of a cache is one process's, nor is it emptied in order.
    rates.cache = cache > 0 ? double(cache) / 2 : 8e6;
    rates.own_cache = std::min(rates.cache, (own > 0 ? double(own) : 5e5) * threads / 2);
    VIBEE_ASSIGN(BandwidthProbe bandwidth, BandwidthProbe::create(96u << 20));
    rates.read_rate = 1e9 * bandwidth.gb_per_second(trials.team(), isa, 5);
    const double between = std::sqrt(rates.own_cache * rates.cache);  // too large for the one, small for the other
    VIBEE_ASSIGN(BandwidthProbe cached, BandwidthProbe::create(std::max<uint64_t>(1 << 20, uint64_t(between))));
    rates.cache_rate = std::max(rates.read_rate, 1e9 * cached.gb_per_second(trials.team(), isa, 15));
    for (int i = 0; i < 8; ++i)
      rates.fma_flops = std::max(rates.fma_flops, 1e9 * compute_peaks(trials.team(), isa, 3).fma_gflops);
    rates.barrier = barrier_of(trials.team());
    VIBEE_TRY(stopped("products"));
    VIBEE_TRY(products(trials, &grids));
    VIBEE_TRY(stopped("attention"));
    VIBEE_TRY(attention(trials, &grids));
    VIBEE_TRY(stopped("norms and activations"));
    VIBEE_TRY(elementwise(trials, &grids));
    VIBEE_TRY(stopped("the loss"));
    VIBEE_TRY(loss(trials, rates, &grids));
    VIBEE_TRY(experts(trials, &grids));
    VIBEE_TRY(stopped("formats"));
    VIBEE_TRY(decoding(trials, &grids));
  }
  VIBEE_TRY(stopped("updates and checkpoints"));
  VIBEE_TRY(updates(threads, isa, folder, &grids));
  VIBEE_TRY(stopped("sums over ranks"));
  VIBEE_TRY(reductions(&grids));
  return rates;
}

}  // namespace vibee
