// SPDX-License-Identifier: Apache-2.0
// Row kernels of backward passes: near their definitions in double (by differences of the function where it is not the
// definition itself), the same bytes on every instruction set.
#include "vibee/kernels/pointwise/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

const uint32_t kSizes[] = {1, 7, 16, 17, 64, 65, 100, 577};

std::vector<float> normals(uint32_t n, uint32_t stream) {
  RandomStream random(12, Purpose::test, stream);
  std::vector<float> v(n);
  for (float& x : v) x = random.normal();
  return v;
}
/// Runs f for every instruction set and expects the bytes of the scalar kernels, which it gives back.
std::vector<float> every_isa(std::vector<float> start, const std::function<void(const GradientKernels&, float*)>& f) {
  std::vector<float> first = start;
  f(gradient_kernels_scalar, first.data());
  for (Isa isa : {Isa::avx2, Isa::avx512}) {
    if (isa > detected_isa()) continue;
    std::vector<float> out = start;
    f(gradient_kernels(isa), out.data());
    EXPECT_EQ(0, std::memcmp(out.data(), first.data(), out.size() * 4)) << name(isa);
  }
  return first;
}

TEST(Gradients, OfNorms) {
  for (uint32_t n : kSizes)
    for (bool centred : {false, true}) {
      const auto x = normals(n, 1), w = normals(n, 2), g = normals(n, 3);
      const auto dx = every_isa(std::vector<float>(n), [&](const GradientKernels& k, float* out) {
        (centred ? k.layer_norm_dx : k.rms_norm_dx)(x.data(), w.data(), g.data(), n, 0.01f, out);
      });
      const auto dw = every_isa(normals(n, 4), [&](const GradientKernels& k, float* out) {
        float mean, scale;
        k.norm_statistics(x.data(), n, 0.01f, centred, &mean, &scale);
        k.add_normed(x.data(), g.data(), mean, scale, n, out);
      });
      double mean = 0, squares = 0, along = 0, shift = 0;
      for (uint32_t i = 0; i < n && centred; ++i) mean += double(x[i]) / n;
      for (uint32_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean) / n;
      const double scale = 1 / std::sqrt(squares + 0.01);
      for (uint32_t i = 0; i < n; ++i) {
        along += double(g[i]) * w[i] * (x[i] - mean) * scale / n;
        shift += centred ? double(g[i]) * w[i] / n : 0;
      }
      const auto start = normals(n, 4);
      for (uint32_t i = 0; i < n; ++i) {
        const double normed = (x[i] - mean) * scale;
        EXPECT_NEAR(dx[i], (double(g[i]) * w[i] - normed * along - shift) * scale, 2e-5 * scale) << n << " " << i;
        EXPECT_NEAR(dw[i], start[i] + g[i] * normed, 1e-5) << n << " " << i;
      }
    }
}

TEST(Gradients, OfActivations) {
  std::vector<float> x;
  for (float v = -9; v < 9; v += 0.0137f) x.push_back(v);
  const auto n = uint32_t(x.size());
  const auto g = normals(n, 5);
  for (Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::gelu}) {
    const auto dx = every_isa(std::vector<float>(n), [&](const GradientKernels& k, float* out) {
      k.activation_dx(gate, x.data(), g.data(), n, out);
    });
    const auto y = [&](double v) {
      if (gate == Gate::silu) return v / (1 + std::exp(-v));
      if (gate == Gate::gelu) return 0.5 * v * std::erfc(-v * M_SQRT1_2);
      return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    };
    for (uint32_t i = 0; i < n; ++i) {
      const double slope = (8 * (y(x[i] + 1e-3) - y(x[i] - 1e-3)) - (y(x[i] + 2e-3) - y(x[i] - 2e-3))) / 12e-3;
      EXPECT_NEAR(dx[i], g[i] * slope, 2e-6 * (1 + std::fabs(g[i]))) << int(gate) << " " << x[i];
    }
  }
}

TEST(Gradients, OfTheLoss) {
  for (uint32_t n : kSizes)
    for (float cap : {0.0f, 3.0f}) {
      const auto x = normals(n, 6);
      double all = 0;
      for (float v : x) all += std::exp(double(v));
      const uint32_t target = n * 2 / 3;
      const auto dx = every_isa(x, [&](const GradientKernels& k, float* row) {
        k.cross_entropy_dx(row, n, float(std::log(all)), 0.5f, cap, target);
      });
      for (uint32_t i = 0; i < n; ++i) {
        const double slope = cap > 0 ? 1 - double(x[i]) * x[i] / (cap * cap) : 1;
        EXPECT_NEAR(dx[i], 0.5 * (std::exp(double(x[i])) / all - (i == target ? 1 : 0)) * slope, 3e-6) << n << " " << i;
      }
    }
}

TEST(Gradients, Products) {
  for (uint32_t n : kSizes) {
    const auto a = normals(n, 7), b = normals(n, 8);
    const auto y = every_isa(std::vector<float>(n),
                             [&](const GradientKernels& k, float* out) { k.mul(a.data(), b.data(), n, out); });
    for (uint32_t i = 0; i < n; ++i) EXPECT_EQ(y[i], a[i] * b[i]);
  }
}

}  // namespace
}  // namespace vibee
