// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cutlass_gemm.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/memory/checked.h"

namespace vibee {
namespace {

// A block of B is depth x columns: a panel pair of it (128 KiB) is read once a register tile from the second-level
// cache, the block itself stays in the last level. Long blocks win over what fits the first level: a tile begins and
// ends once a block, and tiles that end within L1's depth of 256 lost 5 % (Zen 5, 2026-11-29).
constexpr uint32_t kDepth = 1024, kColumns = 4096, kColumnsOfItem = 1024;
// With one tile of rows B is read once and nothing is gained by keeping it: longer streams are.
constexpr uint32_t kLongDepth = 4096;
constexpr uint32_t kTiles = 64;  // most register tiles in a block of A
constexpr uint32_t kSlack = 16;  // what packing writes behind the last row

constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }
uint64_t bytes_of(Format element) { return element == Format::f32 ? 4 : 2; }
/// A block of A: half of the second-level cache.
uint64_t block_floats() {
  static const uint64_t half = [] {
    const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return std::clamp<uint64_t>(bytes > 0 ? uint64_t(bytes) : 1u << 20, 256u << 10, 2u << 20) / 2 / sizeof(float);
  }();
  return half;
}
const void* at(const void* data, uint64_t element, Format format) {
  return static_cast<const uint8_t*>(data) + element * bytes_of(format);
}

}  // namespace

/// One product of the problem, as addresses.
struct GemmPlan::Item {
  uint32_t m, n, k;
  const void *a, *b;
  const uint8_t* panels;  ///< packed before, or null
  uint64_t panel_bytes;
  Format panel_format;
  DenseFinish finish;
};

struct GemmPlan::Space {
  float *a, *b, *sums;
};

/// A thread's part of one block of columns and depth.
struct GemmPlan::Block {
  Range rows, panels;    ///< of the item
  uint32_t first_panel;  ///< of the block of columns
  uint32_t at, k;        ///< depth
  const uint8_t* b;      ///< panel `panels.begin`
  uint64_t panel_bytes;
  Format format;
  uint64_t sums_ld;
};

Result<GemmPlan> GemmPlan::make(const GemmProblem& problem, uint32_t threads, Isa isa) {
  VIBEE_CHECK(threads > 0);
  GemmPlan plan;
  VIBEE_ASSIGN(plan.problem_, checked(problem));
  const GemmProblem& p = plan.problem_;
  plan.code_ = dense_kernel(isa).code;
  plan.threads_ = threads;
  // Whole items a thread where none is left to wait for long: at most a tenth of the time. Groups are dealt by what
  // they cost, few of them cut between columns, so nobody waits before the end.
  plan.by_items_ =
      threads > 1 && (p.grouping != GemmGroups::none ||
                      (p.batch > 1 && uint64_t(ceil_div(p.batch, threads)) * threads * 10 <= uint64_t(p.batch) * 11));
  plan.sums_in_d_ = p.beta == 0 && !p.epilogue.residual;
  const uint64_t deepest = std::min(p.k, p.packed_b ? kLongDepth : kDepth);
  plan.a_floats_ = round_up(
      std::min(p.m * deepest, std::max(block_floats(), plan.code_->single_rows * deepest)) + kSlack, kDensePanel);
  const uint32_t columns = plan.by_items_ ? kColumnsOfItem : kColumns;
  const uint64_t width = round_up(p.packed_b ? p.n : std::min(p.n, columns), kDensePanel * plan.code_->panels);
  if (!p.packed_b) plan.b_floats_ = width * std::min(p.k, kDepth);
  if (!plan.sums_in_d_ && p.k > kDepth) plan.sum_floats_ = p.m * width;
  return plan;
}

uint64_t GemmPlan::workspace() const {
  return (threads_ * a_floats_ + (by_items_ ? threads_ : 1) * (b_floats_ + sum_floats_)) * sizeof(float);
}

GemmPlan::Space GemmPlan::space(std::span<uint8_t> workspace, uint32_t tid) const {
  VIBEE_CHECK(workspace.size() >= this->workspace() && reinterpret_cast<uintptr_t>(workspace.data()) % 64 == 0,
              "a workspace of {} bytes at {}, {} are needed", workspace.size(), uintptr_t(workspace.data()),
              this->workspace());
  float* base = reinterpret_cast<float*>(workspace.data());
  float* shared = base + threads_ * a_floats_ + (by_items_ ? tid : 0) * (b_floats_ + sum_floats_);
  return {base + tid * a_floats_, shared, shared + b_floats_};
}

