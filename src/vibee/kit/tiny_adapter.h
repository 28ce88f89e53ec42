// SPDX-License-Identifier: Apache-2.0
// Random adapters of tiny models, as GGUF files.
#pragma once

#include <cstring>

#include "vibee/kit/tiny_model.h"

namespace vibee {

/// A GGUF adapter of a TinyModel: random numbers of `seed` for two products of each layer.
inline std::string write_adapter(const std::string& path, const TinyModel& m, uint32_t rank, uint64_t seed) {
  GgufBuilder b;
  b.str("general.type", "adapter").str("adapter.type", "lora").str("general.architecture", m.architecture);
  b.f32("adapter.lora.alpha", 2.0f * float(rank));
  RandomStream random(seed, Purpose::test);
  const auto tensor = [&](const std::string& name, uint64_t k, uint64_t n) {
    std::vector<float> values(k * n);
    for (float& v : values) v = 0.3f * (2 * random.uniform() - 1);
    std::vector<uint8_t> bytes(values.size() * 4);
    std::memcpy(bytes.data(), values.data(), bytes.size());
    b.tensor(name, Format::f32, {k, n}, bytes);
  };
  for (uint32_t i = 0; i < m.layers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    tensor(block + "attn_q.weight.lora_a", m.dim, rank);
    tensor(block + "attn_q.weight.lora_b", rank, m.heads * m.head_dim);
    tensor(block + "ffn_down.weight.lora_a", m.ff, rank);
    tensor(block + "ffn_down.weight.lora_b", rank, m.dim);
  }
  const std::vector<uint8_t> bytes = b.build();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  return path;
}

}  // namespace vibee
