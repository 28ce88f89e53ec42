// SPDX-License-Identifier: Apache-2.0
// Encoders of Q4_K, Q5_K and Q6_K for least squared error: a grid of scales for each sub-block with the closed-form
// fit, then the quantised scales are searched around their rounded values, and the superblock's own scale is refitted
// once.
#include <algorithm>
#include <cmath>
#include <limits>

#include "vibee/base/math/half.h"
#include "vibee/formats/integer/k_blocks.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

/// Nearest integer in [low, high], as a float; whatever is not a number becomes `low`. |low|, |high| < 2^22.
inline float nearest(float v, float low, float high) {
  v = v > low ? v : low;
  v = v < high ? v : high;
  constexpr float kMagic = 12582912.0f;  // adding 1.5 * 2^23 leaves no fraction bits: rounds to nearest even
  return (v + kMagic) - kMagic;
}
inline float inverse(float d) { return d == 0 ? 0.0f : 1.0f / d; }
/// The half nearest to v, as a float, never infinite.
inline float half_grid(float v) { return half_to_float(float_to_half(std::clamp(v, -65504.0f, 65504.0f))); }

// ---- Q4_K and Q5_K: x = scale * u - low, low >= 0.

struct AffineFit {
  float scale = 0, low = 0;
};

/// Squared error of coding `x` with the given scale and low.
float affine_error(const float* x, float scale, float low, float top) {
  const float id = inverse(scale);
  float lanes[8] = {};
  for (int i = 0; i < 32; i += 8) {
    for (int j = 0; j < 8; ++j) {
      const float diff = scale * nearest((x[i + j] + low) * id, 0, top) - low - x[i + j];
      lanes[j] += diff * diff;
    }
  }
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

/// Least squares over scale and low for the codes that (iscale, low) gives.
AffineFit affine_refit(const float* x, float iscale, float low, float top) {
  double u1 = 0, u2 = 0, ux = 0, sx = 0;
  for (int i = 0; i < 32; ++i) {
    const float u = nearest((x[i] + low) * iscale, 0, top);
    u1 += u;
    u2 += double(u) * u;
    ux += double(u) * x[i];
    sx += x[i];
  }
  const double determinant = 32 * u2 - u1 * u1;
  if (!(determinant > 0)) return {0, std::max(0.0f, float(-sx / 32))};
  const double scale = (32 * ux - sx * u1) / determinant, offset = (u2 * sx - u1 * ux) / determinant;
  if (offset > 0) return {float(ux / u2), 0};
  return {float(scale), float(-offset)};
}

AffineFit fit_affine(const float* x, float top) {
  float least = 0, most = x[0];
  for (int i = 0; i < 32; ++i) {
    least = std::min(least, x[i]);
    most = std::max(most, x[i]);
  }
  if (!(most > least)) return {0, -least};
  AffineFit best{(most - least) / top, -least};
  float best_error = affine_error(x, best.scale, best.low, top);
  for (int step = -10; step <= 14; ++step) {
    AffineFit fit = affine_refit(x, (top + 0.1f * float(step)) / (most - least), -least, top);
    for (int round = 0; round < 2; ++round) {
      const float e = affine_error(x, fit.scale, fit.low, top);
      if (e < best_error) {
        best_error = e;
        best = fit;
      } else if (round) {
        break;
      }
      if (!(fit.scale > 0)) break;
      fit = affine_refit(x, 1.0f / fit.scale, fit.low, top);
    }
  }
  return best;
}

struct AffineBlock {
  float d = 0, dmin = 0;  // on the half grid
  uint8_t scales[8] = {}, mins[8] = {};
  float error = std::numeric_limits<float>::infinity();
};

/// The best 6-bit scales and minima under the superblock scales d and dmin, near those of the fits.
AffineBlock search_affine(const float* x, const AffineFit* fits, float d, float dmin, float top) {
  AffineBlock block{half_grid(d), half_grid(dmin), {}, {}, 0};
  for (int k = 0; k < 8; ++k) {
    const float scale = nearest(fits[k].scale * inverse(block.d), 0, 63);
    const float low = nearest(fits[k].low * inverse(block.dmin), 0, 63);
    float best = std::numeric_limits<float>::infinity();
    for (float s = std::max(0.0f, scale - 1); s <= std::min(63.0f, scale + 1); ++s) {
      for (float m = std::max(0.0f, low - 1); m <= std::min(63.0f, low + 1); ++m) {
        const float e = affine_error(x + 32 * k, block.d * s, block.dmin * m, top);
        if (e < best) {
          best = e;
          block.scales[k] = uint8_t(s);
          block.mins[k] = uint8_t(m);
        }
      }
    }
    block.error += best;
  }
  return block;
}

/// Least squares over d and dmin with everything else of the block kept.
void refit_affine_scales(const float* x, const AffineBlock& block, float top, float& d, float& dmin) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = block.d * float(block.scales[i / 32]), low = block.dmin * float(block.mins[i / 32]);
    const double a = double(block.scales[i / 32]) * nearest((x[i] + low) * inverse(scale), 0, top);
    const double b = -double(block.mins[i / 32]);
    aa += a * a;
    ab += a * b;
    bb += b * b;
    ax += a * x[i];
    bx += b * x[i];
  }
  const double determinant = aa * bb - ab * ab;
  if (determinant > 0) {
    d = float((ax * bb - bx * ab) / determinant);
    dmin = float((bx * aa - ax * ab) / determinant);
  } else if (aa > 0) {
    d = float(ax / aa);
  }
}

