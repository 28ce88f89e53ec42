// SPDX-License-Identifier: Apache-2.0
// Directories in layouts of other projects: what is written is what is read back, and a directory that is read and
// written again comes out as it went in.
#include "vibee/compress/quantize/group_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;

struct Tensor {
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint8_t> bytes;
  bool operator==(const Tensor&) const = default;
};
std::map<std::string, Tensor> tensors_of(const std::string& directory) {
  const auto set = open_safetensors_directory(directory);
  EXPECT_TRUE(set.ok()) << set.status().message();
  std::map<std::string, Tensor> out;
  for (const auto& [name, place] : set->tensors()) {
    Tensor& t = out[name];
    t.dtype = place.tensor->dtype, t.shape = place.tensor->shape;
    t.bytes.resize(place.tensor->bytes);
    EXPECT_TRUE(place.file->read(*place.tensor, 0, t.bytes).ok());
  }
  return out;
}

std::vector<float> values_of(const Checkpoint& file, const std::string& tensor) {
  const auto exact = Recast::create(file, {.format = all_in(Format::f32)});
  EXPECT_TRUE(exact.ok());
  for (const TensorInfo& t : exact->tensors()) {
    if (t.name != tensor) continue;
    std::vector<float> out(t.elements());
    EXPECT_TRUE(exact->read(t, 0, {reinterpret_cast<uint8_t*>(out.data()), out.size() * 4}).ok());
    return out;
  }
  ADD_FAILURE() << tensor;
  return {};
}

struct Case {
  const char* scheme;
  uint32_t bits = 0;
  int64_t group = 0;
  bool asymmetric = false;
};

class GroupModel : public testing::Test {
 protected:
  GroupModel()
      : model_({.format = Format::f16, .vocab = 48, .dim = 64, .heads = 2, .kv_heads = 1, .head_dim = 32, .ff = 192}) {}
  Result<GroupReport> write(const std::string& from, const std::string& to, const Case& c) {
    VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(from));
    return write_groups_model(file, {}, to,
                              {.layout = find_group_layout(c.scheme),
                               .bits = c.bits,
                               .group = c.group,
                               .asymmetric = c.asymmetric,
                               .team = &team_,
                               .isa = detected_isa()});
  }
  std::string place(const std::string& name) const { return folder_.path() + "/" + name; }
  TempFolder folder_;
  TinyModelFile model_;
  Team team_{3};
};

TEST_F(GroupModel, DirectoriesOfOtherProjectsComeOutAsTheyWentIn) {
  const std::pair<const char*, const char*> goldens[] = {
      {"gptq", "gptq"},
      {"gptq-2", "gptq"},
      {"gptq-3", "gptq"},
      {"gptq-8", "gptq"},
      {"gptq-order", "gptq"},
      {"gptq-v2-row", "gptq"},
      {"awq", "awq"},
      {"ct-pack", "compressed-tensors"},
      {"ct-pack-zero", "compressed-tensors"},
      {"ct-pack2", "compressed-tensors"},
      {"ct-pack3-zero", "compressed-tensors"},
      {"ct-pack8", "compressed-tensors"},
      {"bnb-nf4", "bitsandbytes:nf4"},
      {"bnb-fp4", "bitsandbytes:fp4"},
  };
  for (const auto& [golden, scheme] : goldens) {
    const std::string from = std::string(VIBEE_SOURCE_DIR "/data/golden/quantized/") + golden;
    const auto report = write(from, place(golden), {scheme});
    ASSERT_TRUE(report.ok()) << golden << ": " << report.status().message();
    EXPECT_TRUE(report->taken) << golden;
    const auto wanted = tensors_of(from), made = tensors_of(place(golden));
    for (const auto& [name, tensor] : wanted) {
      ASSERT_TRUE(made.contains(name)) << golden << " " << name;
      EXPECT_EQ(made.at(name), tensor) << golden << " " << name;
    }
    EXPECT_EQ(made.size(), wanted.size()) << golden;
  }
}

