// SPDX-License-Identifier: Apache-2.0
// Schemas and texts under data/golden/grammar, judged by an outside validator (tools/make_schema_goldens.py): what is
// valid can be written to its end, what is not cannot.
#include "vibee/serve/grammar/json_schema.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/kit/small_tokenizer.h"
#include "vibee/serve/grammar/grammar.h"

namespace vibee {
namespace {

TEST(JsonSchema, AgreesWithAnOutsideValidator) {
  std::ifstream file(VIBEE_SOURCE_DIR "/data/golden/grammar/schemas.json");
  const auto golden = nlohmann::json::parse(file);
  const auto trie = std::make_shared<const TokenTrie>(*small_tokenizer({}));
  size_t texts = 0;
  for (const auto& row : golden) {
    const std::string schema = row.at("schema");
    const auto grammar = Grammar::compile({GrammarSource::json_schema, schema}, trie);
    ASSERT_TRUE(grammar.ok()) << schema << "\n" << grammar.status().message();
    for (const bool valid : {true, false}) {
      for (const std::string text : row.at(valid ? "valid" : "invalid")) {
        GrammarState state(*grammar);
        bool read = true;
        for (size_t i = 0; i < text.size() && read; ++i) read = state.accept(2 + uint8_t(text[i]));
        EXPECT_EQ(read && state.complete(), valid) << schema << "\n" << text;
        ++texts;
      }
    }
  }
  EXPECT_GT(texts, 3000u);
}

}  // namespace
}  // namespace vibee
