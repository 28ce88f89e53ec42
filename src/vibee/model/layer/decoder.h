// SPDX-License-Identifier: Apache-2.0
// The shared layers: embedding, attention block, feed-forward block and head as graph nodes. An architecture is a
// configuration of these; a layer that does not fit is added here, with a flag of ModelConfig that asks for it.
#pragma once

#include <map>
#include <set>

#include "vibee/graph/ir/ir.h"
#include "vibee/model/layer/config.h"

namespace vibee {

/// A weight of the graph as it lies in a file: rows [first, first + rows) of a tensor, or all of it. Graphs name a part
/// of a tensor "NAME[first:end]".
struct WeightPart {
  std::string tensor;
  int64_t first = 0;
  bool whole = true;
};
WeightPart weight_part(std::string_view name);

/// The adapter that a training graph learns.
struct TrainedAdapter {
  uint32_t rank = 0;  ///< 0: none
  double scale = 1;   ///< of the product of its matrices
  /// Products of a layer that get one, e.g. "attn_q": tensors without "blk.N." and ".weight". Empty: all of them.
  std::vector<std::string> targets;
};

class DecoderBuilder {
 public:
  /// With `lora_rank` every product of a layer, experts excepted, takes what adapters of at most that rank add to it.
  DecoderBuilder(const ModelConfig& config, FormatOf format_of, uint32_t lora_rank = 0);
  /// The whole step: tokens, positions and state in, logits and state out. An error names the node that does not fit.
  Result<Graph> build();
  /// The same without a state: a step is documents packed row after row, whose rows see each other. Inputs are tokens,
  /// positions, documents [T] (the row at which the document of each row begins), targets [T] (the token that follows,
  /// -1 where none is asked for) and loss_weights [T, 1]; the output is the loss, the sum of loss_weight * -log
  /// p(target)
  /// (`cross_entropy`). The matrices of an adapter are weights of the graph, TENSOR.lora_a [rank, k], which the parts
  /// of a tensor share, and WEIGHT.lora_b [n, rank]. Targets that no product has are refused, and a rank above the
  /// sides of a matrix.
  Result<Graph> build_training(const TrainedAdapter& adapter = {});

 private:
  ValueId matrix(std::string tensor, int64_t n, int64_t k, int64_t first = 0, int64_t rows = 0);
  ValueId stack(std::string tensor, int64_t experts, int64_t n, int64_t k);
  ValueId vector(std::string tensor, int64_t n, int64_t first = 0, int64_t rows = 0);
  ValueId norm(ValueId x, const std::string& name, int64_t width);
  ValueId head_norm(ValueId x, const std::string& name, int64_t width);
  /// x W^T [+ bias] for rows [first, first + n) of a tensor of `of` rows.
  ValueId linear(ValueId x, const std::string& name, int64_t n, int64_t k, bool bias, int64_t first = 0,
                 int64_t of = 0);
  /// The columns of x in the order that a product's weight has them in, made once for all that read it so.
  ValueId ordered(ValueId x, const std::string& name);
  /// y and what a sequence's adapter adds to the product x W^T of this weight.
  ValueId adapted(ValueId y, ValueId x, std::string weight);
  /// The same by matrices that are learnt.
  ValueId learnt(ValueId y, ValueId x, const std::string& weight);
  Status check_targets() const;
  ValueId attention(ValueId x, uint32_t layer);
  /// Writes keys and values into the state and reads it; in training the step's own.
  ValueId attend(ValueId q, ValueId k, ValueId v, uint32_t layer);
  ValueId feed_forward(ValueId x, uint32_t layer);
  ValueId experts(ValueId x, uint32_t layer);
  ValueId rope_table(ValueId positions, const LayerKind& kind);
  ValueId embedding(ValueId tokens, ValueId positions);
  ValueId layers(ValueId tokens, ValueId positions);
  ValueId output_norm(ValueId x) { return c_.output_norm ? norm(x, "output_norm", c_.dim) : x; }
  ValueId head() { return c_.tied ? embedding_ : matrix("output.weight", c_.vocab, c_.dim); }
  /// What the model gives of the last layer's rows.
  ValueId output(ValueId x);
  /// The loss of the last layer's rows.
  ValueId loss(ValueId x);

  const ModelConfig& c_;
  FormatOf format_of_;
  uint32_t lora_rank_;
  int64_t lora_targets_ = 0;
  Graph g_;
  std::vector<ValueId> tables_;  ///< a rotation table a kind of layer
  ValueId state_ = 0, embedding_ = 0, documents_ = 0;
  bool training_ = false;
  TrainedAdapter adapter_;
  std::map<std::pair<ValueId, std::string>, ValueId> ordered_;  ///< by rows and order
  std::map<std::string, ValueId, std::less<>> lora_rows_;       ///< x A^T, by the tensor
  std::set<std::string, std::less<>> products_;                 ///< of layers, as targets name them
  Status adapter_status_;
};

}  // namespace vibee
