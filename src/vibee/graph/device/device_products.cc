// SPDX-License-Identifier: Apache-2.0
// Products with weights: one launch each, behind one that brings rows into the form that the weight wants.
#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/gemm/gemm_shape.h"
#include "vibee/kernels/pointwise/elementwise_launch.h"

namespace vibee {
namespace {

GemmOperand operand_of(Format format) {
  return format == Format::f32 ? GemmOperand::f32 : format == Format::bf16 ? GemmOperand::bf16 : GemmOperand::f16;
}
GemmActivation activation_of(Gate gate) {
  return gate == Gate::silu        ? GemmActivation::silu
         : gate == Gate::gelu_tanh ? GemmActivation::gelu_tanh
                                   : GemmActivation::gelu;
}

}  // namespace

Result<const void*> DeviceStep::rows_for(Format format, ValueId id, uint32_t k) {
  if (format == Format::f32) return value<const void>(id);
  auto* const to = at<void>(layout_.converted_rows);
  if (converted_ == id && converted_for_ == format) return to;
  const uint64_t n = uint64_t(rows_of(id)) * k;
  VIBEE_TRY(launch(format == Format::bf16 ? "vibee_cast_f32_bf16" : "vibee_cast_f32_f16", elementwise_launch(n),
                   UnaryArgs{value<const void>(id), to, n, 1}));
  converted_ = id, converted_for_ = format;
  return to;
}

Status device_product(DeviceStep& step, const DeviceMatrix& matrix, ValueId x, const ProductEnd& end) {
  const uint32_t rows = step.rows_of(x);
  VIBEE_ASSIGN(const void* const a, step.rows_for(matrix.format, x, matrix.k));
  const GemmOperand type = operand_of(matrix.format);
  GemmSizes sizes{.a = type, .b = type, .transposed_b = true, .m = rows, .n = matrix.n, .k = matrix.k};
  sizes.processors = step.processors();
  sizes.rows_alike = true;
  VIBEE_ASSIGN(const GemmShape shape, gemm_shape(sizes));
  GemmArgs args;
  args.a = a, args.b = device_pointer<const void>(matrix.data), args.d = end.out;
  args.multiply = end.multiply, args.residual = end.residual, args.activation = end.activation;
  args.ld_a = args.ld_b = matrix.k, args.ld_d = matrix.n;
  args.m = rows, args.n = matrix.n, args.k = matrix.k;
  return step.launch(shape.kernel, shape.launch, args);
}

Status device_linear(const DeviceCall& c, DeviceStep& s) {
  return device_product(s, *c.weight[0], c.in[0], {.out = s.value<float>(c.out[0])});
}

Status device_linear_add(const DeviceCall& c, DeviceStep& s) {
  return device_product(s, *c.weight[0], c.in[0],
                        {.out = s.value<float>(c.out[0]), .residual = s.value<const float>(c.in[2])});
}

/// gate(x Wg^T) * (x Wu^T): the gate's product finds the other one in memory.
Status device_linear_gated(const DeviceCall& c, DeviceStep& s) {
  VIBEE_TRY(device_product(s, *c.weight[1], c.in[0], {.out = s.float_rows()}));
  return device_product(
      s, *c.weight[0], c.in[0],
      {.out = s.value<float>(c.out[0]), .activation = activation_of(c.gate), .multiply = s.float_rows()});
}

}  // namespace vibee
