// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/eval/quality.h"

#include <algorithm>
#include <cmath>

namespace vibee {
namespace {

/// Rows of one step whose logits are wanted.
constexpr uint32_t kScoreRows = 64;

struct Row {
  double top = 0, log_sum = 0;  // log of sum exp(x - top)
  uint32_t best = 0;
};
Row summarize(std::span<const float> x) {
  Row r;
  r.top = x[0];
  for (uint32_t i = 1; i < x.size(); ++i)
    if (x[i] > r.top) r.top = x[r.best = i];
  double sum = 0;
  for (float v : x) sum += std::exp(v - r.top);
  r.log_sum = std::log(sum);
  return r;
}

struct Mean {
  double sum = 0, squares = 0;
  uint64_t n = 0;
  void add(double x) {
    sum += x;
    squares += x * x;
    ++n;
  }
  double mean() const { return n ? sum / double(n) : 0; }
  double error() const {
    if (n < 2) return 0;
    const double variance = (squares - sum * sum / double(n)) / double(n - 1);
    return std::sqrt(std::max(variance, 0.0) / double(n));
  }
};

struct Totals {
  Mean nll, base_nll, difference, kl, agree, delta_p;
  std::vector<float> kls;

  void fill(QualityReport* r) {
    r->scored = nll.n;
    r->nll = nll.mean();
    r->nll_error = nll.error();
    r->perplexity = std::exp(r->nll);
    r->perplexity_error = r->perplexity * r->nll_error;
    if (!r->compared || kls.empty()) return;
    r->base_perplexity = std::exp(base_nll.mean());
    r->log_ratio = difference.mean();
    r->log_ratio_error = difference.error();
    r->kl = kl.mean();
    r->kl_error = kl.error();
    r->top1 = agree.mean();
    r->top1_error = agree.error();
    r->rms_delta_p = std::sqrt(delta_p.mean());
    std::vector<float> sorted = kls;
    std::sort(sorted.begin(), sorted.end());
    const auto quantile = [&](double q) { return double(sorted[size_t(q * double(sorted.size() - 1))]); };
    r->kl_median = quantile(0.5);
    r->kl_90 = quantile(0.9);
    r->kl_99 = quantile(0.99);
    r->kl_999 = quantile(0.999);
    r->kl_max = double(sorted.back());
  }
};

void score(std::span<const float> model, std::span<const float> base, int32_t next, Totals* t) {
  const Row m = summarize(model);
  const double lp = model[size_t(next)] - m.top - m.log_sum;
  t->nll.add(-lp);
  if (base.empty()) return;
  const Row b = summarize(base);
  const double base_lp = base[size_t(next)] - b.top - b.log_sum;
  double kl = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double lb = base[i] - b.top - b.log_sum;
    if (lb > -60) kl += std::exp(lb) * (lb - (model[i] - m.top - m.log_sum));
  }
  kl = std::max(kl, 0.0);  // rounding of equal rows
  t->base_nll.add(-base_lp);
  t->difference.add(base_lp - lp);
  t->kl.add(kl);
  t->kls.push_back(float(kl));
  t->agree.add(m.best == b.best);
  const double dp = std::exp(lp) - std::exp(base_lp);
  t->delta_p.add(dp * dp);
}

}  // namespace

double log_probability(std::span<const float> logits, int32_t next) {
  const Row r = summarize(logits);
  return logits[size_t(next)] - r.top - r.log_sum;
}

Result<QualityReport> measure_quality(Session& model, Session* base, std::span<const int32_t> tokens, uint32_t context,
                                      int32_t bos, uint32_t limit,
                                      const std::function<bool(uint32_t, uint32_t, const QualityReport&)>& progress,
                                      const LoraAdapter* adapter) {
  if (context < 4 || context % 2 != 0)
    return error(Code::invalid, "--ctx {}: evaluation needs an even context of 4 or more", context);
  if (tokens.size() < context)
    return error(Code::invalid,
                 "the text has {} tokens, less than one window of {}; use a longer text or a smaller --ctx",
                 tokens.size(), context);
  if (base && base->model().config().vocab != model.model().config().vocab)
    return error(Code::invalid, "vocabularies differ: {} and {} tokens", model.model().config().vocab,
                 base->model().config().vocab);
  QualityReport report;
  report.compared = base != nullptr;
  const auto windows = uint32_t(tokens.size() / context);
  const uint32_t total = limit ? std::min(limit, windows) : windows, half = context / 2,
                 vocab = model.model().config().vocab;
  Totals totals;
  std::vector<int32_t> window(context);
  for (uint32_t w = 0; w < total; ++w) {
    std::copy_n(tokens.begin() + size_t(w) * context, context, window.begin());
    if (bos >= 0) window[0] = bos;
    Session* sessions[2] = {&model, base};
    SequenceState states[2] = {model.new_sequence(), (base ? base : &model)->new_sequence()};
    std::span<float> logits[2];
    for (uint32_t at = 0; at + 1 < context;) {
      const uint32_t most = std::min(model.options().max_rows, base ? base->options().max_rows : UINT32_MAX);
      const uint32_t scored =
          std::min({kScoreRows, model.options().max_logits, base ? base->options().max_logits : UINT32_MAX});
      const bool scoring = at >= half;
      const uint32_t n = std::min({most, scoring ? scored : half - at, context - 1 - at});
      for (int side = 0; side < (base ? 2 : 1); ++side) {
        const StepRows rows{
            &states[side], std::span(window).subspan(at, n), scoring ? n : 0, {}, side ? nullptr : adapter};
        VIBEE_ASSIGN(logits[side], sessions[side]->step({&rows, 1}));
      }
      for (uint32_t i = 0; scoring && i < n; ++i)
        score(logits[0].subspan(size_t(i) * vocab, vocab),
              base ? std::span<const float>(logits[1].subspan(size_t(i) * vocab, vocab)) : std::span<const float>(),
              window[at + i + 1], &totals);
      at += n;
    }
    report.windows = w + 1;
    totals.fill(&report);
    if (progress && !progress(w + 1, total, report))
      return error(Code::cancelled, "interrupted after {} of {} windows", w + 1, total);
  }
  return report;
}

}  // namespace vibee
