// SPDX-License-Identifier: Apache-2.0
// The loss over a vocabulary without an array of rows x vocabulary: rows that have a target are gathered in chunks,
// whose logits are made, used and forgotten.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/log2.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/graph/exec/train_products.h"

namespace vibee {

uint32_t loss_rows(uint32_t n) { return std::clamp(uint32_t(1u << 22) / n, 16u, 256u); }

namespace {

class Loss {
 public:
  Loss(const Node& node, const TrainWorker& w, size_t bias)
      : c{node, w},
        w(w),
        n(uint32_t(w.plan.type(node.in[1]).dims[0].n)),
        k(uint32_t(w.plan.type(node.in[1]).dims[1].n)),
        cap(float(node.number("soft_cap"))),
        rows(w.plan.floats(node.in[0])),
        factors(w.plan.floats(node.in[3])),
        bias(node.in.size() > bias ? w.plan.floats(node.in[bias]) : nullptr),
        targets(w.plan.integers(node.in[2])),
        logits(w.plan.shared()),
        gathered(logits + uint64_t(loss_rows(n)) * n),
        losses(gathered + uint64_t(loss_rows(n)) * k),
        chosen(reinterpret_cast<uint32_t*>(losses + w.plan.options().max_rows)) {
    if (w.tid == 0) {
      uint32_t count = 0;
      for (uint32_t r = 0; r < w.rows; ++r)
        if (targets[r] >= 0) chosen[count++] = r;
    }
    for (uint32_t r = 0; r < w.rows; ++r) wanted += targets[r] >= 0 ? 1 : 0;
    w.team.barrier();
  }

  /// Chunk by chunk: the logits of its rows, then f(row of the chunk, row of the step, its logits) for this thread's
  /// rows, and then(count) on all threads; barriers stand between.
  template <class F, class G>
  void each_chunk(F&& f, G&& then) {
    for (uint32_t first = 0; first < wanted; first += loss_rows(n)) {
      const uint32_t count = std::min(loss_rows(n), wanted - first);
      const Range mine = w.share_of(count);
      for (uint32_t i = mine.begin; i < mine.end; ++i)
        std::memcpy(gathered + uint64_t(i) * k, rows + uint64_t(chosen[first + i]) * k, k * 4);
      w.team.barrier();
      if (is_rounded_loss(c.node)) {
        rounded_logits(c.node, w, gathered, count, logits);
      } else {
        c.weight_rows(1, [&](Range part, const DenseOperand& weight) {
          dense_product(w, {gathered, k}, weight.transpose(), count, part.end - part.begin, k, logits + part.begin, n);
        });
      }
      w.team.barrier();
      for (uint32_t i = mine.begin; i < mine.end; ++i) {
        float* x = logits + uint64_t(i) * n;
        if (bias) w.pointwise.add(x, bias, n, x);
        if (cap > 0) w.pointwise.soft_cap(x, cap, n, x);
        f(i, chosen[first + i], x);
      }
      w.team.barrier();
      then(first, count);
      w.team.barrier();
    }
  }

  /// The chunk's logits become the gradient towards them.
  void slope(const TrainCall& call, float* x, uint32_t row, float sum) const {
    const float by = w.plan.floats(call.node.in[5])[0];
    w.gradients.cross_entropy_dx(x, n, sum, by * factors[row], cap, uint32_t(targets[row]));
  }
  void clear_dx(const TrainCall& call) const {
    const Range mine = w.share_of(w.rows);
    std::memset(call.out() + uint64_t(mine.begin) * k, 0, uint64_t(mine.end - mine.begin) * k * 4);
  }
  /// Of the chunk from its slopes, over what it gathered.
  void dx(const TrainCall& call, uint32_t first, uint32_t count) const {
    if (is_rounded_loss(call.node)) {
      rounded_loss_dx(call.node, w, logits, count, gathered);
    } else {
      call.weight_rows(1, [&](Range part, const DenseOperand& weight) {
        dense_product(w, {logits + part.begin, n}, weight, count, k, part.end - part.begin, gathered, k,
                      part.begin > 0);
      });
    }
    w.team.barrier();
    const Range mine = w.share_of(count);
    for (uint32_t i = mine.begin; i < mine.end; ++i)
      std::memcpy(call.out() + uint64_t(chosen[first + i]) * k, gathered + uint64_t(i) * k, k * 4);
  }
  void clear_dw(const TrainCall& call) const {
    const Range mine = w.share_of(n);
    if (wanted == 0) std::memset(call.out() + uint64_t(mine.begin) * k, 0, uint64_t(mine.end - mine.begin) * k * 4);
    if (call.node.out.size() > 1) std::memset(call.out(1) + mine.begin, 0, (mine.end - mine.begin) * 4);
  }
  /// Of the weight and the bias, chains over the rows of all chunks.
  void dw(const TrainCall& call, uint32_t first, uint32_t count) const {
    if (is_rounded_loss(call.node))
      rounded_loss_dw(call.node, w, logits, gathered, count, call.out(), first > 0);
    else
      dense_product(w, {logits, n, true}, {gathered, k}, n, k, count, call.out(), k, first > 0);
    const Range mine = w.share_of(n);
    for (uint32_t i = 0; i < count && call.node.out.size() > 1; ++i)
      w.pointwise.add(call.out(1) + mine.begin, logits + uint64_t(i) * n + mine.begin, mine.end - mine.begin,
                      call.out(1) + mine.begin);
  }

