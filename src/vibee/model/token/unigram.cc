// SPDX-License-Identifier: Apache-2.0
// Viterbi over the bytes of a word: at every character the trie names the tokens that begin there. A character that is
// no token itself may be unknown, at a score ten below the worst; neighbouring unknown characters are one.
#include "vibee/model/token/unigram.h"

#include <algorithm>

#include "vibee/model/token/trie.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr double kUnknownPenalty = 10.0;

class Unigram final : public Tokenizer {
 public:
  explicit Unigram(TokenizerSpec raw) : Tokenizer(std::move(raw)) {
    double worst = spec().scores[0];
    for (int32_t id = 0; id < size(); ++id) {
      worst = std::min(worst, spec().scores[id]);
      if (index().find(spec().tokens[id]) == id) trie_.insert(spec().tokens[id], id);
    }
    unknown_score_ = worst - kUnknownPenalty;
  }

 protected:
  Status encode_word(std::string_view word, std::vector<int32_t>* ids) const override {
    struct Node {
      double score = 0;
      uint32_t begin = kUnreached;
      int32_t id = kUnknown;
    };
    static thread_local std::vector<Node> best;
    best.assign(word.size() + 1, Node());
    const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
      Node& node = best[end];
      if (node.begin == kUnreached || score > node.score) node = {score, uint32_t(begin), id};
    };
    for (size_t i = 0; i < word.size();) {
      const size_t length = utf8_step(word.substr(i)).length;
      const double here = best[i].score;
      bool single = false;
      uint32_t node = Trie::kRoot;
      for (size_t j = i; j < word.size(); ++j) {
        node = trie_.child(node, uint8_t(word[j]));
        if (node == Trie::kNone) break;
        const int32_t id = trie_.id(node);
        if (id < 0) continue;
        offer(i, j + 1, here + spec().scores[id], id);
        single |= j + 1 - i == length;
      }
      if (!single) offer(i, i + length, here + unknown_score_, kUnknown);
      i += length;
    }
    static thread_local std::vector<uint32_t> ends;
    ends.clear();
    for (size_t end = word.size(); end > 0; end = best[end].begin) {
      if (best[end].begin == kUnreached)
        return error(Code::invalid, "a token ends inside a character at byte {}: the vocabulary is damaged", end);
      ends.push_back(uint32_t(end));
    }
    for (size_t k = ends.size(); k-- > 0;) {
      const Node& node = best[ends[k]];
      if (node.id != kUnknown) {
        ids->push_back(node.id);
        continue;
      }
      size_t end = ends[k];
      while (k > 0 && best[ends[k - 1]].id == kUnknown) end = ends[--k];
      if (spec().byte_fallback && spell(word.substr(node.begin, end - node.begin), ids)) continue;
      if (unk() < 0) {
        return error(Code::invalid,
                     "a character (first byte 0x{:02x}) has no token in this vocabulary: take it out of the text",
                     uint8_t(word[node.begin]));
      }
      ids->push_back(unk());
    }
    return {};
  }

 private:
  static constexpr uint32_t kUnreached = ~0u;
  static constexpr int32_t kUnknown = -1;
  Trie trie_;
  double unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_unigram(TokenizerSpec spec) { return std::make_unique<Unigram>(std::move(spec)); }

}  // namespace vibee
