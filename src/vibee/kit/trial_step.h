// SPDX-License-Identifier: Apache-2.0
// Two steps of a random decoder over sequences of random tokens, as a plan takes them and as the interpreter computes
// them, and how far rounding may take one from the other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/graph/exec/interpret.h"
#include "vibee/graph/exec/sample.h"

namespace vibee {

/// Sequences of these lengths start in step 1; each gets one row more in step 2.
struct Work {
  std::vector<std::vector<int32_t>> tokens;                 ///< by sequence, the last one for step 2
  std::vector<std::span<const LoraWeights>> adapters = {};  ///< likewise, one an adapted product; none: empty
  explicit Work(uint32_t rows, int64_t vocab, RandomStream& random) {
    const uint32_t first = rows >= 3 ? rows / 3 : rows;
    for (uint32_t n : {first, rows - first}) {
      if (n == 0) continue;
      tokens.emplace_back();
      for (uint32_t i = 0; i <= n; ++i) tokens.back().push_back(int32_t(random.below(uint32_t(vocab))));
    }
  }
  /// Rows of sequence s whose logits are wanted in step 1.
  uint32_t wanted(size_t s) const { return std::min<uint32_t>(2, uint32_t(tokens[s].size()) - 1); }
};

/// One of the two as a batch.
struct TrialStep {
  std::vector<int32_t> tokens, positions;
  std::vector<SequenceRows> sequences;
  std::vector<uint32_t> logits_rows;

  TrialStep(const Work& work, bool second, const std::function<const uint32_t*(uint32_t)>& pages) {
    for (size_t s = 0; s < work.tokens.size(); ++s) {
      const auto length = uint32_t(work.tokens[s].size()) - 1, first = second ? length : 0, n = second ? 1 : length;
      sequences.push_back({uint32_t(tokens.size()), n, first, pages(uint32_t(s))});
      for (uint32_t i = 0; i < n; ++i) {
        tokens.push_back(work.tokens[s][first + i]);
        positions.push_back(int32_t(first + i));
      }
      for (uint32_t i = second ? 1 : work.wanted(s); i > 0; --i) logits_rows.push_back(uint32_t(tokens.size()) - i);
    }
  }
  RaggedBatch batch() const { return {tokens, positions, sequences, logits_rows}; }
};

/// Logits of step 1, then of step 2.
inline std::vector<float> run_interpreter(const Graph& graph, const SampleWeights& weights, const Work& work,
                                          Noise noise = {}, float outlier_threshold = 0) {
  std::vector<std::vector<LayerKv>> state(work.tokens.size());
  std::vector<float> logits;
  for (const bool second : {false, true})
    for (size_t s = 0; s < work.tokens.size(); ++s) {
      const size_t length = work.tokens[s].size() - 1, first = second ? length : 0, n = second ? 1 : length;
      InterpretInputs in;
      for (size_t i = 0; i < n; ++i) {
        in.integers["tokens"].push_back(work.tokens[s][first + i]);
        in.integers["positions"].push_back(int32_t(first + i));
      }
      in.state = state[s];
      in.outlier_threshold = outlier_threshold;
      if (s < work.adapters.size()) in.lora = work.adapters[s];
      noise.seed = noise.seed * 31 + s + 1;
      auto out = interpret(graph, in, weights.files(), {int64_t(n), second ? 1 : work.wanted(s)}, noise);
      EXPECT_TRUE(out.ok()) << out.status().message();
      if (!out.ok()) return {};
      logits.insert(logits.end(), (*out)[0].f.begin(), (*out)[0].f.end());
      state[s] = (*out)[1].kv;
    }
  return logits;
}

inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::fabs(double(a[i]) - b[i]));
  return most;
}
inline double size_of(const std::vector<float>& a) { return distance(a, std::vector<float>(a.size())); }

/// How far rounding may move logits: no sum of these graphs has more than kTerms terms, so none is off by more than
/// kTerms roundings of its size; the interpreter with results perturbed by that much shows what it does to the logits
/// (with integer formats also by codes that round the other way). Twice the largest of several perturbations.
/// `rounding` is what results are rounded by beside that, relatively.
inline constexpr double kTerms = 192;
inline double tolerance(const Graph& graph, const SampleWeights& weights, const Work& work,
                        const std::vector<float>& exact, float outlier_threshold = 0, double rounding = 0) {
  double most = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed)
    most = std::max(most, distance(exact, run_interpreter(graph, weights, work, {kTerms * 0x1p-24 + rounding, seed},
                                                          outlier_threshold)));
  return 2 * most;
}

}  // namespace vibee
