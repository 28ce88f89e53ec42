// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/row_sampler.h"

#include <algorithm>
#include <numeric>

#include "vibee/base/text/quote.h"
#include "vibee/train/data/permutation.h"

namespace vibee {
namespace {

constexpr uint64_t kMostWeight = uint64_t(1) << 20;

}  // namespace

uint64_t rows_of(uint64_t tokens, uint32_t length) { return tokens == 0 ? 0 : (tokens - 1) / length; }

Result<RowSampler> RowSampler::make(std::vector<SampleSource> sources, uint64_t seed) {
  if (sources.empty()) return error(Code::invalid, "there is no source to draw from");
  uint32_t common = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].rows == 0) return error(Code::invalid, "source {} has no row: it is shorter than one", i);
    if (sources[i].weight == 0) return error(Code::invalid, "source {} has the weight 0; leave it out", i);
    common = std::gcd(common, sources[i].weight);
  }
  uint64_t total = 0;
  for (SampleSource& source : sources) total += source.weight /= common;
  if (total > kMostWeight)
    return error(Code::invalid, "weights add up to {}, at most {} are supported: round them", total, kMostWeight);
  RowSampler sampler;
  sampler.seed_ = seed;
  // At every turn g, of the sources whose share would not be exceeded by more than allowed, the one whose next turn is
  // due first. All is scaled by total * slack, where the allowed deviation is (slack - 1) / slack.
  const uint64_t n = sources.size(), slack = std::max<uint64_t>(2 * n - 2, 1);
  std::vector<uint32_t> had(n);
  for (uint64_t g = 1; g <= total; ++g) {
    size_t best = n;
    using Wide = unsigned __int128;
    const auto due = [&](size_t i) { return Wide(had[i]) * total * slack + Wide(total) * (slack - 1); };
    for (size_t i = 0; i < n; ++i) {
      if (Wide(g) * sources[i].weight * slack < Wide(had[i]) * total * slack + total) continue;
      if (best == n || due(i) * sources[best].weight < due(best) * sources[i].weight) best = i;
    }
    VIBEE_CHECK(best < n, "turn {} of {}", g, total);
    sampler.period_.push_back({uint32_t(best), had[best]++});
  }
  sampler.sources_ = std::move(sources);
  return sampler;
}

Sample RowSampler::at(uint64_t g) const {
  const uint64_t period = g / period_.size();
  const Turn turn = period_[g % period_.size()];
  const SampleSource& source = sources_[turn.source];
  const uint64_t k = period * source.weight + turn.before;  // which sample of its source
  const uint32_t epoch = uint32_t(k / source.rows);
  return {turn.source, epoch, Permutation(source.rows, seed_, turn.source, epoch)(k % source.rows)};
}

std::string RowSampler::state() const {
  std::string out = fmt::format("seed {}", seed_);
  for (const SampleSource& source : sources_) out += fmt::format(", {} rows x {}", source.rows, source.weight);
  return out + fmt::format(", next {}", next_);
}

Status RowSampler::restore(const std::string& state) {
  std::string mine = this->state();
  mine.resize(mine.rfind(' ') + 1);
  const std::string number = state.starts_with(mine) ? state.substr(mine.size()) : "";
  const bool digits = !number.empty() && number.size() < 19 &&
                      std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits)
    return error(Code::invalid,
                 "the order of samples is that of {}, this run has {}...: give the same data, weights and "
                 "seed to go on",
                 quote(state, 200), quote(mine, 200));
  next_ = std::stoull(number);
  return {};
}

Status read_row(const TokenStore& store, uint64_t row, uint32_t length, TrainingRow* out) {
  VIBEE_CHECK(row < rows_of(store.tokens(), length));
  TokenSpan span;
  VIBEE_TRY(store.read(row * length, uint64_t(length) + 1, &span));
  out->ids.assign(span.ids.begin(), span.ids.end() - 1);
  out->targets.assign(span.ids.begin() + 1, span.ids.end());
  out->weights.resize(length);
  out->borders.assign(1, 0);
  for (uint32_t i = 0; i < length; ++i) {
    out->weights[i] = span.learnt[i + 1] && !span.ends[i] ? 1.0f : 0.0f;
    if (span.ends[i] && i + 1 < length) out->borders.push_back(i + 1);
  }
  return {};
}

}  // namespace vibee
