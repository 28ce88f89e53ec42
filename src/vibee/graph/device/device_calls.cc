// SPDX-License-Identifier: Apache-2.0
// The calls of row work, and which op is which.
#include "vibee/graph/device/device_step.h"
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
    {Op::linear, device_linear},
    {Op::linear_add, device_linear_add},
    {Op::linear_gated, device_linear_gated},
    {Op::linear_qkv, device_linear_qkv},
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
