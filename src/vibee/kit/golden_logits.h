// SPDX-License-Identifier: Apache-2.0
// A model directory with golden.json and logits.bin (tools/make_hf_goldens.py): greedy tokens and logits of
// `transformers`.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/model/session/session.h"

namespace vibee {

/// The model of `directory` gives the golden's logits within `most`, which a property records, and its likeliest tokens
/// unless they are not asked for.
inline void expect_golden_logits(const std::string& directory, const ModelOptions& load, SessionOptions options,
                                 float most, bool same_tokens = true) {
  std::ifstream text(directory + "/golden.json");
  const auto golden = nlohmann::json::parse(text);
  const auto prompt = golden.at("prompt").get<std::vector<int32_t>>();
  const auto greedy = golden.at("greedy").get<std::vector<int32_t>>();
  const uint32_t vocab = golden.at("vocab");
  std::vector<float> wanted((prompt.size() + greedy.size() - 1) * vocab);
  std::ifstream floats(directory + "/logits.bin", std::ios::binary);
  floats.read(reinterpret_cast<char*>(wanted.data()), std::streamsize(wanted.size() * 4));
  ASSERT_TRUE(floats.good());

  auto model = Model::load(directory, load);
  ASSERT_TRUE(model.ok()) << model.status().message();
  options.context = options.max_rows = options.max_logits = 64;
  auto session = Session::create(**model, options);
  ASSERT_TRUE(session.ok()) << session.status().message();
  SequenceState state = (*session)->new_sequence();
  std::vector<int32_t> next = prompt;
  size_t at = 0;
  float worst = 0;
  for (const int32_t token : greedy) {
    const StepRows rows{&state, next, uint32_t(next.size())};
    auto logits = (*session)->step({&rows, 1});
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    for (float v : *logits) {
      ASSERT_TRUE(std::isfinite(v));
      worst = std::max(worst, std::abs(v - wanted[at++]));
    }
    const auto last = logits->last(vocab);
    if (same_tokens) {
      EXPECT_EQ(std::max_element(last.begin(), last.end()) - last.begin(), token);
    }
    next = {token};
  }
  EXPECT_EQ(at, wanted.size());
  EXPECT_LT(worst, most);
  testing::Test::RecordProperty("max_abs_error", fmt::format("{:.2e}", worst));
}

}  // namespace vibee
