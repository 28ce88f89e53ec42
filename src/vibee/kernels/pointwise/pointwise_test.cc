// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/pointwise.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <tuple>
#include <vector>

#include "vibee/base/math/exp2.h"
#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

std::vector<float> normals(uint32_t n, uint32_t stream, float scale = 1) {
  RandomStream random(11, Purpose::test, stream);
  std::vector<float> v(n);
  for (float& x : v) x = scale * random.normal();
  return v;
}
std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa <= detected_isa()) all.push_back(isa);
  return all;
}
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

const uint32_t kSizes[] = {1, 7, 15, 16, 17, 31, 32, 64, 65, 127, 576, 640, 1000};

TEST(Exp2, WithinTwoUlpOfDouble) {
  for (float x = -125; x < 126; x += 0.00731f) {
    const double exact = std::exp2(double(x));
    EXPECT_NEAR(exp2_fixed(x) / exact, 1.0, 2 * 0x1p-24) << x;
  }
  EXPECT_EQ(exp2_fixed(-INFINITY), 0.0f);
  EXPECT_EQ(exp2_fixed(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(exp2_fixed(NAN)));
}

TEST(Pointwise, RmsNormNearDoubleAndEqualAcrossIsas) {
  for (uint32_t n : kSizes) {
    const auto x = normals(n, n), w = normals(n, n + 1);
    double sum = 0;
    for (float v : x) sum += double(v) * v;
    const double r = 1 / std::sqrt(sum / n + 1e-5);
    std::vector<float> first(n), out(n);
    pointwise_scalar.rms_norm(x.data(), w.data(), n, 1e-5f, first.data());
    for (uint32_t i = 0; i < n; ++i) EXPECT_NEAR(first[i], x[i] * r * w[i], 1e-5 * (1 + std::fabs(first[i])));
    for (Isa isa : isas()) {
      pointwise(isa).rms_norm(x.data(), w.data(), n, 1e-5f, out.data());
      EXPECT_TRUE(same(first, out)) << name(isa) << " n " << n;
    }
  }
}

TEST(Pointwise, LoraNearDoubleAndEqualAcrossIsasAndRows) {
  for (const auto& [k, n, rank] : {std::array<uint32_t, 3>{7, 5, 1}, {64, 48, 3}, {576, 100, 16}}) {
    constexpr uint32_t kRows = 7;
    const uint32_t width = rank + 2;  // rows of h are wider than the adapter's rank
    const auto x = normals(kRows * k, k), a = normals(rank * k, k + 1), b = normals(rank * n, k + 2);
    const auto before = normals(kRows * n, k + 3);
    std::vector<float> first_h(kRows * width), first_y = before;
    pointwise_scalar.lora_down(x.data(), kRows, k, a.data(), rank, 0.5f, first_h.data(), width);
    pointwise_scalar.lora_up(first_h.data(), kRows, width, rank, b.data(), n, n, first_y.data(), n);
    for (uint32_t r = 0; r < kRows; ++r) {
      for (uint32_t c = 0; c < n; ++c) {
        double sum = 0, size = 0;
        for (uint32_t j = 0; j < rank; ++j) {
          double h = 0;
          for (uint32_t i = 0; i < k; ++i) h += double(x[r * k + i]) * double(a[j * k + i]);
          sum += 0.5 * h * double(b[j * n + c]);
          size += std::fabs(0.5 * h * double(b[j * n + c]));
        }
        EXPECT_NEAR(first_y[r * n + c], double(before[r * n + c]) + sum, 2e-6 * double(k) * (1 + size));
      }
    }
    for (Isa isa : isas()) {
      const PointwiseKernels& pw = pointwise(isa);
      std::vector<float> h(kRows * width), y = before;
      // Rows one at a time and columns in two parts: the same bytes.
      for (uint32_t r = 0; r < kRows; ++r) pw.lora_down(&x[r * k], 1, k, a.data(), rank, 0.5f, &h[r * width], width);
      EXPECT_TRUE(same(first_h, h)) << name(isa);
      const uint32_t half = n / 32 * 16;
      pw.lora_up(h.data(), kRows, width, rank, b.data(), n, half, y.data(), n);
      pw.lora_up(h.data(), kRows, width, rank, b.data() + half, n, n - half, y.data() + half, n);
      EXPECT_TRUE(same(first_y, y)) << name(isa);
    }
  }
}

TEST(Pointwise, GatesNearDoubleAndEqualAcrossIsas) {
  for (Gate gate : {Gate::silu, Gate::gelu_tanh}) {
    for (uint32_t n : kSizes) {
      const auto a = normals(n, n, 4), b = normals(n, n + 1);
      std::vector<float> first(n), out(n);
      pointwise_scalar.gated(gate, a.data(), b.data(), n, first.data());
      for (uint32_t i = 0; i < n; ++i) {
        const double x = a[i];
        const double g = gate == Gate::silu
                             ? x / (1 + std::exp(-x))
                             : 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        EXPECT_NEAR(first[i], g * b[i], 2e-6 * (1 + std::fabs(g * b[i])));
      }
      for (Isa isa : isas()) {
        pointwise(isa).gated(gate, a.data(), b.data(), n, out.data());
        EXPECT_TRUE(same(first, out)) << name(isa) << " n " << n;
      }
    }
  }
}

TEST(Pointwise, LayerNormAndActivationsNearDoubleAndEqualAcrossIsas) {
  for (uint32_t n : kSizes) {
    const auto x = normals(n, n, 3), w = normals(n, n + 1), b = normals(n, n + 2);
    double mean = 0, squares = 0;
    for (float v : x) mean += double(v) / n;
    for (float v : x) squares += (v - mean) * (v - mean) / n;
    const double r = 1 / std::sqrt(squares + 1e-5);
    std::vector<float> first(n), out(n);
    pointwise_scalar.layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, first.data());
    if (n > 1) {  // one value has no spread: 0/0 but for eps
      for (uint32_t i = 0; i < n; ++i)
        EXPECT_NEAR(first[i], (x[i] - mean) * r * w[i] + b[i], 1e-5 * (1 + std::fabs(first[i])));
    }
    for (Isa isa : isas()) {
      pointwise(isa).layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, out.data());
      EXPECT_TRUE(same(first, out)) << name(isa) << " n " << n;
    }
    for (Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::gelu}) {
      pointwise_scalar.activate(gate, x.data(), n, first.data());
      for (uint32_t i = 0; i < n; ++i) {
        const double v = x[i], phi = 0.5 * (1 + std::erf(v * M_SQRT1_2)), silu = 1 / (1 + std::exp(-v));
        const double tanh = 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
        EXPECT_NEAR(first[i],
                    v * (gate == Gate::silu   ? silu
                         : gate == Gate::gelu ? phi
                                              : tanh),
                    1e-6 * (1 + std::fabs(v)));
      }
      for (Isa isa : isas()) {
        pointwise(isa).activate(gate, x.data(), n, out.data());
        EXPECT_TRUE(same(first, out)) << name(isa) << " n " << n;
      }
    }
  }
}

