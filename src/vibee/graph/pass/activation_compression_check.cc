// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/pointwise/compress.h"
#include "vibee/kit/trial_saved_bits.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

std::vector<float> normals(uint64_t seed, uint32_t n) {
  RandomStream random(seed, Purpose::test);
  std::vector<float> v(n);
  for (float& x : v) x = random.normal();
  return v;
}

/// Rows of numbers as compression gives them back.
class RoundTrip {
 public:
  RoundTrip(Isa isa, uint32_t n, uint32_t bits)
      : k_(compress_kernels(isa)), n_(n), bits_(bits), row_(compressed_bytes(n, bits)) {}
  void operator()(const float* x, uint64_t seed, uint64_t row, float* y) {
    k_.compress(x, n_, bits_, compress_key({seed, Purpose::compressing, 1}, 0, row, n_), row_.data());
    k_.decompress(row_.data(), n_, bits_, y);
  }
  /// The least number of element i's group, as it lies, and its step.
  std::pair<double, double> steps(uint32_t i) const {
    uint16_t halves[2];
    std::memcpy(halves, row_.data() + i / kCompressGroup * compressed_bytes(kCompressGroup, bits_), 4);
    const uint32_t words[2] = {uint32_t(halves[0]) << 16, uint32_t(halves[1]) << 16};
    float ends[2];
    std::memcpy(ends, words, 8);
    return {ends[0], (double(ends[1]) - ends[0]) / ((1u << bits_) - 1)};
  }

 private:
  const CompressKernels& k_;
  uint32_t n_, bits_;
  std::vector<uint8_t> row_;
};

/// Sums of one number over seeds: whether its mean is that of the exact one.
struct Mean {
  double sum = 0, squares = 0;
  void add(double error) { sum += error, squares += error * error; }
  bool within(double errors, uint32_t n, double least) const {
    const double mean = sum / n, one = std::sqrt(std::max(0.0, squares / n - mean * mean) / n);
    return std::fabs(mean) <= errors * one + least;
  }
};

void check_rows(CheckContext& context, uint32_t bits) {
  constexpr uint32_t kN = 1024, kSeeds = 4096;
  const Isa isa = context.settings().isa;
  const std::string name = fmt::format("int{}: ", bits);
  const std::vector<float> x = normals(bits, kN);
  std::vector<float> y(kN);
  RoundTrip trip(isa, kN, bits);
  std::vector<double> sums(kN), errors(kN);  // of means: what rounding up with probability p gives
  double worst = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    trip(x.data(), seed, 0, y.data());
    for (uint32_t i = 0; i < kN; ++i) {
      const auto [low, step] = trip.steps(i);
      const double p = std::fmod((x[i] - low) / step, 1.0), error = double(y[i]) - x[i];
      worst = std::max(worst, std::fabs(error) / step);
      sums[i] += error;
      errors[i] = step * (std::sqrt(p * (1 - p) / kSeeds) + 0x1p-18);  // r has 15 bits
    }
  }
  context.at_most(name + "largest error of a round trip", worst, 1 + 1e-5, "steps of its group");
  double good = 0;
  for (uint32_t i = 0; i < kN; ++i) good += std::fabs(sums[i] / kSeeds) <= 4 * errors[i];
  context.at_least(name + "elements whose mean over 4096 seeds is within 4 standard errors", good / kN, 0.999);
  context.equal(name + "bytes of 256 numbers", double(compressed_bytes(256, bits)), std::ceil(256.0 * bits / 8) + 4);
}

/// dW = G^T X of a product whose rows were compressed.
void check_product(CheckContext& context, uint32_t bits) {
  constexpr uint32_t kRows = 32, kN = 256, kOut = 4, kSeeds = 512;
  const std::vector<float> x = normals(7, kRows * kN), g = normals(8, kRows * kOut);
  std::vector<float> y(kRows * kN);
  RoundTrip trip(context.settings().isa, kN, bits);
  std::vector<Mean> means(kOut * kN);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (uint32_t r = 0; r < kRows; ++r) trip(&x[r * kN], seed, r, &y[r * kN]);
    for (uint32_t o = 0; o < kOut; ++o)
      for (uint32_t i = 0; i < kN; ++i) {
        double error = 0;
        for (uint32_t r = 0; r < kRows; ++r) error += double(g[r * kOut + o]) * (double(y[r * kN + i]) - x[r * kN + i]);
        means[o * kN + i].add(error);
      }
  }
  const auto good = std::count_if(means.begin(), means.end(), [](const Mean& m) { return m.within(4, kSeeds, 1e-6); });
  context.at_least(fmt::format("int{}: elements of a product's dW whose mean over 512 seeds is within 4 sigma", bits),
                   double(good) / double(means.size()), 0.999);
}