GemmPlan::Item GemmPlan::item(const GemmData& data, uint32_t index, uint64_t before) const {
  const GemmProblem& p = problem_;
  Item it{p.m, p.n, p.alpha == 0 ? 0 : p.k, data.a.data, data.b.data, nullptr, 0, Format::f32, {}};
  uint64_t a = 0, b = index * *p.b.stride, d = index * *p.d.stride;
  if (p.grouping == GemmGroups::none) {
    a = index * *p.a.stride;
  } else {
    const bool rows = p.grouping == GemmGroups::rows;
    if (rows) {
      it.m = data.groups[index];
      d = before * p.d.ld;
    } else {
      it.k = p.alpha == 0 ? 0 : data.groups[index];
      b = p.b.transposed ? before : before * p.b.ld;
    }
    a = p.a.transposed == rows ? before : before * p.a.ld;
  }
  it.a = at(data.a.data, a, p.a.element);
  if (p.packed_b) {
    const PackedWeight& w = *data.packed;
    const uint32_t expert = w.experts == 1 ? 0 : index;
    it.panels = w.data + w.stride() * w.panels() * expert;
    it.panel_bytes = w.stride();
    it.panel_format = w.format;
  } else {
    it.b = at(data.b.data, b, p.b.element);
  }
  const GemmEpilogue& e = p.epilogue;
  it.finish.alpha = p.alpha;
  it.finish.beta = p.beta;
  it.finish.d = data.d.data() + d;
  it.finish.ld = p.d.ld;
  if (p.beta != 0) it.finish.c = data.c.data() + d;
  if (e.bias) it.finish.bias = data.bias.data() + (data.bias.size() == p.n ? 0 : uint64_t(index) * p.n);
  if (e.residual) it.finish.residual = data.residual.data() + d;
  if (e.save_pre) it.finish.pre = data.pre.data() + d;
  if (e.column_sum) it.finish.column_sum = data.column_sum.data() + uint64_t(index) * p.n;
  it.finish.activation = e.activation;
  return it;
}

uint32_t GemmPlan::depth(const Item& it) const {
  const uint32_t most = it.panels && it.m <= code_->single_rows ? kLongDepth : kDepth;
  return ceil_div(it.k, std::max(1u, ceil_div(it.k, most)));
}

// Cycles of the AVX-512 tile: 16 multiply-adds in half a cycle, a tile takes as long as one of 4 rows at least; packing
// and reading B as measured on Zen 5.
constexpr double kPack = 0.3, kRead = 0.12, kBarrier = 6000;

/// Rows x columns of threads.
GemmPlan::Grid GemmPlan::grid(const Item& it, uint32_t threads) const {
  const uint32_t width = kDensePanel * code_->panels;
  Grid best{1, threads};
  double least = 0;
  for (uint32_t rows = 1; rows <= threads; ++rows) {
    if (threads % rows != 0 || (rows > 1 && it.finish.column_sum)) continue;
    const double r = ceil_div(it.m, rows), c = ceil_div(ceil_div(it.n, width), threads / rows) * width, k = it.k;
    double cycles = k * (std::max(r, 4.0) * c / 32 + kPack * r + kRead * c);
    if (!it.panels) cycles += kPack * k * c / rows + (rows > 1 ? 2 * kBarrier * (1 + it.k / kDepth) : 0);
    if (rows == 1 || cycles < least) {
      best = {rows, threads / rows};
      least = cycles;
    }
  }
  return best;
}

void GemmPlan::pack_b(const Item& it, Range panels, uint32_t first, uint32_t from, uint32_t k, float* out) const {
  const GemmLayout& b = problem_.b;
  const uint32_t column = panels.begin * kDensePanel;
  if (panels.begin == panels.end) return;
  code_->pack_panels(at(it.b, b.transposed ? column * b.ld + from : from * b.ld + column, b.element), b.element, b.ld,
                     b.transposed, std::min(it.n, panels.end * kDensePanel) - column, k,
                     out + uint64_t(panels.begin - first) * k * kDensePanel);
}

