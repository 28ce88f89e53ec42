// SPDX-License-Identifier: Apache-2.0
// A sound container whose numbers about the model are not: every number of the metadata is set to values that break
// sizes, ratios and loops. The file is refused in one line, or the model takes a step; nothing is read beyond its end
// (the sanitizers look), and no claim takes memory.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "vibee/kit/tiny_model.h"
#include "vibee/model/session/session.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

/// Where the value of a key of that type begins in the bytes of a file; 0: nowhere.
size_t value_of(const std::vector<uint8_t>& file, const std::string& key, GgufType type) {
  ByteWriter w;
  w.u64(key.size());
  w.bytes.insert(w.bytes.end(), key.begin(), key.end());
  w.u32(uint32_t(type));
  const auto at = std::search(file.begin(), file.end(), w.bytes.begin(), w.bytes.end());
  return at == file.end() ? 0 : size_t(at - file.begin()) + w.bytes.size();
}

/// Loads the model and takes two steps, or says why not.
Status use(const std::vector<uint8_t>& bytes) {
  VIBEE_ASSIGN(Checkpoint file, parse_gguf(bytes, "evil.gguf"));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  const SessionOptions o{std::min(16u, config.context), 2, 16, 2, KvFormat::f16};
  VIBEE_TRY(Session::plan_memory(file, config, {}, o).take_status());
  VIBEE_ASSIGN(const auto model, Model::load(std::move(file), {1, detected_isa(), {}, true}));
  VIBEE_ASSIGN(const auto session, Session::create(*model, o));
  SequenceState state = session->new_sequence();
  for (const std::vector<int32_t>& tokens : {std::vector<int32_t>{1, 2, 3}, std::vector<int32_t>{4}}) {
    const std::vector<StepRows> rows = {{&state, tokens}};
    VIBEE_TRY(session->step(rows).take_status());
  }
  return {};
}

class HostileModel : public testing::TestWithParam<const char*> {};

TEST_P(HostileModel, IsRefusedOrSound) {
  TinyModel m;
  m.architecture = GetParam();
  m.vocab = 320;
  m.tokenizer = true;
  m.layers = 2;
  const std::vector<uint8_t> sound = TinyModelWriter(m).build();
  ASSERT_TRUE(use(sound).ok());
  const Result<Checkpoint> file = parse_gguf(sound, "sound.gguf");
  ASSERT_TRUE(file.ok());
  int refused = 0, taken = 0;
  const auto try_value = [&](size_t at, const auto& value, const std::string& what) {
    SCOPED_TRACE(what);
    std::vector<uint8_t> bytes = sound;
    std::memcpy(&bytes[at], &value, sizeof value);
    const auto begin = std::chrono::steady_clock::now();
    const Status status = use(bytes);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(took.count(), 20);
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    ++(status.ok() ? taken : refused);
  };
  for (const auto& [key, value] : file->metadata()) {
    if (const size_t at = value.type == GgufType::u32 ? value_of(sound, key, value.type) : 0)
      for (const uint32_t v : {0u, 1u, 2u, 3u, 5u, 7u, 17u, 31u, 33u, 255u, 65535u, 65537u, 1u << 26, 1u << 31, ~0u})
        try_value(at, v, fmt::format("{} = {}", key, v));
    if (const size_t at = value.type == GgufType::f32 ? value_of(sound, key, value.type) : 0)
      for (const float v : {0.0f, -1.0f, 1e-45f, 3e38f, INFINITY, -INFINITY, NAN})
        try_value(at, v, fmt::format("{} = {}", key, v));
  }
  EXPECT_GT(refused, 60);
  EXPECT_GT(taken, 5);  // a context of 17, say: not everything is hostile
}

INSTANTIATE_TEST_SUITE_P(Tiny, HostileModel, testing::Values("llama", "gemma3"),
                         [](const auto& row) { return std::string(row.param); });

}  // namespace
}  // namespace vibee
