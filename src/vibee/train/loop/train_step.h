// SPDX-License-Identifier: Apache-2.0
// One step of training a model whole, or an adapter of it (LoRA: Hu et al., arXiv:2106.09685) while its weights stay as
// they lie in the file (QLoRA: Dettmers et al., arXiv:2305.14314): loss, gradients of what is trained, a rule that
// moves it. Weights, moments and every value of the step have their place before the first step, which allocates
// nothing.
//
// Trained weights lie in forms (kernels/update/weight_form.h): one pass over blocks takes a weight from its form, lets
// the rule move it, and puts it back, so that every rule goes with every form. So do its moments (moment_form.h), which
// may lie in a file of which a step has a window in memory (train/precision/moment_store.h).
//
// A step may be cut into shares, whose gradients are summed in the fixed tree of dist/collective/sum_tree.h. Ranks hold
// the same weights, compute shares each, and sum over all of them with the same tree: the bytes of a step depend on the
// number of shares, not on who computed them. Inside a share, parts are summed one behind the other.
#pragma once

#include <memory>
#include <string_view>

#include "vibee/dist/collective/comm_thread.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/graph/pass/activation_compression.h"
#include "vibee/graph/pass/gradient_bucket.h"
#include "vibee/graph/pass/gradient_checkpointing_v2.h"
#include "vibee/kernels/update/moment_form.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/model/layer/decoder.h"
#include "vibee/model/weight/checkpoint.h"
#include "vibee/train/precision/moment_store.h"
#include "vibee/train/precision/precision.h"

namespace vibee {

/// Rows of a step, documents one behind the other. The loss is the sum of weight * -log p(target).
struct TrainBatch {
  std::span<const int32_t> tokens;
  std::span<const int32_t> targets;    ///< the token that follows, -1 where none is to be learnt
  std::span<const int32_t> documents;  ///< the row at which the row's document begins
  std::span<const float> weights;      ///< e.g. 1 / targets of the step, over all parts and ranks
};

/// An adapter that is trained in the place of the model; of rank 0 there is none.
struct LoraOptions {
  uint32_t rank = 0;
  double alpha = 0;                  ///< over the rank: the scale of what it adds
  std::vector<std::string> targets;  ///< as TrainedAdapter::targets
  uint64_t seed = 0;                 ///< of A, uniform in +- 1 / sqrt(k); B begins with zeros
  double scale() const { return alpha / rank; }
};

struct TrainStepOptions {
  uint32_t max_rows = 2048;
  uint32_t threads = 1;
  Isa isa = Isa::scalar;
  const GemmChoice* products = nullptr;          ///< TrainOptions::products
  Recompute recompute = Recompute::none;         ///< what is computed again instead of kept
  std::vector<Recompute> recompute_layers = {};  ///< where given, one a layer instead of it
  SavedBits saved = {};                          ///< that what is kept lies in
  Optimiser optimiser = {};                      ///< matrices shrink by `decay`, vectors do not
  Precision precision = {};                      ///< an adapter's weights and their sums are f32 whatever it says
  PagedMoments paged = {};                       ///< moments in a file
  double clip = 0;          ///< the norm of all gradients together is at most this; 0: whatever it is
  double spike = 0;         ///< a step whose norm is so many times the mean of late is not made; 0: whatever it is
  bool accumulate = false;  ///< a share may have several parts, whose gradients are summed in memory of their own
  LoraOptions lora = {};
  uint32_t shares = 1;          ///< of a step, over all ranks
  CommThread* ranks = nullptr;  ///< the job's ranks; it outlives the steps
  BucketRule buckets;           ///< of gradients that go over ranks
  bool overlap = true;          ///< buckets go as soon as they are full, else behind the last part
  /// Sums are kept apart from the plan's values.
  bool sums() const { return accumulate || shares > 1 || ranks != nullptr; }
};

/// Those of the plan that a step runs.
inline TrainOptions plan_options(const TrainStepOptions& o) { return {o.max_rows, o.threads, o.isa, o.products}; }

/// What a step spent its time with, in seconds of the monotonic clock.
struct TrainTrace {
  struct Span {
    double begin, end;
  };
  std::vector<Span> compute;                  ///< a part's loss and gradients
  std::vector<CommThread::Span> communicate;  ///< a bucket, from when it is full to when it is summed
  Span update;
};

/// What became of a step; in all cases but the first no weight has changed, and steps() has not grown.
enum class Outcome : uint8_t {
  moved,
  overflow,    ///< gradients are not finite with a loss scale, which has changed
  not_finite,  ///< the loss or a gradient
  spike,       ///< the norm is TrainStepOptions::spike times its mean, or more
};

struct TrainUpdate {
  float loss;             ///< before the update, over all parts
  double norm;            ///< of all gradients together, before clipping
  double loss_scale = 1;  ///< that the step was computed with
  Outcome outcome = Outcome::moved;
  bool skipped() const { return outcome != Outcome::moved; }
};

class TrainStep {
 public:
  /// What a step takes: weights that are trained as products read them, what their forms keep beside them, their
  /// moments, summed gradients, frozen weights in their own format (experts in f32), and the plan's arena. Where
  /// moments are paged, `moments` is the window and `moments_file` all of them on the disk.
  struct Memory {
    uint64_t weights, rests, frozen, moments, gradients, arena, moments_file;
    uint64_t sum() const { return weights + rests + frozen + moments + gradients + arena; }
  };
  static Result<Memory> memory(const Checkpoint& file, const ModelConfig& config, const TrainStepOptions& options);
  /// The joint graph that a step runs.
  static Result<Graph> graph(const Checkpoint& file, const ModelConfig& config, const TrainStepOptions& options);
  /// Reads the weights of a model. An error says what the model has that is not trained, or how much memory is missing.
  /// Matrices in formats of blocks are not trained themselves.
  static Result<std::unique_ptr<TrainStep>> create(const Checkpoint& file, const ModelConfig& config,
                                                   const TrainStepOptions& options);

