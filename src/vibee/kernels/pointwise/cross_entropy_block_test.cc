// SPDX-License-Identifier: Apache-2.0
// The loss of logits beside the definition in double, its gradient by the bytes of the CPU's kernel.
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kernels/pointwise/cross_entropy_launch.h"
#include "vibee/kernels/pointwise/gradients.h"
#include "vibee/kernels/pointwise/pointwise.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

struct LossTrial {
  uint32_t n;
  float cap = 0;
  bool bias = false, gathered = false;
  uint32_t lead = 0;
};
constexpr uint32_t kChunk = 5, kStep = 9;  // rows

template <class Out>
struct LossRun {
  LossTrial t;
  TrialArray<float> logits, bias, factors, by, losses{kStep}, sums{kStep};
  TrialArray<uint32_t> rows{kChunk};
  TrialArray<int32_t> targets{kStep};
  TrialArray<Out> slopes;

  explicit LossRun(const LossTrial& trial)
      : t(trial),
        logits(normals<float>(uint64_t(kChunk) * t.n, t.n, 4, t.lead)),
        bias(normals<float>(t.n, 2, 1, t.lead)),
        factors(normals<float>(kStep, 3)),
        by(normals<float>(1, 4)),
        slopes(uint64_t(kChunk) * t.n, t.lead) {
    for (uint32_t r = 0; r < kStep; ++r) targets[r] = int32_t((r * 7919u + 3) % t.n), losses[r] = sums[r] = NAN;
    for (uint32_t i = 0; i < kChunk; ++i) rows[i] = (i * 4 + 2) % kStep;
    targets[place(1)] = -1;
    targets[place(3)] = int32_t(t.n);
    targets[place(4)] = int32_t(t.n) - 1;
  }
  uint32_t place(uint32_t i) const { return t.gathered ? rows[i] : i; }
  bool has_target(uint32_t i) const { return uint32_t(targets[place(i)]) < t.n; }
  CrossEntropyArgs args() {
    return {logits.data(),
            t.bias ? bias.data() : nullptr,
            t.gathered ? rows.data() : nullptr,
            targets.data(),
            factors.data(),
            losses.data(),
            sums.data(),
            by.data(),
            slopes.data(),
            t.n,
            0,
            t.cap};
  }
  Status run(const CrossEntropyArgs& args) {
    return run_kernel(fmt::format("vibee_cross_entropy_{}", TrialType<Out>::name), cross_entropy_launch(kChunk, t.n),
                      args, {bias.memory(), rows.memory(), targets.memory(), factors.memory(), by.memory()},
                      {logits.memory(), losses.memory(), sums.memory(), slopes.memory()});
  }
};

