// SPDX-License-Identifier: Apache-2.0
// v1773: Atom (Zhao et al., MLSys 2024, arXiv:2310.19102). Weights and rows have four bits in groups, but for the
// inputs with the largest mean squares: they come last, and keep eight bits on both sides (section 4.1). Weights are
// symmetric, two neighbouring outputs share a scale, 0.85 of what the larger of them asks for; codes are the GPTQ
// solver's. Rows are quantised as they come (kernels/gemm/act.h), and one product goes through both kinds of groups
// (kernels/gemm/panel.h, atom32 to atom128), where the paper has two.
#pragma once

#include "vibee/compress/quantize/gptq.h"

namespace vibee {

/// Elements of a group, and inputs that keep eight bits, of rows of k: the largest of 128, 64 and 32 that divides them
/// and leaves seven eighths to four bits, else 32; 0 where there is none (k is no multiple of 32, or 32 itself).
uint32_t atom_group(uint32_t k);
/// The format of matrices with groups of 32, 64 or 128.
Format atom_format(uint32_t group);

/// Inputs as they come, those with the largest diagonal of `hessian` [k, k] behind them, `kept` of them.
Result<SortedInputs> atom_inputs(std::span<const float> hessian, uint32_t k, uint32_t kept, Team& team, Isa isa);

struct AtomMatrix {
  uint32_t n = 0, k = 0, group = 0;
  std::vector<uint32_t> order;   ///< the input at each place
  std::vector<uint8_t> codes;    ///< [n, k], inputs sorted: below 16, of the last group bytes
  std::vector<uint16_t> scales;  ///< [n, k / group], halves; those of rows 2i and 2i + 1 are equal

  /// [n, k] in the inputs' order.
  std::vector<float> values() const;
};

/// `weights` [n, k] in the inputs' order, finite; `inputs` have the last group's inputs last. The team and its size do
/// not change a byte.
AtomMatrix atom_quantize(const SortedInputs& inputs, std::span<const float> weights, uint32_t group, Team& team,
                         Isa isa);

}  // namespace vibee