template <class Barrier>
void GemmPlan::multiply(const Item& it, uint32_t tid, uint32_t threads, const Space& space, Barrier&& barrier) const {
  const Grid g = grid(it, threads);
  const uint32_t my_row = tid / g.columns, my_column = tid % g.columns, unit = code_->panels;
  const uint32_t panels = ceil_div(it.n, kDensePanel), k_block = depth(it);
  const uint32_t n_block = it.panels ? panels : (by_items_ ? kColumnsOfItem : kColumns) / kDensePanel;
  bool first_use = true;
  for (uint32_t j = 0; j < panels; j += n_block) {
    const uint32_t some = std::min(n_block, panels - j);
    Range mine = share(ceil_div(some, unit), my_column, g.columns);
    mine = {j + mine.begin * unit, std::min(j + mine.end * unit, j + some)};
    for (uint32_t from = 0; from == 0 || from < it.k; from += k_block) {
      const uint32_t k = std::min(k_block, it.k - from);
      Block block{share(it.m, my_row, g.rows),       mine, j, from, k, nullptr, 0, Format::f32,
                  round_up(some, unit) * kDensePanel};
      if (it.panels) {
        block.panel_bytes = it.panel_bytes;
        block.format = it.panel_format;
        block.b = it.panels + mine.begin * it.panel_bytes + uint64_t(from) * kDensePanel * bytes_of(it.panel_format);
      } else {
        // Those that multiply by the same columns pack them together; where panels lie changes with the block.
        if (threads > 1 && !first_use) barrier();
        first_use = false;
        const Range part = share(mine.end - mine.begin, my_row, g.rows);
        pack_b(it, {mine.begin + part.begin, mine.begin + part.end}, j, from, k, space.b);
        if (g.rows > 1) barrier();
        block.panel_bytes = uint64_t(k) * kDensePanel * sizeof(float);
        block.b = reinterpret_cast<const uint8_t*>(space.b) + (mine.begin - j) * block.panel_bytes;
      }
      compute(it, block, space);
      if (k_block == 0) break;
    }
  }
}

/// Rows are dealt evenly to tiles: there is no ragged last one.
struct GemmPlan::Tiles {
  Range rows;       ///< of the item
  uint32_t count;   ///< of tiles over them
  uint32_t panels;  ///< most of a tile
  Range at(uint32_t t) const {
    const Range r = share(rows.end - rows.begin, t, count);
    return {rows.begin + r.begin, rows.begin + r.end};
  }
};

void GemmPlan::pack_a(const Item& it, const Tiles& tiles, Range mine, uint32_t from, uint32_t k, float* out) const {
  const GemmLayout& a = problem_.a;
  for (uint32_t t = mine.begin; t < mine.end; ++t) {
    const Range r = tiles.at(t);
    const uint32_t m = r.end - r.begin;
    // Lanes behind a tile's are overwritten by what comes after: of a tall one by its first 16 rows, so they come last.
    for (uint32_t top = (m - 1) / kDensePanel * kDensePanel + kDensePanel; top > 0; top -= kDensePanel) {
      const uint32_t row = r.begin + top - kDensePanel;
      const uint64_t offset = a.transposed ? uint64_t(from) * a.ld + row : row * a.ld + from;
      code_->pack(at(it.a, offset, a.element), a.element, a.ld, !a.transposed, std::min(kDensePanel, r.end - row),
                  it.m - row, k, m, out + (top - kDensePanel));
    }
    out += uint64_t(m) * k;
  }
}

void GemmPlan::compute(const Item& it, const Block& block, const Space& space) const {
  const uint32_t height = block.rows.end - block.rows.begin;
  const bool tall = height > code_->rows && height <= code_->single_rows;
  const uint32_t most = tall ? height : code_->rows;
  const Tiles tiles{block.rows, ceil_div(height, most), tall ? 1 : code_->panels};
  const uint64_t fit = block_floats() / (uint64_t(most) * std::max(block.k, 1u));
  const uint32_t blocks = ceil_div(tiles.count, uint32_t(std::clamp<uint64_t>(fit, 1, kTiles)));
  for (uint32_t b = 0; b < blocks; ++b) {
    const Range mine = share(tiles.count, b, blocks);
    pack_a(it, tiles, mine, block.at, block.k, space.a);
    const uint32_t top = tiles.at(mine.begin).begin;
    for (uint32_t p = block.panels.begin; p < block.panels.end; p += tiles.panels)
      for (uint32_t t = mine.begin; t < mine.end; ++t) {
        const bool below = t + 1 < mine.end;
        const Range next = tiles.at(below ? t + 1 : mine.begin);
        tile(it, block, space, tiles.at(t), p, std::min(tiles.panels, block.panels.end - p),
             space.a + uint64_t(tiles.at(t).begin - top) * block.k, next, below ? 0 : tiles.panels);
      }
  }
  if (height == 0 && it.finish.column_sum && block.at + block.k >= it.k)  // a sum of no rows
    std::fill(it.finish.column_sum + block.panels.begin * kDensePanel,
              it.finish.column_sum + std::min(it.n, block.panels.end * kDensePanel), 0.0f);
}

