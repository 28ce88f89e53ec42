// SPDX-License-Identifier: Apache-2.0
// QoQ, progressive quantisation of weights (Lin et al., MLSys 2025, arXiv:2405.04532, section 4.1): a row becomes
// signed bytes in -119 .. 119 by one scale, then each group of those 4-bit codes by an integer scale and zero point.
// 119 is what keeps s2 * (code - zero) a signed byte: it is at most half of s2, which is at most 16, beyond what it
// stands for.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

constexpr int kProtected = 119;  ///< the largest magnitude of the first level

/// s1 of a row: the half next to largest / 119, but never zero where a number of the row is not.
uint16_t row_scale(const float* in, uint64_t n) {
  float largest = 0;
  for (uint64_t i = 0; i < n; ++i)
    if (std::isfinite(in[i])) largest = std::max(largest, std::fabs(in[i]));
  const uint16_t half = float_to_half(std::min(largest / kProtected, 65504.0f));
  return half == 0 && largest > 0 ? uint16_t(1) : half;
}
/// The first level: to the nearest of -119 .. 119, what is not a number to zero.
int first_level(float x, float scale) {
  const float q = std::nearbyint(x / scale);
  return std::isnan(q) ? 0 : int(std::clamp(q, float(-kProtected), float(kProtected)));
}
/// a / b to the nearest whole number, ties to even; b > 0.
int nearest(int a, int b) { return int(std::nearbyint(float(a) / float(b))); }

constexpr int kLargestStep = 16;  ///< 2 * 119 / 15, upwards
/// w / step to the nearest, of every step and every byte of the first level.
struct Steps {
  int8_t of[kLargestStep + 1][2 * kProtected + 1];
  Steps() {
    for (int step = 1; step <= kLargestStep; ++step)
      for (int w = -kProtected; w <= kProtected; ++w) of[step][w + kProtected] = int8_t(nearest(w, step));
  }
};

/// The second level of a group: of the step next to a fifteenth of its range and the one above, which clips nothing,
/// the one with the smaller error.
struct SecondLevel {
  int step = 1, zero = 0;
  static int code(const Steps& steps, int step, int zero, int w) {
    return std::clamp(steps.of[step][w + kProtected] + zero, 0, 15);
  }
  template <uint32_t Group>
  static SecondLevel of(const Steps& steps, const int (&w)[Group], int low, int high) {
    const int near = std::clamp(nearest(high - low, 15), 1, kLargestStep);
    SecondLevel best;
    int64_t least = -1;
    for (int step = near; step <= std::min(near + 1, kLargestStep); ++step) {
      const int zero = std::min(nearest(-low, step), 15);
      int64_t error = 0;
      for (const int v : w) {
        const int d = (code(steps, step, zero, v) - zero) * step - v;
        error += d * d;
      }
      if (least < 0 || error < least) least = error, best = {step, zero};
    }
    return best;
  }
};

template <uint32_t Group>
void encode_row(const float* in, uint64_t n, uint8_t* out) {
  const uint16_t half = row_scale(in, n);
  const float scale = half_to_float(half);
  static const Steps steps;
  for (; n > 0; n -= Group, in += Group, out += 3 + Group / 2) {
    int w[Group], low = 0, high = 0;  // zero is always among them
    for (uint32_t i = 0; i < Group; ++i) {
      w[i] = half == 0 ? 0 : first_level(in[i], scale);
      low = std::min(low, w[i]);
      high = std::max(high, w[i]);
    }
    const SecondLevel level = SecondLevel::of(steps, w, low, high);
    std::memcpy(out, &half, 2);
    out[2] = uint8_t((level.step - 1) | level.zero << 4);
    const auto code = [&](uint32_t i) { return SecondLevel::code(steps, level.step, level.zero, w[i]); };
    for (uint32_t i = 0; i < Group / 2; ++i) {
      const uint32_t at = i / 16 * 32 + i % 16;
      out[3 + i] = uint8_t(code(at) | code(at + 16) << 4);
    }
  }
}

template <uint32_t Group>
void decode_groups(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= Group, in += 3 + Group / 2) {
    uint16_t half;
    std::memcpy(&half, in, 2);
    const float scale = half_to_float(half);
    const int step = (in[2] & 15) + 1, zero = in[2] >> 4;
    const uint8_t* codes = in + 3;
    for (uint32_t i = 0; i < Group; i += 32, codes += 16, out += 32)
      for (uint32_t j = 0; j < 16; ++j) {
        out[j] = scale * float(step * ((codes[j] & 15) - zero));
        out[j + 16] = scale * float(step * ((codes[j] >> 4) - zero));
      }
  }
}

}  // namespace

void encode_qoq32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_row<32>(in, n, out); }
void encode_qoq64(const float* in, uint64_t n, const float*, uint8_t* out) { encode_row<64>(in, n, out); }
void encode_qoq128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_row<128>(in, n, out); }

void decode_qoq32(const uint8_t* in, uint64_t n, float* out) { decode_groups<32>(in, n, out); }
void decode_qoq64(const uint8_t* in, uint64_t n, float* out) { decode_groups<64>(in, n, out); }
void decode_qoq128(const uint8_t* in, uint64_t n, float* out) { decode_groups<128>(in, n, out); }

}  // namespace vibee
