// SPDX-License-Identifier: Apache-2.0
// AdamW against its formula in double, on every instruction set with the same bytes.
#include "vibee/kernels/update/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

TEST(AdamW, IsItsFormulaOnEveryInstructionSet) {
  const AdamW o{3e-3, 0.9, 0.95, 1e-8, 0.1};
  for (uint64_t n : {1u, 15u, 16u, 100u}) {
    std::vector<double> w(n), m(n), v(n);
    struct State {
      std::vector<float> w, m, v;
    };
    std::vector<Isa> isas;
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
      if (isa <= detected_isa()) isas.push_back(isa);
    RandomStream random(4, Purpose::test, uint32_t(n));
    State start{std::vector<float>(n), std::vector<float>(n), std::vector<float>(n)};
    for (uint64_t i = 0; i < n; ++i) w[i] = start.w[i] = random.normal();
    std::vector<State> states(isas.size(), start);
    for (uint64_t t = 1; t <= 20; ++t) {
      std::vector<float> g(n);
      for (float& x : g) x = random.normal() * (t % 3 ? 1e-3f : 1.0f);
      const bool decays = n % 2 == 0;
      for (size_t s = 0; s < isas.size(); ++s)
        adamw_kernel(isas[s])(adamw_step(o, t, decays), g.data(), n, states[s].w.data(), states[s].m.data(),
                              states[s].v.data());
      for (uint64_t i = 0; i < n; ++i) {
        if (decays) w[i] *= 1 - o.rate * o.decay;
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
        const double first = m[i] / (1 - std::pow(o.beta1, double(t))),
                     second = v[i] / (1 - std::pow(o.beta2, double(t)));
        w[i] -= o.rate * first / (std::sqrt(second) + o.eps);
        ASSERT_NEAR(states[0].w[i], w[i], 1e-6 * (1 + std::fabs(w[i]))) << t << " " << i;
      }
      for (const State& s : states) {
        ASSERT_EQ(0, std::memcmp(s.w.data(), states[0].w.data(), n * 4));
        ASSERT_EQ(0, std::memcmp(s.m.data(), states[0].m.data(), n * 4));
        ASSERT_EQ(0, std::memcmp(s.v.data(), states[0].v.data(), n * 4));
      }
    }
  }
}

}  // namespace
}  // namespace vibee
