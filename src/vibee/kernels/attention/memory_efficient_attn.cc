// SPDX-License-Identifier: Apache-2.0
// v1671 memory_efficient_attn, forward: softmax(Q K^T) V without an array of T x T (Milakov and Gimelshein 2018; Rabe
// and Staats 2021; Dao et al. 2022), in the form of fold.h: the stored keys and values, and the sequential fold.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/kernels/attention/attention.h"

namespace vibee {
namespace {

/// Symmetric int8 with a half scale: q = RNE(x / d), d = half(amax / 127).
uint16_t quantize32(const float* x, int8_t* q) {
  float amax = 0;
  for (int i = 0; i < 32; ++i) amax = std::max(amax, std::fabs(x[i]));
  const uint16_t d = float_to_half(amax / 127.0f);
  const float scale = half_to_float(d), inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int i = 0; i < 32; ++i) q[i] = int8_t(std::nearbyint(std::clamp(x[i] * inverse, -127.0f, 127.0f)));
  return d;
}

/// The half next to x that is not above it, and the one that is not below it.
uint16_t half_down(float x) {
  const uint16_t h = float_to_half(x);
  if (!(half_to_float(h) > x)) return h;
  return h == 0 ? 0x8001 : h & 0x8000 ? uint16_t(h + 1) : uint16_t(h - 1);
}
uint16_t half_up(float x) { return half_down(-x) ^ 0x8000; }

/// Codes of four bits and what stands for them, minimum + code * scale, which reach over all of a head: with its
/// minimum rounded down and its scale up, what is stored is within half a scale.
struct Nibbles {
  uint16_t scale, minimum;
  uint8_t code[kMaxHeadDim];
  Nibbles(const float* x, uint32_t n) {
    float low = x[0], high = x[0];
    for (uint32_t i = 1; i < n; ++i) {
      low = std::min(low, x[i]);
      high = std::max(high, x[i]);
    }
    minimum = half_down(low);
    low = half_to_float(minimum);
    scale = half_up((high - low) / 15);
    const float step = half_to_float(scale), inverse = step > 0 ? 1 / step : 0;
    for (uint32_t i = 0; i < n; ++i) {
      const float u = std::nearbyint((x[i] - low) * inverse);
      code[i] = u > 0 ? uint8_t(std::min(u, 15.0f)) : 0;  // what is not a number, too
    }
  }
};

}  // namespace

Status validate(const AttentionShape& s) {
  if (s.kv_heads == 0 || s.heads % s.kv_heads != 0)
    return error(Code::invalid, "attention: {} heads are not a multiple of {} KV heads", s.heads, s.kv_heads);
  if (s.head_dim == 0 || s.head_dim % 8 != 0 || s.head_dim > kMaxHeadDim)
    return error(Code::unsupported, "attention: head dimension {} is not built; multiples of 8 up to {} are",
                 s.head_dim, kMaxHeadDim);
  if (!s.causal && s.window != 0)
    return error(Code::unsupported, "attention: a window of {} without a causal mask is not built", s.window);
  return {};
}

void clear_state(uint32_t head_dim, FoldState* state) {
  state->m = -INFINITY;
  state->l = 0;
  std::memset(state->o, 0, head_dim * sizeof(float));
}

void attend(const AttentionKernel& kernel, const AttentionShape& shape, const KvView& kv, const QueryTile& tile,
            FoldState* part, FoldState* state) {
  const uint32_t count = tile.rows * tile.heads;
  for (uint32_t i = 0; i < count; ++i) clear_state(shape.head_dim, &state[i]);
  const SplitRange range = visible_splits(shape, tile.first, tile.rows);
  for (uint32_t split = range.begin; split < range.end; ++split) {
    kernel.split(shape, kv, tile, split, part);
    for (uint32_t i = 0; i < count; ++i) kernel.fold(shape.head_dim, part[i], &state[i]);
  }
}

void kv_store(const PointwiseKernels& pw, const KvView& kv, uint32_t page, uint32_t lane, uint32_t head,
              const float* key, const float* value) {
  const uint32_t d = kv.layout.head_dim;
  uint8_t* k = kv.key(page, head);
  uint8_t* v = kv.value(page, head);
  switch (kv.layout.format) {
    case KvFormat::f32:
      for (uint32_t i = 0; i < d; ++i) std::memcpy(k + (i * kPageTokens + lane) * 4, key + i, 4);
      std::memcpy(v + lane * d * 4, value, d * 4);
      return;
    case KvFormat::f16: {
      auto* k16 = reinterpret_cast<uint16_t*>(k);
      uint16_t row[kMaxHeadDim];
      pw.to_half(key, d, row);
      for (uint32_t i = 0; i < d; ++i) k16[i * kPageTokens + lane] = row[i];
      pw.to_half(value, d, reinterpret_cast<uint16_t*>(v) + lane * d);
      return;
    }
    case KvFormat::q8_0: {
      auto* scales = reinterpret_cast<uint16_t*>(k);
      auto* codes = reinterpret_cast<int8_t*>(k) + d;  // d/32 scales of 16 lanes, two bytes each
      for (uint32_t b = 0; b < d / 32; ++b) {
        int8_t q[32];
        scales[b * kPageTokens + lane] = quantize32(key + 32 * b, q);
        for (uint32_t i = 0; i < 32; ++i) codes[(32 * b + i) * kPageTokens + lane] = q[i];
        auto* value_scales = reinterpret_cast<uint16_t*>(v);
        value_scales[lane * (d / 32) + b] =
            quantize32(value + 32 * b, reinterpret_cast<int8_t*>(v) + d + lane * d + 32 * b);
      }
      return;
    }
    case KvFormat::int4: {
      const auto put_range = [&](uint8_t* head_bytes, const Nibbles& n) {
        auto* halves = reinterpret_cast<uint16_t*>(head_bytes) + lane;
        halves[0] = n.scale;
        halves[kPageTokens] = n.minimum;
      };
      const Nibbles keys(key, d), values(value, d);
      put_range(k, keys);
      put_range(v, values);
      for (uint32_t i = 0; i < d; i += 2)
        k[4 * kPageTokens + 8 * i + lane] = uint8_t(keys.code[i] | keys.code[i + 1] << 4);
      uint8_t* row = v + 4 * kPageTokens + lane * d / 2;
      for (uint32_t i = 0; i < d; i += 32)
        for (uint32_t j = i; j < i + 16; ++j) *row++ = uint8_t(values.code[j] | values.code[j + 16] << 4);
      return;
    }
  }
}

void attention_reference(const AttentionShape& shape, const double* keys, const double* values, const float* q,
                         uint32_t position, double* out) {
  const uint32_t d = shape.head_dim,
                 first = shape.window != 0 && position + 1 > shape.window ? position + 1 - shape.window : 0;
  std::vector<double> s;
  double top = -INFINITY, sum = 0;
  for (uint32_t p = first; p <= position; ++p) {
    double dot = 0;
    for (uint32_t i = 0; i < d; ++i) dot += double(q[i]) * keys[p * d + i];
    dot *= shape.scale;
    if (shape.soft_cap > 0) dot = shape.soft_cap * std::tanh(dot / shape.soft_cap);
    s.push_back(dot);
    top = std::max(top, dot);
  }
  std::fill(out, out + d, 0.0);
  for (double x : s) sum += std::exp(x - top);
  for (uint32_t p = first; p <= position; ++p)
    for (uint32_t i = 0; i < d; ++i) out[i] += std::exp(s[p - first] - top) / sum * values[p * d + i];
}

}  // namespace vibee
