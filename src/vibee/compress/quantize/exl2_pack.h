// SPDX-License-Identifier: Apache-2.0
// An EXL2 matrix as the tensors that a directory holds of it (ExLlamaV2, exllamav2_ext/cuda/pack_tensor.cu):
//
//   q_weight int32 [packed rows, outputs]   an output's codes of a group one behind the other from the lowest bit on
//   q_scale int32 [groups, outputs / 8]     codes of scales, eight a word, the lowest first
//   q_scale_max f16 [groups]
//   q_groups int16 [2 groups]               bits and first packed row of each
//   q_invperm int32 [k]                     the place of each input among the sorted ones
//
// Outputs are padded to a multiple of 32 with codes of zero.
#pragma once

#include <functional>

#include "vibee/compress/quantize/exl2.h"
#include "vibee/model/weight/hf_linears.h"

namespace vibee {

/// Their shapes, of a matrix with n outputs.
std::vector<HfPart> exl2_parts(std::span<const Exl2Group> groups, uint32_t n, uint32_t k);
/// Their bytes; output r is row row_of(r) of the matrix.
std::vector<std::vector<uint8_t>> exl2_pack(const Exl2Matrix& matrix, const std::function<uint64_t(uint64_t)>& row_of);

}  // namespace vibee
