// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/generate.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

TEST(DefaultSampling, IsOursOnlyWhereTheFilesAreSilent) {
  SamplingDefaults files;
  SamplingParams p = default_sampling(files);
  EXPECT_EQ(p.temperature, 0.7f);
  EXPECT_EQ(p.top_p, 0.95f);
  EXPECT_EQ(p.min_p, 0.05f);
  files.repetition_penalty = 1.2;  // says nothing of how to draw
  p = default_sampling(files);
  EXPECT_EQ(p.temperature, 0.7f);
  EXPECT_EQ(p.repetition_penalty, 1.2f);
  files.top_k = 20;
  p = default_sampling(files);
  EXPECT_EQ(p.temperature, 1.0f);
  EXPECT_EQ(p.top_k, 20u);
  EXPECT_EQ(p.top_p, 1.0f);
  EXPECT_EQ(p.min_p, 0.0f);
  files.temperature = 0;
  EXPECT_EQ(default_sampling(files).temperature, 0.0f);
}

}  // namespace
}  // namespace vibee