/// Steps, and as many once more in a new TrainStep that was given their state.
Result<std::vector<uint8_t>> learn_resumed(const TrialTraining& trial, bool resumes) {
  VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(trial.model, {}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  TrainStepOptions options = trial.options;
  options.max_rows = trial.rows * trial.length;
  VIBEE_ASSIGN(auto step, TrainStep::create(file, config, options));
  TrialTraining::Run first, second;
  VIBEE_TRY(trial.learn(*step, &first));
  if (resumes) {
    VIBEE_ASSIGN(auto other, TrainStep::create(file, config, options));
    const std::vector<StatePart> from = step->state(), to = other->state();
    for (size_t i = 0; i < from.size(); ++i) std::copy(from[i].bytes.begin(), from[i].bytes.end(), to[i].bytes.begin());
    VIBEE_TRY(other->resume(step->steps()));
    step = std::move(other);
  }
  VIBEE_TRY(trial.learn(*step, &second));
  return std::move(second.state);
}

}  // namespace

Status check_activation_compression(CheckContext& context) {
  context.not_built("float mode (fp8); sensitivities that are measured anew on the way");
  context.not_built("unpacking inside the products that read it; a CUDA twin; goldens of GACT");
  if (context.describe_only()) return {};

  for (const uint32_t bits : {1u, 2u, 4u, 8u}) {
    if (!context.proceed("rows", bits / 16.0)) return error(Code::cancelled, "stopped");
    check_rows(context, bits);
    check_product(context, bits);
  }

  TrialTraining trial;
  trial.options.isa = context.settings().isa;
  trial.options.recompute = Recompute::cheap;
  trial.options.saved.all = 4;
  std::vector<uint8_t> one;
  for (const uint32_t threads : {1u, 2u, 3u}) {
    trial.options.threads = threads;
    VIBEE_ASSIGN(TrialTraining::Run run, trial.run(0));
    if (one.empty()) one = run.state;
    context.equal(fmt::format("int4, {} threads: weights and moments equal to those of one", threads), run.state == one,
                  1);
  }
  VIBEE_ASSIGN(const std::vector<uint8_t> whole, learn_resumed(trial, false));
  VIBEE_ASSIGN(const std::vector<uint8_t> resumed, learn_resumed(trial, true));
  context.equal("int4, resumed: weights and moments equal to those of a run that never stopped", resumed == whole, 1);

  // Bits by sensitivity: what they promise, and what they are worth.
  NewModel model = TrialTraining().model;
  model.layers = 4;
  VIBEE_ASSIGN(const auto saved, TrialSavedBits::create(model, context.settings().isa));
  for (const double average : {2.0, 3.0, 4.0}) {
    VIBEE_ASSIGN(const SavedBits bits, share_bits(saved->measured(), average));
    VIBEE_ASSIGN(const double found, saved->variance(bits));
    const std::string name = fmt::format("auto={}: ", average);
    context.at_most(name + "bits a number", saved->average(bits), average);
    context.at_most(name + "variance of the gradient over what sensitivities say",
                    found / expected_variance(saved->measured(), bits), 2);
    if (average == 3) continue;
    VIBEE_ASSIGN(const double even, saved->variance({uint8_t(average)}));
    context.at_most(name + "variance of the gradient over that of as many bits for all", found / even, 1);
  }

  // What a layer keeps, by where the plan puts it.
  trial = TrialTraining();
  trial.model.dim = 256;
  trial.model.heads = 4;
  trial.rows = 16;
  trial.length = 256;
  trial.options.recompute = Recompute::cheap;
  VIBEE_ASSIGN(const double f32, trial.arena_of_a_layer());
  for (const auto& [bits, share] : {std::pair{uint8_t(8), 3.0}, {uint8_t(4), 6.0}, {uint8_t(2), 10.0}}) {
    trial.options.saved.all = bits;
    VIBEE_ASSIGN(const double packed, trial.arena_of_a_layer());
    context.at_least(fmt::format("int{}: arena of a layer in f32 over its own", bits), f32 / packed, share, "x");
  }
  return {};
}

}  // namespace vibee
