// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/calibrate.h"

#include <algorithm>
#include <optional>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

/// Windows that a step runs together.
constexpr uint32_t kStepRows = 1024;

/// The weights of a graph as its products read them: in the file's formats, but for experts, which are floats.
class StoredWeights {
 public:
  static Format format_of(const Checkpoint& file, std::string_view name) {
    const TensorInfo* tensor = file.find(weight_part(name).tensor);
    const bool of_experts = name.find("_exps.") != name.npos || name.find("ffn_gate_inp.") != name.npos;
    return tensor == nullptr || of_experts ? Format::f32 : tensor->format;
  }

  static Result<StoredWeights> read(const Checkpoint& file, const Graph& graph) {
    StoredWeights out;
    uint64_t bytes = 64;
    for (const Node& node : graph.nodes) {
      if (node.op != Op::weight) continue;
      const Type& type = graph.type(node.out[0]);
      const Format format = type.dims.size() > 1 ? type.elem.format : Format::f32;
      out.at_[std::string(node.text("name"))] = bytes;
      bytes += round_up(info(format).row_bytes(uint64_t(elements(type, {}))), 64);
    }
    if (bytes > available_memory())
      return error(Code::no_memory, "{}: calibration holds {} MiB of weights, {} MiB are available", file.path(),
                   bytes >> 20, available_memory() >> 20);
    VIBEE_ASSIGN(out.memory_, HugeBuffer::allocate(bytes));
    for (const Node& node : graph.nodes)
      if (node.op == Op::weight) VIBEE_TRY(out.fill(file, graph.type(node.out[0]), std::string(node.text("name"))));
    return out;
  }

  uint8_t* place(std::string_view name) const {
    const auto at = at_.find(name);
    return at == at_.end() ? nullptr : memory_.data() + at->second;
  }

 private:
  Status fill(const Checkpoint& file, const Type& type, const std::string& name) {
    const WeightPart part = weight_part(name);
    VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
    const NumericFormat& from = info(tensor->format);
    const uint64_t count = uint64_t(elements(type, {})),
                   row = type.dims.size() > 1 ? uint64_t(type.dims.back().n) : count;
    const uint64_t first = type.dims.size() > 1 ? uint64_t(part.first) * row : uint64_t(part.first);
    uint8_t* const to = place(name);
    if (type.dims.size() > 1 && type.elem.format == tensor->format)
      return file.read(*tensor, from.row_bytes(first), {to, from.row_bytes(count)});
    std::vector<uint8_t> raw(from.row_bytes(row));
    for (uint64_t at = 0; at < count; at += row) {
      VIBEE_TRY(file.read(*tensor, from.row_bytes(first + at), raw));
      from.decode(raw.data(), row, reinterpret_cast<float*>(to) + at);
    }
    return {};
  }
  HugeBuffer memory_;
  std::map<std::string, uint64_t, std::less<>> at_;
};

/// What a product reads: input rows, and for each the matrices of a tensor that multiply it.
struct Product {
  std::string tensor;
  ValueId rows;
  uint64_t columns, matrices;
  uint32_t chosen = 0;               ///< experts a row; 0: one matrix multiplies all
  ValueId route = 0;                 ///< which
  bool pairwise = false;             ///< a row a row and expert
  std::vector<double> squares = {};  ///< [matrices][columns]
  std::vector<uint64_t> counts = {};
  std::optional<ValueId> order = {};  ///< in which the rows have their columns
};

std::vector<Product> products_of(const Graph& g, size_t n) {
  const Node& node = g.nodes[n];
  std::vector<Product> out;
  // Importance is by inputs, whatever order a weight has its columns in.
  const Node& from = g.producer(node.in[0]);
  const auto order = from.op == Op::permute_columns ? std::optional(from.in[1]) : std::nullopt;
  const auto add = [&](size_t weight, uint32_t chosen, bool pairwise) {
    const WeightPart part = weight_part(g.producer(node.in[weight]).text("name"));
    if (part.first != 0) return;  // the parts of a tensor read the same rows
    const auto& dims = g.type(node.in[weight]).dims;
    const uint64_t matrices = dims.size() > 2 ? uint64_t(dims[0].n) : 1, columns = uint64_t(dims.back().n);
    out.push_back({part.tensor, node.in[0], columns, matrices, chosen, chosen ? node.in[1] : 0, pairwise,
                   std::vector<double>(matrices * columns), std::vector<uint64_t>(matrices), order});
  };
  if (node.op == Op::linear || node.op == Op::cross_entropy) add(1, 0, false);
  if (node.op == Op::moe_gated) {
    add(2, uint32_t(node.integer("k")), false);
    add(3, uint32_t(node.integer("k")), false);
  }
  if (node.op == Op::moe_down) add(2, uint32_t(node.integer("k")), true);
  return out;
}

