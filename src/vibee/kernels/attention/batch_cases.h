// SPDX-License-Identifier: Apache-2.0
// A made-up step over several stored sequences: what the checks and benches of v1675, v1691 and
// v1692 divide and run.
#pragma once

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/base/thread/team.h"
#include "vibee/kernels/attention/flashinfer.h"

namespace vibee {

/// `rows` new rows at the end of `length` stored positions, the first `shared` of which are those of the earlier
/// sequence `like`, page by page.
struct StepSequence {
  uint32_t length, rows;
  uint32_t shared = 0, like = 0;
  uint32_t shared_pages() const { return shared / kPageTokens; }
};

/// Keys and values of all sequences in one page store; queries of the new rows.
class StoredStep {
 public:
  StoredStep(const AttentionShape& shape, KvFormat format, std::span<const StepSequence> what, uint64_t seed)
      : shape_(shape) {
    RandomStream random(seed, Purpose::test, 1691);
    uint32_t pages = 0;
    for (const StepSequence& s : what) pages += (s.length + kPageTokens - 1) / kPageTokens - s.shared_pages();
    view_.layout = {format, shape.kv_heads, shape.head_dim};
    view_.page_bytes = view_.layout.layer_bytes();
    store_.assign(pages * view_.page_bytes + kKvSlack, 0);
    view_.base = store_.data();
    std::vector<float> key(shape.head_dim), value(shape.head_dim);
    uint32_t page = 0, row = 0;
    for (const StepSequence& s : what) {
      auto& mine = tables_.emplace_back();
      const uint32_t own = s.shared_pages() * kPageTokens;
      if (own > 0) mine.assign(tables_[s.like].begin(), tables_[s.like].begin() + s.shared_pages());
      for (uint32_t i = own; i < s.length; i += kPageTokens) mine.push_back(page++);
      for (uint32_t p = own; p < s.length; ++p)
        for (uint32_t h = 0; h < shape.kv_heads; ++h) {
          for (uint32_t i = 0; i < shape.head_dim; ++i) key[i] = random.normal(), value[i] = random.normal();
          kv_store(pointwise_scalar, view_, mine[p / kPageTokens], p % kPageTokens, h, key.data(), value.data());
        }
      sequences_.push_back({row, s.rows, s.length - s.rows, nullptr});
      row += s.rows;
    }
    for (size_t i = 0; i < sequences_.size(); ++i) sequences_[i].pages = tables_[i].data();
    rows_ = row;
    q_.resize(size_t(row) * shape.heads * shape.head_dim);
    for (float& x : q_) x = random.normal();
  }
  StoredStep(const StoredStep&) = delete;
  StoredStep& operator=(const StoredStep&) = delete;

  uint32_t rows() const { return rows_; }
  std::span<const SequenceRows> sequences() const { return sequences_; }
  const AttentionShape& shape() const { return shape_; }
  uint64_t kv_bytes() const {
    uint64_t keys = 0;
    for (const SequenceRows& s : sequences_) keys += s.first + s.rows;
    return keys * shape_.kv_heads * 2 * view_.layout.head_bytes() / kPageTokens;
  }
  /// Room for the parts of every split of every row, at most `heads` of a KV head.
  uint32_t slots() const {
    uint32_t n = 0;
    for (const SequenceRows& s : sequences_) n += (s.first + s.rows + kSplitKeys - 1) / kSplitKeys * shape_.heads;
    return n;
  }

  /// Runs a planned list on the team; outputs [row][heads][head_dim].
  void run(const AttentionKernel& kernel, const WorkList& list, Team& team, std::vector<FoldState>& parts,
           float* out) const {
    const BatchQueries queries{kernel, shape_, view_, sequences_, q_.data(), parts.data()};
    const uint32_t d = shape_.head_dim, width = shape_.heads * d;
    team.run([&](uint32_t tid) {
      run_work(
          list, queries, tid, [&] { team.barrier(); },
          [&](uint32_t row, uint32_t head, const FoldState& state) {
            kernel.finish(d, state, out + uint64_t(row) * width + head * d);
          });
    });
  }
  std::vector<float> outputs() const { return std::vector<float>(q_.size()); }

 private:
  AttentionShape shape_;
  KvView view_;
  std::vector<uint8_t> store_;
  std::vector<std::vector<uint32_t>> tables_;
  std::vector<SequenceRows> sequences_;
  std::vector<float> q_;
  uint32_t rows_ = 0;
};

}  // namespace vibee
