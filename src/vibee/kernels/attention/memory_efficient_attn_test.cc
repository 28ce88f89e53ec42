// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/kernels/attention/attention_cases.h"

namespace vibee {
namespace {

struct Case {
  uint32_t length, heads, kv_heads, head_dim, window;
  float soft_cap;
};
const Case kCases[] = {
    {1, 1, 1, 8, 0, 0},       {15, 3, 1, 64, 0, 0},    {16, 9, 3, 64, 0, 0},   {17, 4, 4, 24, 0, 0},
    {255, 4, 1, 256, 0, 0},   {256, 9, 3, 64, 0, 0},   {257, 8, 1, 32, 0, 0},  {300, 4, 1, 256, 37, 0},
    {601, 9, 3, 64, 0, 30},   {523, 2, 2, 40, 256, 0}, {700, 6, 2, 96, 17, 5}, {513, 12, 1, 32, 0, 0},
    {1031, 3, 1, 64, 512, 0}, {97, 16, 2, 128, 1, 0},
};

/// A sequence with stored keys and values, and the queries of every position.
struct Fixture {
  Case c;
  AttentionShape shape;
  std::vector<float> q, k, v;
  std::vector<uint8_t> store;
  std::vector<uint32_t> pages;
  KvView view;

  Fixture(const Case& test, KvFormat format, bool poison) : c(test) {
    shape = {c.heads, c.kv_heads, c.head_dim, 1 / std::sqrt(float(c.head_dim)), c.soft_cap, c.window};
    RandomStream random(5, Purpose::test, c.length * 131 + c.head_dim);
    q.resize(size_t(c.length) * c.heads * c.head_dim);
    k.resize(size_t(c.length) * c.kv_heads * c.head_dim);
    v.resize(k.size());
    for (auto* x : {&q, &k, &v})
      for (float& f : *x) f = random.normal();
    const uint32_t count = (c.length + 15) / 16;
    view.layout = {format, c.kv_heads, c.head_dim};
    view.page_bytes = view.layout.layer_bytes();
    // Lanes that were never written hold zeros, as PageStore promises; `poison` puts large finite garbage there.
    store.assign((count + 1) * view.page_bytes, 0);
    if (poison && format == KvFormat::f32)
      for (size_t i = 0; i < store.size() / 4; ++i) reinterpret_cast<float*>(store.data())[i] = 1e30f;
    view.base = store.data();
    for (uint32_t i = 0; i < count; ++i) pages.push_back((i * 7 + 3) % count);
    std::vector<bool> used(count);
    for (uint32_t i = 0; i < count; ++i) pages[i] = count - 1 - i;
    for (uint32_t p = 0; p < c.length; ++p)
      for (uint32_t h = 0; h < c.kv_heads; ++h)
        kv_store(pointwise_scalar, view, pages[p / 16], p % 16, h, &k[(p * c.kv_heads + h) * c.head_dim],
                 &v[(p * c.kv_heads + h) * c.head_dim]);
  }
  /// All rows, in tiles of at most `rows` rows.
  std::vector<float> run(const AttentionKernel& kernel, uint32_t rows) const {
    std::vector<float> out(q.size());
    std::vector<FoldState> part(kMaxQueryTile), state(kMaxQueryTile);
    const uint32_t most = std::min(rows, rows_a_tile(shape, kernel.tile)), width = c.heads * c.head_dim;
    each_head_run(shape, kernel.tile, [&](uint32_t head, uint32_t heads) {
      for (uint32_t row = 0; row < c.length; row += most) {
        const uint32_t n = std::min(most, c.length - row);
        attend(kernel, shape, view, {&q[size_t(row) * width], width, n, row, head, heads, pages.data()}, part.data(),
               state.data());
        for (uint32_t i = 0; i < n * heads; ++i)
          kernel.finish(c.head_dim, state[i],
                        &out[(size_t(row) + i / heads) * width + (head + i % heads) * c.head_dim]);
      }
    });
    return out;
  }
};

/// Whether the test program runs the instruction set's kernels without it (cmake/folders.cmake): slow.
bool emulated(Isa isa) {
#ifdef VIBEE_EMULATED_ISA
  return isa >= Isa::VIBEE_EMULATED_ISA;
#else
  return false;
#endif
}

bool runs_here(const AttentionKernel& kernel, const AttentionShape& shape) { return kernel.isa <= detected_isa(); }

TEST(MemoryEfficientAttn, MatchesDoubleSoftmax) {
  for (const Case& c : kCases) {
    const Fixture f(c, KvFormat::f32, false);
    for (const AttentionKernel& kernel : attention_kernels()) {
      if (kernel.kv != KvFormat::f32 || !runs_here(kernel, f.shape)) continue;
      const auto out = f.run(kernel, 4);
      double worst = 0;
      for (uint32_t h = 0; h < c.heads; ++h) {
        const uint32_t kvh = h / f.shape.group();
        std::vector<double> keys(size_t(c.length) * c.head_dim), values(keys.size()), want(c.head_dim);
        for (uint32_t p = 0; p < c.length; ++p)
          for (uint32_t i = 0; i < c.head_dim; ++i) {
            keys[p * c.head_dim + i] = f.k[(p * c.kv_heads + kvh) * c.head_dim + i];
            values[p * c.head_dim + i] = f.v[(p * c.kv_heads + kvh) * c.head_dim + i];
          }
        for (uint32_t p = 0; p < c.length; p += 1 + c.length / 40) {
          const size_t at = (size_t(p) * c.heads + h) * c.head_dim;
          attention_reference(f.shape, keys.data(), values.data(), &f.q[at], p, want.data());
          for (uint32_t i = 0; i < c.head_dim; ++i) worst = std::max(worst, std::fabs(out[at + i] - want[i]));
        }
      }
      EXPECT_LT(worst, 4e-6) << kernel.symbol << " length " << c.length << " d " << c.head_dim;
    }
  }
}

TEST(MemoryEfficientAttn, BytesDoNotDependOnTilesOrInstructionSet) {
  for (const auto& [format, name, unit] : kKvFormats) {
    for (const Case& c : kCases) {
      if (c.head_dim % unit != 0) continue;
      const Fixture f(c, format, false);
      std::vector<float> first;
      for (const AttentionKernel& kernel : attention_kernels()) {
        if (kernel.kv != format || kernel.order != kAttentionOrder || !runs_here(kernel, f.shape)) continue;
        for (uint32_t rows : {1u, 3u, 12u}) {
          if (kernel.isa == Isa::scalar && rows != 3) continue;  // emulated fma: slow
          if (emulated(kernel.isa) && (rows == 1 || (rows == 3 && c.length > 300))) continue;
          const auto out = f.run(kernel, rows);
          if (first.empty()) first = out;
          EXPECT_EQ(0, std::memcmp(first.data(), out.data(), out.size() * 4))
              << kernel.symbol << " rows " << rows << " length " << c.length;
        }
      }
    }
  }
}

TEST(MemoryEfficientAttn, StoredGarbageBeyondTheSequenceIsNotSeen) {
  const Case c{21, 3, 1, 64, 0, 0};
  const Fixture clean(c, KvFormat::f32, false), poisoned(c, KvFormat::f32, true);
  for (const AttentionKernel& kernel : attention_kernels()) {
    if (kernel.kv != KvFormat::f32 || !runs_here(kernel, clean.shape)) continue;
    EXPECT_EQ(clean.run(kernel, 2), poisoned.run(kernel, 2)) << kernel.symbol;
  }
}

TEST(MemoryEfficientAttn, FourBitsAreWithinHalfAScale) {
  constexpr uint32_t kDim = 64;
  std::vector<uint8_t> page(KvLayout{KvFormat::int4, 1, kDim}.layer_bytes() + kKvSlack);
  const KvView view{page.data(), page.size(), {KvFormat::int4, 1, kDim}};
  RandomStream random(7, Purpose::test);
  float x[2][kDim];
  const auto store = [&](uint32_t lane) { kv_store(pointwise_scalar, view, 0, lane, 0, x[0], x[1]); };
  const auto expect_near = [&](uint32_t lane, double beyond) {
    for (int side = 0; side < 2; ++side) {
      const auto* halves = reinterpret_cast<const uint16_t*>(side == 0 ? view.key(0, 0) : view.value(0, 0));
      const float scale = half_to_float(halves[lane]), least = *std::min_element(x[side], x[side] + kDim);
      EXPECT_LE(half_to_float(halves[kPageTokens + lane]), least);
      for (uint32_t i = 0; i < kDim; ++i) {
        const float back = side == 0 ? stored_key(view, 0, lane, 0, i) : stored_value(view, 0, lane, 0, i);
        EXPECT_LE(std::fabs(back - x[side][i]), scale / 2 * (1 + 0x1p-20) + beyond) << side << " " << lane << " " << i;
      }
    }
  };
  for (uint32_t round = 0; round < 200; ++round) {
    for (auto& side : x) {
      const float size = std::exp(random.normal() * 3), center = random.normal() * size * float(round % 3);
      for (float& v : side) v = center + size * random.normal();
    }
    store(round % kPageTokens);
    expect_near(round % kPageTokens, 0);
  }
  for (const float same : {0.0f, 1e-9f, -1e-9f, 3.14159f, -60000.0f}) {  // all alike: the step is that of the minimum
    for (auto& side : x) std::fill(side, side + kDim, same);
    store(3);
    expect_near(3, 0);
  }
  // What is beyond halves or no number spoils its own head of its own key alone.
  for (const float wild : {1e30f, -1e30f, float(INFINITY), -float(INFINITY), float(NAN)}) {
    for (auto& side : x) std::fill(side, side + kDim, 1.0f);
    store(4);
    x[0][5] = x[1][7] = wild;
    store(5);
    for (uint32_t i = 0; i < kDim; ++i) EXPECT_NEAR(stored_key(view, 0, 4, 0, i), 1, 1e-3);
  }
}

TEST(MemoryEfficientAttn, RefusesShapesThatAreNotBuilt) {
  EXPECT_TRUE(validate({9, 3, 64, 1, 0, 0}).ok());
  EXPECT_NE(validate({9, 2, 64, 1, 0, 0}).message().find("9 heads"), std::string::npos);
  EXPECT_NE(validate({9, 3, 60, 1, 0, 0}).message().find("60"), std::string::npos);
  EXPECT_FALSE(validate({9, 3, 264, 1, 0, 0}).ok());
  EXPECT_TRUE(validate({17, 1, 64, 1, 0, 0}).ok());
  EXPECT_FALSE(validate({16, 0, 64, 1, 0, 0}).ok());
  EXPECT_TRUE(validate({9, 3, 64, 1, 0, 0, false}).ok());
  EXPECT_NE(validate({9, 3, 64, 1, 0, 7, false}).message().find("a window of 7"), std::string::npos);
}

}  // namespace
}  // namespace vibee