TEST_F(GroupModel, CodesAndScalesAreReadBackAsTheyWereWritten) {
  const Case cases[] = {{"gptq"},
                        {"gptq", 8},
                        {"gptq", 3, 32},
                        {"gptq", 4, -1, true},
                        {"gptq", 2, 64, true},
                        {"awq"},
                        {"compressed-tensors"},
                        {"compressed-tensors", 3, 64, true},
                        {"compressed-tensors", 8, -1},
                        {"bitsandbytes:nf4"},
                        {"bitsandbytes:fp4"}};
  int count = 0;
  const auto file = open_checkpoint(model_.path());
  ASSERT_TRUE(file.ok());
  for (const Case& c : cases) {
    const std::string to = place(std::to_string(count++)), at = fmt::format("{} {} {}", c.scheme, c.bits, c.group);
    const auto report = write(model_.path(), to, c);
    ASSERT_TRUE(report.ok()) << at << ": " << report.status().message();
    EXPECT_EQ(report->matrices, 14u);
    EXPECT_EQ(report->left + report->indivisible, 0u);
    EXPECT_FALSE(report->taken || report->again);
    EXPECT_EQ(report->scheme.group, c.group < 0 ? 0 : c.group > 0 ? uint64_t(c.group) : 64u) << at;
    const auto read = open_checkpoint(to);
    ASSERT_TRUE(read.ok()) << at << ": " << read.status().message();
    EXPECT_EQ(read->find("output.weight")->format, Format::f16);
    for (const TensorInfo& t : file->tensors()) {
      if (!is_layer_linear(t)) continue;
      std::vector<float> w = values_of(*file, t.name);
      const auto made = group_quantize(w, t.row_length(), report->scheme, nullptr, team_, detected_isa());
      ASSERT_TRUE(made.ok());
      const TensorInfo* found = read->find(t.name);
      ASSERT_NE(found, nullptr);
      std::vector<uint8_t> bytes(found->bytes);
      ASSERT_TRUE(read->read(*found, 0, bytes).ok());
      const GroupMatrix back = group_matrix(found->format, bytes, t.row_length(), report->scheme);
      EXPECT_EQ(back.codes, made->codes) << at << " " << t.name;
      EXPECT_EQ(back.scales, made->scales) << at << " " << t.name;
      EXPECT_EQ(back.zeros, made->zeros) << at << " " << t.name;
      EXPECT_EQ(values_of(*read, t.name), group_values(*made, report->scheme)) << at << " " << t.name;
    }
    // Once more, unchanged.
    const auto again = write(to, to + "-again", {c.scheme});
    ASSERT_TRUE(again.ok()) << at << ": " << again.status().message();
    EXPECT_TRUE(again->taken) << at;
    EXPECT_EQ(tensors_of(to + "-again"), tensors_of(to)) << at;
  }
}

TEST_F(GroupModel, CodesGoFromOneLayoutToAnother) {
  const std::string tensor = "blk.1.ffn_down.weight";
  std::string from = VIBEE_SOURCE_DIR "/data/golden/quantized/awq";
  const std::vector<float> values = values_of(*open_checkpoint(from), tensor);
  for (const char* scheme : {"gptq", "compressed-tensors", "awq"}) {
    const auto report = write(from, place(scheme), {scheme});
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_TRUE(report->taken) << scheme;
    from = place(scheme);
    EXPECT_EQ(values_of(*open_checkpoint(from), tensor), values) << scheme;
  }
  // What the other has no place for is quantised again: other groups, sorted inputs, three bits.
  for (const Case& c : {Case{"awq", 0, 32}, Case{"compressed-tensors", 8}}) {
    const auto report = write(from, place(fmt::format("{}-other", c.scheme)), c);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_TRUE(report->again);
  }
  for (const char* golden : {"gptq-order", "gptq-3"}) {
    const std::string to = place(std::string(golden) + "-awq");
    const auto report = write(std::string(VIBEE_SOURCE_DIR "/data/golden/quantized/") + golden, to, {"awq"});
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_TRUE(report->again);
    EXPECT_TRUE(open_checkpoint(to).ok());
  }
}

