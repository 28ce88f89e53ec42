// SPDX-License-Identifier: Apache-2.0
// Quality over a text (tree/precision.md S5): perplexity, and against a base model KL divergence, top-1 agreement and
// the rest. Both models are streamed side by side; no file of logits is kept. Softmax in double.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "vibee/model/session/session.h"

namespace vibee {

struct QualityReport {
  uint32_t windows = 0;
  uint64_t scored = 0;            ///< positions
  double nll = 0, nll_error = 0;  ///< mean negative log-likelihood in nats, and its standard error
  double perplexity = 0, perplexity_error = 0;
  // Against the base, when there is one:
  bool compared = false;
  double base_perplexity = 0;
  double log_ratio = 0, log_ratio_error = 0;  ///< ln(PPL / base PPL), error of the paired difference
  double kl = 0, kl_error = 0, kl_median = 0, kl_90 = 0, kl_99 = 0, kl_999 = 0,
         kl_max = 0;                ///< KL(base || model), nats
  double top1 = 0, top1_error = 0;  ///< share of positions where both prefer the same token
  double rms_delta_p = 0;           ///< of the true token's probability
};

/// Scores one row of logits against the token that follows: log-probability of `next` in nats.
double log_probability(std::span<const float> logits, int32_t next);

/// Windows of `context` tokens of `tokens`, without overlap; positions context/2 .. context-2 are scored. With `bos` >=
/// 0 the first token of every window is replaced by it. `limit` windows at most (0 = all). `base` may be null, and so
/// may the adapter of `model`. Errors: a text shorter than one window; sessions whose context or rows are too small;
/// vocabularies that differ.
Result<QualityReport> measure_quality(
    Session& model, Session* base, std::span<const int32_t> tokens, uint32_t context, int32_t bos, uint32_t limit,
    const std::function<bool(uint32_t done, uint32_t of, const QualityReport&)>& progress,
    const LoraAdapter* adapter = nullptr);

}  // namespace vibee
