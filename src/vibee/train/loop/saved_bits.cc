// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/saved_bits.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "vibee/core/allocate/knapsack.h"

namespace vibee {
namespace {

constexpr uint8_t kWidths[] = {1, 2, 4, 8};
constexpr size_t kMeasured = 3;  ///< values of a kind

/// A value's name without the number of its layer.
std::string kind_of(const std::string& name) {
  std::string kind;
  for (const char c : name)
    if (!std::isdigit(static_cast<unsigned char>(c))) kind += c;
  return kind;
}

double distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
  return sum;
}

}  // namespace

Result<SavedVariance> measure_sensitivity(const Checkpoint& file, const ModelConfig& config, TrainStepOptions options,
                                          const TrainBatch& batch) {
  // Only its weights and gradients are wanted.
  options.saved = {};
  options.ranks = nullptr;
  options.shares = 1;
  options.accumulate = false;
  options.precision.gradients = Format::f32;
  options.precision.gradient_sums = Bf16Sum::nearest;
  options.optimiser.rule = RuleId::sgd;
  options.optimiser.momentum = 0;
  options.max_rows = uint32_t(batch.tokens.size());
  VIBEE_ASSIGN(const Graph kept, TrainStep::graph(file, config, options));
  VIBEE_ASSIGN(const auto step, TrainStep::create(file, config, options));
  SavedVariance measured{saved_values(kept), {}};
  SavedBits bits{0, std::vector<uint8_t>(measured.values.size(), 8)};
  const auto gradients = [&](uint64_t seed) {
    return step->gradients_of(compress_activations(kept, bits), batch, seed);
  };
  VIBEE_ASSIGN(const std::vector<float> whole, gradients(1));

  std::map<std::string, std::vector<size_t>> kinds;
  for (size_t i = 0; i < measured.values.size(); ++i) kinds[kind_of(measured.values[i].name)].push_back(i);
  measured.sensitivity.resize(measured.values.size());
  for (const auto& [kind, members] : kinds) {
    const size_t count = std::min(kMeasured, members.size());
    std::vector<size_t> at;  // among the members: the first, the last and between
    for (size_t k = 0; k < count; ++k) at.push_back(count == 1 ? 0 : k * (members.size() - 1) / (count - 1));
    std::vector<double> found;
    for (const size_t m : at) {
      bits.each[members[m]] = 1;
      VIBEE_ASSIGN(const std::vector<float> one, gradients(1));
      VIBEE_ASSIGN(const std::vector<float> other, gradients(2));
      bits.each[members[m]] = 8;
      found.push_back(std::max({distance(one, other), 2 * distance(one, whole), 2 * distance(other, whole)}));
      if (!std::isfinite(found.back()))
        return error(Code::invalid, "activation {} is not finite: its bits cannot be chosen",
                     measured.values[members[m]].name);
    }
    for (size_t m = 0; m < members.size(); ++m) {
      const auto far = [&](size_t k) { return at[k] > m ? at[k] - m : m - at[k]; };
      size_t nearest = 0;
      for (size_t k = 1; k < at.size(); ++k)
        if (far(k) < far(nearest)) nearest = k;
      measured.sensitivity[members[m]] = found[nearest];
    }
  }
  return measured;
}

double expected_variance(const SavedVariance& measured, const SavedBits& bits) {
  double sum = 0;
  for (size_t i = 0; i < measured.values.size(); ++i)
    if (bits.of(i) > 0) sum += measured.sensitivity[i] * std::pow(4.0, 1 - double(bits.of(i)));
  return sum;
}

Result<SavedBits> share_bits(const SavedVariance& measured, double average) {
  std::vector<std::vector<KnapsackChoice>> items;
  uint64_t numbers = 0;  // a row
  for (size_t i = 0; i < measured.values.size(); ++i) {
    const uint64_t n = measured.values[i].width;
    numbers += n;
    items.emplace_back();
    for (const uint8_t b : kWidths)
      items.back().push_back({n * b, measured.sensitivity[i] * std::pow(4.0, 1 - double(b))});
  }
  VIBEE_ASSIGN(const KnapsackAnswer answer, solve_knapsack(items, uint64_t(std::floor(average * double(numbers)))));
  SavedBits bits;
  for (const uint32_t choice : answer.chosen) bits.each.push_back(kWidths[choice]);
  return bits;
}

Result<SavedBits> choose_saved_bits(const Checkpoint& file, const ModelConfig& config, TrainStepOptions options,
                                    const TrainBatch& batch, double average) {
  VIBEE_ASSIGN(const SavedVariance measured, measure_sensitivity(file, config, std::move(options), batch));
  return share_bits(measured, average);
}

}  // namespace vibee
