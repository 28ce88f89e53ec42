// SPDX-License-Identifier: Apache-2.0
// Matrices as torchao's recipes quantise them (torchao 0.18: quantization/quant_primitives.py, choose_qparams_affine,
// quantize_affine, _choose_scale_float8), code for code: every step is rounded to the type of the weights.
// model/weight/quantized_torchao.cc reads them.
//
//   int8wo, int8da_int8w    Int8Tensor: a row behind max / 127.5, which is kept in f32
//   intxwo, int8da_intxw    IntxUnpackedToInt8Tensor: groups of B bits behind max / ((2^B - 1) / 2), or between the
//                           least and the largest number with a zero point
//   float8wo                Float8Tensor: a row of E4M3 behind max / 448, in f32
//
// Those with "da" say that rows of inputs are quantised to 8 bits as they come, which they are here anyway.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/thread/team.h"
#include "vibee/formats/packed/format.h"

namespace vibee {

struct TorchaoRecipe {
  enum class Of { int8, intx, float8 };
  std::string_view name;
  Of of;
  bool rows = false;  ///< inputs are quantised as they come
};
Result<TorchaoRecipe> find_torchao_recipe(std::string_view name);
/// "torchao:NAME" of each.
std::vector<std::string> torchao_recipes();

/// Codes of intx.
struct TorchaoCodes {
  uint32_t bits = 4;    ///< 1 to 8
  uint64_t group = 32;  ///< elements of a row behind one scale
  bool asymmetric = false;
};

struct TorchaoMatrix {
  std::vector<uint8_t> codes;  ///< [n, k], signed, or E4M3
  std::vector<float> scale;    ///< [n, k / group]; of intx in the weights' type
  std::vector<int8_t> zero;    ///< the same; none of float8
};

/// `w` [n, k] in `type` (f32, f16 or bf16). A row of zeros behind E4M3 has codes of zero, where the package makes what
/// is no number. `codes` is of intx alone; the others have a scale a row.
TorchaoMatrix torchao_quantize(std::span<const float> w, uint64_t k, const TorchaoRecipe& recipe,
                               const TorchaoCodes& codes, Format type, Team* team);

}  // namespace vibee
