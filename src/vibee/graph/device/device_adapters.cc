// SPDX-License-Identifier: Apache-2.0
// What adapters add to products, each row by its own.
#include <unordered_map>

#include "vibee/graph/device/device_step.h"
#include "vibee/kernels/pointwise/lora.h"

namespace vibee {

Result<StepAdapters> step_adapters(const RaggedBatch& batch, uint32_t targets, uint32_t most) {
  StepAdapters out;
  std::vector<const LoraWeights*> all;
  std::unordered_map<const LoraWeights*, int32_t> number;
  out.of_row.assign(batch.tokens.size(), -1);
  for (const SequenceRows& s : batch.sequences) {
    if (s.lora == nullptr) continue;
    const auto [found, is_new] = number.try_emplace(s.lora, int32_t(all.size()));
    if (is_new) all.push_back(s.lora);
    std::fill_n(out.of_row.begin() + s.row, s.rows, found->second);
  }
  if (all.size() > most)
    return error(Code::invalid, "a step with {} adapters; the plan has room for {}", all.size(), most);
  out.room = adapter_room(uint32_t(all.size()));
  const size_t entries = size_t(targets) * out.room;
  out.a.resize(entries), out.b.resize(entries), out.rank.resize(entries), out.scale.resize(entries);
  for (uint32_t i = 0; i < all.size(); ++i)
    for (uint32_t target = 0; target < targets; ++target) {
      const LoraWeights& w = all[i][target];
      const size_t at = size_t(target) * out.room + i;
      out.a[at] = w.a, out.b[at] = w.b, out.rank[at] = w.rank, out.scale[at] = w.scale;
    }
  return out;
}

namespace {

/// to = from + the rows of `down` times the adapters' B.
Status add_up(const DeviceCall& c, DeviceStep& s, const float* from, ValueId down, float* to) {
  return s.launch("vibee_lora_up_f32", lora_up_launch(s.rows_of(c.out[0]), c.width),
                  LoraUpArgs{from, s.value<const float>(down), to, s.adapters(c.target), c.width, c.norm_width});
}

}  // namespace

/// Where no row has an adapter nothing reads what this would write.
Status device_lora_down(const DeviceCall& c, DeviceStep& s) {
  if (!s.has_adapters()) return {};
  return s.launch("vibee_lora_down_f32", lora_down_launch(s.rows_of(c.out[0]), c.width),
                  LoraDownArgs{s.value<const float>(c.in[0]), s.value<float>(c.out[0]), s.adapters(c.target),
                               c.norm_width, c.width});
}

Status device_lora_up(const DeviceCall& c, DeviceStep& s) {
  return add_up(c, s, s.value<const float>(c.in[0]), c.in[1], s.value<float>(c.out[0]));
}

Status device_linear_lora(const DeviceCall& c, DeviceStep& s) {
  VIBEE_TRY(device_linear(c, s));
  if (!s.has_adapters()) return {};
  auto* const y = s.value<float>(c.out[0]);
  return add_up(c, s, y, c.in[2], y);
}

}  // namespace vibee
