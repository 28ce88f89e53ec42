// SPDX-License-Identifier: Apache-2.0
// The loss over a vocabulary without an array of rows x vocabulary: rows that have a target are gathered in chunks,
// whose logits are made, used and forgotten.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/log2.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/graph/exec/train_gemm.h"

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
      c.weight_rows(1, [&](Range part, const float* weight) {
        dense_product(w, {gathered, k}, {weight, k, true}, count, part.end - part.begin, k, logits + part.begin, n);
      });
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

void train_cross_entropy(const Node& node, const TrainWorker& w) {
  Loss loss(node, w, 4);
  float* sums = w.plan.floats(node.out[1]);
  const Range mine = w.share_of(w.rows);
  for (uint32_t r = mine.begin; r < mine.end; ++r) sums[r] = loss.losses[r] = 0;
  w.team.barrier();
  loss.each_chunk(
      [&](uint32_t, uint32_t row, const float* x) {
        const float top = w.pointwise.max(x, loss.n), rest = w.pointwise.sum_exp(x, loss.n, top);
        const double sum = double(top) + log2_of(double(rest)) * M_LN2;
        sums[row] = float(sum);
        loss.losses[row] = float(double(loss.factors[row]) * (sum - double(x[loss.targets[row]])));
      },
      [](uint32_t, uint32_t) {});
  if (w.tid != 0) return;
  double all = 0;
  for (uint32_t r = 0; r < w.rows; ++r) all += double(loss.losses[r]);
  w.plan.floats(node.out[0])[0] = float(all);
}

void train_cross_entropy_dx(const Node& node, const TrainWorker& w) {
  Loss loss(node, w, 6);
  float* out = w.plan.floats(node.out[0]);
  const float *sums = w.plan.floats(node.in[4]), by = w.plan.floats(node.in[5])[0];
  const Range mine = w.share_of(w.rows);
  std::memset(out + uint64_t(mine.begin) * loss.k, 0, uint64_t(mine.end - mine.begin) * loss.k * 4);
  w.team.barrier();
  loss.each_chunk(
      [&](uint32_t, uint32_t row, float* x) {
        w.gradients.cross_entropy_dx(x, loss.n, sums[row], by * loss.factors[row], loss.cap,
                                     uint32_t(loss.targets[row]));
      },
      [&](uint32_t first, uint32_t count) {
        loss.c.weight_rows(1, [&](Range rows, const float* weight) {
          dense_product(w, {loss.logits + rows.begin, loss.n}, {weight, loss.k}, count, loss.k, rows.end - rows.begin,
                        loss.gathered, loss.k, rows.begin > 0);
        });
        w.team.barrier();
        const Range part = w.share_of(count);
        for (uint32_t i = part.begin; i < part.end; ++i)
          std::memcpy(out + uint64_t(loss.chosen[first + i]) * loss.k, loss.gathered + uint64_t(i) * loss.k,
                      loss.k * 4);
      });
}

void train_cross_entropy_dw(const Node& node, const TrainWorker& w) {
  Loss loss(node, w, 6);
  float *out = w.plan.floats(node.out[0]), *bias = node.out.size() > 1 ? w.plan.floats(node.out[1]) : nullptr;
  const float *sums = w.plan.floats(node.in[4]), by = w.plan.floats(node.in[5])[0];
  const Range mine = w.share_of(loss.n);
  std::memset(out + uint64_t(mine.begin) * loss.k, 0, uint64_t(mine.end - mine.begin) * loss.k * 4);
  if (bias) std::memset(bias + mine.begin, 0, (mine.end - mine.begin) * 4);
  loss.each_chunk(
      [&](uint32_t, uint32_t row, float* x) {
        w.gradients.cross_entropy_dx(x, loss.n, sums[row], by * loss.factors[row], loss.cap,
                                     uint32_t(loss.targets[row]));
      },
      [&](uint32_t, uint32_t count) {
        dense_product(w, {loss.logits, loss.n, true}, {loss.gathered, loss.k}, loss.n, loss.k, count, out, loss.k,
                      true);
        for (uint32_t i = 0; i < count && bias; ++i)
          w.pointwise.add(bias + mine.begin, loss.logits + uint64_t(i) * loss.n + mine.begin, mine.end - mine.begin,
                          bias + mine.begin);
      });
}

}  // namespace vibee
