// SPDX-License-Identifier: Apache-2.0
// A trie walked from every position whose byte begins some special token.
#include "vibee/model/token/special_split.h"

#include <algorithm>

namespace vibee {

void SpecialSplit::add(std::string_view text, int32_t id, bool always) {
  if (text.empty()) return;
  starts_[uint8_t(text[0])] = true;
  longest_ = std::max(longest_, text.size());
  uint32_t node = 0;
  for (const char c : text) {
    const auto [it, added] = edges_.try_emplace(edge(node, uint8_t(c)), uint32_t(nodes_.size()));
    if (added) nodes_.emplace_back();
    node = it->second;
  }
  nodes_[node] = {id, always};
}

std::vector<Fragment> SpecialSplit::split(std::string_view text, bool parse_special) const {
  std::vector<Fragment> out;
  size_t plain = 0;  // where the plain text before position i begins
  for (size_t i = 0; i < text.size();) {
    size_t length = 0;
    int32_t id = -1;
    if (starts_[uint8_t(text[i])]) {
      uint32_t node = 0;
      for (size_t j = i; j < text.size(); ++j) {
        const auto it = edges_.find(edge(node, uint8_t(text[j])));
        if (it == edges_.end()) break;
        node = it->second;
        if (nodes_[node].id >= 0 && (parse_special || nodes_[node].always)) {
          id = nodes_[node].id;
          length = j + 1 - i;
        }
      }
    }
    if (id < 0) {
      ++i;
      continue;
    }
    if (i > plain) out.push_back({text.substr(plain, i - plain), -1});
    out.push_back({text.substr(i, length), id});
    i += length;
    plain = i;
  }
  if (plain < text.size()) out.push_back({text.substr(plain), -1});
  return out;
}

}  // namespace vibee
