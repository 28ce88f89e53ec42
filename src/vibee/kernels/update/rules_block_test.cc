// SPDX-License-Identifier: Apache-2.0
// Rules as block programs have the bytes of the CPU's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/kernels/update/rules_launch.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

void expect_steps(const Optimiser& o, uint64_t n, uint32_t lead) {
  const UpdateRule& rule = info(o.rule);
  const uint32_t count = rule.moments(o);
  ASSERT_LE(count, std::size(RuleArgs{}.moments));
  auto w = normals<float>(n, 1, 1, lead), cpu_w = normals<float>(n, 1, 1, lead);
  TrialArray<float> m[2] = {{n, lead}, {n, lead}}, cpu_m[2] = {{n, lead}, {n, lead}};
  for (uint64_t t = 1; t <= 4; ++t) {
    const auto g = normals<float>(n, uint32_t(10 + t), t % 2 ? 1e-3f : 1, lead);
    UpdateStep step = rule.step(o, t, t != 3);
    step.scale = 0.5f;
    float* const moments[2] = {cpu_m[0].data(), cpu_m[1].data()};
    rule.kernel(Isa::scalar)(step, g.data(), n, cpu_w.data(), moments);
    RuleArgs args{g.data(), w.data(), {}, n, step.scale, {}};
    std::copy(std::begin(step.constants), std::end(step.constants), args.constants);
    std::vector<ShimMemory> outputs = {w.memory()};
    for (uint32_t i = 0; i < count; ++i) {
      args.moments[i] = m[i].data();
      outputs.push_back(m[i].memory());
    }
    const Status status = run_kernel("vibee_" + std::string(rule.name), rule_launch(n), args, {g.memory()}, outputs);
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(same_bytes(w, cpu_w)) << rule.name << " " << n << " step " << t;
    for (uint32_t i = 0; i < count; ++i) ASSERT_TRUE(same_bytes(m[i], cpu_m[i])) << rule.name << " moment " << i;
  }
}

TEST(RulesBlock, StepsHaveTheBytesOfTheCpus) {
  for (const UpdateRule& rule : update_rules())
    for (const double momentum : {0.0, 0.9})
      for (const bool nesterov : {false, true}) {
        if (nesterov && momentum == 0) continue;
        Optimiser o;
        o.rule = rule.rule, o.rate = 0.02, o.momentum = momentum, o.nesterov = nesterov;
        for (const uint64_t n : {0, 1, 7, 8, 9, 97, 2048, 5003})
          for (const uint32_t lead : {0u, 1u}) expect_steps(o, n, lead);
      }
}

}  // namespace
}  // namespace vibee
