// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/token_trie.h"

#include <algorithm>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

/// Characters of a plain token, or kNotPlain.
uint32_t plain_characters(std::string_view text) {
  uint32_t count = 0;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.kind != Utf8Step::character || !TokenTrie::plain(step.code) || ++count > TokenTrie::kMostPlain)
      return TokenTrie::kNotPlain;
    text.remove_prefix(step.length);
  }
  return count;
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, std::span<const int32_t> spoken) {
  begin_.push_back(0);
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.is_end(id)) ends_.push_back(id);
    const bool control = tokenizer.is_control(id) && std::find(spoken.begin(), spoken.end(), id) == spoken.end();
    const bool text = !tokenizer.is_end(id) && !control && tokenizer.type(id) != TokenType::unused &&
                      tokenizer.piece(id).size() < 65536;
    if (text) text_ += tokenizer.piece(id);
    begin_.push_back(uint32_t(text_.size()));
    if (begin_[size_t(id)] < begin_.back()) tokens_.push_back(id);
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](int32_t a, int32_t b) {
    const int order = bytes(a).compare(bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  nodes_.push_back({});
  std::vector<uint32_t> path = {0};  // nodes from the root to the token before
  std::string_view before;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view text = bytes(tokens_[i]);
    const auto same =
        size_t(std::mismatch(text.begin(), text.end(), before.begin(), before.end()).first - text.begin());
    for (; path.size() > same + 1; path.pop_back()) nodes_[path.back()].end = uint32_t(nodes_.size());
    for (size_t at = same; at < text.size(); ++at) {
      path.push_back(uint32_t(nodes_.size()));
      nodes_.push_back({0, i, uint8_t(text[at]), 0, uint32_t(at + 1) & 0xffff});
    }
    if (text.size() == 1) spells_[uint8_t(text[0])] = true;
    before = text;
    depth_ = std::max(depth_, uint32_t(text.size()));
  }
  for (; !path.empty(); path.pop_back()) nodes_[path.back()].end = uint32_t(nodes_.size());
  nodes_.push_back({uint32_t(nodes_.size() + 1), uint32_t(tokens_.size()), 0, 0, 0});
  for (auto& bits : plain_) bits.resize((size() + 63) / 64);
  for (uint32_t at = uint32_t(nodes_.size()) - 1; at-- > 0;) {
    uint32_t most = 0;
    if (!tokens_at(at).empty()) {
      const std::string_view text = bytes(tokens_at(at)[0]);
      const bool spelled = std::ranges::all_of(text, [&](char c) { return spells_[uint8_t(c)]; });
      most = spelled ? plain_characters(text) : kNotPlain;
      for (uint32_t n = most; n <= kMostPlain; ++n)
        for (const int32_t token : tokens_at(at)) plain_[n - 1][size_t(token) / 64] |= uint64_t(1) << (token % 64);
    }
    for (uint32_t child = at + 1; child < nodes_[at].end; child = nodes_[child].end)
      most = std::max<uint32_t>(most, nodes_[child].plain);
    nodes_[at].plain = uint8_t(most);
  }
}

}  // namespace vibee
