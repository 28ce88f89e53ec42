// SPDX-License-Identifier: Apache-2.0
// What numbers an operand of a product of training is rounded to; rows of operand_forms.inc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace vibee {

enum class OperandForm : uint8_t {
#define VIBEE_OPERAND_FORM(name, kind, mantissa, least, most, largest, summary) name,
#include "vibee/kernels/gemm/operand_forms.inc"
#undef VIBEE_OPERAND_FORM
};
enum class OperandKind : uint8_t { plain, integer, scaled, blocks, nearest };

/// Floats of few bits: what a number is rounded to.
struct SmallFloat {
  int mantissa, least_exponent, most_exponent;  ///< the least of one that is not subnormal
  float largest;
};

struct OperandFormInfo {
  OperandForm form;
  std::string_view name;
  OperandKind kind;
  SmallFloat to;
  std::string_view summary;
};

std::span<const OperandFormInfo> operand_forms();
const OperandFormInfo& info(OperandForm form);
/// nullopt: no form has that name.
std::optional<OperandForm> find_operand_form(std::string_view name);

}  // namespace vibee
