// SPDX-License-Identifier: Apache-2.0
// Any text as the adapter_config.json of a PEFT adapter of a small Llama, and behind a line "---" any bytes as its
// safetensors file.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vibee/model/adapter/adapter_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const auto require = [](bool condition) {
    if (!condition) std::abort();
  };
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t at = all.find("\n---\n");
  if (at == std::string_view::npos) return 0;
  ModelConfig base;
  base.architecture = "llama";
  base.heads = 2;
  base.kv_heads = 1;
  const AdaptedProduct products[] = {{"blk.0.attn_q.weight", 8, 8}, {"blk.0.ffn_down.weight", 12, 8}};
  const auto adapter = parse_peft_adapter(all.substr(0, at), {data + at + 5, size - at - 5}, "fuzz", base, products, 4);
  if (!adapter.ok()) {
    require(!adapter.status().message().empty() && adapter.status().message().find('\n') == std::string::npos);
    return 0;
  }
  require(!adapter->matrices.empty() && adapter->matrices.size() <= 2);
  for (const auto& [tensor, m] : adapter->matrices) {
    require(m.rank >= 1 && m.rank <= 4 && std::isfinite(m.scale));
    require(m.a.size() == size_t(m.rank) * m.k && m.b.size() == size_t(m.rank) * m.n);
    for (float v : m.a) require(std::isfinite(v));
    for (float v : m.b) require(std::isfinite(v));
  }
  return 0;
}
