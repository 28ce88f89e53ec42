// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/new_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

/// A tensor's values: `mean` + `spread` * normal.
struct Values {
  uint64_t begin, end;  ///< bytes of the source
  float mean, spread;
};

class RandomSource : public ByteSource {
 public:
  RandomSource(std::vector<Values> tensors, uint64_t seed) : tensors_(std::move(tensors)), seed_(seed) {}
  uint64_t size() const override { return tensors_.back().end; }
  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    if (offset > size() || out.size() > size() - offset) return error(Code::corrupt, "reads behind the end");
    size_t t = 0;
    for (size_t done = 0; done < out.size();) {
      const uint64_t at = offset + done;
      while (tensors_[t].end <= at) ++t;
      const float value = value_of(uint32_t(t), (at - tensors_[t].begin) / 4);
      const size_t inside = at % 4, n = std::min(4 - inside, out.size() - done);
      std::memcpy(out.data() + done, reinterpret_cast<const uint8_t*>(&value) + inside, n);
      done += n;
    }
    return {};
  }

 private:
  float value_of(uint32_t tensor, uint64_t i) const {
    const Values& v = tensors_[tensor];
    if (v.spread == 0) return v.mean;
    const Philox4 bits = philox(seed_, Purpose::weights, tensor, i);  // Box and Muller
    const double radius = std::sqrt(-2 * std::log(double(unit_float(bits[0]))));
    return v.mean + float(v.spread * radius * std::cos(2 * std::numbers::pi * double(unit_float(bits[1]))));
  }
  std::vector<Values> tensors_;
  uint64_t seed_;
};

class Builder {
 public:
  Builder(const NewModel& model, GgufMetadata metadata) : m_(model) { parts_.metadata = std::move(metadata); }

  Result<Checkpoint> build() {
    gpt2_ = m_.architecture == "gpt2";
    if (!gpt2_ && m_.architecture != "llama")
      return error(Code::unsupported, "a new model's architecture is '{}'; llama and gpt2 are built", m_.architecture);
    if (m_.kv_heads == 0) m_.kv_heads = m_.heads;
    if (m_.heads == 0 || m_.dim % (2 * m_.heads) != 0)
      return error(Code::invalid, "a new model of width {} and {} heads: heads must divide it into even parts", m_.dim,
                   m_.heads);
    if (m_.heads % m_.kv_heads != 0 || (gpt2_ && m_.kv_heads != m_.heads))
      return error(Code::invalid, "a new model of {} heads and {} heads of keys: {}", m_.heads, m_.kv_heads,
                   gpt2_ ? "gpt2 has as many of them" : "these must divide the heads");
    if (gpt2_ && !m_.tied) return error(Code::invalid, "a new model of gpt2 has the embedding as its head");
    if (m_.ff == 0) m_.ff = gpt2_ ? 4 * m_.dim : (8 * m_.dim / 3 + 31) / 32 * 32;
    metadata();
    tensors();
    parts_.path = "a new model";
    parts_.source = std::make_shared<RandomSource>(std::move(values_), m_.seed);
    return Checkpoint::assemble(std::move(parts_));
  }

 private:
  void metadata() {
    GgufMetadata& out = parts_.metadata;
    const auto u32 = [&](const char* key, uint32_t value) { out[m_.architecture + "." + key] = gguf_u32(value); };
    out["general.architecture"] = gguf_text(m_.architecture);
    if (!m_.name.empty()) out["general.name"] = gguf_text(m_.name);
    u32("context_length", m_.context);
    u32("embedding_length", m_.dim);
    u32("block_count", m_.layers);
    u32("feed_forward_length", m_.ff);
    u32("attention.head_count", m_.heads);
    u32("attention.head_count_kv", m_.kv_heads);
    u32("vocab_size", m_.vocab);
    if (gpt2_) {
      out["gpt2.attention.layer_norm_epsilon"] = gguf_f32(1e-5f);
    } else {
      u32("rope.dimension_count", m_.dim / m_.heads);
      out["llama.attention.layer_norm_rms_epsilon"] = gguf_f32(1e-5f);
      out["llama.rope.freq_base"] = gguf_f32(10000);
    }
  }
  void tensors() {
    const uint32_t kv = m_.dim / m_.heads * m_.kv_heads;
    add("token_embd.weight", {m_.dim, m_.vocab});
    if (gpt2_) add("position_embd.weight", {m_.dim, m_.context});
    for (uint32_t i = 0; i < m_.layers; ++i) {
      const std::string block = fmt::format("blk.{}.", i);
      norm(block + "attn_norm");
      if (gpt2_) {
        product(block + "attn_qkv", m_.dim, 3 * m_.dim);
      } else {
        product(block + "attn_q", m_.dim, m_.dim);
        product(block + "attn_k", m_.dim, kv);
        product(block + "attn_v", m_.dim, kv);
      }
      product(block + "attn_output", m_.dim, m_.dim, true);
      norm(block + "ffn_norm");
      if (!gpt2_) product(block + "ffn_gate", m_.dim, m_.ff);
      product(block + "ffn_up", m_.dim, m_.ff);
      product(block + "ffn_down", m_.ff, m_.dim, true);
    }
    norm("output_norm");
    if (!m_.tied) add("output.weight", {m_.dim, m_.vocab});
  }
  void norm(const std::string& name) {
    constant(name + ".weight", m_.dim, 1);
    if (gpt2_) constant(name + ".bias", m_.dim, 0);
  }
  void product(const std::string& name, uint64_t k, uint64_t n, bool residual = false) {
    add(name + ".weight", {k, n}, residual ? 1 / std::sqrt(2.0 * m_.layers) : 1);
    if (gpt2_) constant(name + ".bias", n, 0);
  }
  void constant(const std::string& name, uint64_t n, float value) { put(name, {n}, value, 0); }
  void add(const std::string& name, std::vector<uint64_t> shape, double part = 1) {
    put(name, std::move(shape), 0, float(part * m_.spread));
  }
  void put(const std::string& name, std::vector<uint64_t> shape, float mean, float spread) {
    uint64_t bytes = 4;
    for (const uint64_t n : shape) bytes *= n;
    parts_.tensors.push_back({name, Format::f32, std::move(shape), size_, bytes});
    values_.push_back({size_, size_ + bytes, mean, spread});
    size_ += bytes;
  }

  NewModel m_;
  bool gpt2_ = false;
  CheckpointParts parts_;
  std::vector<Values> values_;
  uint64_t size_ = 0;
};

}  // namespace

Result<Checkpoint> new_checkpoint(const NewModel& model, GgufMetadata tokenizer) {
  return Builder(model, std::move(tokenizer)).build();
}

}  // namespace vibee
