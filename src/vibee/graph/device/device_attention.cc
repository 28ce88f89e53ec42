// SPDX-License-Identifier: Apache-2.0
// Attention over pages, and what is written into them.
#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/pointwise/norm_launch.h"
#include "vibee/kernels/pointwise/rows_launch.h"

namespace vibee {
namespace {

/// Rows of keys and values into the places of the step's positions.
Status append(const DeviceCall& c, DeviceStep& s, ValueId keys, ValueId values) {
  const DeviceKv kv = s.kv(c.layer);
  const uint32_t kv_heads = kv.layout.kv_heads, head_dim = kv.layout.head_dim;
  return s.launch(fmt::format("vibee_kv_append_f32_{}", info(s.plan().options().kv).name),
                  kv_append_launch(uint32_t(s.sizes().t), kv_heads, head_dim),
                  KvAppendArgs{s.value<const void>(keys), s.value<const void>(values),
                               device_pointer<unsigned char>(kv.base), s.places(), kv.page_bytes, kv_heads, head_dim});
}

}  // namespace

std::vector<AttentionGroup> DeviceStep::groups(uint32_t list) const {
  if (kv_.empty()) return {{0, uint32_t(sizes_.t), 0, 1, 0}};
  const std::span<const AttentionGroup> groups = layout_.lists[list].groups();
  return {groups.begin(), groups.end()};
}

Status device_attention(const DeviceCall& c, DeviceStep& s) {
  const AttentionShape& shape = c.shape;
  const uint32_t width = shape.heads * shape.head_dim;
  const DeviceKv kv = s.kv(c.layer);
  const KvFormat pages = s.plan().options().kv;
  const bool matrix = pages == KvFormat::f16 && s.plan().options().matrix_attention;
  const uint32_t most = shape.head_dim <= 64 ? 64 : shape.head_dim <= 128 ? 128 : 256;
  const std::string kernel = matrix ? fmt::format("vibee_attention_product_f32_{}", most)
                                    : fmt::format("vibee_attention_split_f32_{}", info(pages).name);
  for (const AttentionGroup& group : s.groups(c.list)) {
    const uint64_t first = uint64_t(group.row) * width;
    AttentionArgs args{};
    args.q = s.value<const float>(c.in[0]) + first;
    args.kv = device_pointer<const unsigned char>(kv.base);
    args.pages = s.page_tables();
    args.items = s.items(c.list) + group.first_item;
    args.row_parts = s.row_parts(c.list) + group.first_part;
    args.part_sums = s.part_sums(), args.part_values = s.part_values();
    args.page_bytes = kv.page_bytes;
    args.heads = shape.heads, args.kv_heads = shape.kv_heads, args.head_dim = shape.head_dim;
    args.window = shape.window, args.causal = shape.causal;
    args.scale = shape.scale, args.soft_cap = shape.soft_cap;
    VIBEE_TRY(s.launch(
        kernel, matrix ? attention_product_launch(group.items, shape.head_dim) : attention_split_launch(group.items),
        args));
    VIBEE_TRY(s.launch("vibee_attention_fold_f32", attention_fold_launch(group.rows, shape.heads),
                       AttentionFoldArgs{args.row_parts, args.part_sums, args.part_values,
                                         s.value<float>(c.out[0]) + first, group.rows, shape.heads, shape.head_dim}));
  }
  return {};
}

Status device_kv_append(const DeviceCall& c, DeviceStep& s) { return append(c, s, c.in[1], c.in[2]); }

/// Products of queries, keys and values, norms of their heads and rotation, in place, then the pages.
Status device_linear_qkv(const DeviceCall& c, DeviceStep& s) {
  const uint32_t d = c.shape.head_dim, t = uint32_t(s.sizes().t);
  const auto* const table = s.value<const float>(c.in[4]);
  for (uint32_t i = 0; i < 3; ++i) VIBEE_TRY(device_product(c, s, *c.weight[i], {.out = s.value<float>(c.out[i])}));
  for (uint32_t i = 0; i < 2; ++i) {
    auto* const rows = s.value<float>(c.out[i]);
    const uint32_t heads = i == 0 ? c.shape.heads : c.shape.kv_heads;
    if (c.vector[i])
      VIBEE_TRY(s.launch("vibee_rms_norm_f32_f32", norm_launch(t * heads, d),
                         NormArgs{rows, device_pointer<const float>(c.vector[i]), nullptr, rows, d, c.eps}));
    VIBEE_TRY(s.launch("vibee_rope_f32", rope_launch(t, heads * d),
                       RopeArgs{rows, table, rows, heads * d, d, c.pairs, c.split_halves, 1}));
  }
  return append(c, s, c.out[1], c.out[2]);
}

}  // namespace vibee
