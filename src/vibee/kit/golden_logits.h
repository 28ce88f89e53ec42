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

/// What transformers says of a text.
struct GoldenLogits {
  std::vector<int32_t> prompt, greedy;
  uint32_t vocab = 0;
  std::vector<float> logits;  ///< of every position of the prompt, and of every greedy token but the last

  explicit GoldenLogits(const std::string& directory) {
    std::ifstream text(directory + "/golden.json");
    const auto golden = nlohmann::json::parse(text);
    prompt = golden.at("prompt").get<std::vector<int32_t>>();
    greedy = golden.at("greedy").get<std::vector<int32_t>>();
    vocab = golden.at("vocab");
    logits.resize((prompt.size() + greedy.size() - 1) * vocab);
    std::ifstream floats(directory + "/logits.bin", std::ios::binary);
    floats.read(reinterpret_cast<char*>(logits.data()), std::streamsize(logits.size() * 4));
    EXPECT_TRUE(floats.good());
  }
  /// A session gives these logits within `most`, which a property records, and their likeliest tokens unless they are
  /// not asked for.
  void expect(Session& session, float most, bool same_tokens = true, const LoraAdapter* adapter = nullptr) const {
    SequenceState state = session.new_sequence();
    std::vector<int32_t> next = prompt;
    size_t at = 0;
    float worst = 0;
    for (const int32_t token : greedy) {
      const StepRows rows{&state, next, uint32_t(next.size()), {}, adapter};
      auto got = session.step({&rows, 1});
      ASSERT_TRUE(got.ok()) << got.status().message();
      for (float v : *got) {
        ASSERT_TRUE(std::isfinite(v));
        worst = std::max(worst, std::abs(v - logits[at++]));
      }
      const auto last = got->last(vocab);
      if (same_tokens) {
        EXPECT_EQ(std::max_element(last.begin(), last.end()) - last.begin(), token);
      }
      next = {token};
    }
    EXPECT_EQ(at, logits.size());
    EXPECT_LT(worst, most);
    testing::Test::RecordProperty("max_abs_error", fmt::format("{:.2e}", worst));
  }
};

/// The model of `directory` gives what its golden says.
inline void expect_golden_logits(const std::string& directory, const ModelOptions& load, SessionOptions options,
                                 float most, bool same_tokens = true) {
  const GoldenLogits golden(directory);
  auto model = Model::load(directory, load);
  ASSERT_TRUE(model.ok()) << model.status().message();
  options.context = options.max_rows = options.max_logits = 64;
  auto session = Session::create(**model, options);
  ASSERT_TRUE(session.ok()) << session.status().message();
  golden.expect(**session, most, same_tokens);
}

}  // namespace vibee
