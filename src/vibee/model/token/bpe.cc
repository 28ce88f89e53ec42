// SPDX-License-Identifier: Apache-2.0
// Merging runs on a linked list with a heap of candidate pairs, O(n log n) in the length of a word. A symbol is an
// interned string: ids below the vocabulary size are tokens, the ones above are strings that only occur inside merges.
#include "vibee/model/token/bpe.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "vibee/model/token/decode_token.h"
#include "vibee/model/token/text_index.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

struct Merge {
  uint64_t pair = kNone;  // left symbol << 32 | right symbol
  int32_t rank = 0;
  int32_t made = 0;
  static constexpr uint64_t kNone = ~uint64_t(0);
};

/// Pairs -> merges, open addressing at most three quarters full.
class MergeTable {
 public:
  explicit MergeTable(size_t merges) : slots_(std::bit_ceil(merges * 4 / 3 + 16)) {}
  void insert(const Merge& merge) {
    Merge& slot = slots_[slot_of(merge.pair)];
    if (slot.pair == Merge::kNone) slot = merge;  // of a merge listed twice the first, better rank counts
  }
  const Merge* find(int32_t left, int32_t right) const {
    const Merge& slot = slots_[slot_of(key(left, right))];
    return slot.pair == Merge::kNone ? nullptr : &slot;
  }
  static uint64_t key(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

 private:
  size_t slot_of(uint64_t pair) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_word(pair) & mask;
    while (slots_[i].pair != Merge::kNone && slots_[i].pair != pair) i = (i + 1) & mask;
    return i;
  }
  std::vector<Merge> slots_;
};

struct Symbol {
  int32_t id;
  int32_t previous, next;  // positions in the list, -1 at the ends; id < 0: merged away
};

struct Candidate {
  int32_t rank, left, right;
  int32_t left_id, right_id, made;
};
/// For a heap whose top is the lowest rank, leftmost on ties.
bool later(const Candidate& a, const Candidate& b) { return a.rank != b.rank ? a.rank > b.rank : a.left > b.left; }

class Bpe final : public Tokenizer {
 public:
  explicit Bpe(TokenizerSpec raw) : Tokenizer(std::move(raw)), merges_(spec().merges.size()) {
    const std::vector<PreTokenizerStep>& steps = spec().pre_tokenizers;
    bytes_ = !steps.empty() && steps.back().kind == PreTokenizerStep::byte_level;
  }

  Status add_merges() {
    std::unordered_map<std::string, int32_t> inner;  // strings of merges that are no tokens
    const auto symbol = [&](std::string_view text) {
      const int32_t id = index().find(text);
      if (id >= 0) return id;
      const auto [it, added] = inner.try_emplace(std::string(text), int32_t(size() + inner.size()));
      if (added) inner_bytes_.push_back(bytes_ ? bytes_of(text) : std::string(text));
      return it->second;
    };
    for (int b = 0; bytes_ && b < 256; ++b) {
      std::string text;
      append_utf8(kByteToChar[b], &text);
      byte_token_[b] = index().find(text);
      byte_symbol_[b] = symbol(text);
    }
    for (size_t rank = 0; rank < spec().merges.size(); ++rank) {
      const TokenMerge& merge = spec().merges[rank];
      if (merge.left().empty() || merge.right().empty())
        return error(Code::corrupt, "tokenizer: merge {} is not two texts with a space between them", rank);
      const int32_t l = symbol(merge.left()), r = symbol(merge.right());
      merges_.insert({MergeTable::key(l, r), int32_t(rank), symbol(merge.both)});
    }
    forget_merges();
    return {};
  }

