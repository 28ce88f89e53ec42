// SPDX-License-Identifier: Apache-2.0
// A safetensors file of matrices, each "DTYPE.ROWSxCOLUMNS.base", and of what a package made of them under names that
// begin likewise (tools/make_quanto_goldens.py, tools/make_torchao_goldens.py).
#pragma once

#include <gtest/gtest.h>

#include "vibee/model/weight/safetensors.h"

namespace vibee {

class GoldenTensors {
 public:
  struct Case {
    std::string name;
    Format format;
    uint64_t n, k;
    std::vector<float> base;
  };

  /// Of a file of data/golden.
  explicit GoldenTensors(const std::string& name) {
    auto file = open_safetensors(VIBEE_SOURCE_DIR "/data/golden/" + name);
    EXPECT_TRUE(file.ok()) << file.status().message();
    if (!file.ok()) return;
    file_ = std::move(*file);
    for (const SafetensorsTensor& t : file_->tensors())
      if (t.name.ends_with(".base"))
        cases_.push_back({t.name.substr(0, t.name.size() - 5), *t.format, t.shape[0], t.shape[1], floats(t.name)});
  }
  const std::vector<Case>& cases() const { return cases_; }
  std::vector<uint8_t> bytes(const std::string& name) const {
    const SafetensorsTensor* t = find(name);
    std::vector<uint8_t> out(t ? t->bytes : 0);
    if (t) EXPECT_TRUE(file_->read(*t, 0, out).ok());
    return out;
  }
  std::vector<float> floats(const std::string& name) const {
    const SafetensorsTensor* t = find(name);
    if (t == nullptr) return {};
    const std::vector<uint8_t> raw = bytes(name);
    std::vector<float> out(raw.size() / info(*t->format).block_bytes);
    info(*t->format).decode(raw.data(), out.size(), out.data());
    return out;
  }

 private:
  const SafetensorsTensor* find(const std::string& name) const {
    if (file_)
      for (const SafetensorsTensor& t : file_->tensors())
        if (t.name == name) return &t;
    ADD_FAILURE() << name;
    return nullptr;
  }
  std::optional<Safetensors> file_;
  std::vector<Case> cases_;
};

}  // namespace vibee
