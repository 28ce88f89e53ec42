// SPDX-License-Identifier: Apache-2.0
// A linked list of stretches of the text and a heap of candidate merges, O(n log n). A stretch is looked up by its
// text, which is bounded by the longest token, so a hostile vocabulary cannot make one lookup long.
#include "vibee/model/token/spm.h"

#include <algorithm>

#include "vibee/model/token/text_index.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

struct Stretch {
  uint32_t begin, length;  // in the escaped text; length 0: merged away
  int32_t previous, next;
};

struct Candidate {
  float score;
  int32_t left, right;
  uint32_t length;  // of both together; tells whether the pair is still what it was
};
/// For a heap whose top is the highest score, leftmost on ties.
bool worse(const Candidate& a, const Candidate& b) { return a.score != b.score ? a.score < b.score : a.left > b.left; }

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
      list.push_back({uint32_t(i), length, at - 1, i + length < text.size() ? at + 1 : -1});
      i += length;
    }
    std::vector<Candidate> heap;
    const auto consider = [&](int32_t left, int32_t right) {
      if (left < 0 || right < 0) return false;
      const uint32_t length = list[left].length + list[right].length;
      if (length > longest_) return false;
      const int32_t id = index().find(text.substr(list[left].begin, length));
      if (id < 0) return false;
      heap.push_back({scores_[id], left, right, length});
      return true;
    };
    for (int32_t i = 0; i + 1 < int32_t(list.size()); ++i) consider(i, i + 1);
    std::make_heap(heap.begin(), heap.end(), worse);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), worse);
      const Candidate best = heap.back();
      heap.pop_back();
      Stretch& left = list[best.left];
      Stretch& right = list[best.right];
      if (left.length == 0 || right.length == 0 || left.length + right.length != best.length) continue;
      left.length += right.length;
      left.next = right.next;
      right.length = 0;
      if (right.next >= 0) list[right.next].previous = best.left;
      if (consider(left.previous, best.left)) std::push_heap(heap.begin(), heap.end(), worse);
      if (consider(best.left, left.next)) std::push_heap(heap.begin(), heap.end(), worse);
    }
    return list;
  }

  std::vector<float> scores_;  // what SentencePiece and GGUF hold
  uint32_t longest_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_spm(TokenizerSpec spec) { return std::make_unique<Spm>(std::move(spec)); }

}  // namespace vibee
