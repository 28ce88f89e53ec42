// SPDX-License-Identifier: Apache-2.0
// Dense products (gemm_problem.h) by nested blocks, after BLIS (Van Zee and van de Geijn 2015, ACM TOMS 41(3)) and
// CUTLASS: columns, depth, rows, panels, register tiles, with A and B packed on the way and the epilogue in the last
// depth block. A block of depth goes on with the chains of the one before, so D has the bytes of order fma_k whatever
// the blocks, the threads and the instruction set.
//
// Memory and threads are the caller's: a plan says what it needs, and runs on a team, as one thread among those of a
// team that runs already, or alone on a part of D.
#pragma once

#include "vibee/base/thread/team.h"
#include "vibee/kernels/gemm/dense_kernel.h"
#include "vibee/kernels/gemm/gemm_problem.h"

namespace vibee {

/// Of its speed: goes up when old measurements say nothing of it any more.
inline constexpr uint32_t kCutlassGemmVersion = 1;

class GemmPlan {
 public:
  /// A plan for `threads` threads; the problem's mistakes are its errors.
  static Result<GemmPlan> make(const GemmProblem& problem, uint32_t threads, Isa isa);

  const GemmProblem& problem() const { return problem_; }
  uint32_t threads() const { return threads_; }
  /// Bytes that a run needs besides its operands, 64-byte aligned; what they hold before and after means nothing.
  uint64_t workspace() const;

  /// Checks the operands and computes D on a team of `threads` threads, or says what is wrong with them.
  Status run(const GemmData& data, Team& team, std::span<uint8_t> workspace) const;
  /// The same for a caller that is inside Team::run already: every thread calls it with its number. The operands have
  /// been checked (check_operands).
  void run_thread(const GemmData& data, uint32_t tid, Team& team, std::span<uint8_t> workspace) const;
  /// One thread computes rows x columns of D for itself, with a plan of 1 thread and a workspace of its own. Columns
  /// begin at a multiple of 16 or a panel is computed twice; sums of columns want all rows; not for groups of rows.
  void run_part(const GemmData& data, Range rows, Range columns, std::span<uint8_t> workspace) const;

 private:
  struct Item;
  struct Space;
  struct Grid {
    uint32_t rows, columns;
  };
  struct Block;
  struct Tiles;
  /// `before`: rows or depth of the groups before it.
  Item item(const GemmData& data, uint32_t index, uint64_t before) const;
  Item part(Item whole, Range rows, Range columns) const;
  double cost(const Item& item) const;
  void run_groups(const GemmData& data, uint32_t tid, const Space& space) const;
  Space space(std::span<uint8_t> workspace, uint32_t tid) const;
  Grid grid(const Item& item, uint32_t threads) const;
  uint32_t depth(const Item& item) const;
  template <class Barrier>
  void multiply(const Item& item, uint32_t tid, uint32_t threads, const Space& space, Barrier&& barrier) const;
  void pack_b(const Item& item, Range panels, uint32_t first, uint32_t at, uint32_t k, float* out) const;
  void pack_a(const Item& item, const Tiles& tiles, Range mine, uint32_t from, uint32_t k, float* out) const;
  void compute(const Item& item, const Block& block, const Space& space) const;
  /// The register tile at `rows` x panels p.. of the item; the next one is at rows `next`, so many panels further.
  void tile(const Item& item, const Block& block, const Space& space, Range rows, uint32_t p, uint32_t panels,
            const float* a, Range next, uint32_t next_panels) const;

  GemmProblem problem_;
  const DenseCode* code_ = nullptr;
  uint32_t threads_ = 1;
  bool by_items_ = false;   ///< threads take whole batch items, or groups and columns of them, instead of parts of each
  bool sums_in_d_ = false;  ///< D keeps the unfinished sums between blocks of depth
  uint64_t a_floats_ = 0, b_floats_ = 0, sum_floats_ = 0;
};

/// Bytes of op(B) [k, n] of a problem in panels, and the packing of panels [first, last) of one item. What a caller
/// multiplies by several times it packs once (GemmProblem::packed_b).
PackedWeight gemm_panels(const GemmProblem& problem);
void gemm_pack_panels(const GemmProblem& problem, Isa isa, const GemmInput& b, uint32_t item, Range panels,
                      uint8_t* out);

}  // namespace vibee
