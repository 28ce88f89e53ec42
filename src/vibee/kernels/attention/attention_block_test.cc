// SPDX-License-Identifier: Apache-2.0
// Attention as block programs: splits by fma beside the bytes of the CPU's kernels, everything beside double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <tuple>

#include "vibee/kit/trial_attention.h"

namespace vibee {
namespace {

/// Lengths beside pages and splits, groups of 1, 3, 4 and more than a tile, windows, caps, no causal mask.
const KvFormat kFormats[] = {KvFormat::f32, KvFormat::f16, KvFormat::q8_0};
const AttentionCase kCases[] = {
    {1, 1, 1, 8},           {17, 4, 4, 24},   {47, 9, 3, 64},         {21, 4, 1, 256},
    {300, 4, 1, 40, 37},    {261, 17, 1, 16}, {270, 6, 2, 96, 17, 5}, {37, 3, 3, 32, 0, 0, false},
    {258, 3, 1, 64, 0, 30},
};

TEST(AttentionBlock, SplitsHaveTheBytesOfTheCpu) {
  for (const AttentionCase& c : kCases)
    for (const KvFormat format : kFormats) {
      if (c.head_dim % info(format).unit != 0) continue;
      if (VIBEE_SANITIZE_BUILD != 0 && format == KvFormat::q8_0 && c.length > 64) continue;  // they take their time
      StoredSequence sequence(c, format, 3);
      const uint32_t rows = last_rows(c), first = c.length - rows, width = c.heads * c.head_dim;
      std::vector<float> want(sequence.q.size());
      for (uint32_t h = 0; h < c.kv_heads; ++h)
        sequence.attend_rows(attention_kernel(format, detected_isa()), h, first, c.length, 4, want.data());
      poison(sequence);
      const auto q = trial_queries<float>(sequence, first, rows);
      AttentionTrial step(sequence, first, rows, kVectorTile);
      const auto out = step.run_split<float>(q, info(format).name.data());
      EXPECT_EQ(0, std::memcmp(out.data(), &want[uint64_t(first) * width], out.memory().bytes))
          << c.length << " d " << c.head_dim << " " << info(format).name;
      for (uint32_t row = 0; row < rows; row += 5) {  // and a row alone
        AttentionTrial alone(sequence, first + row, 1, kVectorTile);
        if (!c.causal) break;  // alone it would see less
        const auto one =
            alone.run_split<float>(trial_queries<float>(sequence, first + row, 1), info(format).name.data());
        EXPECT_EQ(0, std::memcmp(one.data(), &out[uint64_t(row) * width], one.memory().bytes)) << row;
      }
    }
}

TEST(AttentionBlock, SixteenBitsInAndOut) {
  const AttentionCase c{37, 9, 3, 64};
  for (const KvFormat format : {KvFormat::f32, KvFormat::f16}) {
    StoredSequence sequence(c, format, 4);
    for (float& v : sequence.q) v = bf16_to_float(float_to_bf16(v));  // one query in both types
    const char* const kv = info(format).name.data();
    const auto wide =
        AttentionTrial(sequence, 20, 17, kVectorTile).run_split<float>(trial_queries<float>(sequence, 20, 17), kv);
    const auto small =
        AttentionTrial(sequence, 20, 17, kVectorTile).run_split<Bf16>(trial_queries<Bf16>(sequence, 20, 17), kv);
    for (uint64_t i = 0; i < wide.size(); ++i) ASSERT_EQ(small[i].bits, float_to_bf16(wide[i])) << i;
  }
}

TEST(AttentionBlock, NothingVisibleIsZeros) {
  TrialArray<uint32_t> parts(4);  // rows 0 and 1 without parts, row 2 with one that saw nothing
  parts[3] = 1;
  TrialArray<float> sums(2), values(8), out(24);
  sums[0] = -INFINITY;
  for (float& v : std::span(values.data(), 8)) v = NAN;
  for (float& v : std::span(out.data(), 24)) v = 7;
  const Status status = run_kernel("vibee_attention_fold_f32", attention_fold_launch(3, 1),
                                   AttentionFoldArgs{parts.data(), sums.data(), values.data(), out.data(), 3, 1, 8},
                                   {parts.memory(), sums.memory(), values.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t i = 0; i < 24; ++i) EXPECT_EQ(out[i], 0) << i;
}

template <class In>
void expect_appended(KvFormat format, uint32_t kv_heads, uint32_t d, float by = 1) {
  const uint32_t rows = 5, places[rows] = {18, 31, 0, 47, 32};
  auto keys = normals<In>(uint64_t(rows) * kv_heads * d, d);
  const auto values = normals<In>(keys.size(), d + 1);
  for (uint64_t i = 0; by != 1 && i < keys.size(); ++i)
    keys[i] = TrialType<In>::from(by * float(TrialType<In>::value(keys[i])));
  const KvLayout layout{format, kv_heads, d};
  TrialArray<uint8_t> pages(3 * layout.layer_bytes()), want(pages.size());
  TrialArray<uint32_t> at(rows);
  const KvView view{want.data(), layout.layer_bytes(), layout};
  for (uint32_t r = 0; r < rows; ++r) {
    at[r] = places[r];
    for (uint32_t h = 0; h < kv_heads; ++h) {
      std::vector<float> key(d), value(d);
      for (uint32_t i = 0; i < d; ++i) {
        key[i] = float(TrialType<In>::value(keys[(uint64_t(r) * kv_heads + h) * d + i]));
        value[i] = float(TrialType<In>::value(values[(uint64_t(r) * kv_heads + h) * d + i]));
      }
      kv_store(pointwise_scalar, view, places[r] / 16, places[r] % 16, h, key.data(), value.data());
    }
  }
  const Status status = run_kernel(
      fmt::format("vibee_kv_append_{}_{}", TrialType<In>::name, info(format).name), kv_append_launch(rows, kv_heads, d),
      KvAppendArgs{keys.data(), values.data(), pages.data(), at.data(), layout.layer_bytes(), kv_heads, d},
      {keys.memory(), values.memory(), at.memory()}, {pages.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(pages, want)) << info(format).name << " " << kv_heads << " x " << d << " by " << by;
}
TEST(AttentionBlock, AppendedRowsLieAsTheCpuStoresThem) {
  for (const uint32_t kv_heads : {1u, 3u})
    for (const uint32_t d : {8u, 40u, 256u}) {
      expect_appended<float>(KvFormat::f32, kv_heads, d);
      expect_appended<float>(KvFormat::f16, kv_heads, d);
      expect_appended<Bf16>(KvFormat::f32, kv_heads, d);
      expect_appended<Bf16>(KvFormat::f16, kv_heads, d);
    }
  for (const uint32_t kv_heads : {1u, 3u})
    for (const uint32_t d : {32u, 96u, 256u})
      for (const float by : {1.0f, 0.0f, 1e-6f, 1e4f}) expect_appended<float>(KvFormat::q8_0, kv_heads, d, by);
}

TEST(SplitItems, EveryRowHeadAndVisibleSplitOnce) {
  const std::vector<uint32_t> table(80, 5);
  const SequenceRows sequences[] = {{3, 1, 700, table.data()},
                                    {4, 40, 250, table.data()},
                                    {44, 0, 9, nullptr},
                                    {45, 7, 0, table.data()},
                                    {0, 2, 511, table.data()}};  // none has row 2
  for (const bool causal : {true, false})
    for (const uint32_t window : {0u, 1u, 17u, 300u})
      for (const uint32_t kv_heads : {1u, 2u, 6u})
        for (const uint32_t tile : {1u, 4u, kVectorTile, kProductTile}) {
          if (!causal && window != 0) continue;
          const AttentionShape shape{6, kv_heads, 64, 1, 0, window, causal};
          const SplitItems list = split_items(shape, sequences, tile);
          std::map<std::tuple<uint32_t, uint32_t, uint32_t>, uint32_t> seen;  // row, head, split
          for (const SplitItem& item : list.items) {
            EXPECT_LE(item.rows * item.heads, tile);
            EXPECT_EQ(item.head / shape.group(), (item.head + item.heads - 1) / shape.group());
            for (uint32_t r = 0; r < item.rows; ++r)
              for (uint32_t h = 0; h < item.heads; ++h) ++seen[{item.row + r, item.head + h, item.split}];
          }
          uint32_t parts = 0, pages = 0;
          for (const SequenceRows& s : sequences) {
            for (uint32_t row = 0; row < s.rows; ++row) {
              const uint32_t last = causal ? s.first + row : s.first + s.rows - 1;
              uint32_t count = 0;
              for (uint32_t split = 0; split <= (s.first + s.rows) / kSplitKeys; ++split) {
                bool visible = false;
                for (uint32_t p = split * kSplitKeys; p < (split + 1) * kSplitKeys; ++p)
                  visible |= p <= last && (window == 0 || last - p < window);
                count += visible;
                for (uint32_t head = 0; head < 6; ++head) {
                  const auto at = seen.find({s.row + row, head, split});
                  const uint32_t times = at == seen.end() ? 0 : at->second;
                  // A row may stand in a tile for a split that its neighbour sees.
                  EXPECT_LE(times, visible || tile > 1 ? 1u : 0u);
                  EXPECT_GE(times, visible ? 1u : 0u);
                }
              }
              EXPECT_EQ(list.row_parts[s.row + row + 1] - list.row_parts[s.row + row], count);
              parts += count;
            }
            if (s.rows > 0) pages += (s.first + s.rows + 15) / 16;
          }
          EXPECT_EQ(list.parts(), parts);
          EXPECT_EQ(list.pages.size(), pages);
          EXPECT_EQ(list.row_parts.size(), 53u);
        }
  EXPECT_EQ(split_items({6, 2, 64}, {}, 8).parts(), 0u);
}

}  // namespace
}  // namespace vibee
