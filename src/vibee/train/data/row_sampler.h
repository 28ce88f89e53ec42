// SPDX-License-Identifier: Apache-2.0
// Which rows training sees, in which order. Sample g of a run is a pure function of the configuration and g: a run that
// goes on, on however many ranks, sees what it would have seen, and the state to keep is one number.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vibee/train/data/token_store.h"

namespace vibee {

/// Rows of `length` ids and their successors are cut from a store one behind the other; documents that are cut go on in
/// the next row.
uint64_t rows_of(uint64_t tokens, uint32_t length);

struct SampleSource {
  uint64_t rows = 0;
  uint32_t weight = 1;
};

struct Sample {
  uint32_t source;
  uint32_t epoch;  ///< how often all of the source was seen before
  uint64_t row;
};

class RowSampler {
 public:
  /// Among any first g samples a source has its share to within one (Tijdeman, "The chairman assignment problem",
  /// 1980). The weights, divided by what they have in common, may add up to 2^20.
  static Result<RowSampler> make(std::vector<SampleSource> sources, uint64_t seed);
  /// Sample `g` of the run. Every epoch of a source is a permutation of its rows.
  Sample at(uint64_t g) const;

  /// The next sample of the run, for all ranks together. Rank r of n takes those of share(batch, r, n) of each batch.
  uint64_t next() const { return next_; }
  void advance(uint64_t samples) { next_ += samples; }

  /// One line that says where the run is; restore() refuses that of another seed, other sources or other weights.
  std::string state() const;
  Status restore(const std::string& state);

 private:
  RowSampler() = default;
  std::vector<SampleSource> sources_;
  uint64_t seed_ = 0, next_ = 0;
  struct Turn {
    uint32_t source, before;  // how many turns the source had before in the period
  };
  std::vector<Turn> period_;
};

/// A row as a model learns it.
struct TrainingRow {
  std::vector<int32_t> ids, targets;
  std::vector<float> weights;     ///< 1 where the target is to be learnt; 0 in questions and across documents
  std::vector<uint32_t> borders;  ///< where a document begins; always 0 first
};
Status read_row(const TokenStore& store, uint64_t row, uint32_t length, TrainingRow* out);

}  // namespace vibee
