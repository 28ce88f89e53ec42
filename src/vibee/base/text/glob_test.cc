// SPDX-License-Identifier: Apache-2.0
// Against Python's fnmatch (tools/make_quanto_goldens.py).
#include "vibee/base/text/glob.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace vibee {
namespace {

TEST(Glob, TakesWhatFnmatchTakes) {
  std::ifstream in(VIBEE_SOURCE_DIR "/data/golden/quanto_fnmatch.json");
  const auto rows = nlohmann::json::parse(in);
  ASSERT_GT(rows.size(), 100u);
  for (const auto& row : rows)
    EXPECT_EQ(glob_matches(row[0].get<std::string>(), row[1].get<std::string>()), row[2].get<bool>()) << row;
}

}  // namespace
}  // namespace vibee