TEST(Pointwise, RopeRotatesAndKeepsNorm) {
  for (bool split : {false, true}) {
    for (uint32_t pairs : {1u, 4u, 16u, 32u, 48u, 128u}) {
      const auto x = normals(2 * pairs, pairs), angle = normals(pairs, pairs + 1);
      std::vector<float> c(pairs), s(pairs);
      for (uint32_t i = 0; i < pairs; ++i) c[i] = std::cos(angle[i]), s[i] = std::sin(angle[i]);
      std::vector<float> first = x;
      pointwise_scalar.rope(first.data(), c.data(), s.data(), pairs, split);
      for (uint32_t i = 0; i < pairs; ++i) {
        const uint32_t p = split ? i : 2 * i, q = split ? i + pairs : 2 * i + 1;
        EXPECT_NEAR(first[p], x[p] * c[i] - x[q] * s[i], 1e-6);
        EXPECT_NEAR(first[q], x[p] * s[i] + x[q] * c[i], 1e-6);
      }
      for (Isa isa : isas()) {
        std::vector<float> out = x;
        pointwise(isa).rope(out.data(), c.data(), s.data(), pairs, split);
        EXPECT_TRUE(same(first, out)) << name(isa);
      }
    }
  }
}

struct Block {
  int8_t q[32];
  float da, das;
  int32_t ns, ns0;
};

