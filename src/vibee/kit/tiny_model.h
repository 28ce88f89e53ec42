// SPDX-License-Identifier: Apache-2.0
// Tiny random models as GGUF files, of any shape and weight format, for tests that need a whole model but no real one.
// Weights are a function of the seed alone.
#pragma once

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/kit/gguf_builder.h"

namespace vibee {

struct TinyModel {
  std::string architecture = "llama";  ///< or "gemma3"
  Format format = Format::f32;         ///< of every matrix
  uint32_t vocab = 48, dim = 32, layers = 2, heads = 2, kv_heads = 1, head_dim = 16, ff = 64;
  uint32_t window = 8;             ///< of Gemma's local layers
  uint32_t context = 4096;         ///< of the training
  bool tied = false;               ///< Gemma always is
  bool tokenizer = false;          ///< SentencePiece with single bytes and some words; needs vocab >= 300
  std::string chat_template = {};  ///< with a tokenizer; empty: none
  uint64_t seed = 1;
};

class TinyModelWriter {
 public:
  explicit TinyModelWriter(const TinyModel& m) : m_(m), random_(m.seed, Purpose::test) {}

  std::vector<uint8_t> build() {
    const bool gemma = m_.architecture == "gemma3";
    const uint32_t q = m_.heads * m_.head_dim, kv = m_.kv_heads * m_.head_dim;
    metadata();
    matrix("token_embd.weight", m_.dim, m_.vocab);
    vector("output_norm.weight", m_.dim);
    if (!m_.tied && !gemma) matrix("output.weight", m_.dim, m_.vocab);
    for (uint32_t i = 0; i < m_.layers; ++i) {
      const std::string block = "blk." + std::to_string(i) + ".";
      vector(block + "attn_norm.weight", m_.dim);
      matrix(block + "attn_q.weight", m_.dim, q);
      matrix(block + "attn_k.weight", m_.dim, kv);
      matrix(block + "attn_v.weight", m_.dim, kv);
      matrix(block + "attn_output.weight", q, m_.dim);
      vector(block + "ffn_norm.weight", m_.dim);
      matrix(block + "ffn_gate.weight", m_.dim, m_.ff);
      matrix(block + "ffn_up.weight", m_.dim, m_.ff);
      matrix(block + "ffn_down.weight", m_.ff, m_.dim);
      if (!gemma) continue;
      vector(block + "attn_q_norm.weight", m_.head_dim);
      vector(block + "attn_k_norm.weight", m_.head_dim);
      vector(block + "post_attention_norm.weight", m_.dim);
      vector(block + "post_ffw_norm.weight", m_.dim);
    }
    return builder_.build();
  }

 private:
  void metadata() {
    const std::string a = m_.architecture + ".";
    builder_.str("general.architecture", m_.architecture).u32(a + "context_length", m_.context);
    builder_.u32(a + "embedding_length", m_.dim)
        .u32(a + "block_count", m_.layers)
        .u32(a + "feed_forward_length", m_.ff);
    builder_.u32(a + "attention.head_count", m_.heads).u32(a + "attention.head_count_kv", m_.kv_heads);
    builder_.u32(a + "attention.key_length", m_.head_dim).u32(a + "rope.dimension_count", m_.head_dim);
    builder_.f32(a + "attention.layer_norm_rms_epsilon", 1e-5f).f32(a + "rope.freq_base", 10000);
    if (m_.architecture == "gemma3") builder_.u32(a + "attention.sliding_window", m_.window);
    if (m_.tokenizer) vocabulary();
  }
  void vocabulary() {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<int32_t> types = {2, 3, 3};  // unknown, control, control
    for (int byte = 0; byte < 256; ++byte) {
      char text[8];
      std::snprintf(text, sizeof text, "<0x%02X>", byte);
      tokens.emplace_back(text);
      types.push_back(6);
    }
    for (uint32_t i = 0; tokens.size() + 1 < m_.vocab; ++i) {  // "▁ab"-like words
      tokens.push_back(std::string(i % 3 ? "" : "\xE2\x96\x81") + char('a' + i % 26) + std::to_string(i));
      types.push_back(1);
    }
    tokens.emplace_back("\xE2\x96\x81");
    types.push_back(1);
    std::vector<float> scores;
    for (size_t i = 0; i < tokens.size(); ++i) scores.push_back(-float(i));
    builder_.str("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
    builder_.floats("tokenizer.ggml.scores", scores).ints("tokenizer.ggml.token_type", types);
    if (!m_.chat_template.empty()) builder_.str("tokenizer.chat_template", m_.chat_template);
  }
  void vector(const std::string& name, uint32_t n) {
    std::vector<float> x(n);
    for (float& v : x) v = 1 + 0.2f * random_.normal();
    store(name, Format::f32, {n}, x);
  }
  void matrix(const std::string& name, uint32_t k, uint32_t n) {
    const bool loud = name == "token_embd.weight" && m_.architecture == "llama" && !m_.tied;
    const float spread = loud ? 1.0f : 1.0f / std::sqrt(float(k));
    std::vector<float> x(size_t(k) * n);
    for (float& v : x) v = spread * random_.normal();
    store(name, m_.format, {k, n}, x);
  }
  void store(const std::string& name, Format format, const std::vector<uint64_t>& shape, const std::vector<float>& x) {
    std::vector<uint8_t> bytes(x.size() / shape[0] * info(format).row_bytes(shape[0]));
    VIBEE_CHECK(info(format).encode != nullptr && shape[0] % info(format).block_elems == 0, "{}", name);
    info(format).encode_rows(x.data(), x.size() / shape[0], shape[0], nullptr, bytes.data());
    builder_.tensor(name, format, shape, bytes);
  }

  TinyModel m_;
  RandomStream random_;
  GgufBuilder builder_;
};

/// The model as a file that is removed with this object.
class TinyModelFile {
 public:
  explicit TinyModelFile(const TinyModel& model) {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("vibee-tiny-" + std::to_string(getpid()) + "-" + std::to_string(count++) + ".gguf");
    const std::vector<uint8_t> bytes = TinyModelWriter(model).build();
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  }
  TinyModelFile(const TinyModelFile&) = delete;
  TinyModelFile& operator=(const TinyModelFile&) = delete;
  ~TinyModelFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace vibee
