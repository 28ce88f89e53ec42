// SPDX-License-Identifier: Apache-2.0
// Sums in bf16 and loss scales beside ml_dtypes and torch.amp.GradScaler (data/golden/train/precision.json).
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/train/precision/bf16_accumulation.h"
#include "vibee/train/precision/loss_scaling.h"

namespace vibee {
namespace {

nlohmann::json golden() {
  std::ifstream text(VIBEE_SOURCE_DIR "/data/golden/train/precision.json");
  return nlohmann::json::parse(text);
}

/// A thousand updates of 16 weights; every hundredth with the bits of numpy on bfloat16.
TEST(PrecisionGolden, KahanHasTheBitsOfMlDtypes) {
  const nlohmann::json behind = golden().at("kahan");
  ASSERT_EQ(behind.size(), 10u);
  for (const Isa isa : {Isa::scalar, detected_isa()}) {
    std::vector<float> start(16), update(16);
    for (int i = 0; i < 16; ++i) start[size_t(i)] = float(1 + i / 8.0) * (i % 2 == 0 ? 1.0f : -1.0f);
    std::vector<uint16_t> w(16), c(16);
    const FormElements sum{WeightForm::bf16_kahan, reinterpret_cast<uint8_t*>(w.data()),
                           reinterpret_cast<uint8_t*>(c.data())};
    add_to(sum, isa, start.data(), 16, true, {});
    for (int64_t k = 0; k < 1000; ++k) {
      for (int64_t i = 0; i < 16; ++i) update[size_t(i)] = float((k * 7919 + i * 104729) % 2001 - 700) * 0x1p-16f;
      add_to(sum, isa, update.data(), 16, false, {});
      if (k % 100 != 99) continue;
      EXPECT_EQ(w, behind[size_t(k / 100)][0].get<std::vector<uint16_t>>()) << k << " " << name(isa);
      EXPECT_EQ(c, behind[size_t(k / 100)][1].get<std::vector<uint16_t>>()) << k << " " << name(isa);
    }
  }
}

TEST(PrecisionGolden, ScalesAreThoseOfGradScaler) {
  const nlohmann::json scaler = golden().at("scaler");
  const auto overflows = scaler.at("overflows").get<std::vector<int>>();
  const auto changes = scaler.at("changes").get<std::vector<std::pair<int, double>>>();
  ASSERT_GT(overflows.size(), 3u);
  ASSERT_GT(changes.size(), overflows.size());  // it grew, too
  LossScaling options;
  options.kind = LossScaling::Kind::dynamic;
  LossScaler mine(options);
  double before = mine.scale();
  std::vector<std::pair<int, double>> got;
  for (int step = 0; step < 10000; ++step) {
    mine.step(!std::binary_search(overflows.begin(), overflows.end(), step));
    if (mine.scale() != before) got.emplace_back(step, before = mine.scale());
  }
  EXPECT_EQ(got, changes);
}

}  // namespace
}  // namespace vibee
