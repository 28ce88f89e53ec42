// SPDX-License-Identifier: Apache-2.0
// The layers of a decoder, written once for all architectures: each function appends nodes to a graph.
#pragma once

#include "vibee/base/status/status.h"
#include "vibee/graph/ir/ir.h"
#include "vibee/model/layer/config.h"

namespace vibee {

class DecoderBuilder {
 public:
  DecoderBuilder(const ModelConfig& config, FormatOf format_of);
  /// The whole model: tokens and positions in, logits of the rows asked for and the last state out.
  Result<Graph> build();

 private:
  ValueId matrix(std::string name, uint32_t n, uint32_t k);
  ValueId vector(std::string name, uint32_t n);
  ValueId norm(ValueId x, std::string name, uint32_t width);
  ValueId attention_block(ValueId x, uint32_t layer);
  ValueId feed_forward(ValueId x, uint32_t layer);

  const ModelConfig& c_;
  FormatOf format_of_;
  Graph g_;
  ValueId state_ = 0;
  std::vector<ValueId> tables_;  ///< one a layer kind
};

}  // namespace vibee
