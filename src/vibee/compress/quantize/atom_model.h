// SPDX-License-Identifier: Apache-2.0
// A model whose linears are quantised as Atom (atom.h), as a directory: of a linear NAME
//
//   NAME.qweight U8 [n, k / 2]           codes, of each 32 inputs j in the low and j + 16 in the high nibble of a byte
//   NAME.qweight_kept U8 [n, group / 2]  the upper four bits of the last group's codes, likewise
//   NAME.scales F16 [n, k / group]       w = scale * (code - 8), of the last group scale * (code - 128)
//   NAME.order I32 [k]                   the input at each place
//
// and quant_method "atom" in quantization_config (model/weight/quantized_atom.cc reads it). The paper's code writes no
// files.
#pragma once

#include "vibee/compress/quantize/atom.h"
#include "vibee/compress/quantize/gptq_solver.h"
#include "vibee/model/weight/hf.h"

namespace vibee {

struct AtomOptions {
  uint32_t group = 0;  ///< of all linears, 32, 64 or 128; 0: atom_group of each
  std::span<const TokenizerFile> tokenizer = {};
  WriteProgress progress = nullptr;
};

struct AtomReport {
  uint64_t matrices = 0, elements = 0, bytes = 0;  ///< that are quantised; with scales and orders
  uint64_t floats = 0;                             ///< bytes of what stays in float16 and float32
  uint64_t left = 0;                               ///< matrices among them
  double bits_per_weight() const { return elements ? 8.0 * double(bytes) / double(elements) : 0; }
};

/// Writes a directory that is not there yet. Linears of layers that something is multiplied by, and whose rows have
/// groups, are quantised; the head is not, as in the paper, nor are experts.
Result<AtomReport> write_atom(const Checkpoint& file, Hessians& hessians, Team& team, Isa isa,
                              const std::string& directory, const AtomOptions& options);

}  // namespace vibee