  /// A step of one part: the loss before the update. Where it or a gradient is not finite nothing changes, and the
  /// error says so; with a loss scale, only if that cannot help.
  Result<float> run(const TrainBatch& batch);
  /// The shares of a step that this rank computes.
  ShareRange shares() const { return range_; }
  /// A part of a step, the last one of a share where `ends_share`; update() ends the step. With the weights of a batch,
  /// its parts give the gradients of the whole. More than one needs `accumulate`. An error begins the step anew.
  Status add(const TrainBatch& part, bool ends_share = true);
  Result<TrainUpdate> update();
  /// Why the update of a step that is not finite or a spike was left out, as an error.
  Status why(const TrainUpdate& update);
  /// The loss alone, between two steps.
  Result<float> evaluate(const TrainBatch& batch);
  /// Of a part that add() was given: TrainPlan::first_not_finite.
  Result<std::optional<std::string>> first_not_finite(const TrainBatch& part);
  /// Gradients of a part, one behind the other, by another graph of the same weights and outputs, which rounds at
  /// random with numbers of `seed`.
  Result<std::vector<float>> gradients_of(Graph graph, const TrainBatch& part, uint64_t seed);
  /// Of the step before, where there are ranks.
  const TrainTrace& trace() const { return trace_; }
  void set_rate(double rate) { options_.optimiser.rate = rate; }
  uint64_t steps() const { return steps_; }

