// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/train_products.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "vibee/base/memory/checked.h"
#include "vibee/formats/float/fp8_e5m2.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/kernels/gemm/bf16_gemm.h"
#include "vibee/kernels/gemm/cutlass_gemm.h"
#include "vibee/kernels/gemm/int8_gemm.h"
#include "vibee/kernels/gemm/round_operand.h"

namespace vibee {
namespace {

OperandForm form_of(const Node& node, std::string_view key) { return *find_operand_form(node.text(key)); }
bool is_weight(const Graph& g, const Node& node) { return g.producer(node.in[1]).op == Op::weight; }
/// Whether depth runs across the stored rows of a product's two inputs.
bool across(Op op, size_t input) {
  return input == 0 ? op == Op::linear_dw : op != Op::linear && op != Op::cross_entropy;
}

ProductOperand operand_of(const TrainWorker& w, ValueId id, bool across) {
  const Type& type = w.plan.type(id);
  const void* p = is_packed(type) ? static_cast<const void*>(w.plan.stored(id)) : w.plan.floats(id);
  const auto stored = uint32_t(value(type.dims[0], {int64_t(w.rows), 0})), width = uint32_t(type.dims[1].n);
  return {p, type.elem.format, width, across, across ? width : stored, across ? stored : width};
}

/// Memory at the beginning of that for products: a float a thread.
uint64_t parts_bytes(uint32_t threads) { return round_up(4 * threads, 64); }
/// The largest of what every thread has; not a number where one has none.
float largest_of(const TrainWorker& w, float mine) {
  auto* const parts = reinterpret_cast<float*>(w.plan.products().data());
  parts[w.tid] = mine;
  w.team.barrier();
  float most = 0;
  for (uint32_t t = 0; t < w.threads; ++t) most = parts[t] > most || std::isnan(parts[t]) ? parts[t] : most;
  w.team.barrier();  // until all have read
  return most;
}
/// A thread's largest size of an operand with a number.
void tell(const TrainWorker& w, int64_t slot, float largest) {
  if (w.loss_only || size_t(slot) >= w.scales.largest.size() || std::isnan(largest)) return;
  std::atomic_ref<float> most(w.scales.largest[size_t(slot)]);
  float before = most.load();
  while (before < largest && !most.compare_exchange_weak(before, largest)) {
  }
}

/// What numbers of an operand with one scale are multiplied by: the scale that it has, or that of itself.
float scale_of(const TrainWorker& w, const ProductOperand& x, OperandForm form, int64_t slot, Range stored) {
  if (size_t(slot) < w.scales.scale.size() && w.scales.scale[size_t(slot)] > 0) return w.scales.scale[size_t(slot)];
  const void* mine = static_cast<const uint8_t*>(x.p) + stored.begin * x.ld * (x.element == Format::f32 ? 4 : 2);
  const float largest = largest_of(
      w, small_float_kernels(w.plan.options().isa).largest(mine, x.element, (stored.end - stored.begin) * x.ld));
  return std::isfinite(largest) ? fp8_scale(largest, info(form).to.largest, 0) : 1;
}
/// Rounds a thread's part of an operand to a form of floats, as bf16 laid out as it is. Returns what sums are
/// multiplied by for it, and the largest size of the part.
float round_floats(const TrainWorker& w, const ProductOperand& x, OperandForm form, int64_t slot, uint16_t* out,
                   float* largest) {
  const SmallFloatKernels& kernels = small_float_kernels(w.plan.options().isa);
  const SmallFloat& to = info(form).to;
  const uint32_t stored = x.across ? x.depth : x.rows;
  const uint64_t bytes = x.element == Format::f32 ? 4 : 2;
  const auto at = [&](uint32_t row) { return static_cast<const uint8_t*>(x.p) + row * x.ld * bytes; };
  *largest = 0;
  if (info(form).kind == OperandKind::scaled) {
    const Range mine = w.share_of(stored);
    const float scale = scale_of(w, x, form, slot, mine);
    *largest =
        kernels.scaled(at(mine.begin), x.element, (mine.end - mine.begin) * x.ld, to, scale, out + mine.begin * x.ld);
    return 1 / scale;
  }
  const uint32_t unit = x.across ? kScaledBlock : 1;
  const Range units = w.share_of((stored + unit - 1) / unit);
  for (uint32_t u = units.begin; u < units.end; ++u) {
    const uint32_t row = u * unit;
    if (x.across)
      kernels.across(at(row), x.element, x.ld, std::min(unit, stored - row), uint32_t(x.ld), to, out + row * x.ld);
    else
      kernels.along(at(row), x.element, x.depth, to, out + row * x.ld);
  }
  return 1;
}

void int8_weight(const TrainWorker& w, const RoundedWeight& weight, const ProductOperand& x) {
  const Isa isa = w.plan.options().isa;
  float largest = -1;
  if (weight.form == OperandForm::int8_tensor) largest = largest_of(w, int8_largest(x, w.share_of(x.rows), isa));
  const PackedPanels panels{w.plan.at(weight), x.rows, x.depth};
  int8_pack(x, largest, w.share_of(panels.panels()), isa, panels);
}

void int8_rows(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Isa isa = w.plan.options().isa;
  const ProductOperand a = operand_of(w, node.in[0], across(node.op, 0));
  const PackedPanels b{w.plan.at(*w.plan.rounded_weight(node)), c.width(), a.depth};
  const uint32_t tile = int8_tile_rows(isa);
  const Range tiles = w.share_of((a.rows + tile - 1) / tile);
  const uint64_t bytes = int8_workspace(a.depth, isa);
  int8_product(a, b, {tiles.begin * tile, std::min(a.rows, tiles.end * tile)}, isa, c.out(), c.width(),
               w.plan.products().subspan(parts_bytes(w.threads) + w.tid * bytes, bytes));
}

/// The sizes of a product in bf16; the gradient of a weight packs both operands.
struct Bf16Product {
  uint32_t n, k;
  uint64_t panels;  ///< bytes, where b is no weight
};
Bf16Product bf16_sizes(const Graph& g, const Node& node, uint32_t rows) {
  const auto dim = [&](size_t d) { return uint32_t(value(g.type(node.in[1]).dims[d], {int64_t(rows), 0})); };
  const bool turned = across(node.op, 1);
  const Bf16Product p{dim(turned ? 1 : 0), dim(turned ? 0 : 1), 0};
  return {p.n, p.k, is_weight(g, node) ? 0 : bf16_panel_bytes(p.n, p.k)};
}
void bf16_rows(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Isa isa = w.plan.options().isa;
  const ProductOperand a = operand_of(w, node.in[0], across(node.op, 0));
  const Bf16Product p = bf16_sizes(w.plan.graph(), node, w.rows);
  std::span<uint8_t> work = w.plan.products().subspan(parts_bytes(w.threads));
  const RoundedWeight* const weight = w.plan.rounded_weight(node);
  const PackedPanels b = bf16_panels(weight ? w.plan.at(*weight) : work.data(), p.n, p.k);
  if (!weight) {
    bf16_pack(operand_of(w, node.in[1], across(node.op, 1)), w.share_of(b.panels()), isa, b);
    w.team.barrier();
  }
  const uint32_t tile = bf16_tile_rows(isa);
  const Range tiles = w.share_of((a.rows + tile - 1) / tile);
  const uint64_t bytes = bf16_workspace(a.depth, isa);
  bf16_product(a, b, {tiles.begin * tile, std::min(a.rows, tiles.end * tile)}, isa, c.out(), p.n,
               work.subspan(p.panels + w.tid * bytes, bytes));
}

/// The sizes of a product of rounded floats, and bytes of its operands that are rounded for it alone.
struct FloatProduct {
  GemmProblem problem;
  uint64_t a_bytes, b_bytes;
};
FloatProduct float_product(const Graph& g, const Node& node, uint32_t rows) {
  const auto dim = [&](size_t i, size_t d) { return uint32_t(value(g.type(node.in[i]).dims[d], {int64_t(rows), 0})); };
  const bool a = across(node.op, 0), b = across(node.op, 1);
  GemmProblem p{dim(0, a ? 1 : 0), dim(1, b ? 1 : 0), dim(0, a ? 0 : 1), {Format::bf16, a}, {Format::bf16, !b}, {}};
  const auto bytes = [&](size_t i) { return round_up(2 * uint64_t(dim(i, 0)) * dim(i, 1), 64); };
  return {p, bytes(0), is_weight(g, node) ? 0 : bytes(1)};
}

/// Of slopes so many columns are packed at once: with the panels that they meet they stay in a second-level cache.
constexpr uint32_t kLossDepth = 4096;
uint64_t loss_workspace(uint32_t n, uint32_t k, Isa isa) {
  const auto bytes = [&](uint32_t depth) { return bf16_workspace(depth, isa); };
  return std::max({bytes(k), bytes(std::min(n, kLossDepth)), bytes(loss_rows(n))});
}
/// The head of a loss, with depth across its rows or along them; what a thread works in.
struct LossHead {
  LossHead(const Node& loss, const TrainWorker& w) : w(w), weight(loss.in[1]) {
    const auto& dims = w.plan.type(weight).dims;
    n = uint32_t(dims[0].n), k = uint32_t(dims[1].n), isa = w.plan.options().isa;
    const uint64_t bytes = loss_workspace(n, k, isa), panels = bf16_panel_bytes(k, loss_rows(n));
    shared = w.plan.products().subspan(parts_bytes(w.threads), panels);
    work = w.plan.products().subspan(parts_bytes(w.threads) + panels + w.tid * bytes, bytes);
  }
  PackedPanels panels(bool turned) const {
    const auto all = w.plan.rounded();
    const auto found = std::find_if(all.begin(), all.end(), [&](const RoundedWeight& r) {
      return r.value == weight && r.form == OperandForm::bf16 && r.across == turned;
    });
    VIBEE_CHECK(found != all.end());
    return bf16_panels(w.plan.at(*found), turned ? k : n, turned ? n : k);
  }
  const TrainWorker& w;
  ValueId weight;
  uint32_t n, k;
  Isa isa;
  std::span<uint8_t> shared, work;
};

}  // namespace

void rounded_logits(const Node& loss, const TrainWorker& w, const float* x, uint32_t rows, float* out) {
  const LossHead head(loss, w);
  const PackedPanels b = head.panels(false);
  const Range mine = w.share_of(b.panels());
  if (mine.begin == mine.end) return;
  bf16_product({x, Format::f32, head.k, false, rows, head.k}, b.part(mine.begin, mine.end, 0, head.k), {0, rows},
               head.isa, out + kPackedPanel * mine.begin, head.n, head.work);
}

void rounded_loss_dx(const Node& loss, const TrainWorker& w, const float* g, uint32_t rows, float* out) {
  const LossHead head(loss, w);
  const PackedPanels b = head.panels(true);
  const Range mine = w.share_of(b.panels());
  if (mine.begin == mine.end) return;
  for (uint32_t at = 0; at < head.n; at += kLossDepth) {
    const uint32_t depth = std::min(kLossDepth, head.n - at);
    bf16_product({g + at, Format::f32, head.n, false, rows, depth}, b.part(mine.begin, mine.end, at, depth), {0, rows},
                 head.isa, out + kPackedPanel * mine.begin, head.k, head.work, at > 0);
  }
}

void rounded_loss_dw(const Node& loss, const TrainWorker& w, const float* g, const float* x, uint32_t rows, float* out,
                     bool goes_on) {
  const LossHead head(loss, w);
  const PackedPanels b = bf16_panels(head.shared.data(), head.k, rows);
  bf16_pack({x, Format::f32, head.k, true, head.k, rows}, w.share_of(b.panels()), head.isa, b);
  w.team.barrier();
  const uint32_t tile = bf16_tile_rows(head.isa);
  const Range tiles = w.share_of((head.n + tile - 1) / tile);
  bf16_product({g, Format::f32, head.n, true, head.n, rows}, b,
               {tiles.begin * tile, std::min(head.n, tiles.end * tile)}, head.isa, out, head.k, head.work, goes_on);
}

Status check_rounded_product(const Graph& g, const Node& node) {
  if (is_rounded_loss(node)) {
    const bool nearest = form_of(node, "a") == OperandForm::bf16 && form_of(node, "b") == OperandForm::bf16;
    if (nearest && is_weight(g, node) && g.type(node.in[1]).elem.is_float()) return {};
    return error(Code::unsupported, "[{}] rounds to bf16 alone, and weights of floats", info(node.op).name);
  }
  const auto no = [&](std::string_view why) { return error(Code::unsupported, "[{}] {}", info(node.op).name, why); };
  const OperandForm a = form_of(node, "a"), b = form_of(node, "b");
  if (info(a).kind != info(b).kind || info(a).kind == OperandKind::plain)
    return no("rounds its operands to forms that are not multiplied by each other");
  if (is_weight(g, node) && !g.type(node.in[1]).elem.is_float()) return no("rounds weights of floats alone");
  if (info(a).kind != OperandKind::integer) return {};
  if (a != OperandForm::int8_row) return no("multiplies rows with a scale each");
  if (!is_weight(g, node)) return no("multiplies 8-bit integers by weights alone");
  const int64_t depth = g.type(node.in[1]).dims[node.op == Op::linear ? 1 : 0].n;
  if (depth > int64_t(kInt8MostDepth))
    return no(fmt::format("sums {} products of 8-bit integers, {} fit", depth, kInt8MostDepth));
  return {};
}

uint64_t rounded_product_workspace(const Graph& g, const Node& node, const TrainOptions& o) {
  const uint64_t parts = parts_bytes(o.threads);
  if (is_rounded_loss(node)) {
    const auto& head = g.type(node.in[1]).dims;
    const auto n = uint32_t(head[0].n), k = uint32_t(head[1].n), rows = loss_rows(n);
    return parts + bf16_panel_bytes(k, rows) + o.threads * loss_workspace(n, k, o.isa);
  }
  if (info(form_of(node, "a")).kind == OperandKind::integer) {
    const auto depth = uint32_t(g.type(node.in[1]).dims[node.op == Op::linear ? 1 : 0].n);
    return parts + o.threads * int8_workspace(depth, o.isa);
  }
  if (info(form_of(node, "a")).kind == OperandKind::nearest) {
    const Bf16Product p = bf16_sizes(g, node, o.max_rows);
    return parts + p.panels + o.threads * bf16_workspace(p.k, o.isa);
  }
  const FloatProduct p = float_product(g, node, o.max_rows);
  return parts + p.a_bytes + p.b_bytes + dense_workspace(p.problem.m, p.problem.n, p.problem.k, o);
}

const RoundedWeight* find_rounded_weight(const Graph& g, const Node& node, std::span<const RoundedWeight> all) {
  if (!is_weight(g, node)) return nullptr;
  const OperandForm form = form_of(node, "b");
  const bool any_way = info(form).kind == OperandKind::scaled;  // codes are of elements, whatever is summed over
  for (const RoundedWeight& w : all)
    if (w.value == node.in[1] && w.form == form && (any_way || w.across == across(node.op, 1))) return &w;
  return nullptr;
}

void want_rounded_weight(const Graph& g, const Node& node, std::vector<RoundedWeight>* all) {
  if (node.op == Op::cross_entropy_dw || !is_weight(g, node) || find_rounded_weight(g, node, *all) != nullptr) return;
  const auto& dims = g.type(node.in[1]).dims;
  const OperandForm form = form_of(node, "b");
  const bool turned = across(node.op, 1);
  const auto rows = uint32_t(dims[turned ? 1 : 0].n), depth = uint32_t(dims[turned ? 0 : 1].n);
  const OperandKind kind = info(form).kind;
  const uint64_t bytes = kind == OperandKind::integer   ? int8_panel_bytes(rows, depth)
                         : kind == OperandKind::nearest ? bf16_panel_bytes(rows, depth)
                                                        : round_up(2 * uint64_t(rows) * depth, 64);
  const uint64_t at = all->empty() ? 0 : all->back().at + all->back().bytes + 64;
  all->push_back({node.in[1], form, turned, uint32_t(node.integer("b_scale", -1)), at, bytes});
}

void round_weight(const TrainWorker& w, const RoundedWeight& weight) {
  const ProductOperand x = operand_of(w, weight.value, weight.across);
  if (info(weight.form).kind == OperandKind::integer) return int8_weight(w, weight, x);
  if (info(weight.form).kind == OperandKind::nearest) {
    const PackedPanels panels = bf16_panels(w.plan.at(weight), x.rows, x.depth);
    return bf16_pack(x, w.share_of(panels.panels()), w.plan.options().isa, panels);
  }
  float mine;
  const float by = round_floats(w, x, weight.form, weight.slot, reinterpret_cast<uint16_t*>(w.plan.at(weight)), &mine);
  const float largest = largest_of(w, mine);
  if (w.tid != 0) return;
  auto* const behind = reinterpret_cast<float*>(w.plan.at(weight) + weight.bytes);
  behind[0] = by, behind[1] = largest;
}

void tell_weights(const TrainWorker& w) {
  for (const RoundedWeight& weight : w.plan.rounded())
    if (info(weight.form).kind == OperandKind::scaled)
      tell(w, weight.slot, reinterpret_cast<const float*>(w.plan.at(weight) + weight.bytes)[1]);
}

void rounded_product(const Node& node, const TrainWorker& w) {
  if (info(form_of(node, "a")).kind == OperandKind::integer) return int8_rows(node, w);
  if (info(form_of(node, "a")).kind == OperandKind::nearest) return bf16_rows(node, w);
  const TrainCall c{node, w};
  FloatProduct p = float_product(w.plan.graph(), node, w.rows);
  std::span<uint8_t> work = w.plan.products().subspan(parts_bytes(w.threads));
  auto* const a = reinterpret_cast<uint16_t*>(work.data());
  float largest;
  const auto slot = [&](std::string_view key) { return node.integer(key, -1); };
  p.problem.alpha =
      round_floats(w, operand_of(w, node.in[0], across(node.op, 0)), form_of(node, "a"), slot("a_scale"), a, &largest);
  tell(w, slot("a_scale"), largest);
  work = work.subspan(p.a_bytes);
  const uint16_t* b = reinterpret_cast<const uint16_t*>(work.data());
  if (const RoundedWeight* const weight = w.plan.rounded_weight(node)) {
    b = reinterpret_cast<const uint16_t*>(w.plan.at(*weight));
    p.problem.alpha *= *reinterpret_cast<const float*>(w.plan.at(*weight) + weight->bytes);
  } else {
    p.problem.alpha *= round_floats(w, operand_of(w, node.in[1], across(node.op, 1)), form_of(node, "b"),
                                    slot("b_scale"), reinterpret_cast<uint16_t*>(work.data()), &largest);
    tell(w, slot("b_scale"), largest);
    work = work.subspan(p.b_bytes);
  }
  w.team.barrier();
  const auto plan = GemmPlan::make(p.problem, w.threads, w.plan.options().isa);
  VIBEE_CHECK(plan.ok(), "{}", plan.status().message());  // the graph's types have been verified
  GemmData data;
  data.a = {a, 0, Format::bf16}, data.b = {b, 0, Format::bf16};
  data.d = {c.out(), size_t(p.problem.m) * p.problem.n};
  plan->run_thread(data, w.tid, w.team, work);
}

}  // namespace vibee