  TrainCall c;
  const TrainWorker& w;
  uint32_t n, k;
  float cap;
  const float *rows, *factors, *bias;
  const int32_t* targets;
  float *logits, *gathered, *losses;  ///< of a chunk, of a chunk, a row of the step
  uint32_t* chosen;                   ///< rows that have a target
  uint32_t wanted = 0;
};

}  // namespace

/// With the gradients where the plan says so: the logits are made once.
void train_cross_entropy(const Node& node, const TrainWorker& w) {
  Loss loss(node, w, 4);
  const LossGradients then = w.loss_only ? LossGradients{} : w.plan.gradients_of(node);
  const TrainCall dx{then.dx ? *then.dx : node, w}, dw{then.dw ? *then.dw : node, w};
  float* sums = w.plan.floats(node.out[1]);
  const Range mine = w.share_of(w.rows);
  for (uint32_t r = mine.begin; r < mine.end; ++r) sums[r] = loss.losses[r] = 0;
  if (then.dx) loss.clear_dx(dx);
  if (then.dw) loss.clear_dw(dw);
  w.team.barrier();
  loss.each_chunk(
      [&](uint32_t, uint32_t row, float* x) {
        const float top = w.pointwise.max(x, loss.n), rest = w.pointwise.sum_exp(x, loss.n, top);
        const double sum = double(top) + log2_of(double(rest)) * M_LN2;
        sums[row] = float(sum);
        loss.losses[row] = float(double(loss.factors[row]) * (sum - double(x[loss.targets[row]])));
        if (then.dx || then.dw) loss.slope(then.dx ? dx : dw, x, row, sums[row]);
      },
      [&](uint32_t first, uint32_t count) {
        if (then.dw) loss.dw(dw, first, count);
        if (then.dw && then.dx) w.team.barrier();
        if (then.dx) loss.dx(dx, first, count);
      });
  if (w.tid != 0) return;
  double all = 0;
  for (uint32_t r = 0; r < w.rows; ++r) all += double(loss.losses[r]);
  w.plan.floats(node.out[0])[0] = float(all);
}

void train_cross_entropy_dx(const Node& node, const TrainWorker& w) {
  if (w.plan.done_by_loss(node)) return;
  Loss loss(node, w, 6);
  loss.clear_dx(loss.c);
  w.team.barrier();
  loss.each_chunk([&](uint32_t, uint32_t row, float* x) { loss.slope(loss.c, x, row, w.plan.floats(node.in[4])[row]); },
                  [&](uint32_t first, uint32_t count) { loss.dx(loss.c, first, count); });
}

void train_cross_entropy_dw(const Node& node, const TrainWorker& w) {
  if (w.plan.done_by_loss(node)) return;
  Loss loss(node, w, 6);
  loss.clear_dw(loss.c);
  w.team.barrier();
  loss.each_chunk([&](uint32_t, uint32_t row, float* x) { loss.slope(loss.c, x, row, w.plan.floats(node.in[4])[row]); },
                  [&](uint32_t first, uint32_t count) { loss.dw(loss.c, first, count); });
}

}  // namespace vibee
