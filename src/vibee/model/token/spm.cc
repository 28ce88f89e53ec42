// SPDX-License-Identifier: Apache-2.0
// A linked list of stretches of the text and a heap of candidate merges, O(n log n). A stretch is looked up by its
// text, which is bounded by the longest token, so a hostile vocabulary cannot make one lookup long.
#include "vibee/model/token/spm.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "vibee/model/token/text_index.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr uint32_t kNone = ~0u;

struct Stretch {
  uint32_t begin, length;  // in the escaped text; length 0: merged away
  int32_t previous, next;
  uint32_t rank;  // of the merge with the next one, kNone if there is none
};

/// Orders the merges in 32 bits, the highest score first, as integers compare faster than pairs.
uint32_t rank_of(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 is 0
  const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return std::min(~ascending, kNone - 1);
}

class Spm final : public Tokenizer {
 public:
  explicit Spm(TokenizerSpec raw) : Tokenizer(std::move(raw)), scores_(spec().scores.begin(), spec().scores.end()) {
    forget_scores();
    for (int32_t id = 0; id < size(); ++id) {
      if (is_text(id)) longest_ = std::max<uint32_t>(longest_, uint32_t(spec().tokens[id].size()));
    }
  }

 protected:
  Status encode_word(std::string_view escaped, std::vector<int32_t>* ids) const override {
    const std::vector<Stretch> list = merge(escaped);
    for (int32_t at = 0; at >= 0; at = list[at].next) {
      const std::string_view piece = escaped.substr(list[at].begin, list[at].length);
      if (const int32_t id = index().find(piece); id >= 0) {
        ids->push_back(id);
        continue;
      }
      if (spell(piece, ids)) continue;
      if (unk() >= 0) {
        ids->push_back(unk());
      } else {
        return error(Code::invalid,
                     "a character (first byte 0x{:02x}) has no token in this vocabulary: take it out of the text",
                     uint8_t(piece[0]));
      }
    }
    return {};
  }

 private:
  std::vector<Stretch> merge(std::string_view text) const {
    std::vector<Stretch> list;
    for (size_t i = 0; i < text.size();) {
      const uint32_t length = utf8_step(text.substr(i)).length;
      const int32_t at = int32_t(list.size());
      list.push_back({uint32_t(i), length, at - 1, i + length < text.size() ? at + 1 : -1, kNone});
      i += length;
    }
    const auto find_merge = [&](int32_t at) {
      Stretch& left = list[at];
      left.rank = kNone;
      if (left.next < 0) return false;
      const uint32_t length = left.length + list[left.next].length;
      if (length > longest_) return false;
      const int32_t id = index().find(text.substr(left.begin, length));
      if (id >= 0) left.rank = rank_of(scores_[id]);
      return id >= 0;
    };
    // The best merge is the lowest number: rank, then place. One that is no longer what its left side would do is
    // stale.
    std::vector<uint64_t> heap;
    const auto entry = [&](int32_t at) { return uint64_t(list[at].rank) << 32 | uint32_t(at); };
    for (int32_t at = 0; at < int32_t(list.size()); ++at) {
      if (find_merge(at)) heap.push_back(entry(at));
    }
    std::make_heap(heap.begin(), heap.end(), std::greater<>());
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      const uint64_t best = heap.back();
      heap.pop_back();
      const int32_t at = int32_t(uint32_t(best));
      Stretch& left = list[at];
      if (left.rank != best >> 32) continue;
      Stretch& right = list[left.next];
      left.length += right.length;
      left.next = right.next;
      right.length = 0;
      right.rank = kNone;
      if (right.next >= 0) list[right.next].previous = at;
      for (const int32_t changed : {left.previous, at}) {
        if (changed < 0 || !find_merge(changed)) continue;
        heap.push_back(entry(changed));
        std::push_heap(heap.begin(), heap.end(), std::greater<>());
      }
    }
    return list;
  }

  std::vector<float> scores_;  // what SentencePiece and GGUF hold
  uint32_t longest_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_spm(TokenizerSpec spec) { return std::make_unique<Spm>(std::move(spec)); }

}  // namespace vibee
