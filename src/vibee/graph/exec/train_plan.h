// SPDX-License-Identifier: Apache-2.0
// A training graph (graph/autodiff) as it runs: weights are plain rows, of floats where an optimiser changes them in
// place, of any format where they are frozen; every value of a step has its place in one arena that is stated
// beforehand, and nodes run one behind the other, each on all threads. Every element of a result is summed in one
// order, so bytes do not depend on threads or instruction set.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/random/rounding.h"
#include "vibee/base/thread/team.h"
#include "vibee/graph/exec/call_parameters.h"
#include "vibee/graph/ir/ir.h"
#include "vibee/kernels/attention/self_attention.h"
#include "vibee/kernels/gemm/gemm_choice.h"
#include "vibee/kernels/gemm/operand_form.h"
#include "vibee/kernels/pointwise/gradients.h"

namespace vibee {

/// Rows of a step at most, of any plan.
inline constexpr uint32_t kMostTrainRows = 1u << 20;

struct TrainOptions {
  uint32_t max_rows = 2048;  ///< a step, at most
  uint32_t threads = 1;
  Isa isa = Isa::scalar;
  const GemmChoice* products = nullptr;  ///< who computes dense ones; null: cutlass_gemm, whose bytes are one's own
};

/// Scales of operands that have one for all of them, by the number that the pass gave each (round_products.h).
struct OperandScales {
  std::span<const float> scale = {};  ///< what numbers are multiplied by; 0 or none: by what the operand itself says
  std::span<float> largest = {};      ///< gets the largest size, where that is larger; none: nobody asks
};

/// Inputs of a step by the names of the graph's input nodes, one number a row.
struct TrainInputs {
  std::span<const std::pair<std::string_view, std::span<const int32_t>>> integers;
  std::span<const std::pair<std::string_view, std::span<const float>>> floats;
  RoundingKey rounding = {};  ///< seed and step of what `compress` rounds at random
  OperandScales scales = {};
  uint64_t weights = 0;  ///< another number whenever weights have changed; 0: they may have
};

class TrainPlan;

/// A weight as products read it that round it to another form (train_products.h), or store it (stored_products.h).
struct RoundedWeight {
  ValueId value;
  OperandForm form;
  bool across;
  uint32_t slot;                ///< of its scale
  uint64_t at, bytes;           ///< among all of them; behind them its scale and the largest size, 2 floats
  Format format = Format::f32;  ///< that it is stored in, if not f32
};

/// Nodes whose results a loss makes with its own, each null where there is none.
struct LossGradients {
  const Node* dx = nullptr;
  const Node* dw = nullptr;
};

/// What a node sees while it runs on one thread.
struct TrainWorker {
  const TrainPlan& plan;
  Team& team;
  uint32_t tid, threads;
  uint32_t rows;   ///< of the step
  bool loss_only;  ///< no gradients are wanted
  std::span<const Document> documents;
  const RoundingKey& rounding;
  const OperandScales& scales;
  const PointwiseKernels& pointwise;
  const GradientKernels& gradients;
  Range share_of(uint32_t n) const { return share(n, tid, threads); }
};

class TrainPlan {
 public:
  /// The arena's size without compiling: what `compile` would allocate, to the byte.
  static Result<uint64_t> arena_bytes(const Graph& graph, const TrainOptions& options);
  /// The dense products of a step of max_rows, with repetitions: what TrainOptions::products decides.
  static std::vector<GemmProblem> products(const Graph& graph, const TrainOptions& options);
  /// `weights` gives the memory of a weight by name, rows one behind the other in the format of its type; it outlives
  /// the plan. An op that has no kernel here, or a form of it, is refused with the node's number.
  static Result<std::unique_ptr<TrainPlan>> compile(Graph graph, const std::function<void*(std::string_view)>& weights,
                                                    const TrainOptions& options);

  /// Runs one step on a team of as many threads as the options say. Refuses inputs that are missing, of other lengths,
  /// or out of range.
  /// `on_output(i, tid)` is called on every thread once output i is final, while the step goes on behind it: in the
  /// order of ready_order(), on all threads alike, so they may meet at the team's barrier.
  using OnOutput = std::function<void(size_t output, uint32_t tid)>;
  Status run(Team& team, const TrainInputs& inputs, const OnOutput& on_output = {});
  /// `on_node(n, tid)` is called on every thread once the results of node n are whole; what the node read stands until
  /// the threads go on, so who reads that meets at the team's barrier before it returns.
  using OnNode = std::function<void(size_t node, uint32_t tid)>;
  /// Only the nodes up to the graph's first output, its loss.
  Status run_loss(Team& team, const TrainInputs& inputs, const OnNode& on_node = {});
  /// Where a step's values stop being finite first, in words: a weight, an input, or what a node of the forward or
  /// backward part makes; nothing where all are finite. Runs the step as run() does.
  Result<std::optional<std::string>> first_not_finite(Team& team, const TrainInputs& inputs);
  /// The graph's output `i` after a run: losses, gradients. Valid until the next one.
  std::span<const float> output(size_t i) const;
  uint64_t arena_size() const { return arena_.size(); }

