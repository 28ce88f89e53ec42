// SPDX-License-Identifier: Apache-2.0
// Products with weights, sliced by output columns; each thread finishes its own columns (residual, gate, rotation,
// cache write).
#include <algorithm>
#include <cstring>
#include <optional>

#include "vibee/graph/exec/row_calls.h"

namespace vibee {
namespace {

RowsInput input(const Call& c, const Worker& w, uint32_t rows) {
  const uint32_t k = c.weight[0]->k;
  if (c.quantized_rows) return quantized_input(c, w, w.plan.pointer<uint8_t>(c.in[0], w.tid, w.small), rows, k);
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  if (!c.quantizes_rows) return float_input(w, x, rows);
  uint8_t* act = w.plan.quantized_rows(w.tid);
  for (uint32_t r = 0; r < rows; ++r) quantize_row(c, w, x + uint64_t(r) * k, k, act, rows, r);
  return quantized_input(c, w, act, rows, k);
}

/// A row of a tile: nearly always a panel's 16 or 8 columns, which are a few instructions and no call.
inline void copy_columns(float* to, const float* from, uint32_t count) {
  if (count == 16) {
    std::memcpy(to, from, 64);
  } else if (count == 8) {
    std::memcpy(to, from, 32);
  } else {
    std::memcpy(to, from, count * 4);
  }
}

/// Writes a tile into rows of width n; columns beyond n are padding.
void store_tile(const float* tile, uint32_t nr, uint32_t panel, uint32_t row, uint32_t m, uint32_t n, uint32_t width,
                float* out) {
  const uint32_t column = panel * nr, count = n - column < nr ? n - column : nr;
  for (uint32_t i = 0; i < m; ++i) copy_columns(out + uint64_t(row + i) * width + column, tile + i * nr, count);
}

}  // namespace

void run_linear(const Call& c, Worker& w) {
  const PackedWeight& weight = *c.weight[0];
  const Range panels = share(weight.panels(), w.tid, w.threads);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  matmul(*c.gemm[0], weight, input(c, w, w.plan.rows_of(c.in[0], w.sizes)), panels.begin, panels.end,
         [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
           store_tile(tile, weight.nr, panel, row, m, weight.n, weight.n, out);
         });
}

void run_linear_add(const Call& c, Worker& w) {
  const PackedWeight& weight = *c.weight[0];
  const Range panels = share(weight.panels(), w.tid, w.threads);
  const float* residual = w.plan.pointer<float>(c.in[2], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  matmul(*c.gemm[0], weight, input(c, w, w.plan.rows_of(c.in[0], w.sizes)), panels.begin, panels.end,
         [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
           const uint32_t column = panel * weight.nr,
                          count = weight.n - column < weight.nr ? weight.n - column : weight.nr;
           for (uint32_t i = 0; i < m; ++i) {
             const uint64_t at = uint64_t(row + i) * weight.n + column;
             c.pw->add(residual + at, tile + i * weight.nr, count, out + at);
           }
         });
}

/// gate(x Wg^T) * (x Wu^T) by 32 columns at a time, so that the product is quantised while it is in registers' reach.
void run_linear_gated(const Call& c, Worker& w) {
  const PackedWeight &gate = *c.weight[0], &up = *c.weight[1];
  const uint32_t rows = w.plan.rows_of(c.in[0], w.sizes), n = gate.n;
  const Range blocks = share((n + 31) / 32, w.tid, w.threads);
  const RowsInput in = input(c, w, rows);
  auto* act = c.quantized ? w.plan.pointer<uint8_t>(c.out[0], w.tid, w.small) : nullptr;
  auto* out = c.quantized ? nullptr : w.plan.pointer<float>(c.out[0], w.tid, w.small);
  const uint32_t g = in.group(), chunk = matmul_chunk(in, gate.k);
  alignas(64) float tile[kMostRowsATile * 16];
  alignas(64) float both[2][kMostRowsATile][32];
  uint64_t panel_stride[2];
  for (uint32_t side = 0; side < 2; ++side) {
    const PlanOptions& o = w.plan.options();
    panel_stride[side] = panel_scratch(*c.gemm[side], gate.k, o.max_rows, o.row_form);
  }
  for (uint32_t begin = 0; begin < rows; begin += chunk) {
    const uint32_t end = begin + chunk < rows ? begin + chunk : rows;
    for (uint32_t block = blocks.begin; block < blocks.end; ++block) {
      const uint32_t column = block * 32, count = n - column < 32 ? n - column : 32;
      std::optional<PanelProduct> product[2][4];
      uint32_t most = kMostRowsATile;
      uint8_t* scratch = in.panels;
      for (uint32_t side = 0; side < 2; ++side) {
        const PackedWeight& weight = side ? up : gate;
        for (uint32_t p = 0; p * weight.nr < count; ++p) {
          product[side][p].emplace(*c.gemm[side], weight, in, column / weight.nr + p, scratch);
          scratch += panel_stride[side];
          most = std::min(most, product[side][p]->max_rows());
        }
      }
      for (uint32_t row = begin; row < end;) {
        const uint32_t m = tile_rows_at(row, end, g, most);
        for (uint32_t side = 0; side < 2; ++side) {
          const PackedWeight& weight = side ? up : gate;
          const uint32_t nr = weight.nr;
          for (uint32_t p = 0; p * nr < count; ++p) {
            product[side][p]->tile(row, m, tile);
            add_outliers(*c.gemm[side], weight, in, column / nr + p, row, m, tile);
            for (uint32_t i = 0; i < m; ++i) copy_columns(&both[side][i][p * nr], tile + i * nr, nr);
          }
        }
        for (uint32_t i = 0; i < m; ++i) {
          c.pw->gated(c.gate, both[0][i], both[1][i], count, both[0][i]);
          if (act == nullptr) {
            std::memcpy(out + uint64_t(row + i) * n + column, both[0][i], count * 4);
          } else {
            quantize_block(c, w, both[0][i], n, act, rows, row + i, block);
          }
        }
        row += m;
      }
    }
  }
}

namespace {

void append_row(const Call& c, Worker& w, const SequenceRows& s, uint32_t i, uint32_t head, const float* key,
                const float* value) {
  const uint32_t position = s.first + i;
  kv_store(*c.pw, w.kv[c.layer], s.pages[position / kPageTokens], position % kPageTokens, head, key, value);
}

}  // namespace

/// Query, key and value products of the thread's own heads, then norm, rotation and the cache write for the same heads:
/// no barrier between them. A KV head's key and value belong to one thread.
void run_linear_qkv(const Call& c, Worker& w) {
  const auto t = uint32_t(w.sizes.t);
  const uint32_t d = c.shape.head_dim, heads = c.shape.heads, kv_heads = c.shape.kv_heads;
  const RowsInput in = input(c, w, t);
  const float* table = w.plan.pointer<float>(c.in[4], w.tid, w.small);
  float* out[3];
  for (uint32_t i = 0; i < 3; ++i) out[i] = w.plan.pointer<float>(c.out[i], w.tid, w.small);
  const auto rotate = [&](float* rows, uint32_t width, uint32_t first, uint32_t last, const float* norm) {
    for (uint32_t r = 0; r < t; ++r) {
      const float* cos = table + uint64_t(r) * 2 * c.pairs;
      for (uint32_t h = first; h < last; ++h) {
        float* x = rows + uint64_t(r) * width + h * d;
        if (norm) c.pw->rms_norm(x, norm, d, c.eps, x);
        c.pw->rope(x, cos, cos + c.pairs, c.pairs, c.split_halves);
      }
    }
  };
  const auto product = [&](uint32_t which, uint32_t first, uint32_t last) {
    const PackedWeight& weight = *c.weight[which];
    matmul(*c.gemm[which], weight, in, first * d / weight.nr, last * d / weight.nr,
           [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
             store_tile(tile, weight.nr, panel, row, m, weight.n, weight.n, out[which]);
           });
  };
  // Units: a query head costs one product, a KV head two.
  const Range units = share(heads + 2 * kv_heads, w.tid, w.threads);
  const uint32_t q_first = units.begin < heads ? units.begin : heads, q_last = units.end < heads ? units.end : heads;
  const auto kv_unit = [&](uint32_t u) { return u < heads ? 0 : (u - heads + 1) / 2; };
  const uint32_t kv_first = kv_unit(units.begin), kv_last = w.tid + 1 == w.threads ? kv_heads : kv_unit(units.end);
  if (q_first < q_last) {
    product(0, q_first, q_last);
    rotate(out[0], heads * d, q_first, q_last, c.vector[0]);
  }
  if (kv_first < kv_last) {
    product(1, kv_first, kv_last);
    product(2, kv_first, kv_last);
    rotate(out[1], kv_heads * d, kv_first, kv_last, c.vector[1]);
    for (const SequenceRows& s : w.batch.sequences)
      for (uint32_t i = 0; i < s.rows; ++i)
        for (uint32_t h = kv_first; h < kv_last; ++h) {
          const uint64_t at = (uint64_t(s.row + i) * kv_heads + h) * d;
          append_row(c, w, s, i, h, out[1] + at, out[2] + at);
        }
  }
}

void run_kv_append(const Call& c, Worker& w) {
  const KvLayout& layout = w.kv[c.layer].layout;
  const Range heads = share(layout.kv_heads, w.tid, w.threads);
  const float* k = w.plan.pointer<float>(c.in[1], w.tid, w.small);
  const float* v = w.plan.pointer<float>(c.in[2], w.tid, w.small);
  for (const SequenceRows& s : w.batch.sequences)
    for (uint32_t i = 0; i < s.rows; ++i)
      for (uint32_t h = heads.begin; h < heads.end; ++h) {
        const uint64_t at = (uint64_t(s.row + i) * layout.kv_heads + h) * layout.head_dim;
        append_row(c, w, s, i, h, k + at, v + at);
      }
}

}  // namespace vibee