 protected:
  Status encode_word(std::string_view word, std::vector<int32_t>* ids) const override {
    if (spec().whole_words) {
      std::string text(bytes_ ? "" : word);
      for (const char c : bytes_ ? word : "") append_utf8(kByteToChar[uint8_t(c)], &text);
      if (const int32_t id = index().find(text); id >= 0) {
        ids->push_back(id);
        return {};
      }
    }
    static thread_local std::vector<Symbol> symbols;
    static thread_local std::vector<Candidate> heap;
    symbols.clear();
    if (bytes_) {
      for (const char c : word) symbols.push_back({byte_symbol_[uint8_t(c)], 0, 0});
    } else {
      VIBEE_TRY(add_characters(word, &symbols));
    }
    merge_word(&symbols, &heap);
    for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[at].next) {
      const int32_t id = symbols[at].id;
      if (id < size()) {
        ids->push_back(id);
        continue;
      }
      if (!bytes_) {  // of merges only
        if (unk() < 0) return no_token(inner_bytes_[id - size()][0]);
        ids->push_back(unk());
        continue;
      }
      for (const char c : inner_bytes_[id - size()]) {
        const int32_t byte = byte_token_[uint8_t(c)];
        if (byte >= 0) {
          ids->push_back(byte);
        } else if (unk() >= 0 && type(unk()) == TokenType::unknown) {
          ids->push_back(unk());
        } else {
          return no_token(c);
        }
      }
    }
    return {};
  }

 private:
  static Status no_token(char c) {
    return error(Code::invalid, "byte 0x{:02x} has no token in this vocabulary: take it out of the text", uint8_t(c));
  }

  /// Characters as symbols; one without a token as its bytes or as the unknown token.
  Status add_characters(std::string_view word, std::vector<Symbol>* symbols) const {
    std::vector<int32_t> spelled;
    bool after_unknown = false;
    for (size_t i = 0; i < word.size();) {
      const std::string_view c = word.substr(i, utf8_step(word.substr(i)).length);
      i += c.size();
      spelled.clear();
      if (const int32_t id = index().find(c); id >= 0) {
        spelled.push_back(id);
      } else if (!spec().byte_fallback || !spell(c, &spelled)) {
        if (unk() < 0) return no_token(c[0]);
        if (!after_unknown || !spec().fuse_unknown) spelled.push_back(unk());
        after_unknown = true;
        for (const int32_t id : spelled) symbols->push_back({id, 0, 0});
        continue;
      }
      after_unknown = false;
      for (const int32_t id : spelled) symbols->push_back({id, 0, 0});
    }
    return {};
  }

  void merge_word(std::vector<Symbol>* symbols, std::vector<Candidate>* heap) const {
    std::vector<Symbol>& list = *symbols;
    heap->clear();
    const int32_t n = int32_t(list.size());
    for (int32_t i = 0; i < n; ++i) {
      list[i].previous = i - 1;
      list[i].next = i + 1 < n ? i + 1 : -1;
    }
    const auto consider = [&](int32_t left, int32_t right) {
      if (left < 0 || right < 0) return false;
      const Merge* merge = merges_.find(list[left].id, list[right].id);
      if (merge == nullptr) return false;
      heap->push_back({merge->rank, left, right, list[left].id, list[right].id, merge->made});
      return true;
    };
    for (int32_t i = 0; i + 1 < n; ++i) consider(i, i + 1);
    std::make_heap(heap->begin(), heap->end(), later);
    while (!heap->empty()) {
      std::pop_heap(heap->begin(), heap->end(), later);
      const Candidate best = heap->back();
      heap->pop_back();
      Symbol& left = list[best.left];
      Symbol& right = list[best.right];
      if (left.id != best.left_id || right.id != best.right_id || left.next != best.right)
        continue;  // one of them has moved on
      left.id = best.made;
      left.next = right.next;
      right.id = -1;
      if (right.next >= 0) list[right.next].previous = best.left;
      if (consider(left.previous, best.left)) std::push_heap(heap->begin(), heap->end(), later);
      if (consider(best.left, left.next)) std::push_heap(heap->begin(), heap->end(), later);
    }
  }

  bool bytes_ = false;
  MergeTable merges_;
  std::vector<std::string> inner_bytes_;  // of the symbols past the vocabulary
  int32_t byte_token_[256] = {};
  int32_t byte_symbol_[256] = {};
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_bpe(TokenizerSpec spec) {
  if (spec.merges.size() > size_t(1) << 24)
    return error(Code::corrupt, "tokenizer: {} merges, more than the 2^24 supported", spec.merges.size());
  auto made = std::make_unique<Bpe>(std::move(spec));
  VIBEE_TRY(made->add_merges());
  return std::unique_ptr<Tokenizer>(std::move(made));
}

}  // namespace vibee
