// SPDX-License-Identifier: Apache-2.0
// What tests of jobs of `vibee quantize --scheme` have in common: a tiny model, a folder and a configuration.
#pragma once

#include <gtest/gtest.h>

#include "vibee/app/jobs/load.h"
#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"

namespace vibee {

template <auto kJob>
class SchemeTest : public testing::Test {
 protected:
  /// Two heads of half of `dim`.
  SchemeTest(const std::string& scheme, uint32_t dim, uint32_t ff)
      : model_({.format = Format::f16,
                .vocab = 300,
                .dim = dim,
                .layers = 2,
                .heads = 2,
                .head_dim = dim / 2,
                .ff = ff,
                .tokenizer = true}) {
    c_.source = model_.path(), c_.target = folder_.path() + "/out", c_.scheme = scheme;
    c_.threads = 2, c_.context = 16;
  }
  static NamedText letters() {
    RandomStream random(5, Purpose::test);
    std::string text;
    for (int i = 0; i < 600; ++i) text += std::string(1, char('a' + random.below(26)));
    return {"calib", std::move(text)};
  }
  std::string message() const {
    const auto done = kJob(c_, nullptr);
    return done.ok() ? "no error" : std::string(done.status().message());
  }
  /// What was written runs.
  void expect_loads() const {
    LoadConfig config;
    config.model = c_.target;
    config.context = 64;
    config.threads = 1;
    const auto loaded = load(config);
    EXPECT_TRUE(loaded.ok()) << c_.scheme << ": " << loaded.status().message();
  }
  TempFolder folder_;
  TinyModelFile model_;
  QuantizeConfig c_;
};

}  // namespace vibee
