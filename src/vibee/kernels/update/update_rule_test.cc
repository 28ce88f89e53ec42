// SPDX-License-Identifier: Apache-2.0
// Rules against their formulas in double, on every instruction set with the same bytes.
#include "vibee/kernels/update/update_rule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

/// Weights and moments of n elements.
struct State {
  std::vector<float> w;
  std::vector<std::vector<float>> m;
};

/// Twenty steps of a rule: `exact` does a step to one element of it (w, m, v) in double.
template <class F>
void follows(const Optimiser& o, F&& exact) {
  const UpdateRule& rule = info(o.rule);
  std::vector<Isa> isas;
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa <= detected_isa()) isas.push_back(isa);
  for (uint64_t n : {1u, 15u, 16u, 100u}) {
    RandomStream random(4, Purpose::test, uint32_t(n));
    const State start{std::vector<float>(n), std::vector(rule.moments(o), std::vector<float>(n))};
    std::vector<State> states(isas.size(), start);
    std::vector<double> w(n), m(n), v(n);
    for (uint64_t i = 0; i < n; ++i) {
      const float x = random.normal();
      w[i] = x;
      for (State& state : states) state.w[i] = x;
    }
    const bool decays = n % 2 == 0;
    for (uint64_t t = 1; t <= 20; ++t) {
      std::vector<float> g(n);
      for (float& x : g) x = random.normal() * (t % 3 ? 1e-3f : 1.0f);
      for (size_t s = 0; s < isas.size(); ++s) {
        UpdateStep step = rule.step(o, t, decays);
        step.scale = 0.5f;
        float* moments[kMostMoments] = {};
        for (size_t i = 0; i < states[s].m.size(); ++i) moments[i] = states[s].m[i].data();
        rule.kernel(isas[s])(step, g.data(), n, states[s].w.data(), moments);
      }
      for (uint64_t i = 0; i < n; ++i) {
        exact(t, decays, 0.5 * double(g[i]), &w[i], &m[i], &v[i]);
        ASSERT_NEAR(states[0].w[i], w[i], 1e-6 * (1 + std::fabs(w[i]))) << t << " " << i;
      }
      for (const State& s : states) {
        ASSERT_EQ(0, std::memcmp(s.w.data(), states[0].w.data(), n * 4));
        for (size_t i = 0; i < s.m.size(); ++i) ASSERT_EQ(0, std::memcmp(s.m[i].data(), states[0].m[i].data(), n * 4));
      }
    }
  }
}

TEST(UpdateRule, AdamWIsItsFormula) {
  const Optimiser o{3e-3, 0.9, 0.95, 1e-8, 0.1};
  EXPECT_EQ(info(o.rule).moments(o), 2u);
  follows(o, [&](uint64_t t, bool decays, double g, double* w, double* m, double* v) {
    if (decays) *w *= 1 - o.rate * o.decay;
    *m = o.beta1 * *m + (1 - o.beta1) * g;
    *v = o.beta2 * *v + (1 - o.beta2) * g * g;
    const double first = *m / (1 - std::pow(o.beta1, double(t))), second = *v / (1 - std::pow(o.beta2, double(t)));
    *w -= o.rate * first / (std::sqrt(second) + o.eps);
  });
}

TEST(UpdateRule, SgdIsThatOfTorch) {
  for (const double momentum : {0.0, 0.9})
    for (const bool nesterov : {false, true}) {
      if (nesterov && momentum == 0) continue;
      Optimiser o;
      o.rule = RuleId::sgd, o.rate = 0.02, o.momentum = momentum, o.nesterov = nesterov;
      EXPECT_EQ(info(o.rule).moments(o), momentum > 0 ? 1u : 0u);
      follows(o, [&](uint64_t, bool decays, double g, double* w, double* m, double*) {
        if (decays) g += o.decay * *w;
        *m = momentum * *m + g;
        *w -= o.rate * (nesterov ? g + momentum * *m : *m);
      });
    }
}

TEST(UpdateRule, LionIsItsDefinition) {
  Optimiser o;
  o.rule = RuleId::lion, o.rate = 1e-3, o.beta2 = 0.99;
  EXPECT_EQ(info(o.rule).moments(o), 1u);
  follows(o, [&](uint64_t, bool decays, double g, double* w, double* m, double*) {
    const double to = o.beta1 * *m + (1 - o.beta1) * g;
    if (decays) *w *= 1 - o.rate * o.decay;
    *w -= o.rate * (to > 0 ? 1 : to < 0 ? -1 : 0);
    *m = o.beta2 * *m + (1 - o.beta2) * g;
  });
}

TEST(UpdateRule, HasANameEach) {
  EXPECT_EQ(find_rule("sgd"), &info(RuleId::sgd));
  EXPECT_EQ(find_rule("adamw")->rule, RuleId::adamw);
  EXPECT_EQ(find_rule("adam"), nullptr);
}

}  // namespace
}  // namespace vibee
