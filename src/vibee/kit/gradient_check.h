// SPDX-License-Identifier: Apache-2.0
// Gradients against differences of the loss, both in double where nothing is rounded.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/graph/exec/interpret.h"

namespace vibee {

struct GradientCase {
  Graph loss;
  InterpretInputsOf<double> inputs;
  NamedNumbers<double> weights;
  Sizes sizes;
};

/// The loss with one weight moved along a direction, differentiated by central differences at h and h/2, of which the
/// error of order h^2 is taken out (Richardson).
inline double difference(GradientCase& c, const std::string& weight, const std::vector<double>& along, double h) {
  std::vector<double>& w = c.weights[weight];
  const std::vector<double> origin = w;
  const auto at = [&](double by) {
    for (size_t i = 0; i < w.size(); ++i) w[i] = origin[i] + by * along[i];
    auto out = interpret_exact(c.loss, c.inputs, c.weights, c.sizes);
    EXPECT_TRUE(out.ok()) << out.status().message();
    return out.ok() ? (*out)[0].f[0] : NAN;
  };
  const double far = (at(h) - at(-h)) / (2 * h), near = (at(h / 2) - at(-h / 2)) / h;
  w = origin;
  return (4 * near - far) / 3;
}

/// Loss and gradients of `names` by the joint graph.
inline std::vector<TensorOf<double>> gradients(const GradientCase& c, const std::vector<std::string>& names) {
  auto joint = differentiate(c.loss, names);
  EXPECT_TRUE(joint.ok()) << joint.status().message() << "\n" << print(c.loss);
  if (!joint.ok()) return {};
  auto out = interpret_exact(*joint, c.inputs, c.weights, c.sizes);
  EXPECT_TRUE(out.ok()) << out.status().message() << "\n" << print(*joint);
  return out.ok() ? std::move(*out) : std::vector<TensorOf<double>>();
}

/// Every named weight's gradient along one random direction and along `coordinates` of its axes (all when it has
/// fewer), relative to the largest gradient of the weight, but no finer than a thousandth of the largest of all.
inline void expect_gradients(GradientCase& c, const std::vector<std::string>& names, size_t coordinates, double allowed,
                             RandomStream& random) {
  const std::vector<TensorOf<double>> out = gradients(c, names);
  ASSERT_EQ(out.size(), names.size() + 1);
  std::vector<double> largest(names.size());
  for (size_t n = 0; n < names.size(); ++n)
    for (double g : out[n + 1].f) largest[n] = std::max(largest[n], std::fabs(g));
  const double all = *std::max_element(largest.begin(), largest.end());
  ASSERT_GT(all, 0) << print(c.loss);
  for (size_t n = 0; n < names.size(); ++n) {
    const std::vector<double>& g = out[n + 1].f;
    const double size = std::max(largest[n], 1e-3 * all);
    std::vector<double> along(g.size());
    double dot = 0, length = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      along[i] = random.below(2) ? 1 : -1;
      dot += along[i] * g[i];
      length += std::fabs(g[i]);
    }
    double squares = 0;
    for (double w : c.weights[names[n]]) squares += w * w / double(g.size());
    const double h = 4e-3 * std::max(std::sqrt(squares), 0.01);
    EXPECT_NEAR(difference(c, names[n], along, h / std::sqrt(double(g.size()))), dot, allowed * std::max(length, size))
        << names[n];
    for (size_t t = 0; t < std::min(coordinates, g.size()); ++t) {
      const size_t i = coordinates < g.size() ? random.below(uint32_t(g.size())) : t;
      std::fill(along.begin(), along.end(), 0);
      along[i] = 1;
      EXPECT_NEAR(difference(c, names[n], along, h), g[i], allowed * size) << names[n] << " at " << i;
    }
  }
}

}  // namespace vibee
