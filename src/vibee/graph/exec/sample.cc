// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/random/philox.h"

namespace vibee {

Result<SampleWeights> SampleWeights::make(const Graph& g, Isa isa, uint64_t seed) {
  SampleWeights w;
  uint32_t stream = 0;
  for (const Node& node : g.nodes) {
    if (node.op != Op::weight) continue;
    const Type& type = g.type(node.out[0]);
    const std::string name(node.text("name"));
    if (w.files_.count(name) != 0) continue;
    RandomStream random(seed, Purpose::weights, stream++);
    const auto count = size_t(elements(type, {}));
    const NumericFormat& format = info(type.elem.format);
    if (format.encode == nullptr)
      return error(Code::unsupported, "weights in {} cannot be made: it has no encoder", format.name);
    std::vector<float> x(count);
    const size_t rank = type.dims.size();
    const bool matrix = type.dims.size() >= 2;
    for (float& v : x)
      v = matrix ? random.normal() / std::sqrt(float(type.dims[rank - 1].n)) : 1 + 0.2f * random.normal();
    const auto k = uint64_t(type.dims.back().n);
    std::vector<uint8_t> bytes(count / k * format.row_bytes(k));
    format.encode_rows(x.data(), count / k, k, nullptr, bytes.data());
    if (matrix) {
      PackedWeight p{type.elem.format,
                     uint32_t(type.dims[rank - 2].n),
                     uint32_t(type.dims[rank - 1].n),
                     panel_rows(type.elem.format, isa),
                     nullptr,
                     rank == 3 ? uint32_t(type.dims[0].n) : 1};
      VIBEE_ASSIGN(HugeBuffer buffer, HugeBuffer::allocate(p.bytes() + 64));
      const uint64_t row_bytes = format.row_bytes(p.k);
      for (uint32_t e = 0; e < p.experts; ++e)
        for (uint32_t i = 0; i < p.panels(); ++i)
          pack_panel(p.format, p.nr, p.k, std::min(p.nr, p.n - i * p.nr),
                     bytes.data() + (uint64_t(e) * p.n + i * p.nr) * row_bytes,
                     buffer.data() + (uint64_t(e) * p.panels() + i) * p.stride());
      p.data = buffer.data();
      w.panels_.push_back(std::move(buffer));
      w.matrices_[name] = p;
    } else {
      w.vectors_[name] = std::move(x);
    }
    w.files_[name] = std::move(bytes);
  }
  return w;
}

WeightTable SampleWeights::table() const {
  return {[this](std::string_view name) {
            const auto at = matrices_.find(name);
            return at == matrices_.end() ? nullptr : &at->second;
          },
          [this](std::string_view name) {
            const auto at = vectors_.find(name);
            return at == vectors_.end() ? nullptr : at->second.data();
          }};
}

Result<SampleCache> SampleCache::make(const Graph& g, KvFormat format, uint32_t sequences, uint32_t context) {
  SampleCache c;
  std::vector<KvLayout> layouts;
  for (const Node& node : g.nodes) {
    if (node.op != Op::attention) continue;
    const auto layer = size_t(node.integer("layer"));
    if (layouts.size() <= layer) layouts.resize(layer + 1);
    layouts[layer] = {format, uint32_t(node.integer("kv_heads")), uint32_t(node.integer("head_dim"))};
  }
  uint64_t page_bytes = 0;
  for (const KvLayout& layout : layouts) page_bytes += (layout.layer_bytes() + 63) / 64 * 64;
  const uint32_t count = (context + kPageTokens - 1) / kPageTokens;
  VIBEE_ASSIGN(c.store_, HugeBuffer::allocate(page_bytes * count * sequences + 64));
  uint64_t at = 0;
  for (const KvLayout& layout : layouts) {
    c.views_.push_back({c.store_.data() + at, page_bytes, layout});
    at += (layout.layer_bytes() + 63) / 64 * 64;
  }
  for (uint32_t s = 0; s < sequences; ++s) {
    c.pages_.emplace_back();
    for (uint32_t p = 0; p < count; ++p) c.pages_[s].push_back((count - 1 - p) * sequences + s);
  }
  return c;
}

}  // namespace vibee
