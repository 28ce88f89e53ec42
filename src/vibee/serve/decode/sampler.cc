// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/decode/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

Status range(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return error(Code::invalid, "{} is {}, must be in {} to {}", field, value, low, high);
}
constexpr auto better = [](const auto& a, const auto& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
};

}  // namespace

Status validate(const SamplingParams& p, uint32_t vocab) {
  VIBEE_TRY(range("temperature", p.temperature, 0, 100));
  VIBEE_TRY(range("top_p", p.top_p, 1e-6, 1));
  VIBEE_TRY(range("min_p", p.min_p, 0, 1));
  VIBEE_TRY(range("typical_p", p.typical_p, 1e-6, 1));
  VIBEE_TRY(range("repetition_penalty", p.repetition_penalty, 0.01, 100));
  VIBEE_TRY(range("presence_penalty", p.presence_penalty, -100, 100));
  VIBEE_TRY(range("frequency_penalty", p.frequency_penalty, -100, 100));
  VIBEE_TRY(range("logprobs", p.logprobs, 0, 100));
  for (const auto& [token, bias] : p.logit_bias) {
    if (token < 0 || uint32_t(token) >= vocab)
      return error(Code::invalid, "logit_bias names token {}, the vocabulary has {}", token, vocab);
    VIBEE_TRY(range("logit_bias", bias, -100, 100));
  }
  return {};
}

Sampler::Sampler(SamplingParams params, const PointwiseKernels& kernels) : params_(std::move(params)), pw_(kernels) {}

void Sampler::adjust(std::span<float> logits, std::span<const int32_t> seen) {
  saved_.clear();
  const auto touch = [&](int32_t token) {
    for (const auto& entry : saved_)
      if (entry.first == token) return false;
    saved_.emplace_back(token, logits[size_t(token)]);
    return true;
  };
  const bool penalised =
      params_.repetition_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0;
  if (penalised) {
    if (seen.size() > params_.penalty_window) seen = seen.last(params_.penalty_window);
    for (int32_t token : seen) {
      float& logit = logits[size_t(token)];
      if (touch(token)) {
        logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
        logit -= params_.presence_penalty;
      }
      logit -= params_.frequency_penalty;
    }
  }
  for (const auto& [token, bias] : params_.logit_bias) {
    touch(token);
    logits[size_t(token)] += bias;
  }
}

float Sampler::noise(uint32_t position, int32_t token) const {
  const Philox4 block = philox(params_.seed, Purpose::sample, position, uint32_t(token) / 4);
  return float(-std::log(-std::log(double(unit_float(block[size_t(token) % 4])))));
}

void Sampler::gather(std::span<const float> logits, float threshold) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] >= threshold) candidates_.push_back({int32_t(i), logits[i]});
  std::sort(candidates_.begin(), candidates_.end(), better);
}

void Sampler::keep_top_k(std::span<const float> logits, uint32_t wanted) {
  candidates_.clear();
  const size_t k = std::min<size_t>(wanted, logits.size());
  // A heap of k with the worst on top: most logits fail one comparison.
  for (size_t i = 0; i < logits.size(); ++i) {
    if (candidates_.size() == k && !(logits[i] > candidates_.front().logit)) continue;
    if (candidates_.size() == k) {
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.pop_back();
    }
    candidates_.push_back({int32_t(i), logits[i]});
    std::push_heap(candidates_.begin(), candidates_.end(), better);
  }
  std::sort(candidates_.begin(), candidates_.end(), better);
}

void Sampler::keep_typical(std::span<const float> logits, double log_sum) {
  const double inverse = 1 / double(params_.temperature);
  double entropy = 0;
  for (float x : logits) {
    const double lp = x * inverse - log_sum;
    if (lp > -80) entropy -= std::exp(lp) * lp;
  }
  if (candidates_.empty()) gather(logits, -INFINITY);
  const auto surprise = [&](const Candidate& c) { return std::fabs(-(c.logit * inverse - log_sum) - entropy); };
  std::stable_sort(candidates_.begin(), candidates_.end(),
                   [&](const Candidate& a, const Candidate& b) { return surprise(a) < surprise(b); });
  double mass = 0;
  size_t keep = 0;
  while (keep < candidates_.size() && mass < params_.typical_p)
    mass += std::exp(candidates_[keep++].logit * inverse - log_sum);
  candidates_.resize(std::max<size_t>(keep, 1));
  std::sort(candidates_.begin(), candidates_.end(), better);
}

