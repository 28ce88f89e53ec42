// SPDX-License-Identifier: Apache-2.0
// Matrices as optimum-quanto quantises them (Hugging Face 2024; tensor/optimizers, library/quantize.py and
// tensor/packed.py of version 0.2.7), byte for byte: qint8 and qfloat8 with a scale a row, qint4 and qint2 in groups
// with a scale and a shift, all in the type of the model's weights. model/weight/quantized_quanto.cc reads them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/thread/team.h"
#include "vibee/formats/packed/format.h"

namespace vibee {

struct QuantoType {
  std::string_view scheme, name;  ///< "qfloat8", and how the map of a directory spells it: "qfloat8_e4m3fn"
  uint32_t bits;
  bool floats;  ///< codes are E4M3
};
Result<QuantoType> find_quanto_type(std::string_view scheme);
std::vector<std::string> quanto_types();

/// How long groups of rows of k are, of codes of fewer than 8 bits: the largest of 128, 96, 64 and 32 that divides a
/// row of more than 128, else the row.
uint64_t quanto_group(uint64_t k);

struct QuantoMatrix {
  std::vector<uint8_t> codes;       ///< [n, k] of bytes, or [ceil(groups / 2 or 4), group]
  std::vector<float> scale, shift;  ///< of each group, in the weights' type; no shifts of 8 bits
};

/// `w` [n, k] in `type` (f32, f16 or bf16), in which every step is rounded. `hqq`: shifts are searched (hqq_search.h).
QuantoMatrix quanto_quantize(std::span<const float> w, uint64_t k, const QuantoType& quanto, Format type, bool hqq,
                             Team* team);

}  // namespace vibee
