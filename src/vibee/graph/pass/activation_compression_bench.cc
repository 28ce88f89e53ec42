// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kernels/pointwise/compress.h"
#include "vibee/kit/trial_precision.h"

namespace vibee {
namespace {

/// Bytes of floats that one thread compresses, and makes again, a second.
void bench_rows(BenchContext& context, uint32_t bits) {
  constexpr uint32_t kN = 1024, kRows = 4096;
  std::vector<float> x(kN * kRows);
  RandomStream random(1, Purpose::test);
  for (float& v : x) v = random.uniform();
  const uint64_t row_bytes = compressed_bytes(kN, bits);
  std::vector<uint8_t> packed(row_bytes * kRows);
  const CompressKernels& k = compress_kernels(context.settings().isa);
  double in = 1e9, out = 1e9;
  for (int i = 0; i < 5; ++i) {
    const Timer compress;
    for (uint32_t r = 0; r < kRows; ++r)
      k.compress(&x[r * kN], kN, bits, compress_key({1, Purpose::compressing, 1}, 0, r, kN), &packed[r * row_bytes]);
    in = std::min(in, compress.seconds());
    const Timer decompress;
    for (uint32_t r = 0; r < kRows; ++r) k.decompress(&packed[r * row_bytes], kN, bits, &x[r * kN]);
    out = std::min(out, decompress.seconds());
  }
  const double bytes = 4.0 * kN * kRows;
  context.target(fmt::format("int{}: floats compressed on one thread", bits), bytes / in / 1e9, "GB/s", 6);
  context.figure(fmt::format("int{}: floats made again on one thread", bits), bytes / out / 1e9, "GB/s");
}

}  // namespace

/// What rows in few bits cost and save in a step of 4096 tokens, and what a model learns with them.
Status bench_activation_compression(BenchContext& context) {
  const bool quick = context.settings().quick;
  for (const uint32_t bits : {8u, 4u, 2u}) bench_rows(context, bits);

  TrialTraining trial = TrialTraining::of_activations(context.settings());
  trial.options.recompute = Recompute::cheap;
  constexpr uint8_t kBits[] = {0, 8, 4, 2};
  std::vector<std::vector<double>> seconds(std::size(kBits));
  const int rounds = quick ? 3 : 7;
  for (int round = 0; round < rounds; ++round)
    for (size_t i = 0; i < std::size(kBits); ++i) {
      if (!context.proceed("training", 0.5 * round / rounds)) return {};
      trial.options.saved.all = kBits[i];
      VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(0));
      seconds[i].insert(seconds[i].end(), run.seconds.begin(), run.seconds.end());
    }
  context.figure("step, recompute cheap, f32", 1e3 * median(seconds[0]), "ms");
  TrialTraining rows = trial;  // enough rows that the arena's peak is what is kept
  rows.rows = 16;
  double f32 = 0;
  for (size_t i = 0; i < std::size(kBits); ++i) {
    rows.options.saved.all = kBits[i];
    VIBEE_ASSIGN(const double layer, rows.arena_of_a_layer());
    if (i == 0) {
      f32 = layer;
      context.figure("arena of a layer, f32", layer / 1e6, "MB");
      continue;
    }
    const std::string name = fmt::format("int{}", kBits[i]);
    constexpr double kLeast[] = {1, 3, 6, 10};
    context.target("arena of a layer in f32 over that in " + name, f32 / layer, "x", kLeast[i]);
    const PairedRatio ratio = paired_ratio(seconds[0], seconds[i]);
    context.target("speed of " + name + " over f32", ratio.ratio, "x", 1 / 1.12,
                   fmt::format("{:.3f} to {:.3f} at 95 %", ratio.low, ratio.high));
  }

  TrialPrecision learning(context.settings());
  VIBEE_TRY(learning.prepare());
  VIBEE_ASSIGN(const TrialPrecision::Learnt exact, learning.learn(Format::f32, Master::f32));
  context.figure("held-out loss, f32", exact.loss, "nats", 0, learning.size());
  for (const uint8_t bits : {uint8_t(8), uint8_t(4), uint8_t(2)}) {
    if (!context.proceed("learning", 0.5 + 0.1 * (8 - bits) / 2)) return {};
    learning.save({bits});
    VIBEE_ASSIGN(const TrialPrecision::Learnt packed, learning.learn(Format::f32, Master::f32));
    const std::string name = fmt::format("loss of f32 over that of int{}", bits);
    if (bits == 2)
      context.figure(name, exact.loss / packed.loss, "x", 0, learning.size());
    else
      context.target(name, exact.loss / packed.loss, "x", 1 / 1.005, learning.size());
  }
  return {};
}

}  // namespace vibee
