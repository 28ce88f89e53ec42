// SPDX-License-Identifier: Apache-2.0
// The texts of a vocabulary, one after another in one string: a string object a token would take several times the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vibee {

/// At most 4 GiB of text; views stay valid until the next append.
class TextList {
 public:
  void reserve(size_t texts, size_t bytes) {
    ends_.reserve(texts);
    texts_.reserve(bytes);
  }
  void append(std::string_view text) {
    texts_ += text;
    ends_.push_back(uint32_t(texts_.size()));
  }
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t i) const {
    const uint32_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(texts_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string texts_;
  std::vector<uint32_t> ends_;
};

}  // namespace vibee