  // For the calls.
  const TrainOptions& options() const { return options_; }
  LossGradients gradients_of(const Node& loss) const;
  bool done_by_loss(const Node& gradient) const;
  /// Whether the node before had the same inputs and left in shared() what this one starts from.
  bool goes_on(const Node& node) const { return layout_.goes_on[size_t(&node - graph_.nodes.data())]; }
  const Graph& graph() const { return graph_; }
  const Type& type(ValueId id) const { return graph_.type(id); }
  float* floats(ValueId id) const { return floats_[id]; }
  /// Of a value in another format than f32.
  uint8_t* stored(ValueId id) const { return stored_[id]; }
  /// Decodes rows of a weight in another format than f32.
  void decode(ValueId id, Range rows, float* out) const;
  /// What is made of weights before the nodes of a step that reads them changed, for products in fewer bits.
  std::span<const RoundedWeight> rounded() const { return layout_.rounded; }
  const RoundedWeight* rounded_weight(const Node& product) const;
  uint8_t* at(const RoundedWeight& weight) const { return arena_.data() + layout_.weights + weight.at; }
  const int32_t* integers(ValueId id) const { return integers_[id]; }
  std::span<const double> frequencies(ValueId id) const { return frequencies_[id]; }
  uint8_t* scratch(uint32_t tid) const { return arena_.data() + layout_.scratch + tid * layout_.scratch_stride; }
  /// Rows of a weight in blocks that are decoded, for all threads: decoded_rows of them.
  float* decoded() const { return reinterpret_cast<float*>(arena_.data() + layout_.decoded); }
  std::span<uint8_t> products() const { return {arena_.data() + layout_.products, layout_.decoded - layout_.products}; }
  float* shared() const { return reinterpret_cast<float*>(arena_.data() + layout_.shared); }

 private:
  struct Layout {
    std::vector<uint64_t> offsets;  ///< one a value
    std::optional<ValueId> documents;
    std::vector<std::optional<uint32_t>> done_by;  ///< one a node: the loss that makes its results
    std::vector<bool> goes_on;                     ///< one a node
    std::vector<RoundedWeight> rounded;
    uint64_t scratch = 0, scratch_stride = 0, products = 0, shared = 0, decoded = 0, weights = 0, bytes = 0;
  };
  static Result<Layout> plan(const Graph& graph, const TrainOptions& options);
  Status bind(const TrainInputs& inputs, uint32_t* rows);
  Status run(Team& team, const TrainInputs& inputs, size_t nodes, bool loss_only, const OnNode& on_node);
  std::string place_of(size_t node) const;

  Graph graph_;
  TrainOptions options_;
  Layout layout_;
  HugeBuffer arena_;
  std::vector<float*> floats_;
  std::vector<uint8_t*> stored_;  ///< values in other formats
  std::vector<const int32_t*> integers_;
  std::vector<std::vector<float>> constants_;
  std::vector<std::vector<double>> frequencies_;  ///< of rotation tables, by value
  std::vector<Document> documents_;
  std::vector<std::vector<uint32_t>> final_;  ///< outputs by the node behind which they are; the last: by no node
  uint32_t rows_ = 0;
  uint64_t rounded_for_ = 0;  ///< TrainInputs::weights that rounded() are of
};

using TrainFn = void (*)(const Node&, const TrainWorker&);
/// nullptr: only the interpreter evaluates it.
TrainFn train_function(Op op);
/// What the functions take for granted beyond the type rules.
Status check_trainable(const Graph& graph, const Node& node);
/// Rows that are decoded at once of a weight [n, k] in a format of blocks.
uint32_t decoded_rows(const Type& weight);
/// Rows whose logits the loss holds at once, for a vocabulary of n; all calls of it share 4 * (n + k + 1) bytes a row.
uint32_t loss_rows(uint32_t n);

}  // namespace vibee
