// SPDX-License-Identifier: Apache-2.0
// For this folder's tests: the reduced real vocabularies and the answers of an outside tokenizer under
// data/golden/token (tools/make_token_goldens.py made them).
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/base/text/ordered_json.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {

inline OrderedJson read_golden(const std::string& name) {
  std::ifstream file(std::string(VIBEE_SOURCE_DIR) + "/data/golden/" + name);
  EXPECT_TRUE(file.good()) << name;
  return OrderedJson::parse(file);
}

inline TokenizerSpec golden_spec(const OrderedJson& j) {
  TokenizerSpec spec;
  spec.model = j.at("model");
  spec.pre = j.at("pre");
  spec.tokens = j.at("tokens").get<std::vector<std::string>>();
  spec.types = j.at("types").get<std::vector<uint8_t>>();
  if (j.contains("scores")) spec.scores = j.at("scores").get<std::vector<double>>();
  if (j.contains("merges"))
    for (const std::string merge : j.at("merges")) spec.merges.push_back(merge_of(merge));
  spec.bos = j.at("bos");
  spec.eos = j.at("eos");
  spec.unk = j.at("unk");
  spec.pad = j.at("pad");
  return spec;
}

inline std::vector<std::string> golden_texts() { return read_golden("token/texts.json").at("texts"); }

/// A byte-level vocabulary of all 256 bytes and the given merges; specials get the ids after them.
TokenizerSpec small_gpt2(const std::vector<std::string>& merges, const std::vector<std::string>& specials = {});

}  // namespace vibee
