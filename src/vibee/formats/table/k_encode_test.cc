// SPDX-License-Identifier: Apache-2.0
// The searched encoders against the plain ones of llama.cpp (quantize_row_q4_K_ref, _q5_K_ref, _q6_K_ref as in
// llama-cpp-python 0.3.36): root mean square errors of those on the same 65536 numbers, measured once, stand in the
// table.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/formats/packed/format.h"

namespace vibee {
namespace {

struct Distribution {
  const char* name;
  float (*draw)(RandomStream&);
  double q4_k, q5_k, q6_k;  // errors of llama.cpp
};

const Distribution kDistributions[] = {
    {"normal", [](RandomStream& r) { return r.normal(); }, 0.0717751369, 0.0362556793, 0.0178673856},
    {"uniform", [](RandomStream& r) { return r.uniform() * 2 - 1; }, 0.0314412813, 0.0159813387, 0.00765138318},
    {"cubed",
     [](RandomStream& r) {
       const float g = r.normal();
       return g * g * g;
     },
     0.349458811, 0.193505801, 0.095397871},
    {"positive", [](RandomStream& r) { return std::fabs(r.normal()) * 0.02f + 0.01f; }, 0.00101092308, 0.000497786481,
     0.000429834034},
    {"outliers",
     [](RandomStream& r) {
       const float g = r.normal();
       return g * (r.below(64) ? 0.05f : 1.0f);
     },
     0.0135089511, 0.00702640521, 0.00438051499},
};

double rmse(Format format, const std::vector<float>& x) {
  const NumericFormat& f = info(format);
  std::vector<uint8_t> bytes(f.row_bytes(x.size()));
  std::vector<float> back(x.size());
  f.encode(x.data(), x.size(), bytes.data());
  f.decode(bytes.data(), x.size(), back.data());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += double(x[i] - back[i]) * (x[i] - back[i]);
  return std::sqrt(sum / double(x.size()));
}

TEST(KEncode, ErrorsAreBelowThoseOfLlamaCpp) {
  uint32_t seed = 100;
  for (const Distribution& d : kDistributions) {
    RandomStream random(seed++, Purpose::test);
    std::vector<float> x(65536);
    for (float& v : x) v = d.draw(random);
    EXPECT_LE(rmse(Format::q4_k, x), d.q4_k) << d.name;
    EXPECT_LE(rmse(Format::q5_k, x), d.q5_k) << d.name;
    EXPECT_LE(rmse(Format::q6_k, x), d.q6_k) << d.name;
  }
}

TEST(KEncode, WhatIsOnTheGridStaysThere) {
  RandomStream random(5, Purpose::test);
  for (const Format format : {Format::q4_k, Format::q5_k, Format::q6_k}) {
    const NumericFormat& f = info(format);
    std::vector<float> x(256 * 16), back(x.size());
    std::vector<uint8_t> bytes(f.row_bytes(x.size()));
    for (float& v : x) v = random.normal();
    double first = 0, second = 0;
    f.encode(x.data(), x.size(), bytes.data());
    f.decode(bytes.data(), x.size(), back.data());
    for (size_t i = 0; i < x.size(); ++i) first += std::fabs(x[i] - back[i]);
    x = back;
    f.encode(x.data(), x.size(), bytes.data());
    f.decode(bytes.data(), x.size(), back.data());
    for (size_t i = 0; i < x.size(); ++i) second += std::fabs(x[i] - back[i]);
    EXPECT_LT(second, 0.2 * first) << f.name;
  }
}

}  // namespace
}  // namespace vibee