void GemmPlan::tile(const Item& it, const Block& block, const Space& space, Range rows, uint32_t p, uint32_t panels,
                    const float* a, Range next, uint32_t next_panels) const {
  constexpr uint32_t kLd = 2 * kDensePanel;
  alignas(64) float scratch[kDenseMostRows * kLd];
  const bool first = block.at == 0 && !problem_.goes_on, last = block.at + block.k >= it.k;
  const uint32_t m = rows.end - rows.begin, column = p * kDensePanel, n = std::min(panels * kDensePanel, it.n - column);
  const bool ragged = n < panels * kDensePanel, masked = sums_in_d_ && ragged;  // D has no room beside its columns
  float* d = it.finish.d + rows.begin * it.finish.ld + column;
  const uint64_t sums_ld = sums_in_d_ ? it.finish.ld : block.sums_ld;
  float* sums = sums_in_d_ ? d : space.sums + rows.begin * sums_ld + uint64_t(p - block.first_panel) * kDensePanel;
  const bool direct = last ? it.finish.plain() && !ragged : !masked;
  float* to = last ? d : sums;
  const uint64_t to_ld = last ? it.finish.ld : sums_ld;

  // What the next tile goes on with or overwrites is on its way meanwhile, to the second level: rows may alias.
  const float* line = to + int64_t(next_panels * kDensePanel) + (int64_t(next.begin) - rows.begin) * int64_t(to_ld);
  for (uint32_t i = next.begin; i < next.end; ++i, line += to_ld)
    for (uint32_t j = 0; j < n; j += kDensePanel) __builtin_prefetch(line + j, 0, 2);

  if (!first && masked)
    for (uint32_t i = 0; i < m; ++i) std::memcpy(scratch + i * kLd, sums + i * sums_ld, n * sizeof(float));
  code_->tile(block.format, m, panels)(a, block.b + (p - block.panels.begin) * block.panel_bytes, block.panel_bytes,
                                       block.k,
                                       first    ? nullptr
                                       : masked ? scratch
                                                : sums,
                                       masked ? kLd : sums_ld, direct ? to : scratch, direct ? to_ld : kLd);
  if (direct) return;
  if (last) {
    code_->finish(it.finish, scratch, kLd, rows.begin, m, column, n);
  } else {
    for (uint32_t i = 0; i < m; ++i) std::memcpy(sums + i * sums_ld, scratch + i * kLd, n * sizeof(float));
  }
}

Status GemmPlan::run(const GemmData& data, Team& team, std::span<uint8_t> workspace) const {
  VIBEE_CHECK(team.size() == threads_, "a plan for {} threads on a team of {}", threads_, team.size());
  VIBEE_TRY(check_operands(problem_, data));
  team.run([&](uint32_t tid) { run_thread(data, tid, team, workspace); });
  return {};
}

void GemmPlan::run_thread(const GemmData& data, uint32_t tid, Team& team, std::span<uint8_t> workspace) const {
  const Space mine = space(workspace, tid);
  if (by_items_ && problem_.grouping != GemmGroups::none) return run_groups(data, tid, mine);
  if (by_items_) {
    const Range items = share(problem_.items(), tid, threads_);
    for (uint32_t i = items.begin; i < items.end; ++i) multiply(item(data, i, 0), 0, 1, mine, [] {});
    return;
  }
  uint64_t before = 0;
  for (uint32_t i = 0; i < problem_.items(); ++i) {
    if (i > 0 && threads_ > 1) team.barrier();  // the next item divides the workspace in another way
    multiply(item(data, i, before), tid, threads_, mine, [&] { team.barrier(); });
    if (problem_.grouping != GemmGroups::none) before += data.groups[i];
  }
}