int32_t Sampler::choose(std::span<const float> logits, uint32_t position) {
  const auto n = uint32_t(logits.size());
  const uint32_t best = pw_.argmax(logits.data(), n);
  if (params_.temperature == 0) return int32_t(best);
  const double inverse = 1 / double(params_.temperature), top = logits[best];
  const bool whole = params_.top_k == 0 && params_.top_p >= 1 && params_.typical_p >= 1 && params_.min_p <= 0;
  if (whole) {
    int32_t winner = int32_t(best);
    double highest = -INFINITY;
    for (uint32_t i = 0; i < n; ++i) {
      const double relative = (logits[i] - top) * inverse;
      if (!(relative > -40))
        continue;  // noise above 40 - 4 has a chance of e^-36 a token: below what 24 random bits can show
      const double score = relative + noise(position, int32_t(i));
      if (score > highest) {
        highest = score;
        winner = int32_t(i);
      }
    }
    return winner;
  }
  candidates_.clear();
  // log of the sum of exp(logit / temperature) over the set that the earlier filters left.
  const auto log_sum_of_all = [&] {
    double sum = 0;
    for (float x : logits) sum += std::exp((x - top) * inverse);
    return top * inverse + std::log(sum);
  };
  const auto log_sum_of_kept = [&] {
    double sum = 0;
    for (const Candidate& c : candidates_) sum += std::exp((c.logit - top) * inverse);
    return top * inverse + std::log(sum);
  };
  if (params_.top_k > 0) keep_top_k(logits, params_.top_k);
  if (params_.typical_p < 1) keep_typical(logits, candidates_.empty() ? log_sum_of_all() : log_sum_of_kept());
  if (params_.top_p < 1) {
    const double log_sum = candidates_.empty() ? log_sum_of_all() : log_sum_of_kept();
    const bool partial = candidates_.empty();
    for (double reach = 8;; reach *= 2) {  // gather from the top until the mass is there
      if (partial) gather(logits, float(top - reach * double(params_.temperature)));
      double mass = 0;
      size_t keep = 0;
      while (keep < candidates_.size() && mass < params_.top_p)
        mass += std::exp(candidates_[keep++].logit * inverse - log_sum);
      if (mass >= params_.top_p || !partial || candidates_.size() == n || reach > 1e6) {
        candidates_.resize(std::max<size_t>(keep, 1));
        break;
      }
    }
  }
  if (params_.min_p > 0) {
    const auto threshold = float(top + std::log(double(params_.min_p)) * double(params_.temperature));
    if (candidates_.empty()) {
      gather(logits, threshold);
    } else {
      std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < threshold; });
    }
  }
  if (candidates_.empty()) return int32_t(best);
  int32_t winner = candidates_[0].token;
  double highest = -INFINITY;
  for (const Candidate& c : candidates_) {
    const double score = (c.logit - top) * inverse + noise(position, c.token);
    if (score > highest) {
      highest = score;
      winner = c.token;
    }
  }
  return winner;
}

float Sampler::log_sum(std::span<const float> logits) const {
  const auto n = uint32_t(logits.size());
  const float top = pw_.max(logits.data(), n);
  return float(double(top) + std::log(double(pw_.sum_exp(logits.data(), n, top))));
}

void Sampler::report_top(std::span<const float> logits, float log_sum, uint32_t k, Sampled* out) {
  if (k == 0) return;
  keep_top_k(logits, k);
  for (const Candidate& c : candidates_) out->top.push_back({c.token, c.logit - log_sum});
}

/// A copy of the row in which what is not allowed cannot be drawn.
std::span<float> Sampler::masked(std::span<const float> logits, std::span<const uint64_t> allowed) {
  masked_.assign(logits.size(), -INFINITY);
  for (size_t begin = 0; begin < logits.size() && begin / 64 < allowed.size(); begin += 64) {
    const uint64_t bits = allowed[begin / 64];
    const size_t n = std::min<size_t>(64, logits.size() - begin);
    for (size_t i = 0; i < n; ++i) masked_[begin + i] = bits >> i & 1 ? logits[begin + i] : -INFINITY;
  }
  return masked_;
}

Sampled Sampler::sample(std::span<float> logits, std::span<const int32_t> seen, uint32_t position,
                        std::span<const uint64_t> allowed) {
  Sampled out;
  const float sum = log_sum(logits);
  report_top(logits, sum, params_.logprobs, &out);
  const std::span<float> row = allowed.empty() ? logits : masked(logits, allowed);
  adjust(row, seen);
  out.token = choose(row, position);
  for (const auto& [token, value] : saved_) row[size_t(token)] = value;
  // Where every allowed logit is lost (not a number, or at minus infinity) the first of them stands for all.
  if (!allowed.empty() && !(allowed[size_t(out.token) / 64] >> (out.token % 64) & 1)) {
    const auto word = std::ranges::find_if(allowed, [](uint64_t bits) { return bits != 0; });
    VIBEE_CHECK(word != allowed.end(), "no token is allowed");
    out.token = int32_t((word - allowed.begin()) * 64 + std::countr_zero(*word));
  }
  out.logprob = logits[size_t(out.token)] - sum;
  return out;
}

Sampled Sampler::score(std::span<const float> logits, int32_t token, uint32_t alternatives) {
  Sampled out{token, 0, {}};
  const float sum = log_sum(logits);
  report_top(logits, sum, alternatives, &out);
  out.logprob = logits[size_t(token)] - sum;
  return out;
}

}  // namespace vibee
