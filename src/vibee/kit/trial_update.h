// SPDX-License-Identifier: Apache-2.0
// How long a step's update of n weights takes in a form, with moments in theirs: what benches of forms compare.
#pragma once

#include <algorithm>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/thread/team.h"
#include "vibee/core/measure/measure.h"
#include "vibee/kernels/update/moment_form.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/kernels/update/weight_form.h"

namespace vibee {

class TrialUpdate {
 public:
  /// n is a multiple of kUpdateBlock; `narrow`: moments in 8 bits.
  static Result<TrialUpdate> create(WeightForm form, uint64_t n, bool narrow = false) {
    TrialUpdate u;
    u.form_ = form, u.n_ = n, u.narrow_ = narrow;
    VIBEE_ASSIGN(u.copy_, HugeBuffer::allocate(n * info(form).copy_bytes()));
    VIBEE_ASSIGN(u.rest_, HugeBuffer::allocate(n * info(form).rest_bytes + 64));
    VIBEE_ASSIGN(u.gradients_, HugeBuffer::allocate(4 * n));
    for (uint64_t i = 0; i < n; ++i) u.gradients_.as<float>()[i] = 1e-3f * float(int(i % 2001) - 1000);
    for (uint32_t m = 0; m < 2; ++m) {
      VIBEE_ASSIGN(u.moments_[m], HugeBuffer::allocate(u.moment(m).bytes(u.moment(m).form, kBlock, n)));
    }
    return u;
  }
  /// Bytes that go to and from memory, at the least.
  double traffic() const {
    const double moments = double(moments_[0].size() + moments_[1].size());
    return 2 * moments + double(n_) * (4 + 2 * (info(form_).copy_bytes() + info(form_).rest_bytes));
  }
  /// Seconds of one AdamW step.
  double run(Team& team, Isa isa) {
    const UpdateRule& rule = info(RuleId::adamw);
    const UpdateStep step = rule.step({}, ++t_, true);
    const Timer timer;
    team.run([&](uint32_t tid) {
      float block[kUpdateBlock], of_moment[2][kUpdateBlock];
      const Range mine = share(uint32_t(n_ / kUpdateBlock), tid, team.size());
      for (uint64_t at = mine.begin * kUpdateBlock; at < mine.end * kUpdateBlock; at += kUpdateBlock) {
        float* moments[kMostMoments];
        for (uint32_t m = 0; m < 2; ++m) moments[m] = moment(m).from(at).load(isa, kUpdateBlock, of_moment[m]);
        const FormElements w = FormElements{form_, copy_.data(), rest_.data()}.from(at);
        float* const x = w.load(isa, kUpdateBlock, block);
        rule.kernel(isa)(step, gradients_.as<float>() + at, kUpdateBlock, x, moments);
        w.store(isa, x, kUpdateBlock, {1, Purpose::rounding, t_, 0, at});
        for (uint32_t m = 0; m < 2; ++m) moment(m).from(at).store(isa, moments[m], kUpdateBlock);
      }
    });
    return timer.seconds();
  }

 private:
  static constexpr uint32_t kBlock = 256;
  MomentElements moment(uint32_t m) const {
    const MomentForm form = !narrow_ ? MomentForm::f32 : m == 0 ? MomentForm::dynamic8 : MomentForm::unsigned_dynamic8;
    return MomentElements::at(moments_[m].data(), form, kBlock, n_);
  }

  WeightForm form_ = WeightForm::f32;
  uint64_t n_ = 0, t_ = 0;
  bool narrow_ = false;
  HugeBuffer copy_, rest_, gradients_, moments_[2];
};

}  // namespace vibee
