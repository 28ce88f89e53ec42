// SPDX-License-Identifier: Apache-2.0
// The vocabulary as a trie of bytes in depth-first order: what an automaton walks to find every token that it can read.
// Tokens that no text becomes (control, unknown, unused, end) are not in it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

class TokenTrie {
 public:
  struct Node {
    uint32_t end;    ///< index behind the last node of this subtree; the first child stands at the node's own index + 1
    uint32_t token;  ///< index of its first token in tokens(); the next node's is behind its last
    uint32_t byte : 8;
    uint32_t plain : 8;   ///< characters of the longest token in this subtree if all are plain(); else kNotPlain
    uint32_t depth : 16;  ///< bytes from the root
  };
  /// Most tokens are short plain text: whole characters without control characters, quotes and backslashes, of bytes
  /// that are spelled. A mask that
  /// allows such text allows them by their length, without a look at each.
  static constexpr uint32_t kMostPlain = 16, kNotPlain = 255;
  static bool plain(uint32_t code) { return code >= 0x20 && code != '"' && code != '\\' && code != 0x7f; }

  /// Of all tokens of `tokenizer`, which is not kept. One of more than 65535 bytes is left out. Control tokens of
  /// `spoken` count as text.
  explicit TokenTrie(const Tokenizer& tokenizer, std::span<const int32_t> spoken = {});

  /// Node 0 is the root; one node more than there are stands behind the last.
  std::span<const Node> nodes() const { return nodes_; }
  /// Ids in the order of their bytes: several may have the same ones.
  std::span<const int32_t> tokens() const { return tokens_; }
  /// Tokens of the node itself.
  std::span<const int32_t> tokens_at(uint32_t node) const {
    return std::span(tokens_).subspan(nodes_[node].token, nodes_[node + 1].token - nodes_[node].token);
  }
  /// The bytes of a token; empty for one that is not in the trie.
  std::string_view bytes(int32_t token) const {
    return std::string_view(text_).substr(begin_[size_t(token)], begin_[size_t(token) + 1] - begin_[size_t(token)]);
  }
  /// Bits of the plain tokens of at most `characters`, 1 to kMostPlain.
  std::span<const uint64_t> plain_tokens(uint32_t characters) const { return plain_[characters - 1]; }
  /// The most bytes of a token.
  uint32_t depth() const { return depth_; }
  /// Tokens that end a text.
  std::span<const int32_t> ends() const { return ends_; }
  /// Whether a token of this one byte exists: only such bytes can always be written.
  bool spells(uint8_t byte) const { return spells_[byte]; }
  /// Ids of the vocabulary, in the trie or not.
  uint32_t size() const { return uint32_t(begin_.size() - 1); }

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_, ends_;
  std::vector<uint32_t> begin_;
  std::string text_;
  uint32_t depth_ = 0;
  std::vector<uint64_t> plain_[kMostPlain];
  bool spells_[256] = {};
};

}  // namespace vibee
