// SPDX-License-Identifier: Apache-2.0
// Products with weights: one launch each, behind one that brings rows into the form that the weight wants.
#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kernels/pointwise/elementwise_launch.h"

namespace vibee {

GemmOperand operand_of(Format format) {
  return format == Format::f32 ? GemmOperand::f32 : format == Format::bf16 ? GemmOperand::bf16 : GemmOperand::f16;
}
GemmActivation activation_of(Gate gate) {
  return gate == Gate::silu        ? GemmActivation::silu
         : gate == Gate::gelu_tanh ? GemmActivation::gelu_tanh
                                   : GemmActivation::gelu;
}

Status device_quantize(DeviceStep& step, ActRule rule, const float* x, uint32_t rows, uint32_t k, void* to) {
  VIBEE_ASSIGN(QuantizeRowsArgs args, quantize_rows_args(rule, k));
  args.x = x, args.records = to;
  const GemmShape shape = quantize_rows_shape(rows, k);
  return step.launch(shape.kernel, shape.launch, args);
}

Result<const void*> DeviceStep::rows_for(const DeviceCall& call, Format format, uint32_t rows, uint32_t k) {
  const ValueId id = call.in[0];
  if (call.quantized_rows || format == Format::f32) return value<const void>(id);
  auto* const to = at<void>(layout_.converted_rows);
  if (converted_ == id && converted_for_ == format) return to;
  const uint64_t n = uint64_t(rows) * k;
  if (lies_in_rows(format)) {
    VIBEE_TRY(launch(format == Format::bf16 ? "vibee_cast_f32_bf16" : "vibee_cast_f32_f16", elementwise_launch(n),
                     UnaryArgs{value<const void>(id), to, n, 1}));
  } else {
    VIBEE_TRY(device_quantize(*this, act_rule(format), value<const float>(id), rows, k, to));
  }
  converted_ = id, converted_for_ = format;
  return to;
}

Result<GemmArgs> product_args(const DeviceCall& call, DeviceStep& step, const DeviceMatrix& matrix, uint32_t rows,
                              const ProductEnd& end) {
  GemmArgs args;
  VIBEE_ASSIGN(args.a, step.rows_for(call, matrix.format, rows, matrix.k));
  args.b = device_pointer<const void>(matrix.data), args.d = end.out;
  args.multiply = end.multiply, args.residual = end.residual, args.activation = end.activation;
  args.ld_a = args.ld_b = matrix.k, args.ld_d = matrix.n;
  args.m = rows, args.n = matrix.n, args.k = matrix.k;
  return args;
}

Status device_product(const DeviceCall& call, DeviceStep& step, const DeviceMatrix& matrix, const ProductEnd& end) {
  VIBEE_ASSIGN(const GemmArgs args, product_args(call, step, matrix, step.rows_of(call.in[0]), end));
  if (!lies_in_rows(matrix.format)) {
    VIBEE_ASSIGN(const GemmShape shape, packed_gemm_shape(matrix.format, args.m, args.n, args.k));
    VIBEE_ASSIGN(const PanelForm form, panel_form(matrix.format, args.k));
    return step.launch(shape.kernel, shape.launch, PackedGemmArgs{args, form});
  }
  const GemmOperand type = operand_of(matrix.format);
  GemmSizes sizes{.a = type, .b = type, .transposed_b = true, .m = args.m, .n = args.n, .k = args.k};
  sizes.processors = step.processors();
  sizes.rows_alike = true;
  VIBEE_ASSIGN(const GemmShape shape, gemm_shape(sizes));
  return step.launch(shape.kernel, shape.launch, args);
}

Status device_linear(const DeviceCall& c, DeviceStep& s) {
  return device_product(c, s, *c.weight[0], {.out = s.value<float>(c.out[0])});
}

Status device_linear_add(const DeviceCall& c, DeviceStep& s) {
  return device_product(c, s, *c.weight[0],
                        {.out = s.value<float>(c.out[0]), .residual = s.value<const float>(c.in[2])});
}

/// gate(x Wg^T) * (x Wu^T): the gate's product finds the other one in memory.
Status device_linear_gated(const DeviceCall& c, DeviceStep& s) {
  VIBEE_TRY(device_product(c, s, *c.weight[1], {.out = s.float_rows()}));
  return device_product(
      c, s, *c.weight[0],
      {.out = s.value<float>(c.out[0]), .activation = activation_of(c.gate), .multiply = s.float_rows()});
}

}  // namespace vibee