TEST(Pointwise, QuantizeBlockFollowsTheContract) {
  for (uint32_t trial = 0; trial < 200; ++trial) {
    auto x = normals(32, trial, std::ldexp(1.0f, int(trial % 60) - 30));
    if (trial == 7) std::fill(x.begin(), x.end(), 0.0f);
    Block a;
    pointwise_scalar.quantize_block(x.data(), a.q, &a.da, &a.das, &a.ns, &a.ns0);
    float amax = 0;
    for (float v : x) amax = std::max(amax, std::fabs(v));
    const float id = amax > 0 ? 127 / amax : 0;
    int32_t sum = 0, first = 0;
    for (int i = 0; i < 32; ++i) {
      EXPECT_EQ(a.q[i], int8_t(std::nearbyint(x[i] * id)));
      sum += a.q[i];
      if (i < 16) first += a.q[i];
    }
    EXPECT_EQ(a.ns, -sum);
    EXPECT_EQ(a.ns0, -first);
    EXPECT_EQ(a.da, amax / 127);
    EXPECT_EQ(a.das, a.da * float(sum));
    for (Isa isa : isas()) {
      Block b;
      pointwise(isa).quantize_block(x.data(), b.q, &b.da, &b.das, &b.ns, &b.ns0);
      EXPECT_EQ(0, std::memcmp(&a, &b, sizeof a)) << name(isa);
    }
  }
}

TEST(Pointwise, QuantizeBlockPoisonsWhatIsNotFinite) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    for (Isa isa : isas()) {
      auto x = normals(32, 3);
      x[19] = bad;
      Block b;
      pointwise(isa).quantize_block(x.data(), b.q, &b.da, &b.das, &b.ns, &b.ns0);
      EXPECT_TRUE(std::isnan(b.da) && std::isnan(b.das));
      EXPECT_EQ(b.q[0], 0);
    }
  }
}

/// Every rounding is the encoder's of base/math/half.h, every widening its decoder's, whatever the lane.
TEST(Pointwise, SixteenBitsAreThoseOfTheCodec) {
  RandomStream random(3, Purpose::test);
  std::vector<float> x;
  for (uint32_t i = 0; i < 40000; ++i) {
    const uint32_t bits = uint32_t(random.below(1u << 16)) << 16;  // ties and their neighbours, subnormals, NaN
    x.push_back(std::bit_cast<float>(bits + 0x7fff + random.below(3)));
    x.push_back(half_to_float(uint16_t(bits >> 16)) * (1 + float(int(random.below(3)) - 1) * 0x1p-11f));
  }
  std::vector<uint16_t> codes(65536);
  for (uint32_t i = 0; i < codes.size(); ++i) codes[i] = uint16_t(i);
  for (const Isa isa : isas()) {
    const PointwiseKernels& pw = pointwise(isa);
    for (const auto& [narrow, encode, widen, decode] :
         {std::tuple{pw.to_half, &float_to_half, pw.from_half, &half_to_float},
          {pw.to_bf16, &float_to_bf16, pw.from_bf16, &bf16_to_float}}) {
      for (uint32_t from = 0, n = 1; from + n <= x.size(); from += n, n = n % 37 + 1) {
        std::vector<uint16_t> out(n + 1, 0xabcd);
        narrow(x.data() + from, n, out.data());
        for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(out[i], encode(x[from + i])) << name(isa) << " " << x[from + i];
        ASSERT_EQ(out[n], 0xabcd);
      }
      for (uint32_t from = 0, n = 1; from + n <= codes.size(); from += n, n = n % 37 + 1) {
        std::vector<float> out(n + 1, 7);
        widen(codes.data() + from, n, out.data());
        for (uint32_t i = 0; i < n; ++i) {
          const float want = decode(codes[from + i]);
          ASSERT_TRUE(std::isnan(want) ? std::isnan(out[i]) : out[i] == want) << name(isa) << " " << codes[from + i];
        }
        ASSERT_EQ(out[n], 7);
      }
    }
  }
}

TEST(Pointwise, ReductionsAgree) {
  for (uint32_t n : kSizes) {
    auto x = normals(n, n);
    x[n / 2] = x[n - 1] = 9;  // equal maxima: the first wins
    double exact = 0;
    for (float v : x) exact += std::exp(double(v) - 9);
    for (Isa isa : isas()) {
      EXPECT_EQ(pointwise(isa).argmax(x.data(), n), n / 2);
      EXPECT_EQ(pointwise(isa).max(x.data(), n), 9);
      EXPECT_NEAR(pointwise(isa).sum_exp(x.data(), n, 9), exact, 1e-5 * exact);
      EXPECT_EQ(pointwise(isa).sum_exp(x.data(), n, 9), pointwise_scalar.sum_exp(x.data(), n, 9));
    }
  }
}

}  // namespace
}  // namespace vibee