/// Chooses the block's scales and writes one code a byte.
AffineBlock encode_affine(const float* x, float top, uint8_t* codes) {
  AffineFit fits[8];
  float most_scale = 0, most_low = 0;
  for (int k = 0; k < 8; ++k) {
    fits[k] = fit_affine(x + 32 * k, top);
    most_scale = std::max(most_scale, fits[k].scale);
    most_low = std::max(most_low, fits[k].low);
  }
  AffineBlock block = search_affine(x, fits, most_scale / 63, most_low / 63, top);
  float d = block.d, dmin = block.dmin;
  refit_affine_scales(x, block, top, d, dmin);
  if (d >= 0 && dmin >= 0) {
    const AffineBlock again = search_affine(x, fits, d, dmin, top);
    if (again.error < block.error) block = again;
  }
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = block.d * float(block.scales[i / 32]), low = block.dmin * float(block.mins[i / 32]);
    codes[i] = uint8_t(nearest((x[i] + low) * inverse(scale), 0, top));
  }
  return block;
}

void store_affine_header(const AffineBlock& block, uint8_t* out) {
  store_u16(out, float_to_half(block.d));
  store_u16(out + 2, float_to_half(block.dmin));
  pack_k_scales(block.scales, block.mins, out + 4);
}

// ---- Q6_K: x = scale * q, q in -32..31.

float symmetric_error(const float* x, float scale) {
  const float id = inverse(scale);
  float sum = 0;
  for (int i = 0; i < 16; ++i) {
    const float diff = scale * nearest(x[i] * id, -32, 31) - x[i];
    sum += diff * diff;
  }
  return sum;
}

