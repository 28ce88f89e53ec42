// SPDX-License-Identifier: Apache-2.0
// From a row of logits to a token. Noise is counter-based (tree/speculative.md rule 8): plain sampling is Gumbel-max
// over the filtered set, argmax of log p_k + g(seed, position, k), so the token of a seed does not depend on the batch,
// on what was drawn before, or on a restart. No array of the vocabulary's size is filled: filters gather only what can
// survive them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// Filters act in this order: bias and penalties, temperature, top-k, typical, top-p, min-p. Off: the value in
/// brackets.
struct SamplingParams {
  float temperature = 0;  ///< 0: greedy
  uint32_t top_k = 0;     ///< [0]
  float top_p = 1;        ///< [1]
  float min_p = 0;        ///< [0]
  float typical_p = 1;    ///< [1] (Meister et al. 2022, arXiv:2202.00666)
  float repetition_penalty =
      1;  ///< [1] divides positive and multiplies negative logits of seen tokens (Keskar et al. 2019)
  float presence_penalty = 0;     ///< [0] subtracted once for a seen token
  float frequency_penalty = 0;    ///< [0] subtracted for each occurrence
  uint32_t penalty_window = 256;  ///< last tokens that count as seen
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
  uint32_t logprobs = 0;  ///< how many alternatives to report
};
/// Refuses values outside their range; the message names the field, the value and the range.
Status validate(const SamplingParams& params, uint32_t vocab);

struct TokenLogprob {
  int32_t token;
  float logprob;
};
struct Sampled {
  int32_t token = 0;
  float logprob = 0;              ///< of the model's own distribution: before bias, penalties and temperature
  std::vector<TokenLogprob> top;  ///< params.logprobs entries, best first
};

class Sampler {
 public:
  Sampler(SamplingParams params, const PointwiseKernels& kernels);
  /// The token at absolute position `position` given logits [vocab] and the tokens before it. The row is changed and
  /// put back. With `allowed`, bit t of word t / 64 for token t, only tokens that have one are drawn: before any filter,
  /// as if the others had no probability. At least one must have one; log-probabilities stay those of the whole row.
  Sampled sample(std::span<float> logits, std::span<const int32_t> seen, uint32_t position,
                 std::span<const uint64_t> allowed = {});
  /// What the model says of a token that is given, with the `alternatives` likeliest.
  Sampled score(std::span<const float> logits, int32_t token, uint32_t alternatives);
  const SamplingParams& params() const { return params_; }

 private:
  struct Candidate {
    int32_t token;
    float logit;
  };
  float log_sum(std::span<const float> logits) const;
  void report_top(std::span<const float> logits, float log_sum, uint32_t k, Sampled* out);
  void adjust(std::span<float> logits, std::span<const int32_t> seen);
  std::span<float> masked(std::span<const float> logits, std::span<const uint64_t> allowed);
  int32_t choose(std::span<const float> logits, uint32_t position);
  /// Tokens with logit >= threshold, best first (ties: lower id first).
  void gather(std::span<const float> logits, float threshold);
  void keep_top_k(std::span<const float> logits, uint32_t k);
  void keep_typical(std::span<const float> logits, double log_sum);
  float noise(uint32_t position, int32_t token) const;

  SamplingParams params_;
  const PointwiseKernels& pw_;
  std::vector<Candidate> candidates_;
  std::vector<std::pair<int32_t, float>> saved_;
  std::vector<float> masked_;
};

}  // namespace vibee
