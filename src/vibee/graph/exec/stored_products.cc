// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/stored_products.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/kernels/gemm/gemm.h"
#include "vibee/kernels/gemm/quantize_row.h"

namespace vibee {
namespace {

Format format_of(const Node& node) { return *parse_format(node.text("format")); }

/// A weight of a plan: panels, then its numbers as floats, rows one behind the other.
struct StoredWeight {
  PackedWeight panels;
  float* numbers;
};
StoredWeight stored_weight(const TrainPlan& plan, const RoundedWeight& weight) {
  const auto& dims = plan.type(weight.value).dims;
  const auto n = uint32_t(dims[0].n), k = uint32_t(dims[1].n);
  uint8_t* const at = plan.at(weight);
  const PackedWeight panels{weight.format, n, k, panel_rows(weight.format, plan.options().isa), at};
  return {panels, reinterpret_cast<float*>(at + round_up(panels.bytes(), 64))};
}

/// Bytes in which a thread encodes a panel: its rows as floats, then as they are stored.
uint64_t panel_workspace(Format format, uint64_t k, Isa isa) {
  return round_up(panel_rows(format, isa) * (4 * k + info(format).row_bytes(k)), 64);
}

/// Rows of a matrix in f32 or 16 bits, widened.
const float* widen(const TrainWorker& w, const DenseOperand& x, uint32_t row, float* to) {
  if (x.element == Format::f32) return static_cast<const float*>(x.p) + row * x.ld;
  const auto* const from = static_cast<const uint16_t*>(x.p) + row * x.ld;
  (x.element == Format::f16 ? w.pointwise.from_half : w.pointwise.from_bf16)(from, uint32_t(x.ld), to);
  return to;
}

void forward(const Node& node, const TrainWorker& w, const PackedWeight& weight) {
  const TrainCall c{node, w};
  const uint32_t rows = c.rows(c.out_type()), k = weight.k, n = weight.n;
  const DenseOperand x = c.rows_of(0);
  const ActRule rule = act_rule(weight.format);
  const std::span<uint8_t> work = w.plan.products();
  auto* const floats = reinterpret_cast<float*>(work.data());
  const Range mine = w.share_of(rows);
  MatmulInput in;
  in.rows = rows;
  if (rule != ActRule::floats) {
    const uint64_t ready = panel_scratch(gemm_kernel(weight.format, w.plan.options().isa), k, w.plan.options().max_rows,
                                         RowForm::quantized);
    uint8_t* const act = work.data() + round_up((4 * uint64_t(k) + ready) * w.threads, 64);
    in.panels = work.data() + 4 * uint64_t(k) * w.threads + ready * w.tid;
    for (uint32_t r = mine.begin; r < mine.end; ++r)
      quantize_row(w.pointwise, rule, widen(w, x, r, floats + uint64_t(k) * w.tid), k, act_row(act, rows, k, r));
    in.act = act;
  } else if (x.element == Format::f32) {
    in.x = c.in(0);
  } else {
    for (uint32_t r = mine.begin; r < mine.end; ++r) widen(w, x, r, floats + uint64_t(r) * k);
    in.x = floats;
  }
  w.team.barrier();
  const Range panels = w.share_of(weight.panels());
  matmul(gemm_kernel(weight.format, w.plan.options().isa), weight, in, panels.begin, panels.end,
         [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
           const uint32_t column = panel * weight.nr, count = std::min(n - column, weight.nr);
           for (uint32_t i = 0; i < m; ++i)
             std::memcpy(c.out() + uint64_t(row + i) * n + column, tile + i * weight.nr, 4 * uint64_t(count));
         });
}

}  // namespace

Status check_stored_product(const Graph& g, const Node& node) {
  const auto no = [&](std::string_view why) { return error(Code::unsupported, "[{}] {}", info(node.op).name, why); };
  const auto format = parse_format(node.text("format"));
  if (!format.ok()) return no(format.status().message());
  if (!info(*format).encode) return no(fmt::format("format {} can be read, not written", node.text("format")));
  if (node.op != Op::linear && node.op != Op::linear_dx) return no("has no product by a weight that is stored");
  const Type& weight = g.type(node.in[1]);
  if (g.producer(node.in[1]).op != Op::weight || !weight.elem.is_float()) return no("stores weights of floats alone");
  const int64_t k = weight.dims[1].n, block = info(*format).block_elems;
  if (k % block != 0) return no(fmt::format("rows of {} are no blocks of {} ({})", k, block, info(*format).name));
  if (act_rule(*format) == ActRule::row && k > int64_t(kMaxIntegerRow))
    return no(fmt::format("rows of {} have no sum in 31 bits, {} fit", k, kMaxIntegerRow));
  return {};
}

uint64_t stored_product_workspace(const Graph& g, const Node& node, const TrainOptions& o) {
  const auto& dims = g.type(node.in[1]).dims;
  const auto n = uint32_t(dims[0].n), k = uint32_t(dims[1].n);
  const Format format = format_of(node);
  const uint64_t encoding = o.threads * panel_workspace(format, k, o.isa);
  if (node.op == Op::linear_dx) return std::max(encoding, dense_workspace(o.max_rows, k, n, o));
  const uint64_t rows =
      act_rule(format) == ActRule::floats
          ? 4 * uint64_t(k) * o.max_rows
          : round_up((4 * uint64_t(k) + panel_scratch(gemm_kernel(format, o.isa), k, o.max_rows, RowForm::quantized)) *
                         o.threads,
                     64) +
                act_bytes(o.max_rows, k);
  return std::max(encoding, rows);
}

void want_stored_weight(const Graph& g, const Node& node, const TrainOptions& o, std::vector<RoundedWeight>* all) {
  const auto wanted = [&](const RoundedWeight& w) { return w.value == node.in[1] && w.format != Format::f32; };
  if (std::any_of(all->begin(), all->end(), wanted)) return;
  const auto& dims = g.type(node.in[1]).dims;
  const Format format = format_of(node);
  const PackedWeight panels{format, uint32_t(dims[0].n), uint32_t(dims[1].n), panel_rows(format, o.isa)};
  const uint64_t bytes = round_up(panels.bytes(), 64) + round_up(4 * uint64_t(panels.n) * panels.k, 64);
  const uint64_t at = all->empty() ? 0 : all->back().at + all->back().bytes + 64;
  all->push_back({node.in[1], OperandForm::f32, false, UINT32_MAX, at, bytes, format});
}

void store_weight(const TrainWorker& w, const RoundedWeight& weight) {
  const StoredWeight to = stored_weight(w.plan, weight);
  const NumericFormat& format = info(weight.format);
  const uint32_t k = to.panels.k, nr = to.panels.nr;
  // An equal part a thread, whatever the weight: threads are not all at the same one.
  const uint64_t bytes = w.plan.products().size() / w.threads / 64 * 64;
  auto* const rows = reinterpret_cast<float*>(w.plan.products().data() + w.tid * bytes);
  auto* const codes = reinterpret_cast<uint8_t*>(rows + uint64_t(nr) * k);
  const Type& type = w.plan.type(weight.value);
  const void* const p =
      is_packed(type) ? static_cast<const void*>(w.plan.stored(weight.value)) : w.plan.floats(weight.value);
  const DenseOperand x{p, k, false, type.elem.format};
  const Range panels = w.share_of(to.panels.panels());
  for (uint32_t panel = panels.begin; panel < panels.end; ++panel) {
    const uint32_t first = panel * nr, count = std::min(nr, to.panels.n - first);
    for (uint32_t r = 0; r < count; ++r) {
      float* const row = rows + uint64_t(r) * k;
      if (const float* const from = widen(w, x, first + r, row); from != row) std::memcpy(row, from, 4 * uint64_t(k));
    }
    format.encode_rows(rows, count, k, nullptr, codes);
    format.decode_rows(codes, count, k, to.numbers + uint64_t(first) * k);
    pack_panel(weight.format, nr, k, count, codes, w.plan.at(weight) + panel * to.panels.stride());
  }
}

void stored_product(const Node& node, const TrainWorker& w) {
  const auto& all = w.plan.rounded();
  const auto weight = std::find_if(
      all.begin(), all.end(), [&](const RoundedWeight& r) { return r.value == node.in[1] && r.format != Format::f32; });
  const StoredWeight stored = stored_weight(w.plan, *weight);
  if (node.op == Op::linear) return forward(node, w, stored.panels);
  const TrainCall c{node, w};
  dense_product(w, c.rows_of(0), {stored.numbers, stored.panels.k}, c.rows(c.out_type()), c.width(), stored.panels.n,
                c.out(), c.width());
}

}  // namespace vibee
