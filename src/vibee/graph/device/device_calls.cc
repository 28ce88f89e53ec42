// SPDX-License-Identifier: Apache-2.0
// The calls of row work, and which op is which.
#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/gemm/float_panel_gemm_shape.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kernels/pointwise/arrange_launch.h"
#include "vibee/kernels/pointwise/chains_launch.h"
#include "vibee/kernels/pointwise/elementwise_launch.h"
#include "vibee/kernels/pointwise/norm_launch.h"
#include "vibee/kernels/pointwise/rows_launch.h"

namespace vibee {
namespace {

std::string_view name(Gate gate) {
  return gate == Gate::silu ? "silu" : gate == Gate::gelu_tanh ? "gelu_tanh" : "gelu";
}
std::string_view name(Format format) { return info(format).name; }

uint64_t elements(const DeviceCall& c, const DeviceStep& s) { return uint64_t(s.rows_of(c.out[0])) * c.width; }

Status unary(DeviceStep& s, std::string_view kernel, const float* x, float* out, uint64_t n, float by) {
  return s.launch(kernel, elementwise_launch(n), UnaryArgs{x, out, n, by});
}

Status embed(const DeviceCall& c, DeviceStep& s) {
  const DeviceMatrix& table = *c.weight[0];
  auto* const out = s.value<float>(c.out[0]);
  if (is_scaled_float(table.format)) {
    const GemmShape shape = float_panel_embed_shape(s.rows_of(c.out[0]), table.k);
    VIBEE_ASSIGN(const FloatPanelForm form, float_panel_form(table.format, table.k));
    return s.launch(
        shape.kernel, shape.launch,
        FloatPanelEmbedArgs{s.ids(c.ids), device_pointer<const void>(table.data), out, table.n, c.by, form});
  }
  if (!lies_in_rows(table.format)) {
    VIBEE_ASSIGN(const GemmShape shape, packed_embed_shape(table.format, s.rows_of(c.out[0]), table.k));
    VIBEE_ASSIGN(const PanelForm form, panel_form(table.format, table.k));
    return s.launch(shape.kernel, shape.launch,
                    PackedEmbedArgs{s.ids(c.ids), device_pointer<const void>(table.data), out, table.n, c.by, form});
  }
  VIBEE_TRY(s.launch(fmt::format("vibee_gather_{}_f32", name(table.format)),
                     gather_launch(s.rows_of(c.out[0]), c.width),
                     GatherArgs{s.ids(c.ids), device_pointer<const void>(table.data), out, c.width, table.n}));
  if (c.by == 1.0f) return {};
  return unary(s, "vibee_scale_f32", out, out, elements(c, s), c.by);
}

Status norm(const DeviceCall& c, DeviceStep& s) {
  const uint32_t n = c.norm_width;
  return s.launch(c.op == Op::layer_norm ? "vibee_layer_norm_f32_f32" : "vibee_rms_norm_f32_f32",
                  norm_launch(s.rows_of(c.out[0]) * (c.width / n), n),
                  NormArgs{s.value<const void>(c.in[0]), device_pointer<const float>(c.vector[0]),
                           device_pointer<const float>(c.vector[1]), s.value<void>(c.out[0]), n, c.eps});
}

Status activation(const DeviceCall& c, DeviceStep& s) {
  return unary(s, fmt::format("vibee_{}_f32", name(c.gate)), s.value<const float>(c.in[0]), s.value<float>(c.out[0]),
               elements(c, s), 1);
}
Status scale(const DeviceCall& c, DeviceStep& s) {
  return unary(s, "vibee_scale_f32", s.value<const float>(c.in[0]), s.value<float>(c.out[0]), elements(c, s), c.by);
}
Status soft_cap(const DeviceCall& c, DeviceStep& s) {
  return unary(s, "vibee_soft_cap_f32", s.value<const float>(c.in[0]), s.value<float>(c.out[0]), elements(c, s), c.by);
}

Status add(const DeviceCall& c, DeviceStep& s) {
  const uint64_t n = elements(c, s);
  const bool bias = c.vector[0] != 0;
  const void* const b = bias ? device_pointer<const void>(c.vector[0]) : s.value<const void>(c.in[1]);
  return s.launch(
      "vibee_add_f32", elementwise_launch(n),
      BinaryArgs{s.value<const void>(c.in[0]), b, s.value<void>(c.out[0]), n, {1, n}, {1, bias ? c.width : n}});
}

Status gated(const DeviceCall& c, DeviceStep& s) {
  const uint64_t n = elements(c, s);
  return s.launch(fmt::format("vibee_gated_{}_f32", name(c.gate)), elementwise_launch(n),
                  PairArgs{s.value<const void>(c.in[0]), s.value<const void>(c.in[1]), s.value<void>(c.out[0]), n});
}

Status rope_table(const DeviceCall& c, DeviceStep& s) {
  const auto pairs = uint32_t(c.frequencies.size());
  return s.launch("vibee_rope_table", rope_table_launch(s.rows_of(c.out[0]), pairs),
                  RopeTableArgs{s.ids(RowIds::positions), device_pointer<const double>(c.frequency_at),
                                s.value<float>(c.out[0]), pairs, c.by});
}

Status rope(const DeviceCall& c, DeviceStep& s) {
  return s.launch("vibee_rope_f32", rope_launch(s.rows_of(c.out[0]), c.width),
                  RopeArgs{s.value<const void>(c.in[0]), s.value<const float>(c.in[1]), s.value<void>(c.out[0]),
                           c.width, c.head_dim, c.pairs, c.split_halves, 1});
}

Status take_rows(const DeviceCall& c, DeviceStep& s) {
  return s.launch(
      "vibee_gather_f32_f32", gather_launch(s.rows_of(c.out[0]), c.width),
      GatherArgs{s.logits_rows(), s.value<const void>(c.in[0]), s.value<void>(c.out[0]), c.width, s.rows_of(c.in[0])});
}

Status permute(DeviceStep& s, const float* x, CudaAddress order, uint32_t rows, uint32_t n, float* out) {
  return s.launch("vibee_permute_columns_32", permute_columns_launch(rows, n),
                  PermuteColumnsArgs{x, device_pointer<const float>(order), out, n, 0});
}
Status permute_columns(const DeviceCall& c, DeviceStep& s) {
  return permute(s, s.value<const float>(c.in[0]), c.vector[0], s.rows_of(c.out[0]), c.width, s.value<float>(c.out[0]));
}

Status quantize(const DeviceCall& c, DeviceStep& s) {
  const uint32_t rows = s.rows_of(c.out[0]);
  const float* x = s.value<const float>(c.in[0]);
  if (c.vector[0]) {
    VIBEE_TRY(permute(s, x, c.vector[0], rows, c.width, s.float_rows()));
    x = s.float_rows();
  }
  return device_quantize(s, c.rule, x, rows, c.width, s.value<void>(c.out[0]));
}

Status norm_quantize(const DeviceCall& c, DeviceStep& s) {
  const uint32_t rows = s.rows_of(c.out[0]), n = c.norm_width;
  float* normed = s.float_rows();
  VIBEE_TRY(s.launch(
      "vibee_rms_norm_f32_f32", norm_launch(rows * (c.width / n), n),
      NormArgs{s.value<const void>(c.in[0]), device_pointer<const float>(c.vector[0]), nullptr, normed, n, c.eps}));
  if (c.vector[1]) {
    float* const sorted = normed + uint64_t(rows) * c.width;
    VIBEE_TRY(permute(s, normed, c.vector[1], rows, c.width, sorted));
    normed = sorted;
  }
  return device_quantize(s, c.rule, normed, rows, c.width, s.value<void>(c.out[0]));
}

Status pool_rows(const DeviceCall& c, DeviceStep& s) {
  return s.launch("vibee_pool_rows_f32", pool_rows_launch(s.rows_of(c.out[0]), c.width),
                  PoolRowsArgs{s.value<const void>(c.in[0]), s.sequence_first(), s.sequence_count(),
                               s.value<float>(c.out[0]), c.width, PoolRule(c.pooling)});
}

struct Runnable {
  Op op;
  DeviceRunFn run;
};
constexpr Runnable kRunnable[] = {
    {Op::embed, embed},
    {Op::rms_norm, norm},
    {Op::layer_norm, norm},
    {Op::activation, activation},
    {Op::add, add},
    {Op::gated, gated},
    {Op::scale, scale},
    {Op::soft_cap, soft_cap},
    {Op::rope_table, rope_table},
    {Op::rope, rope},
    {Op::take_rows, take_rows},
    {Op::pool_rows, pool_rows},
    {Op::permute_columns, permute_columns},
    {Op::quantize, quantize},
    {Op::norm_quantize, norm_quantize},
    {Op::linear, device_linear},
    {Op::linear_add, device_linear_add},
    {Op::linear_gated, device_linear_gated},
    {Op::linear_qkv, device_linear_qkv},
    {Op::linear_lora, device_linear_lora},
    {Op::lora_down, device_lora_down},
    {Op::lora_up, device_lora_up},
    {Op::moe_route, device_moe_route},
    {Op::moe_gated, device_moe_gated},
    {Op::moe_down, device_moe_down},
    {Op::kv_append, device_kv_append},
    {Op::attention, device_attention},
};

}  // namespace

DeviceRunFn device_function(Op op) {
  for (const Runnable& r : kRunnable)
    if (r.op == op) return r.run;
  return nullptr;
}

}  // namespace vibee
