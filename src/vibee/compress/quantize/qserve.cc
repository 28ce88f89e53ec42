// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/qserve.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace vibee {
namespace {

/// The other member of a channel's rotary pair; the channel itself where it is not turned.
uint32_t partner(const ModelConfig& c, uint32_t i) {
  if (c.learned_positions || i >= c.rope_dims) return i;
  if (!c.split_halves) return i ^ 1;
  const uint32_t half = c.rope_dims / 2;
  return i < half ? i + half : i - half;
}

/// The power of two next to max|k|^alpha; 1 where no key is.
float lambda_of(float largest, double alpha) {
  return largest > 0 && std::isfinite(largest) ? float(std::exp2(std::round(alpha * std::log2(double(largest))))) : 1;
}

}  // namespace

SmoothAttention::SmoothAttention(const ModelConfig& c, std::vector<std::vector<float>> largest, double alpha) {
  for (uint32_t layer = 0; layer < largest.size(); ++layer) {
    std::vector<float>& keys = largest[layer];
    if (c.qk_norm && !c.qk_norm_whole)  // one gain for all heads
      for (uint32_t i = 0; i < c.head_dim; ++i) {
        for (uint32_t h = 1; h < c.kv_heads; ++h) keys[i] = std::max(keys[i], keys[h * c.head_dim + i]);
        for (uint32_t h = 1; h < c.kv_heads; ++h) keys[h * c.head_dim + i] = keys[i];
      }
    std::vector<float>& lambdas = lambdas_.emplace_back();
    for (uint32_t i = 0; i < keys.size(); ++i) {
      const uint32_t head = i / c.head_dim * c.head_dim;
      lambdas.push_back(lambda_of(std::max(keys[i], keys[head + partner(c, i - head)]), alpha));
    }
    scale(c, layer);
  }
}

void SmoothAttention::scale(const ModelConfig& c, uint32_t layer) {
  const std::vector<float>& lambdas = lambdas_[layer];
  std::vector<float> of_keys, of_queries;
  for (const float l : lambdas) of_keys.push_back(1 / l);
  for (uint32_t h = 0; h < c.heads; ++h) {
    const auto from = lambdas.begin() + h / (c.heads / c.kv_heads) * c.head_dim;
    of_queries.insert(of_queries.end(), from, from + c.head_dim);
  }
  const std::string block = "blk." + std::to_string(layer) + ".";
  if (c.qk_norm) {
    const size_t n = c.qk_norm_whole ? of_keys.size() : c.head_dim;
    of_keys.resize(n);
    of_queries.resize(c.qk_norm_whole ? of_queries.size() : n);
    tensors_[block + "attn_k_norm.weight"] = {of_keys, 1};
    tensors_[block + "attn_q_norm.weight"] = {of_queries, 1};
    return;
  }
  if (c.fused_qkv) {
    std::vector<float> all = of_queries;
    all.insert(all.end(), of_keys.begin(), of_keys.end());
    all.resize(all.size() + of_keys.size(), 1);
    tensors_[block + "attn_qkv.weight"] = {all, c.dim};
    tensors_[block + "attn_qkv.bias"] = {all, 1};
    return;
  }
  tensors_[block + "attn_q.weight"] = {of_queries, c.dim};
  tensors_[block + "attn_q.bias"] = {of_queries, 1};
  tensors_[block + "attn_k.weight"] = {of_keys, c.dim};
  tensors_[block + "attn_k.bias"] = {of_keys, 1};
}

RecastEdit SmoothAttention::edit() const {
  const auto scaled = std::make_shared<const std::map<std::string, Scaled, std::less<>>>(tensors_);
  RecastEdit edit;
  edit.touches = [scaled](const std::string& tensor) { return scaled->contains(tensor); };
  edit.apply = [scaled](const std::string& tensor, uint64_t first, std::span<float> rows) -> Status {
    const Scaled& s = scaled->find(tensor)->second;
    for (uint64_t i = 0; i < rows.size(); ++i) rows[i] *= s.factors[first + i / s.columns];
    return {};
  };
  return edit;
}

Result<SmoothAttention> SmoothAttention::measure(const Checkpoint& file, const ModelConfig& config,
                                                 std::span<const int32_t> tokens, const CalibrateOptions& options,
                                                 double alpha) {
  VIBEE_ASSIGN(CalibrationRun run, CalibrationRun::open(file, config, tokens, options));
  const uint32_t width = config.kv_heads * config.head_dim;
  std::vector<std::vector<float>> largest(config.layers, std::vector<float>(width));
  VIBEE_TRY(run.run([&](size_t at, uint32_t rows, uint32_t tid, Team& team) {
    const Node& node = run.plan().graph().nodes[at];
    if (node.op != Op::self_attention) return;
    std::vector<float>& of_layer = largest[size_t(node.integer("layer"))];
    const float* const keys = run.plan().floats(node.in[1]);
    const Range mine = share(width, tid, team.size());
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t i = mine.begin; i < mine.end; ++i)
        of_layer[i] = std::max(of_layer[i], std::fabs(keys[size_t(r) * width + i]));
  }));
  return SmoothAttention(config, std::move(largest), alpha);
}

}  // namespace vibee