/// Adds the squares of a step's rows, this thread's columns of them.
void add_squares(const TrainPlan& plan, uint32_t rows, uint32_t tid, uint32_t threads, Product* p) {
  const Range mine = share(uint32_t(p->columns), tid, threads);
  const float* const x = plan.floats(p->rows);
  const auto add = [&](uint64_t row, uint64_t matrix) {
    const float* from = x + row * p->columns;
    double* to = p->squares.data() + matrix * p->columns;
    for (uint32_t i = mine.begin; i < mine.end; ++i) to[i] += double(from[i]) * from[i];
    if (tid == 0) ++p->counts[matrix];
  };
  for (uint64_t r = 0; r < rows; ++r) {
    if (p->chosen == 0) add(r, 0);
    for (uint32_t j = 0; j < p->chosen; ++j)
      add(p->pairwise ? r * p->chosen + j : r, uint64_t(plan.floats(p->route)[r * 2 * p->chosen + j]));
  }
}

}  // namespace

Result<Importance> calibrate(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                             const CalibrateOptions& o) {
  if (o.context < 2) return error(Code::invalid, "windows of {} tokens; calibration needs 2 or more", o.context);
  const uint64_t least = uint64_t(kLeastWindows) * o.context;
  if (tokens.size() < least)
    return error(Code::invalid,
                 "the calibration text has {} tokens, at least {} ({} windows of {}) are needed; use a longer text",
                 tokens.size(), least, kLeastWindows, o.context);
  const uint64_t all = tokens.size() / o.context, windows = o.windows ? std::min<uint64_t>(o.windows, all) : all;
  const auto format_of = [&](std::string_view name) { return StoredWeights::format_of(file, name); };
  VIBEE_ASSIGN(Graph graph, DecoderBuilder(config, format_of).build_training());
  VIBEE_ASSIGN(const StoredWeights weights, StoredWeights::read(file, graph));
  const uint32_t together = std::max(1u, kStepRows / o.context);
  const TrainOptions options{.max_rows = together * o.context, .threads = o.threads, .isa = o.isa};
  VIBEE_ASSIGN(const std::unique_ptr<TrainPlan> plan,
               TrainPlan::compile(
                   std::move(graph), [&](std::string_view name) { return weights.place(name); }, options));
  std::vector<std::vector<Product>> products;  // by node
  for (size_t n = 0; n < plan->graph().nodes.size(); ++n) products.push_back(products_of(plan->graph(), n));

  Team team(o.threads);
  std::vector<int32_t> ids, positions, documents, targets;
  std::vector<float> factors;
  for (uint64_t first = 0; first < windows; first += together) {
    const auto count = uint32_t(std::min<uint64_t>(together, windows - first));
    ids.assign(tokens.begin() + std::ptrdiff_t(first * o.context),
               tokens.begin() + std::ptrdiff_t((first + count) * o.context));
    positions.clear();
    documents.clear();
    for (uint32_t w = 0; w < count; ++w) {
      if (o.bos >= 0) ids[size_t(w) * o.context] = o.bos;
      for (uint32_t i = 0; i < o.context; ++i) {
        positions.push_back(int32_t(i));
        documents.push_back(int32_t(w * o.context));
      }
    }
    targets.assign(ids.size(), -1);  // the rows that meet the head are of interest, its logits are not
    factors.assign(ids.size(), 0.0f);
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
        {"tokens", ids}, {"positions", positions}, {"documents", documents}, {"targets", targets}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
    VIBEE_TRY(plan->run_loss(team, {integers, floats}, [&](size_t node, uint32_t tid) {
      if (products[node].empty()) return;
      for (Product& p : products[node]) add_squares(*plan, uint32_t(ids.size()), tid, o.threads, &p);
      team.barrier();
    }));
    if (o.progress && !o.progress(first + count, windows))
      return error(Code::cancelled, "calibration stopped after {} of {} windows", first + count, windows);
  }
  Importance out;
  for (const auto& of_node : products) {
    for (const Product& p : of_node) {
      Importance::Sums sums;
      sums.squares.assign(p.squares.begin(), p.squares.end());
      if (p.order)
        for (uint64_t i = 0; i < p.columns; ++i)
          sums.squares[uint64_t(plan->floats(*p.order)[i])] = float(p.squares[i]);
      for (const uint64_t v : p.counts) sums.counts.push_back(float(v));
      out.add(p.tensor, std::move(sums));
    }
  }
  return out;
}

}  // namespace vibee
