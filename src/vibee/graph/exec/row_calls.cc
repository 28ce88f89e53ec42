// SPDX-License-Identifier: Apache-2.0
// Row work: each function handles the rows of Worker::rows, all of them in small steps.
#include "vibee/graph/exec/row_calls.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/math/trig.h"

namespace vibee {

namespace {

/// Whether `rows` rows that a rule would quantise are rounded to bf16 instead.
bool in_bf16(const Worker& w, ActRule rule, uint32_t rows) { return rule == ActRule::block && w.plan.takes_bf16(rows); }

}  // namespace

void quantize_block(const Call& c, const Worker& w, const float* x, uint32_t k, uint8_t* act, uint32_t rows,
                    uint32_t row, uint32_t block) {
  if (in_bf16(w, ActRule::block, rows)) return c.pw->to_bf16(x, kActBlock, bf16_row_block(act, k, row, block));
  const ActRow to = act_row(act, rows, k, row);
  c.pw->quantize_block(x, to.q(block), to.da(block), to.das(block), to.ns(block), to.ns0(block));
}

void quantize_row(const Call& c, const Worker& w, const float* x, uint32_t k, uint8_t* act, uint32_t rows,
                  uint32_t row) {
  if (in_bf16(w, c.rule, rows)) {
    for (uint32_t b = 0; b < k / kActBlock; ++b)
      c.pw->to_bf16(x + b * kActBlock, kActBlock, bf16_row_block(act, k, row, b));
    return;
  }
  const ActRow to = act_row(act, rows, k, row);
  const float threshold = w.plan.options().outlier_threshold;
  if (threshold > 0) return quantize_apart(*c.pw, c.rule, threshold, x, k, to, outlier_row(act, rows, k, row));
  quantize_row(*c.pw, c.rule, x, k, to);
}

/// out[i] = x[order[i]].
static void permute(const float* x, const float* order, uint32_t width, float* out) {
  for (uint32_t i = 0; i < width; ++i) out[i] = x[uint32_t(order[i])];
}

RowsInput quantized_input(const Call& c, const Worker& w, const uint8_t* act, uint32_t rows, uint32_t k) {
  RowsInput in{{act, nullptr, rows, w.plan.panels(w.tid)}, nullptr};
  if (in_bf16(w, act_rule(c.weight[0]->format), rows)) std::swap(in.act, in.bf16);
  if (w.plan.options().outlier_threshold > 0) in.outliers = outlier_row(const_cast<uint8_t*>(act), rows, k, 0);
  return in;
}

RowsInput float_input(const Worker& w, const float* x, uint32_t rows) {
  return {{nullptr, x, rows, w.plan.panels(w.tid)}, nullptr};
}

void run_embed(const Call& c, Worker& w) {
  const Range rows = w.rows(uint32_t(w.sizes.t));
  const std::span<const int32_t> ids = c.ids == RowIds::tokens      ? w.batch.tokens
                                       : c.ids == RowIds::positions ? w.batch.positions
                                                                    : w.batch.types;
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  for (uint32_t r = rows.begin; r < rows.end; ++r) {
    decode_row(*c.weight[0], uint32_t(ids[r]), out + uint64_t(r) * c.width);
    if (c.by != 1.0f) c.pw->scale(out + uint64_t(r) * c.width, c.by, c.width, out + uint64_t(r) * c.width);
  }
}

void run_rms_norm(const Call& c, Worker& w) {
  const Range rows = w.rows(w.plan.rows_of(c.out[0], w.sizes));
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  for (uint64_t i = uint64_t(rows.begin) * c.width; i < uint64_t(rows.end) * c.width; i += c.norm_width)
    c.pw->rms_norm(x + i, c.vector[0], c.norm_width, c.eps, out + i);
}

void run_layer_norm(const Call& c, Worker& w) {
  const Range rows = w.rows(w.plan.rows_of(c.out[0], w.sizes));
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  for (uint64_t i = uint64_t(rows.begin) * c.width; i < uint64_t(rows.end) * c.width; i += c.width)
    c.pw->layer_norm(x + i, c.vector[0], c.vector[1], c.width, c.eps, out + i);
}

void run_norm_quantize(const Call& c, Worker& w) {
  const uint32_t t = w.plan.rows_of(c.out[0], w.sizes);
  const Range rows = w.rows(t);
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  auto* out = w.plan.pointer<uint8_t>(c.out[0], w.tid, w.small);
  alignas(64) float normed[kMaxRowWidth], sorted[kMaxRowWidth];
  for (uint32_t r = rows.begin; r < rows.end; ++r) {
    for (uint32_t i = 0; i < c.width; i += c.norm_width)
      c.pw->rms_norm(x + uint64_t(r) * c.width + i, c.vector[0], c.norm_width, c.eps, normed + i);
    if (c.vector[1]) permute(normed, c.vector[1], c.width, sorted);
    quantize_row(c, w, c.vector[1] ? sorted : normed, c.width, out, t, r);
  }
}

void run_quantize(const Call& c, Worker& w) {
  const uint32_t n = w.plan.rows_of(c.out[0], w.sizes);
  const Range rows = w.rows(n);
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  auto* out = w.plan.pointer<uint8_t>(c.out[0], w.tid, w.small);
  alignas(64) float sorted[kMaxRowWidth];
  for (uint32_t r = rows.begin; r < rows.end; ++r) {
    const float* const row = x + uint64_t(r) * c.width;
    if (c.vector[0]) permute(row, c.vector[0], c.width, sorted);
    quantize_row(c, w, c.vector[0] ? sorted : row, c.width, out, n, r);
  }
}

namespace {

/// Elementwise work over the rows of the first input.
template <class F>
void each_row(const Call& c, Worker& w, F&& f) {
  const Range rows = w.rows(w.plan.rows_of(c.out[0], w.sizes));
  const float* a = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  const float* b = c.in.size() > 1 ? w.plan.pointer<float>(c.in[1], w.tid, w.small) : nullptr;
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  const uint64_t first = uint64_t(rows.begin) * c.width;
  f(a + first, b + (b ? first : 0), (rows.end - rows.begin) * c.width, out + first);
}

}  // namespace

void run_add(const Call& c, Worker& w) {
  if (c.vector[0]) {  // a bias
    const Range rows = w.rows(w.plan.rows_of(c.out[0], w.sizes));
    const float* a = w.plan.pointer<float>(c.in[0], w.tid, w.small);
    float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
    for (uint32_t r = rows.begin; r < rows.end; ++r)
      c.pw->add(a + uint64_t(r) * c.width, c.vector[0], c.width, out + uint64_t(r) * c.width);
    return;
  }
  each_row(c, w, [&](const float* a, const float* b, uint32_t n, float* out) { c.pw->add(a, b, n, out); });
}
void run_gated(const Call& c, Worker& w) {
  each_row(c, w, [&](const float* a, const float* b, uint32_t n, float* out) { c.pw->gated(c.gate, a, b, n, out); });
}
void run_activation(const Call& c, Worker& w) {
  each_row(c, w, [&](const float* a, const float*, uint32_t n, float* out) { c.pw->activate(c.gate, a, n, out); });
}
void run_scale(const Call& c, Worker& w) {
  each_row(c, w, [&](const float* a, const float*, uint32_t n, float* out) { c.pw->scale(a, c.by, n, out); });
}
void run_soft_cap(const Call& c, Worker& w) {
  each_row(c, w, [&](const float* a, const float*, uint32_t n, float* out) { c.pw->soft_cap(a, c.by, n, out); });
}

void run_permute_columns(const Call& c, Worker& w) {
  const Range rows = w.rows(w.plan.rows_of(c.out[0], w.sizes));
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  for (uint64_t at = uint64_t(rows.begin) * c.width; at < uint64_t(rows.end) * c.width; at += c.width)
    permute(x + at, c.vector[0], c.width, out + at);
}

void run_rope_table(const Call& c, Worker& w) {
  const Range rows = w.rows(uint32_t(w.sizes.t));
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  const auto pairs = uint32_t(c.frequencies.size());
  for (uint32_t r = rows.begin; r < rows.end; ++r) {
    float* cos = out + uint64_t(r) * 2 * pairs;
    for (uint32_t i = 0; i < pairs; ++i) {
      double sine, cosine;
      sincos_fixed(w.batch.positions[r] * c.frequencies[i], &sine, &cosine);
      cos[i] = float(c.by * cosine);
      cos[pairs + i] = float(c.by * sine);
    }
  }
}

void run_rope(const Call& c, Worker& w) {
  const Range rows = w.rows(uint32_t(w.sizes.t));
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  const float* table = w.plan.pointer<float>(c.in[1], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  for (uint32_t r = rows.begin; r < rows.end; ++r) {
    float* row = out + uint64_t(r) * c.width;
    std::memcpy(row, x + uint64_t(r) * c.width, c.width * 4);
    const float* cos = table + uint64_t(r) * 2 * c.pairs;
    for (uint32_t h = 0; h < c.width; h += c.head_dim) c.pw->rope(row + h, cos, cos + c.pairs, c.pairs, c.split_halves);
  }
}

void run_take_rows(const Call& c, Worker& w) {
  const Range rows = w.rows(uint32_t(w.sizes.s));
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  for (uint32_t r = rows.begin; r < rows.end; ++r)
    std::memcpy(out + uint64_t(r) * c.width, x + uint64_t(w.batch.logits_rows[r]) * c.width, c.width * 4);
}

/// Row r of the output is sequence r of the step.
void run_pool_rows(const Call& c, Worker& w) {
  const Range sequences = w.rows(uint32_t(w.sizes.s));
  for (uint32_t i = sequences.begin; i < sequences.end; ++i) {
    const SequenceRows& s = w.batch.sequences[i];
    const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small) + uint64_t(s.row) * c.width;
    float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small) + uint64_t(i) * c.width;
    std::memcpy(out, x + (c.pooling == Pooling::last ? uint64_t(s.rows - 1) * c.width : 0), c.width * 4);
    for (uint32_t r = 1; r < s.rows; ++r) {
      const float* row = x + uint64_t(r) * c.width;
      if (c.pooling == Pooling::mean) c.pw->add(out, row, c.width, out);
      if (c.pooling == Pooling::max)
        for (uint32_t j = 0; j < c.width; ++j) out[j] = std::max(out[j], row[j]);
    }
    if (c.pooling == Pooling::mean) c.pw->scale(out, 1.0f / float(s.rows), c.width, out);
  }
}

}  // namespace vibee
