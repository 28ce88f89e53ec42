// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/gemm_problem.h"

#include <array>
#include <limits>
#include <numeric>
#include <string_view>

#include "vibee/base/memory/checked.h"

namespace vibee {
namespace {

/// Elements from the first to behind the last of `rows` stored rows of `columns`, in `items` items; empty: overflow.
std::optional<uint64_t> extent(uint64_t rows, uint64_t columns, uint64_t ld, uint64_t items, uint64_t stride) {
  if (rows == 0 || columns == 0 || items == 0) return 0;
  const auto one = checked_mul(rows - 1, ld), all = checked_mul(items - 1, stride);
  const auto last = one ? checked_add(*one, columns) : one;
  return last && all ? checked_add(*last, *all) : std::nullopt;
}

struct Stored {
  uint64_t rows, columns, items;
};
Stored stored_a(const GemmProblem& p) {
  const uint64_t items = p.grouping == GemmGroups::none ? p.batch : 1;
  return p.a.transposed ? Stored{p.k, p.m, items} : Stored{p.m, p.k, items};
}
Stored stored_b(const GemmProblem& p) {
  const uint64_t items = p.grouping == GemmGroups::depth ? 1 : p.items();
  return p.b.transposed ? Stored{p.n, p.k, items} : Stored{p.k, p.n, items};
}
Stored stored_d(const GemmProblem& p) { return {p.m, p.n, p.grouping == GemmGroups::rows ? 1 : p.items()}; }

Status fill(std::string_view operand, const Stored& s, GemmLayout& layout) {
  if (layout.ld == 0) layout.ld = s.columns;
  if (layout.ld < s.columns)
    return error(Code::invalid, "gemm: the leading dimension of {} is {}, its stored rows have {} elements", operand,
                 layout.ld, s.columns);
  const auto one = checked_mul(s.rows, layout.ld);
  if (!layout.stride) layout.stride = one.value_or(std::numeric_limits<uint64_t>::max());
  const auto all = extent(s.rows, s.columns, layout.ld, s.items, *layout.stride);
  if (!one || !all || *all > std::numeric_limits<int64_t>::max() / sizeof(float))
    return error(Code::invalid, "gemm: {} of {} x {} in {} items with leading dimension {} is more than memory",
                 operand, s.rows, s.columns, s.items, layout.ld);
  return {};
}

struct Bytes {
  std::string_view name;
  const void* data = nullptr;
  uint64_t bytes = 0;
  bool overlaps(const Bytes& o) const {
    const auto p = reinterpret_cast<uintptr_t>(data), q = reinterpret_cast<uintptr_t>(o.data);
    return bytes > 0 && o.bytes > 0 && p < q + o.bytes && q < p + bytes;
  }
};
Bytes bytes_of(std::string_view name, std::span<const float> s) { return {name, s.data(), s.size_bytes()}; }

Status wants(std::string_view operand, uint64_t have, uint64_t need, std::string_view why) {
  if (have >= need) return {};
  return error(Code::invalid, "gemm: {} has {} elements, {} needs {}", operand, have, why, need);
}
Status exactly(std::string_view operand, uint64_t have, bool used, uint64_t need) {
  if (!used || have == need) return {};
  return error(Code::invalid, "gemm: {} has {} values, the product has {} columns to give one each", operand, have,
               need);
}

Status check_b(const GemmProblem& p, const GemmData& data) {
  if (!p.packed_b) {
    if (data.b.element != p.b.element)
      return error(Code::invalid, "gemm: B is {}, the problem says {}", info(data.b.element).name,
                   info(p.b.element).name);
    const Stored s = stored_b(p);
    return wants("B", data.b.elements, *extent(s.rows, s.columns, p.b.ld, s.items, *p.b.stride), "its layout");
  }
  if (data.packed == nullptr) return error(Code::invalid, "gemm: the problem wants B in panels, there are none");
  const PackedWeight& w = *data.packed;
  if (w.n != p.n || w.k != p.k || !is_plain_float(w.format) || w.nr != 16)
    return error(Code::invalid,
                 "gemm: the panels are {} of {} x {} by {} rows, the product needs floats of {} x {} by 16",
                 info(w.format).name, w.n, w.k, w.nr, p.n, p.k);
  if (w.experts != 1 && w.experts != p.items())
    return error(Code::invalid, "gemm: the panels are of {} matrices, the product has {} items", w.experts, p.items());
  return {};
}

Status check_groups(const GemmProblem& p, std::span<const uint32_t> groups) {
  if (p.grouping == GemmGroups::none) return {};
  if (groups.size() != p.groups)
    return error(Code::invalid, "gemm: {} group sizes are given, the problem has {} groups", groups.size(), p.groups);
  const uint64_t sum = std::accumulate(groups.begin(), groups.end(), uint64_t(0));
  const bool rows = p.grouping == GemmGroups::rows;
  if (sum != (rows ? p.m : p.k))
    return error(Code::invalid, "gemm: the {} group sizes sum to {}, there are {} {}", groups.size(), sum,
                 rows ? p.m : p.k, rows ? "rows" : "of depth");
  return {};
}

}  // namespace

Result<GemmProblem> checked(GemmProblem p) {
  for (const auto& [layout, operand] : {std::pair{&p.a, "A"}, {&p.b, "B"}, {&p.d, "D"}})
    if (layout->element != Format::f32 &&
        ((layout->element != Format::bf16 && layout->element != Format::f16) || layout == &p.d))
      return error(Code::unsupported, "gemm: {} of {}; A and B may be f32, bf16 or f16, D is f32", operand,
                   info(layout->element).name);
  if (p.d.transposed) return error(Code::unsupported, "gemm: D is stored by rows; swap A and B for its transpose");
  if (p.batch == 0) return error(Code::invalid, "gemm: a batch of 0 items");
  if (p.grouping != GemmGroups::none && p.batch != 1)
    return error(Code::unsupported, "gemm: groups inside a batch of {}; make the batch part of the groups", p.batch);
  if (p.grouping == GemmGroups::none && p.groups != 0)
    return error(Code::invalid, "gemm: {} groups, and neither rows nor depth to divide", p.groups);
  if (p.grouping == GemmGroups::depth && p.packed_b)
    return error(Code::unsupported, "gemm: groups of depth cut B, which cannot be in panels");
  VIBEE_TRY(fill("A", stored_a(p), p.a));
  VIBEE_TRY(fill("B", stored_b(p), p.b));
  VIBEE_TRY(fill("D", stored_d(p), p.d));
  if (stored_d(p).items > 1 && *p.d.stride < extent(p.m, p.n, p.d.ld, 1, 0))
    return error(Code::invalid, "gemm: items of D are {} elements apart, one takes {}", *p.d.stride,
                 *extent(p.m, p.n, p.d.ld, 1, 0));
  if (p.goes_on && (p.alpha != 1 || p.beta != 0 || p.epilogue.residual))
    return error(Code::unsupported, "gemm: chains that go on from D take no alpha, beta or residual");
  return p;
}

Status check_operands(const GemmProblem& p, const GemmData& data) {
  VIBEE_TRY(check_groups(p, data.groups));
  if (data.a.element != p.a.element)
    return error(Code::invalid, "gemm: A is {}, the problem says {}", info(data.a.element).name,
                 info(p.a.element).name);
  const Stored a = stored_a(p), d = stored_d(p);
  VIBEE_TRY(wants("A", data.a.elements, *extent(a.rows, a.columns, p.a.ld, a.items, *p.a.stride), "its layout"));
  VIBEE_TRY(check_b(p, data));
  const uint64_t like_d = *extent(d.rows, d.columns, p.d.ld, d.items, *p.d.stride);
  VIBEE_TRY(wants("D", data.d.size(), like_d, "its layout"));
  const GemmEpilogue& e = p.epilogue;
  if (p.beta != 0) VIBEE_TRY(wants("C", data.c.size(), like_d, "the layout of D"));
  if (e.residual) VIBEE_TRY(wants("residual", data.residual.size(), like_d, "the layout of D"));
  if (e.save_pre) VIBEE_TRY(wants("pre", data.pre.size(), like_d, "the layout of D"));
  if (data.bias.size() != p.n) VIBEE_TRY(exactly("bias", data.bias.size(), e.bias, uint64_t(p.n) * p.items()));
  VIBEE_TRY(exactly("column_sum", data.column_sum.size(), e.column_sum, uint64_t(p.n) * p.items()));

  const auto input = [](std::string_view name, const GemmInput& in) {
    return Bytes{name, in.data, in.elements * (in.element == Format::f32 ? 4u : 2u)};
  };
  const Bytes outputs[] = {bytes_of("D", data.d), bytes_of("pre", e.save_pre ? data.pre : std::span<float>()),
                           bytes_of("column_sum", e.column_sum ? data.column_sum : std::span<float>())};
  const Bytes packed{"B", p.packed_b ? data.packed->data : nullptr, p.packed_b ? data.packed->bytes() : 0};
  const Bytes inputs[] = {input("A", data.a), p.packed_b ? packed : input("B", data.b),
                          bytes_of("bias", e.bias ? data.bias : std::span<const float>()),
                          bytes_of("C", p.beta != 0 ? data.c : std::span<const float>()),
                          bytes_of("residual", e.residual ? data.residual : std::span<const float>())};
  for (const Bytes& out : outputs) {
    for (const Bytes& in : inputs) {
      const bool like = in.name == "C" || in.name == "residual";
      if (out.overlaps(in) && !(like && out.name == "D" && in.data == out.data))
        return error(Code::invalid, "gemm: {} ({} bytes) overlaps {} ({} bytes){}", out.name, out.bytes, in.name,
                     in.bytes, like ? "; it has to be D itself or apart from it" : "");
    }
    for (const Bytes& other : outputs)
      if (&other != &out && out.overlaps(other))
        return error(Code::invalid, "gemm: {} ({} bytes) overlaps {} ({} bytes)", out.name, out.bytes, other.name,
                     other.bytes);
  }
  return {};
}

}  // namespace vibee