/// A chunk with slopes of type Out: sums and losses beside double, slopes those of the CPU with these sums.
template <class Out>
void expect_loss(const LossTrial& t) {
  LossRun<Out> f(t);
  const TrialArray<float> raw = f.logits;
  const Status status = f.run(f.args());
  ASSERT_TRUE(status.ok()) << status.message();
  TrialArray<Out> want(f.slopes.size(), t.lead);
  for (uint32_t i = 0; i < kChunk; ++i) {
    const uint32_t row = f.place(i);
    const uint64_t at = uint64_t(i) * t.n;
    if (!f.has_target(i)) {
      EXPECT_EQ(f.losses[row], 0);
      EXPECT_EQ(f.sums[row], 0);
      continue;
    }
    std::vector<float> x(raw.data() + at, raw.data() + at + t.n);
    if (t.bias) pointwise_scalar.add(x.data(), f.bias.data(), t.n, x.data());
    if (t.cap > 0) pointwise_scalar.soft_cap(x.data(), t.cap, t.n, x.data());
    EXPECT_EQ(0, std::memcmp(x.data(), &f.logits[at], t.n * 4));
    double most = -INFINITY, sum = 0, error = 0;
    for (const float v : x) most = std::max(most, double(v));
    // Of e^x by exp2 the argument is rounded twice, which counts |x| units each; 2^f has 2e-9 and six roundings' worth.
    for (const float v : x) {
      const double e = std::exp(v - most);
      sum += e, error += e * (2 * (most - v) + 8) * kUnit;
    }
    const uint32_t each = cross_entropy_launch(kChunk, t.n).threads * kPiece;
    const double depth = (t.n + each - 1) / each * kPiece + 10, of_log = 1.01 * (error / sum + depth * kUnit) + 1e-14;
    const double log = most + std::log(sum), factor = f.factors[row];
    EXPECT_NEAR(f.sums[row], log, of_log + kUnit * std::fabs(log)) << t.n;
    const double loss = factor * (log - x[uint32_t(f.targets[row])]);
    EXPECT_NEAR(f.losses[row], loss, std::fabs(factor) * of_log * 1.01 + kUnit * std::fabs(loss) + 1e-13) << t.n;
    gradient_kernels(detected_isa())
        .cross_entropy_dx(x.data(), t.n, f.sums[row], f.by[0] * f.factors[row], t.cap, uint32_t(f.targets[row]));
    for (uint32_t j = 0; j < t.n; ++j) want[at + j] = TrialType<Out>::from(x[j]);
  }
  EXPECT_TRUE(same_bytes(f.slopes, want)) << t.n << " cap " << t.cap;
  for (uint32_t r = 0; r < kStep; ++r) {
    bool mine = false;
    for (uint32_t i = 0; i < kChunk; ++i) mine |= f.place(i) == r;
    EXPECT_EQ(std::isnan(f.losses[r]), !mine) << r;  // what no row of the chunk is stays
  }
}

TEST(CrossEntropyBlock, NearDoubleAndTheBytesOfTheCpusGradient) {
  for (const uint32_t n : {1u, 2u, 7u, 8u, 97u, 256u, 4096u, 5003u})
    for (const uint32_t variant : {0u, 1u, 2u, 3u}) {
      const LossTrial t{n, variant & 1 ? 5.0f : 0.0f, variant > 1, variant > 0, variant == 3 ? 1u : 0u};
      expect_loss<float>(t);
      if (variant % 2 == 0) expect_loss<Bf16>(t);
    }
  expect_loss<Half>({31, 30, true, true});
}

TEST(CrossEntropyBlock, LargeVocabularies) { expect_loss<float>({262144, 0, false, true}); }

TEST(CrossEntropyBlock, InPlaceAndFromKnownSums) {
  for (const float cap : {0.0f, 5.0f}) {
    LossRun<float> whole({203, cap, true, true}), place(whole), known(whole), alone(whole);
    ASSERT_TRUE(whole.run(whole.args()).ok());
    CrossEntropyArgs args = place.args();
    args.slopes = args.logits;
    ASSERT_TRUE(place.run(args).ok());
    EXPECT_TRUE(same_bytes(whole.slopes, place.logits));
    known.sums = whole.sums;
    args = known.args();
    args.known = 1, args.losses = nullptr;
    ASSERT_TRUE(known.run(args).ok());
    EXPECT_TRUE(same_bytes(whole.slopes, known.slopes));
    EXPECT_TRUE(std::isnan(known.losses[known.place(0)]));
    args = alone.args();
    args.slopes = nullptr;
    ASSERT_TRUE(alone.run(args).ok());
    for (uint32_t i = 0; i < kChunk; ++i) EXPECT_EQ(whole.losses[whole.place(i)], alone.losses[whole.place(i)]);
    EXPECT_EQ(alone.slopes[0], 0);
  }
}

TEST(CrossEntropyBlock, LogitsThatEndTooEarlyAreFound) {
  LossRun<float> f({64});
  f.logits = TrialArray<float>(kChunk * 64 - 1);
  EXPECT_EQ(f.run(f.args()).code(), Code::invalid);
}

}  // namespace
}  // namespace vibee
