// SPDX-License-Identifier: Apache-2.0
// Outliers in a model that computes what it did (tree/precision.md S1): channels of the rows behind norms become
// larger, the columns of the linears that read them smaller. Large models have such channels by themselves (Dettmers et
// al., LLM.int8(), arXiv:2208.07339, section 4), small ones do not.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

/// Every `each`-th channel behind a layer's norms times `by`, a power of two, so that float32 weights lose no bit.
inline RecastEdit inject_outliers(const ModelConfig& config, uint32_t each, float by) {
  const auto among = [](const std::string& tensor, std::initializer_list<std::string_view> names) {
    if (!tensor.starts_with("blk.")) return false;
    const std::string_view rest = std::string_view(tensor).substr(tensor.find('.', 4) + 1);
    return std::find(names.begin(), names.end(), rest) != names.end();
  };
  const auto is_norm = [among](const std::string& t) {
    return among(t, {"attn_norm.weight", "attn_norm.bias", "ffn_norm.weight", "ffn_norm.bias"});
  };
  const auto reads_norm = [among](const std::string& t) {
    return among(t, {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_qkv.weight", "ffn_gate.weight",
                     "ffn_up.weight", "ffn_gate_inp.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight"});
  };
  RecastEdit edit;
  edit.touches = [=](const std::string& t) { return is_norm(t) || reads_norm(t); };
  edit.apply = [=, dim = config.dim](const std::string& tensor, uint64_t, std::span<float> rows) -> Status {
    const float factor = is_norm(tensor) ? by : 1 / by;
    for (uint64_t i = 0; i < rows.size(); ++i)
      if (i % dim % each == each / 2) rows[i] *= factor;
    return {};
  };
  return edit;
}

}  // namespace vibee
