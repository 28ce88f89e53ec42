// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/operand_form.h"

namespace vibee {
namespace {

constexpr OperandFormInfo kForms[] = {
#define VIBEE_OPERAND_FORM(name, kind, mantissa, least, most, largest, summary) \
  {OperandForm::name, #name, OperandKind::kind, {mantissa, least, most, largest}, summary},
#include "vibee/kernels/gemm/operand_forms.inc"
#undef VIBEE_OPERAND_FORM
};

}  // namespace

std::span<const OperandFormInfo> operand_forms() { return kForms; }
const OperandFormInfo& info(OperandForm form) { return kForms[size_t(form)]; }
std::optional<OperandForm> find_operand_form(std::string_view name) {
  for (const OperandFormInfo& row : kForms)
    if (row.name == name) return row.form;
  return {};
}

}  // namespace vibee
