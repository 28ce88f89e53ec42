// SPDX-License-Identifier: Apache-2.0
// A linked list of stretches of the text and a heap of candidate merges, O(n log n). A stretch is looked up by its
// text, which is bounded by the longest token, so a hostile vocabulary cannot make one lookup long.
#include "vibee/model/token/spm.h"

#include <algorithm>

#include "vibee/model/token/text_index.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, how SentencePiece writes a space

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t hit = std::min(text.find(from, i), text.size());
    out += text.substr(i, hit - i);
    if (hit == text.size()) break;
    out += to;
    i = hit + from.size();
  }
  return out;
}

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
  explicit Spm(TokenizerSpec raw) : Tokenizer(std::move(raw)), index_(size()) {
    set_adds_space_prefix(spec().add_space_prefix);
    std::fill(std::begin(byte_token_), std::end(byte_token_), -1);
    bool typed = false;  // a file without token types names its bytes by their spelling alone
    for (int32_t id = 0; id < size(); ++id) typed |= type(id) == TokenType::byte;
    for (int32_t id = 0; id < size(); ++id) {
      const std::string& text = spec().tokens[id];
      if (const int byte = byte_of(text);
          byte >= 0 && (type(id) == TokenType::byte || (!typed && type(id) == TokenType::normal))) {
        byte_token_[byte] = id;
        add_piece(std::string(1, char(byte)));
        continue;
      }
      if (is_text(id) && !text.empty()) {
        index_.insert(text, id);
        longest_ = std::max<uint32_t>(longest_, uint32_t(text.size()));
      }
      const bool literal = !is_text(id) || type(id) == TokenType::user_defined;
      add_piece(literal ? text : replace_all(text, kSpace, " "));
    }
  }

 protected:
  Status encode_plain(std::string_view text, bool first, std::vector<int32_t>* ids) const override {
    const std::string escaped =
        std::string(first && adds_space_prefix() ? kSpace : "") + replace_all(text, " ", kSpace);
    const std::vector<Stretch> list = merge(escaped);
    for (int32_t at = 0; at >= 0; at = list[at].next) {
      const std::string_view piece = std::string_view(escaped).substr(list[at].begin, list[at].length);
      if (const int32_t id = index_.find(piece); id >= 0) {
        ids->push_back(id);
        continue;
      }
      const bool spelled =
          std::all_of(piece.begin(), piece.end(), [&](char c) { return byte_token_[uint8_t(c)] >= 0; });
      if (spelled) {
        for (const char c : piece) ids->push_back(byte_token_[uint8_t(c)]);
      } else if (unk() >= 0) {
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
  /// The byte a text of the form <0xHH> names, or -1.
  static int byte_of(std::string_view text) {
    if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
    int value = 0;
    for (const char c : text.substr(3, 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                               : -1;
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }

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
      const int32_t id = index_.find(text.substr(list[left].begin, length));
      if (id < 0) return false;
      heap.push_back({spec().scores[id], left, right, length});
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

  TextIndex index_;
  uint32_t longest_ = 0;
  int32_t byte_token_[256];
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_spm(TokenizerSpec spec) {
  return std::unique_ptr<Tokenizer>(std::make_unique<Spm>(std::move(spec)));
}

}  // namespace vibee
