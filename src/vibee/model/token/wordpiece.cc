// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/wordpiece.h"

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/trie.h"

namespace vibee {
namespace {

class WordPiece final : public Tokenizer {
 public:
  explicit WordPiece(TokenizerSpec raw) : Tokenizer(std::move(raw)) {
    for (int32_t id = 0; id < size(); ++id) {
      const std::string& text = spec().tokens[id];
      if (text.empty() || type(id) == TokenType::unused) continue;
      begin_.insert(text, id);
      if (text.starts_with(spec().subword_prefix)) more_.insert(text.substr(spec().subword_prefix.size()), id);
    }
  }

 protected:
  Status encode_word(std::string_view word, std::vector<int32_t>* ids) const override {
    const size_t before = ids->size();
    if (word.size() <= size_t(spec().longest_word) || py_length(word) <= size_t(spec().longest_word)) {
      size_t at = 0;
      while (at < word.size()) {
        const Trie& trie = at == 0 ? begin_ : more_;
        int32_t longest = -1;
        size_t end = at;
        uint32_t node = Trie::kRoot;
        for (size_t j = at; j < word.size(); ++j) {
          node = trie.child(node, uint8_t(word[j]));
          if (node == Trie::kNone) break;
          if (trie.id(node) < 0) continue;
          longest = trie.id(node);
          end = j + 1;
        }
        if (longest < 0) break;
        ids->push_back(longest);
        at = end;
      }
      if (at == word.size()) return {};
    }
    ids->resize(before);
    if (unk() < 0)
      return error(Code::invalid, "a word of {} bytes has no tokens in this vocabulary and there is no unknown token",
                   word.size());
    ids->push_back(unk());
    return {};
  }

 private:
  Trie begin_, more_;
};

class WordLevel final : public Tokenizer {
 public:
  explicit WordLevel(TokenizerSpec raw) : Tokenizer(std::move(raw)) {}

 protected:
  Status encode_word(std::string_view word, std::vector<int32_t>* ids) const override {
    const int32_t id = index().find(word);
    if (id < 0 && unk() < 0)
      return error(Code::invalid, "a word of {} bytes is no token and there is no unknown token", word.size());
    ids->push_back(id >= 0 ? id : unk());
    return {};
  }
};

}  // namespace

std::unique_ptr<Tokenizer> make_wordpiece(TokenizerSpec spec) { return std::make_unique<WordPiece>(std::move(spec)); }
std::unique_ptr<Tokenizer> make_wordlevel(TokenizerSpec spec) { return std::make_unique<WordLevel>(std::move(spec)); }

}  // namespace vibee
