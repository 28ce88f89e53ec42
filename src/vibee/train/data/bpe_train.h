// SPDX-License-Identifier: Apache-2.0
// Learning the merges of byte pair encoding (Sennrich, Haddow and Birch, "Neural machine translation of rare words with
// subword units", ACL 2016) from counted words.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct CountedWord {
  std::vector<uint32_t> symbols;
  uint64_t count = 0;
};

struct LearntMerge {
  uint32_t left, right, made;  ///< ids; `made` is that of an earlier merge where two ways lead to one text
};

/// Joins the most frequent pair of neighbours until there are `vocabulary` ids or none occurs `least` times; of pairs
/// that are equally frequent the one of smaller ids (left first). `texts`: of the ids there are; those of merges are
/// appended. The order of the words does not matter. `progress` gets the ids so far; it stops the work by returning
/// false.
Result<std::vector<LearntMerge>> learn_merges(std::vector<CountedWord> words, std::vector<std::string>* texts,
                                              size_t vocabulary, uint64_t least,
                                              const std::function<bool(uint64_t)>& progress = {});

}  // namespace vibee
