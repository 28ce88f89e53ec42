// SPDX-License-Identifier: Apache-2.0
// A model as a directory in a layout of another project (group_layout.h): GPTQ, AWQ, compressed-tensors, bitsandbytes.
#pragma once

#include "vibee/compress/quantize/gptq_solver.h"
#include "vibee/compress/quantize/group_layout.h"
#include "vibee/compress/quantize/module_patterns.h"

namespace vibee {

struct GroupOptions {
  const GroupLayout* layout;
  uint32_t bits = 0;        ///< 0: those of the source where it is quantised in such codes, else 4
  int64_t group = 0;        ///< -1: a row; 0: the source's, else the largest of 128, 64, 32 that divides all rows
  bool asymmetric = false;  ///< zero points are chosen
  ModulePatterns modules = {};
  Hessians* hessians = nullptr;  ///< codes make up for the errors of those before them
  Team* team = nullptr;
  Isa isa = Isa::scalar;
  WriteProgress progress = nullptr;
};

struct GroupReport {
  GroupScheme scheme;
  bool taken = false;  ///< codes, scales and zero points are the source's
  bool again = false;  ///< the source is quantised in such codes, but in others than were asked for
  uint64_t matrices = 0, elements = 0, bytes = 0;  ///< that are quantised; with everything that a layout stores of them
  uint64_t floats = 0;                             ///< bytes of what stays so
  uint64_t left = 0;         ///< linears of layers that patterns leave as floats, that the directory holds transposed
                             ///< or, where codes are taken, that the source has so
  uint64_t indivisible = 0;  ///< linears that stay floats: groups or words do not divide them
  double bits_per_weight() const { return elements ? 8.0 * double(bytes) / double(elements) : 0; }
};

/// Writes `file` to a directory that is not there yet. Linears of layers are quantised, all else stays in the floats it
/// has, f16 where it is in blocks. A source that is such a directory already, in whatever of these layouts, keeps its
/// codes where the layout has a place for them and `options` say nothing else: in its own layout every tensor comes out
/// as it went in.
Result<GroupReport> write_groups_model(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                       const std::string& directory, const GroupOptions& options);

}  // namespace vibee