TEST_F(GroupModel, MistakesAreOneLineAndLeaveNothing) {
  const auto message = [&](const std::string& from, const Case& c) {
    const auto done = write(from, place("none"), c);
    EXPECT_FALSE(std::filesystem::exists(place("none")));
    return done.ok() ? "no error" : std::string(done.status().message());
  };
  EXPECT_THAT(message(model_.path(), {"gptq", 5}), HasSubstr("5 bits of gptq; 2, 3, 4 or 8"));
  EXPECT_THAT(message(model_.path(), {"gptq", 8, 0, true}), HasSubstr("8 bits of gptq are symmetric"));
  EXPECT_THAT(message(model_.path(), {"awq", 8}), HasSubstr("8 bits of awq; it has 4"));
  EXPECT_THAT(message(model_.path(), {"bitsandbytes:nf4", 0, 128}), HasSubstr("has 4 bits in blocks of 64"));
  EXPECT_THAT(message(model_.path(), {"gptq", 4, 128}), HasSubstr("no linear is quantised"));

  TinyModelFile floats({.dim = 64, .heads = 2, .head_dim = 32, .ff = 128});
  const auto poke = [&](float value) {
    const auto file = open_checkpoint(floats.path());
    const TensorInfo* t = file->find("blk.1.attn_v.weight");
    std::fstream out(floats.path(), std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(std::streamoff(t->offset + 4 * (3 * 64 + 1)));
    out.write(reinterpret_cast<const char*>(&value), 4);
  };
  poke(NAN);
  for (const std::string& scheme : group_schemes())
    EXPECT_THAT(message(floats.path(), {scheme.c_str()}), HasSubstr("blk.1.attn_v.weight\" holds nan in row 3; "))
        << scheme;
  poke(3e9f);
  EXPECT_THAT(message(floats.path(), {"gptq"}),
              HasSubstr("tensor blk.1.attn_v.weight: row 3 needs a scale that f16 does not hold"));
  EXPECT_TRUE(write(floats.path(), place("wide"), {"compressed-tensors"}).ok());  // whose scales are f32 here

  // A directory whose config.json says that it is symmetric, which it is not.
  const std::string liar = place("liar");
  std::filesystem::copy(VIBEE_SOURCE_DIR "/data/golden/quantized/gptq", liar);
  std::ifstream in(liar + "/config.json");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  text.replace(text.find("\"sym\": false"), 12, "\"sym\": true ");
  std::ofstream(liar + "/config.json") << text;
  EXPECT_THAT(message(liar, {"compressed-tensors"}), HasSubstr("though the source says that it is symmetric"));
  EXPECT_TRUE(write(liar, place("liar-again"), {"gptq"}).ok());
}

/// Inputs that go together, and H of them.
std::vector<float> correlated(uint32_t k, uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<float> h(uint64_t(k) * k);
  std::vector<float> x(k);
  for (int row = 0; row < 256; ++row) {
    const float common = random.normal();
    for (uint32_t i = 0; i < k; ++i) x[i] = (i > 0 ? 0.7f * x[i - 1] : 0) + 0.5f * common + 0.3f * random.normal();
    for (uint32_t i = 0; i < k; ++i)
      for (uint32_t j = 0; j < k; ++j) h[i * k + j] += x[i] * x[j] / 256;
  }
  return h;
}

TEST(GroupQuantize, CodesMakeUpForOneAnother) {
  constexpr uint32_t kInputs = 192, kOutputs = 70;
  Team team(2);
  double sum = 0;
  constexpr int kSeeds = 6;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const std::vector<float> h = correlated(kInputs, uint64_t(seed));
    const auto factor = GptqFactor::make(h, kInputs, 0.01, team, detected_isa());
    ASSERT_TRUE(factor.ok());
    RandomStream random(uint64_t(seed) + 100, Purpose::test);
    std::vector<float> w(kInputs * kOutputs);
    for (float& x : w) x = random.normal();
    const GroupScheme scheme{.group = seed % 2 ? 0u : 64u, .symmetric = seed % 3 == 0};
    double losses[2];
    for (const bool solved : {false, true}) {
      std::vector<float> rows = w;
      const auto made = group_quantize(rows, kInputs, scheme, solved ? &*factor : nullptr, team, detected_isa());
      ASSERT_TRUE(made.ok());
      std::vector<float> off = group_values(*made, scheme);
      for (size_t i = 0; i < off.size(); ++i) off[i] -= w[i];
      losses[solved] = hessian_loss(off, h, kInputs);
    }
    EXPECT_LT(losses[1], losses[0]) << seed;
    sum += losses[1] / losses[0];
  }
  EXPECT_LT(sum / kSeeds, 0.75);
}

TEST(GroupQuantize, InputsThatKnowNothingOfOneAnotherChangeNothing) {
  constexpr uint32_t kInputs = 192;
  std::vector<float> h(kInputs * kInputs), w(kInputs * 65);
  for (uint32_t i = 0; i < kInputs; ++i) h[i * (kInputs + 1)] = 4;
  RandomStream random(3, Purpose::test);
  for (float& x : w) x = random.normal();
  Team one(1), three(3);
  const auto factor = GptqFactor::make(h, kInputs, 0, one, detected_isa());
  ASSERT_TRUE(factor.ok());
  for (const bool symmetric : {false, true}) {
    const GroupScheme scheme{.group = 32, .symmetric = symmetric, .least_zero = 1};
    std::vector<float> a = w, b = w;
    const auto plain = group_quantize(a, kInputs, scheme, nullptr, one, Isa::scalar);
    const auto solved = group_quantize(b, kInputs, scheme, &*factor, three, detected_isa());
    ASSERT_TRUE(plain.ok() && solved.ok());
    EXPECT_EQ(plain->codes, solved->codes);
    EXPECT_EQ(plain->scales, solved->scales);
    EXPECT_EQ(plain->zeros, solved->zeros);
    for (const uint8_t zero : plain->zeros) EXPECT_GE(zero, 1);
  }
}

TEST(GroupQuantize, LosesHalfAStepAtMostAndKeepsZeros) {
  Team team(1);
  for (const bool symmetric : {false, true})
    for (const float sign : {1.0f, -1.0f}) {
      std::vector<float> w(64, 0.0f);
      for (size_t i = 32; i < 64; ++i) w[i] = sign * (5 + float(i) / 16);  // on one side of zero
      const GroupScheme scheme{.group = 32, .symmetric = symmetric, .least_zero = 1};
      std::vector<float> rows = w;
      const auto made = group_quantize(rows, 64, scheme, nullptr, team, Isa::scalar);
      ASSERT_TRUE(made.ok());
      const std::vector<float> values = group_values(*made, scheme);
      for (size_t i = 0; i < 32; ++i) EXPECT_EQ(values[i], 0.0f);
      for (size_t i = 32; i < 64; ++i) EXPECT_NEAR(values[i], w[i], made->scales[1] * 1.01f) << i;
    }
}

}  // namespace
}  // namespace vibee
