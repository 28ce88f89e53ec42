// SPDX-License-Identifier: Apache-2.0
// v1745: EXL2 (ExLlamaV2, conversion/adaptivegptq.py). Inputs of a matrix are sorted by the diagonal of H (gptq.h), the
// largest first, and cut into groups of a width each (exl2_options.h). Of a group, every output has a code of 4 bits
// and all share a half:
//
//   scale = (code + 1)^2 half / 256,    w = (u - 2^(bits - 1)) scale,    0 <= u < 2^bits.
//
// Codes of scales are by the outputs' largest weights; the half is the best of 97 shrunk ones, 0.7 to 1.2 times what
// the largest weight asks for, by the sum of |error|^3.5. Codes of weights are the GPTQ solver's.
#pragma once

#include "vibee/compress/quantize/exl2_options.h"
#include "vibee/compress/quantize/gptq.h"

namespace vibee {

/// Damping of H, times its mean diagonal; doubled where it has no factor.
inline constexpr double kExl2Damping = 0.12;

/// The inputs of a matrix by the diagonal of `hessian` [k, k], the largest first.
Result<SortedInputs> exl2_inputs(std::span<const float> hessian, uint32_t k, Team& team, Isa isa,
                                 double damping = kExl2Damping);

struct Exl2Matrix {
  uint32_t n = 0, k = 0;
  std::vector<Exl2Group> groups;
  std::vector<uint32_t> order;  ///< SortedInputs::order
  std::vector<uint8_t> codes;   ///< [n, k], inputs sorted
  std::vector<uint8_t> scales;  ///< [groups, n], 0 .. 15
  std::vector<uint16_t> most;   ///< [groups], halves
  /// What it loses over the inputs, tr(dW H dW^T) with H damped.
  double loss = 0;

  float scale(size_t group, uint32_t row) const;
  /// [n, k] in the inputs' order.
  std::vector<float> values() const;
};

/// `weights` [n, k] in the inputs' order, finite. The team and its size do not change a byte.
Exl2Matrix exl2_quantize(const SortedInputs& inputs, std::span<const float> weights, std::span<const Exl2Group> groups,
                         Team& team, Isa isa);

}  // namespace vibee
