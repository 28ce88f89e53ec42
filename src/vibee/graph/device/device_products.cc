// SPDX-License-Identifier: Apache-2.0
// Products with weights: one launch each, behind one that brings rows into the form that the weight wants.
#include "vibee/core/device/tensor_map.h"
#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/gemm/float_panel_gemm_shape.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kernels/gemm/wgmma_gemm_block.h"
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

namespace {

/// Rows are alike: a row's bytes do not depend on how many there are.
GemmSizes device_product_sizes(Format format, uint32_t m, uint32_t n, uint32_t k) {
  const GemmOperand type = operand_of(format);
  GemmSizes sizes{.a = type, .b = type, .transposed_b = true, .m = m, .n = n, .k = k};
  sizes.rows_alike = true;
  return sizes;
}

Status wgmma_product(DeviceStep& step, const GemmSizes& sizes, const GemmArgs& gemm, const WgmmaGemmShape& shape) {
  WgmmaGemmArgs args;
  if (!step.only_looks_up()) {
    const TensorElement type = sizes.a == GemmOperand::bf16 ? TensorElement::bf16 : TensorElement::f16;
    const auto map = [&](const void* p, uint32_t rows, uint32_t box) {
      return tensor_map(step.device(), {reinterpret_cast<CudaAddress>(p), type, rows, sizes.k, sizes.k, box});
    };
    VIBEE_ASSIGN(args.a, map(gemm.a, sizes.m, shape.box_rows));
    VIBEE_ASSIGN(args.b, map(gemm.b, sizes.n, shape.box_columns));
  }
  args.gemm = gemm;
  args.depth_parts = shape.depth_parts, args.stages = shape.stages;
  if (shape.shared_parts) args.parts = step.product_parts(), args.arrived = step.product_counters();
  return step.launch(shape.shape.kernel, shape.shape.launch, args);
}

}  // namespace

WgmmaMemory wgmma_memory(const DevicePlanOptions& options, Format format, uint32_t n, uint32_t k) {
  WgmmaMemory most;
  if (!options.warpgroups || !lies_in_rows(format)) return most;
  for (uint32_t m = std::min(options.max_rows, kGroupRows);; m = std::min(options.max_rows, m + kGroupRows)) {
    const auto shape = wgmma_gemm_shape(device_product_sizes(format, m, n, k), *options.warpgroups);
    if (shape) {
      most.parts = std::max(most.parts, shape->part_bytes);
      most.counters = std::max(most.counters, shape->counter_bytes);
    }
    if (m == options.max_rows) return most;
  }
}

Status device_quantize(DeviceStep& step, ActRule rule, const float* x, uint32_t rows, uint32_t k, void* to) {
  VIBEE_ASSIGN(QuantizeRowsArgs args, quantize_rows_args(rule, k));
  args.x = x, args.records = to;
  const GemmShape shape = quantize_rows_shape(rows, k);
  return step.launch(shape.kernel, shape.launch, args);
}

Result<const void*> DeviceStep::rows_for(const DeviceCall& call, Format format, uint32_t rows, uint32_t k) {
  const ValueId id = call.in[0];
  if (call.quantized_rows || meets_floats(format)) return value<const void>(id);
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
  if (is_scaled_float(matrix.format)) {
    VIBEE_ASSIGN(const GemmShape shape, float_panel_gemm_shape(matrix.format, args.m, args.n, args.k));
    VIBEE_ASSIGN(const FloatPanelForm form, float_panel_form(matrix.format, args.k));
    return step.launch(shape.kernel, shape.launch, FloatPanelGemmArgs{args, form});
  }
  if (!lies_in_rows(matrix.format)) {
    VIBEE_ASSIGN(const GemmShape shape, packed_gemm_shape(matrix.format, args.m, args.n, args.k));
    VIBEE_ASSIGN(const PanelForm form, panel_form(matrix.format, args.k));
    return step.launch(shape.kernel, shape.launch, PackedGemmArgs{args, form});
  }
  GemmSizes sizes = device_product_sizes(matrix.format, args.m, args.n, args.k);
  if (const auto& warpgroups = step.plan().options().warpgroups)
    if (const auto shape = wgmma_gemm_shape(sizes, *warpgroups)) return wgmma_product(step, sizes, args, *shape);
  sizes.processors = step.processors();
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