float fit_symmetric(const float* x) {
  float extreme = 0;
  for (int i = 0; i < 16; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  if (extreme == 0) return 0;
  float best = -extreme / 32, best_error = symmetric_error(x, best);
  for (int step = -15; step <= 15; ++step) {
    const float iscale = -(32 + 0.1f * float(step)) / extreme;
    float qx = 0, qq = 0;
    for (int i = 0; i < 16; ++i) {
      const float q = nearest(x[i] * iscale, -32, 31);
      qx += q * x[i];
      qq += q * q;
    }
    if (!(qq > 0)) continue;
    const float e = symmetric_error(x, qx / qq);
    if (e < best_error) {
      best_error = e;
      best = qx / qq;
    }
  }
  return best;
}

struct SymmetricBlock {
  float d = 0;
  int8_t scales[16] = {};
  float error = std::numeric_limits<float>::infinity();
};

SymmetricBlock search_symmetric(const float* x, const float* fits, float d) {
  SymmetricBlock block{half_grid(d), {}, 0};
  for (int k = 0; k < 16; ++k) {
    const float scale = nearest(fits[k] * inverse(block.d), -128, 127);
    float best = std::numeric_limits<float>::infinity();
    for (float s = std::max(-128.0f, scale - 1); s <= std::min(127.0f, scale + 1); ++s) {
      const float e = symmetric_error(x + 16 * k, block.d * s);
      if (e < best) {
        best = e;
        block.scales[k] = int8_t(s);
      }
    }
    block.error += best;
  }
  return block;
}

float symmetric_code(const float* x, const SymmetricBlock& block, int i) {
  return nearest(x[i] * inverse(block.d * float(block.scales[i / 16])), -32, 31);
}

SymmetricBlock encode_symmetric(const float* x) {
  float fits[16], extreme = 0;
  for (int k = 0; k < 16; ++k) {
    fits[k] = fit_symmetric(x + 16 * k);
    if (std::fabs(fits[k]) > std::fabs(extreme)) extreme = fits[k];
  }
  SymmetricBlock block = search_symmetric(x, fits, extreme / -128);
  double ax = 0, aa = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    const double a = double(block.scales[i / 16]) * symmetric_code(x, block, i);
    ax += a * x[i];
    aa += a * a;
  }
  if (aa > 0) {
    const SymmetricBlock again = search_symmetric(x, fits, float(ax / aa));
    if (again.error < block.error) block = again;
  }
  return block;
}

}  // namespace

void encode_q4_k(const float* in, uint64_t n, uint8_t* out) {
  uint8_t codes[kSuperBlock];
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += kSuperBlock, out += 144) {
    store_affine_header(encode_affine(in, 15, codes), out);
    for (int j = 0; j < 128; ++j) {
      const int chunk = j / 32, l = j % 32;
      out[16 + j] = uint8_t(codes[64 * chunk + l] | (codes[64 * chunk + 32 + l] << 4));
    }
  }
}

void encode_q5_k(const float* in, uint64_t n, uint8_t* out) {
  uint8_t codes[kSuperBlock];
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += kSuperBlock, out += 176) {
    store_affine_header(encode_affine(in, 31, codes), out);
    for (int l = 0; l < 32; ++l) {
      uint8_t high = 0;
      for (int k = 0; k < 8; ++k) high = uint8_t(high | ((codes[32 * k + l] >> 4) << k));
      out[16 + l] = high;
    }
    for (int j = 0; j < 128; ++j) {
      const int chunk = j / 32, l = j % 32;
      out[48 + j] = uint8_t((codes[64 * chunk + l] & 15) | ((codes[64 * chunk + 32 + l] & 15) << 4));
    }
  }
}

void encode_q6_k(const float* in, uint64_t n, uint8_t* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += kSuperBlock, out += 210) {
    const SymmetricBlock block = encode_symmetric(in);
    std::fill(out, out + 192, uint8_t(0));
    for (int i = 0; i < kSuperBlock; ++i) {
      const int u = int(symmetric_code(in, block, i)) + 32;
      const int half = i / 128, c = i / 32 % 4, l = i % 32;
      uint8_t& low = out[64 * half + l + 32 * (c & 1)];
      uint8_t& high = out[128 + 32 * half + l];
      low = uint8_t(low | ((u & 15) << (4 * (c / 2))));
      high = uint8_t(high | ((u >> 4) << (2 * c)));
    }
    for (int k = 0; k < 16; ++k) out[192 + k] = uint8_t(block.scales[k]);
    store_u16(out + 208, float_to_half(block.d));
  }
}

}  // namespace vibee
