// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts: the choice of a row's experts, then products of the pairs of rows and experts, which a work list
// has by expert. A pair's sums and the order in which a row adds its experts are those of the row alone.
#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kernels/pointwise/route_launch.h"

namespace vibee {

Result<DeviceStep::WorkList> DeviceStep::work_list(ValueId route, uint32_t experts, uint32_t chosen,
                                                   uint32_t tile_rows) {
  const WorkList list{at<uint32_t>(layout_.route_tiles), at<uint32_t>(layout_.route_pairs)};
  if (listed_ == route && listed_in_ == tile_rows) return list;
  const uint32_t rows = rows_of(route);
  const RouteListArgs args{value<const float>(route),
                           at<uint32_t>(layout_.route_starts),
                           at<uint32_t>(layout_.route_pairs),
                           at<uint32_t>(layout_.route_tiles),
                           rows,
                           experts,
                           chosen,
                           tile_rows,
                           route_tiles(rows * chosen, experts, tile_rows)};
  VIBEE_TRY(launch("vibee_route_pairs", route_pairs_launch(rows, experts, chosen), args));
  VIBEE_TRY(launch("vibee_route_tiles", route_tiles_launch(), args));
  listed_ = route, listed_in_ = tile_rows;
  return list;
}

namespace {

/// end(rows times their experts' matrices): a row of D a pair, from row pair / share of the call's first input.
Status expert_product(const DeviceCall& c, DeviceStep& s, const DeviceMatrix& matrix, uint32_t share,
                      const ProductEnd& end) {
  const uint32_t rows = s.rows_of(c.in[0]), pairs = rows * c.chosen;
  GroupedSizes sizes{.pairs = pairs, .n = matrix.n, .k = matrix.k, .experts = matrix.experts};
  sizes.rows = rows, sizes.rows_alike = true;
  GroupedArgs args;
  VIBEE_ASSIGN(args.gemm, product_args(c, s, matrix, pairs / share, end));
  args.gemm.m = pairs;
  args.gemm.stride_b = uint64_t(matrix.n) * matrix.k;
  args.share = share, args.chosen = c.chosen;
  const bool packed = !lies_in_rows(matrix.format);
  if (!packed) sizes.a = sizes.b = operand_of(matrix.format);
  VIBEE_ASSIGN(const GroupedShape shape, packed ? packed_grouped_shape(matrix.format, sizes) : grouped_shape(sizes));
  VIBEE_ASSIGN(const DeviceStep::WorkList list, s.work_list(c.in[1], matrix.experts, c.chosen, shape.tile_rows));
  args.tiles = list.tiles, args.pairs = list.pairs;
  if (!packed) return s.launch(shape.kernel, shape.launch, args);
  VIBEE_ASSIGN(const PanelForm form, panel_form(matrix.format, matrix.k));
  return s.launch(shape.kernel, shape.launch, PackedGroupedArgs{args, form});
}

}  // namespace

Status device_moe_route(const DeviceCall& c, DeviceStep& s) {
  const uint32_t rows = s.rows_of(c.out[0]), experts = c.weight[0]->n;
  VIBEE_TRY(device_product(c, s, *c.weight[0], {.out = s.float_rows()}));
  return s.launch("vibee_route_rows", route_rows_launch(rows, experts),
                  RouteArgs{s.float_rows(), s.value<float>(c.out[0]), rows, experts, c.chosen, c.normalise});
}

/// The product of the gates finds the other one in memory.
Status device_moe_gated(const DeviceCall& c, DeviceStep& s) {
  VIBEE_TRY(expert_product(c, s, *c.weight[1], c.chosen, {.out = s.float_rows()}));
  return expert_product(
      c, s, *c.weight[0], c.chosen,
      {.out = s.value<float>(c.out[0]), .activation = activation_of(c.gate), .multiply = s.float_rows()});
}

Status device_moe_down(const DeviceCall& c, DeviceStep& s) {
  const DeviceMatrix& down = *c.weight[0];
  VIBEE_TRY(expert_product(c, s, down, 1, {.out = s.float_rows()}));
  return s.launch(
      "vibee_combine_experts_f32", combine_experts_launch(s.rows_of(c.out[0]), down.n, c.chosen),
      CombineExpertsArgs{s.float_rows(), s.value<const float>(c.in[1]), s.value<float>(c.out[0]), down.n, c.chosen});
}

}  // namespace vibee
