// SPDX-License-Identifier: Apache-2.0
// Safetensors files of a few tensors, as tests need them.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/base/text/json_object.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {

struct SafetensorsPart {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  std::vector<uint8_t> bytes;
};

/// The bytes of a file that holds them, one behind the other.
inline std::vector<uint8_t> build_safetensors(const std::vector<SafetensorsPart>& tensors) {
  JsonObject header;
  std::vector<uint8_t> data;
  for (const SafetensorsPart& t : tensors) {
    std::vector<std::string> shape;
    for (const uint64_t n : t.shape) shape.push_back(std::to_string(n));
    header.raw(t.name, JsonObject()
                           .text("dtype", t.dtype)
                           .raw("shape", json_array(shape))
                           .raw("data_offsets", fmt::format("[{}, {}]", data.size(), data.size() + t.bytes.size()))
                           .str());
    data.insert(data.end(), t.bytes.begin(), t.bytes.end());
  }
  const std::string text = header.str();
  std::vector<uint8_t> out(8 + text.size());
  store_u64(out.data(), text.size());
  std::copy(text.begin(), text.end(), out.begin() + 8);
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

}  // namespace vibee