/// Cycles of a column.
double GemmPlan::cost(const Item& it) const {
  if (it.m == 0) return 0;
  return it.k * (std::max(it.m, 4u) / 32.0 + kRead + (it.panels ? 0 : kPack)) + it.m;
}

/// This thread's stretch of all groups' columns: as much work as the others', of whole panels and in order.
void GemmPlan::run_groups(const GemmData& data, uint32_t tid, const Space& space) const {
  const uint32_t width = kDensePanel * code_->panels, units = ceil_div(problem_.n, width);
  double all = 0;
  uint64_t before = 0;
  for (uint32_t i = 0; i < problem_.groups; before += data.groups[i++]) all += cost(item(data, i, before));
  const double begin = all * tid / threads_, end = all * (tid + 1) / threads_;
  double done = 0;
  before = 0;
  for (uint32_t i = 0; i < problem_.groups; before += data.groups[i++]) {
    const Item it = item(data, i, before);
    const double here = cost(it);
    const auto unit = [&](double at) {
      return uint32_t(std::lround(std::clamp((at - done) / here, 0.0, 1.0) * units));
    };
    uint32_t from = 0, to = tid == 0 ? units : 0;  // without rows there are only sums of columns, which are zero
    if (here > 0) from = unit(begin), to = unit(end);
    if (from < to) multiply(part(it, {0, it.m}, {from * width, std::min(it.n, to * width)}), 0, 1, space, [] {});
    done += here;
  }
}

GemmPlan::Item GemmPlan::part(Item it, Range rows, Range columns) const {
  const GemmLayout &a = problem_.a, &b = problem_.b;
  it.a = at(it.a, a.transposed ? rows.begin : rows.begin * a.ld, a.element);
  if (it.panels)
    it.panels += columns.begin / kDensePanel * it.panel_bytes;
  else
    it.b = at(it.b, b.transposed ? columns.begin * b.ld : columns.begin, b.element);
  it.m = rows.end - rows.begin;
  it.n = columns.end - columns.begin;
  const uint64_t d = rows.begin * it.finish.ld + columns.begin;
  it.finish.d += d;
  for (const float** p : {&it.finish.c, &it.finish.residual})
    if (*p) *p += d;
  if (it.finish.pre) it.finish.pre += d;
  if (it.finish.bias) it.finish.bias += columns.begin;
  if (it.finish.column_sum) it.finish.column_sum += columns.begin;
  return it;
}

void GemmPlan::run_part(const GemmData& data, Range rows, Range columns, std::span<uint8_t> workspace) const {
  VIBEE_CHECK(threads_ == 1 && problem_.grouping != GemmGroups::rows);
  VIBEE_CHECK(rows.end <= problem_.m && columns.end <= problem_.n && columns.begin % kDensePanel == 0);
  VIBEE_CHECK(!problem_.epilogue.column_sum || (rows.begin == 0 && rows.end == problem_.m));
  const Space mine = space(workspace, 0);
  uint64_t before = 0;
  for (uint32_t i = 0; i < problem_.items(); ++i) {
    const Item whole = item(data, i, before);
    if (problem_.grouping != GemmGroups::none) before += data.groups[i];
    multiply(part(whole, rows, columns), 0, 1, mine, [] {});
  }
}

PackedWeight gemm_panels(const GemmProblem& problem) {
  return {Format::f32, problem.n, problem.k,
          kDensePanel, nullptr,   problem.grouping == GemmGroups::none && problem.b.stride == 0u ? 1 : problem.items()};
}

void gemm_pack_panels(const GemmProblem& problem, Isa isa, const GemmInput& in, uint32_t item, Range panels,
                      uint8_t* out) {
  const GemmLayout& b = problem.b;
  const uint32_t column = panels.begin * kDensePanel;
  if (panels.begin == panels.end) return;
  const uint64_t first = item * *b.stride + (b.transposed ? column * b.ld : column);
  dense_kernel(isa).code->pack_panels(at(in.data, first, b.element), b.element, b.ld, b.transposed,
                                      std::min(problem.n, panels.end * kDensePanel) - column, problem.k,
                                      reinterpret_cast<float*>(out));
}

}  // namespace vibee
