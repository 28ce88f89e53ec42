// SPDX-License-Identifier: Apache-2.0
// How long a step's update of n weights takes in a form: what benches of forms compare.
#pragma once

#include <algorithm>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/thread/team.h"
#include "vibee/core/measure/measure.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/kernels/update/weight_form.h"

namespace vibee {

class TrialUpdate {
 public:
  /// n is a multiple of kUpdateBlock.
  static Result<TrialUpdate> create(WeightForm form, uint64_t n) {
    TrialUpdate u;
    u.form_ = form, u.n_ = n;
    VIBEE_ASSIGN(u.copy_, HugeBuffer::allocate(n * info(form).copy_bytes()));
    VIBEE_ASSIGN(u.rest_, HugeBuffer::allocate(n * info(form).rest_bytes + 64));
    VIBEE_ASSIGN(u.floats_, HugeBuffer::allocate(12 * n));
    for (uint64_t i = 0; i < n; ++i) u.floats_.as<float>()[i] = 1e-3f * float(int(i % 2001) - 1000);
    return u;
  }
  /// Bytes that go to and from memory, at the least.
  double traffic() const { return double(n_) * (4 + 16 + 2 * (info(form_).copy_bytes() + info(form_).rest_bytes)); }
  /// Seconds of one AdamW step.
  double run(Team& team, Isa isa) {
    const UpdateRule& rule = info(RuleId::adamw);
    const UpdateStep step = rule.step({}, ++t_, true);
    const Timer timer;
    team.run([&](uint32_t tid) {
      float block[kUpdateBlock];
      const Range mine = share(uint32_t(n_ / kUpdateBlock), tid, team.size());
      for (uint64_t at = mine.begin * kUpdateBlock; at < mine.end * kUpdateBlock; at += kUpdateBlock) {
        float* const g = floats_.as<float>() + at;
        float* moments[kMostMoments] = {g + n_, g + 2 * n_};
        const FormElements w = FormElements{form_, copy_.data(), rest_.data()}.from(at);
        float* const x = w.load(isa, kUpdateBlock, block);
        rule.kernel(isa)(step, g, kUpdateBlock, x, moments);
        w.store(isa, x, kUpdateBlock, {1, Purpose::rounding, t_, 0, at});
      }
    });
    return timer.seconds();
  }

 private:
  WeightForm form_ = WeightForm::f32;
  uint64_t n_ = 0, t_ = 0;
  HugeBuffer copy_, rest_, floats_;
};

}  // namespace vibee