  /// Weights by the names of the graph: tensors, or "TENSOR[first:end]" where a tensor is several products.
  struct Weight {
    std::string name;
    Format format;  ///< that products read
    bool matrix, trained;
    uint64_t at, rows, count;             ///< `at`: bytes, among the trained ones or among the frozen
    WeightForm form = WeightForm::f32;    ///< where it is trained
    uint64_t rest_at = 0, moment_at = 0;  ///< bytes among the rests, among those of a moment
    bool narrow_moments = false;          ///< in 8 bits
  };
  std::span<const Weight> weights() const { return weights_; }
  /// Elements of a weight from `first` on, as the optimiser sees them; of a frozen one in f32.
  void read(const Weight& weight, uint64_t first, std::span<float> out) const;
  std::vector<float> values(const Weight& weight) const;
  const LoraOptions& lora() const { return options_.lora; }
  const TrainStepOptions& options() const { return options_; }

  /// Everything that a step changes beside steps(): trained weights, what is beside them, moments, the loss scale.
  std::vector<StatePart> state();
  /// Says that the state is the one behind so many steps. An error names what in it does not go together.
  Status resume(uint64_t steps);
  double loss_scale() const { return scaler_.scale(); }

 private:
  /// The plan's inputs for a batch, whose loss is multiplied by `scale`, given to run(inputs).
  template <class F>
  Status with_inputs(const TrainBatch& batch, double scale, F&& run);
  /// An output of the plan in sum `buffer`.
  FormElements sum(uint32_t buffer, size_t output);
  Status prepare_sums(uint64_t bytes, std::span<const uint32_t> order);
  Status gather();
  /// The scales of the next step, by what all ranks have seen in this one.
  Status move_scales();
  void collect(size_t output, uint32_t tid, bool ends_share);
  /// n elements of a gradient from `first` on: where they lie, or in `block`.
  const float* gradient(size_t i, uint64_t first, uint64_t n, float* block);
  double norm();
  Result<Outcome> judge(double norm);
  std::string bad_gradient();
  Status move(float scale);
  void move_weight(size_t i, uint32_t tid, float scale, uint8_t* const* moments);
  MomentElements moment(const Weight& weight, uint32_t m, uint8_t* at) const;
  uint8_t* place(std::string_view name);  ///< nullptr: there is no such weight
  uint8_t* place(const Weight& weight) { return (weight.trained ? values_ : frozen_).data() + weight.at; }
  FormElements elements(const Weight& weight) const {
    return {weight.form, values_.data() + weight.at, rests_.data() + weight.rest_at};
  }
  TrainStepOptions options_;
  std::vector<Weight> weights_;
  std::vector<uint32_t> trained_;  ///< the weight of each gradient
  HugeBuffer values_, rests_, frozen_, sums_;
  std::unique_ptr<MomentStore> moments_;
  std::string moment_names_[kMostMoments], scale_name_;
  Memory memory_ = {};
  uint64_t sum_bytes_ = 0;        ///< of one sum: the loss and all gradients, in the order in which they become final
  std::vector<uint64_t> sum_at_;  ///< where each output lies in a sum
  uint32_t additions_ = 0;        ///< to a sum, in the step so far
  ShareRange range_{0, 1};
  ShareSums order_;  ///< of this rank's shares
  CommProgram program_;
  std::vector<Reduction> buckets_;
  std::vector<uint32_t> last_output_;  ///< of each bucket
  size_t next_bucket_ = 0;
  TrainTrace trace_;
  std::vector<TrainTrace::Span> computed_;  ///< of the step that goes on
  std::unique_ptr<TrainPlan> plan_;
  std::unique_ptr<Team> team_;
  std::vector<int32_t> positions_;
  std::vector<float> scaled_;  ///< weights of a batch, times the loss scale
  LossScaler scaler_;
  Fp8Scales scales_;  ///< of operands in 8-bit floats
  /// Norms of the steps that were made, of late: a mean in which one of n steps ago counts (1 - 1 / kLate)^n.
  struct Norms {
    double mean = 0;
    uint64_t steps = 0;
  } norms_;
  uint64_t steps_ = 0, weights_version_ = 1;
  uint32_t share_ = 0, parts_ = 0;  ///< of the step so far: whole shares, parts of the next one
  float loss_ = 0;
};

}  // namespace vibee
