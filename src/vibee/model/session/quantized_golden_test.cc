// SPDX-License-Identifier: Apache-2.0
// Directories whose linears other projects have quantised (data/golden/quantized, tools/make_quantized_goldens.py):
// their values are the file's, bit for bit, and with rows that stay floats they give the logits of transformers.
#include <gmock/gmock.h>

#include <cstring>
#include <numeric>

#include "vibee/kit/golden_directories.h"
#include "vibee/kit/golden_logits.h"
#include "vibee/model/weight/gguf_write.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

class QuantizedGolden : public testing::TestWithParam<std::string> {
 protected:
  /// Whether GGUF has the format that its linears become.
  bool in_gguf() const { return GetParam() == "ct-mxfp4"; }
  std::string directory() const { return VIBEE_SOURCE_DIR "/data/golden/quantized/" + GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(All, QuantizedGolden, testing::ValuesIn(quantized_directories()), [](const auto& row) {
  std::string name = row.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(QuantizedGolden, LogitsAndGreedyTokensAreThoseOfTransformers) {
  ModelOptions load;
  load.tokenizer = false;
  load.disable = {"quantize_activations"};
  SessionOptions options;
  options.kv = KvFormat::f32;
  options.float_rows = true;
  expect_golden_logits(directory(), load, options, 2e-4f);
}

/// Rows of 8 bits: what they may cost the logits is of the size that they have anywhere.
TEST_P(QuantizedGolden, RunsByIntegerProducts) {
  for (const Isa isa : {Isa::scalar, detected_isa()}) {
    ModelOptions load;
    load.tokenizer = false;
    load.isa = isa;
    SessionOptions options;
    options.kv = KvFormat::f32;
    expect_golden_logits(directory(), load, options, 0.3f, false);
  }
}

TEST_P(QuantizedGolden, ValuesAreTheFiles) {
  std::ifstream text(directory() + "/golden.json");
  const auto golden = nlohmann::json::parse(text);
  auto file = open_checkpoint(directory());
  ASSERT_TRUE(file.ok()) << file.status().message();
  const TensorInfo* t = file->find(golden.at("tensor").get<std::string>());
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(info(t->format).in_gguf(), in_gguf());
  std::vector<uint8_t> raw(t->bytes);
  ASSERT_TRUE(file->read(*t, 0, raw).ok());
  std::vector<float> values(t->elements()), wanted(values.size());
  info(t->format).decode(raw.data(), values.size(), values.data());
  std::ifstream floats(directory() + "/weight.bin", std::ios::binary);
  floats.read(reinterpret_cast<char*>(wanted.data()), std::streamsize(wanted.size() * 4));
  ASSERT_TRUE(floats.good());
  std::vector<float> order(t->row_length());  // of columns
  std::iota(order.begin(), order.end(), 0.0f);
  if (const TensorInfo* said = file->find("blk.1.ffn_down.perm"); said != nullptr) {
    ASSERT_TRUE(file->read(*said, 0, {reinterpret_cast<uint8_t*>(order.data()), said->bytes}).ok());
  }
  const size_t k = order.size();
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], wanted[i - i % k + size_t(order[i % k])]) << i;
  // Any range of bytes is that range of the whole.
  std::vector<uint8_t> some(t->bytes / 2);
  ASSERT_TRUE(file->read(*t, t->bytes / 3, some).ok());
  EXPECT_EQ(0, std::memcmp(some.data(), raw.data() + t->bytes / 3, some.size()));
}

TEST_P(QuantizedGolden, BecomesGgufInAnotherFormatAlone) {
  auto file = open_checkpoint(directory());
  ASSERT_TRUE(file.ok());
  const std::string path = testing::TempDir() + "quantized_golden_test.gguf";
  const auto write = [&](std::optional<Format> format) {
    auto recast = Recast::create(*file, {.format = format ? all_in(*format) : nullptr});
    EXPECT_TRUE(recast.ok()) << recast.status().message();
    return write_gguf(
        path, file->metadata(), recast->tensors(),
        [&](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) { return recast->read(t, offset, out); },
        {.progress = [](uint64_t, uint64_t) { return true; }});
  };
  const Status kept = write(std::nullopt);
  EXPECT_EQ(kept.ok(), in_gguf());
  if (!in_gguf()) {
    EXPECT_EQ(kept.code(), Code::unsupported);
    EXPECT_THAT(kept.message(), testing::HasSubstr("no GGUF file has"));
  }
  const Status made = write(Format::f32);
  EXPECT_TRUE(made.ok()) << made.message();
  auto again = open_checkpoint(path);
  ASSERT_TRUE(again.ok());
  const TensorInfo* t = again->find("blk.1.ffn_down.weight");
  EXPECT_EQ(t->format, Format::f32);
  for (const TensorInfo& other : again->tensors()) EXPECT_FALSE(other.name.ends_with(kOrderSuffix));
  std::vector<uint8_t> raw(t->bytes);
  ASSERT_TRUE(again->read(*t, 0, raw).ok());
  std::ifstream floats(directory() + "/weight.bin", std::ios::binary);
  std::vector<float> values(t->elements()), wanted(values.size());
  std::memcpy(values.data(), raw.data(), raw.size());
  floats.read(reinterpret_cast<char*>(wanted.data()), std::streamsize(wanted.size() * 4));
  ASSERT_TRUE(floats.good());
  EXPECT_EQ(values, wanted);
}

/// A directory of links to a golden's files, whose config.json or tensors are changed.
class Hostile : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  /// The message of opening and reading golden `name`, with its config (of quanto, its map) and its header changed.
  std::string message(const std::string& name, const std::function<void(nlohmann::json&)>& config,
                      const std::function<void(nlohmann::json&, std::string&)>& tensors = {}) {
    const std::string from = VIBEE_SOURCE_DIR "/data/golden/quantized/" + name;
    std::ifstream in(from + "/config.json");
    auto json = nlohmann::json::parse(in);
    std::filesystem::remove(dir_ + "/quanto_qmap.json");
    if (std::ifstream map(from + "/quanto_qmap.json"); map) {
      auto modules = nlohmann::json::parse(map);
      config(modules);
      std::ofstream(dir_ + "/quanto_qmap.json") << modules.dump();
    } else {
      config(json["quantization_config"]);
    }
    std::ofstream(dir_ + "/config.json") << json.dump();
    std::ifstream weights(from + "/model.safetensors", std::ios::binary);
    std::string all{std::istreambuf_iterator<char>(weights), {}};
    uint64_t header = 0;
    std::memcpy(&header, all.data(), 8);
    auto said = nlohmann::json::parse(all.substr(8, header));
    std::string data = all.substr(8 + header);
    if (tensors) tensors(said, data);
    const std::string text = said.dump();
    header = text.size();
    std::ofstream out(dir_ + "/model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&header), 8);
    out << text << data;
    out.close();
    auto file = open_checkpoint(dir_);
    if (!file.ok()) return file.status().message();
    for (const TensorInfo& t : file->tensors()) {
      std::vector<uint8_t> raw(t.bytes);
      if (const Status read = file->read(t, 0, raw); !read.ok()) return read.message();
    }
    return "no error";
  }
  std::string dir_ = testing::TempDir() + "quantized_golden_test.dir";
};
const auto kSame = [](nlohmann::json&) {};
constexpr const char* kLinear = "model.layers.0.mlp.up_proj";

TEST_F(Hostile, ConfigurationsAreRefusedByName) {
  const auto with = [](const char* key, const nlohmann::json& value) {
    return [key, value](nlohmann::json& c) { c[key] = value; };
  };
  const struct {
    const char *golden, *key;
    nlohmann::json value;
    const char* says;
  } cases[] = {
      {"gptq", "quant_method", "aqlm",
       "quant_method \"aqlm\" is not read; gptq, marlin, awq, compressed-tensors, bitsandbytes, fp8, exl2 are"},
      {"gptq", "quant_method", 7, "quant_method 7"},
      {"gptq", "bits", 5, "bits 5"},
      {"gptq", "bits", 3, "16 words for codes of 3 bits"},
      {"gptq", "bits", "4", "bits is \"4\", not a whole number"},
      {"gptq", "group_size", 0, "group_size 0"},
      {"gptq", "group_size", 48, "in groups of 48"},
      {"gptq", "group_size", 64, "qzeros"},
      {"gptq", "checkpoint_format", "ipex", "checkpoint_format \"ipex\""},
      {"gptq", "checkpoint_format", "marlin", "g_idx\" is not of model_type"},
      {"marlin", "bits", 8, "bits 8 of marlin; it has 4"},
      {"marlin", "group_size", 48, "has 128 inputs, which groups of 48 do not divide"},
      {"awq", "version", "gemv", "version \"gemv\" of awq"},
      {"awq", "zero_point", "yes", "zero_point is \"yes\""},
      {"awq", "group_size", 1ll << 40, "group_size"},
      {"ct-pack", "config_groups", nlohmann::json::array(), "config_groups"},
      {"ct-pack", "format", "float-quantized", "of float-quantized, 8 bits"},
      {"ct-int8", "format", "nvfp4-pack-quantized", "nvfp4-pack-quantized"},
      {"ct-mxfp4", "format", "pack-quantized", "type \"float\""},
  };
  for (const auto& c : cases) EXPECT_THAT(message(c.golden, with(c.key, c.value)), testing::HasSubstr(c.says));
  EXPECT_THAT(message("ct-pack", [](nlohmann::json& c) { c["config_groups"]["group_0"]["weights"]["num_bits"] = 5; }),
              testing::HasSubstr("5 bits"));
  EXPECT_THAT(message("ct-pack8", [](nlohmann::json& c) { c["config_groups"]["group_0"]["weights"]["num_bits"] = 4; }),
              testing::HasSubstr("weight_packed"));
}

TEST_F(Hostile, TensorsAreRefusedByName) {
  const auto renamed = [](const char* from, const char* to) {
    return [from, to](nlohmann::json& said, std::string&) {
      said[std::string(kLinear) + to] = said[std::string(kLinear) + from];
      said.erase(std::string(kLinear) + from);
    };
  };
  const auto reshaped = [](const char* suffix, const nlohmann::json& shape) {
    return
        [suffix, shape](nlohmann::json& said, std::string&) { said[std::string(kLinear) + suffix]["shape"] = shape; };
  };
  const auto poked = [](const char* suffix, const std::string& bytes) {
    return [suffix, bytes](nlohmann::json& said, std::string& data) {
      data.replace(said[std::string(kLinear) + suffix]["data_offsets"][0].get<size_t>(), bytes.size(), bytes);
    };
  };
  const std::string nan("\x00\x7e", 2);
  EXPECT_EQ(message("gptq", kSame), "no error");
  EXPECT_THAT(message("gptq", kSame, renamed(".scales", ".scale")), testing::HasSubstr("up_proj.scales\" is missing"));
  EXPECT_THAT(message("gptq", kSame, renamed(".qweight", ".qweights")), testing::HasSubstr("up_proj"));
  EXPECT_THAT(message("gptq", kSame, reshaped(".qzeros", {16, 2})),
              testing::HasSubstr("is not [2, 128 codes of 4 bits]"));
  EXPECT_THAT(message("gptq", kSame, reshaped(".scales", {256})), testing::HasSubstr("1 dimensions, not 2"));
  EXPECT_THAT(message("gptq", kSame, poked(".scales", nan)), testing::HasSubstr("has nan at element 0"));
  EXPECT_THAT(message("gptq", kSame, poked(".g_idx", std::string("\1\0\0\0", 4))),
              testing::HasSubstr("more than 32 inputs in group 1"));
  EXPECT_THAT(message("gptq", kSame, poked(".g_idx", std::string("\2\0\0\0", 4))),
              testing::HasSubstr("input 0 in group 2 of 2"));
  EXPECT_THAT(message("marlin", kSame, reshaped(".B", {8, 128})), testing::HasSubstr(".s\" is [2, 128], not [4, 64]"));
  EXPECT_THAT(message("marlin", kSame, reshaped(".B", {16, 64})), testing::HasSubstr("is [16, 64]; Marlin stores"));
  EXPECT_THAT(message("marlin", kSame, poked(".s", nan)), testing::HasSubstr("has nan at element 0"));
  EXPECT_THAT(message("awq", kSame, reshaped(".qweight", {32, 32})), testing::HasSubstr("32 inputs in groups of 64"));
  EXPECT_THAT(message("awq", kSame, poked(".scales", nan)), testing::HasSubstr("has nan"));
  EXPECT_THAT(message("ct-pack", kSame, renamed(".weight_shape", ".shape")), testing::HasSubstr("weight_shape"));
  EXPECT_THAT(message("ct-pack", kSame, poked(".weight_shape", std::string("\x41\0\0\0\0\0\0\x7f", 8))),
              testing::HasSubstr("as weight_shape says"));
  EXPECT_THAT(message("ct-pack", kSame, poked(".weight_scale", std::string("\xc0\x7f", 2))),
              testing::HasSubstr("has nan"));
  EXPECT_THAT(message("ct-pack-zero", kSame, renamed(".weight_zero_point", ".zero")), testing::HasSubstr("zero"));
  EXPECT_THAT(message("ct-mxfp4", kSame, reshaped(".weight_scale", {2, 128})), testing::HasSubstr("is not [128, 2]"));
  EXPECT_THAT(message("ct-mxfp4", kSame, poked(".weight_scale", "\xff")), testing::HasSubstr("has nan at element 0"));
  EXPECT_THAT(message("ct-int8", kSame, reshaped(".weight_scale", {1, 128})), testing::HasSubstr("is not [128, 1]"));

  // The first group of up_proj has 32 inputs at 4 bits in packed rows 0 to 3, the second the rest at 3 bits.
  const auto half = [](int v) { return std::string(1, char(v)) + std::string(1, '\0'); };
  const auto groups = [&](int a, int b, int c, int d) {
    return poked(".q_groups", half(a) + half(b) + half(c) + half(d));
  };
  EXPECT_EQ(message("exl2", kSame), "no error");
  EXPECT_THAT(message("exl2", kSame, renamed(".q_scale", ".scale")), testing::HasSubstr("q_scale\" is missing"));
  EXPECT_THAT(message("exl2", kSame, groups(7, 0, 3, 4)), testing::HasSubstr("7 bits in group 0; 2 to 6 and 8"));
  EXPECT_THAT(message("exl2", kSame, groups(3, 0, 4, 4)), testing::HasSubstr("4 bits in group 1 behind 3"));
  EXPECT_THAT(message("exl2", kSame, groups(4, 1, 3, 4)), testing::HasSubstr("begins group 0 at packed row 1"));
  EXPECT_THAT(message("exl2", kSame, groups(4, 0, 3, 0)), testing::HasSubstr("begins group 1 at packed row 0"));
  EXPECT_THAT(message("exl2", kSame, groups(4, 0, 3, 7)), testing::HasSubstr("begins group 1 at packed row 7 of 7"));
  EXPECT_THAT(message("exl2", kSame, groups(4, 0, 4, 4)), testing::HasSubstr("does not cover the 64 inputs: group 1"));
  EXPECT_THAT(message("exl2", kSame, groups(4, 0, 3, 2)), testing::HasSubstr("ends group 0 at input 16"));
  EXPECT_THAT(message("exl2", kSame, reshaped(".q_groups", {2, 2})), testing::HasSubstr("2 dimensions, not 1"));
  EXPECT_THAT(message("exl2", kSame, poked(".q_invperm", std::string("\x40\0\0\0", 4))),
              testing::HasSubstr("has row 64 of 64"));
  EXPECT_THAT(message("exl2", kSame,
                      [](nlohmann::json& said, std::string& data) {
                        const auto at = said[std::string(kLinear) + ".q_invperm"]["data_offsets"][0].get<size_t>();
                        data.replace(at + 4, 4, data.substr(at, 4));
                      }),
              testing::HasSubstr("appears twice"));
  EXPECT_THAT(message("exl2", kSame, reshaped(".q_scale", {16, 2})), testing::HasSubstr("is not [2, 128 codes"));
  EXPECT_THAT(message("exl2", kSame, poked(".q_scale_max", nan)), testing::HasSubstr("has nan at element 0"));
}

TEST_F(Hostile, MapsOfQuantoAreRefusedByName) {
  const auto module = [](const char* name, const nlohmann::json& value) {
    return [name, value](nlohmann::json& map) { map[name] = value; };
  };
  const auto reshaped = [](const char* suffix, const nlohmann::json& shape) {
    return
        [suffix, shape](nlohmann::json& said, std::string&) { said[std::string(kLinear) + suffix]["shape"] = shape; };
  };
  EXPECT_EQ(message("quanto-int4", kSame), "no error");
  EXPECT_THAT(message("quanto-int4", module("model.layers.7.mlp.up_proj", {{"weights", "qint4"}})),
              testing::HasSubstr("names the module \"model.layers.7.mlp.up_proj\", of which the model has no weight"));
  EXPECT_THAT(message("quanto-int4", module(kLinear, {{"weights", "qfloat8_e5m2"}})),
              testing::HasSubstr("up_proj\": weights of \"qfloat8_e5m2\"; qint2, qint4, qint8 and qfloat8_e4m3fn"));
  EXPECT_THAT(message("quanto-int4", module(kLinear, {{"weights", 4}})), testing::HasSubstr("\"weights\" is 4"));
  EXPECT_THAT(message("quanto-int4", module(kLinear, 7)), testing::HasSubstr("\"weights\" is missing"));
  EXPECT_THAT(message("quanto-int4", module(kLinear, {{"weights", "none"}})),
              testing::HasSubstr("a module whose type quanto_qmap.json does not say"));
  EXPECT_THAT(message("quanto-int4", module(kLinear, {{"weights", "qint8"}})), testing::HasSubstr("is missing"));
  EXPECT_THAT(message("quanto-int4", module(kLinear, {{"weights", "qint2"}})),
              testing::HasSubstr("has 80 rows for 160 groups, 4 a byte"));
  EXPECT_THAT(message("quanto-int4", [](nlohmann::json& map) { map = nlohmann::json::array(); }),
              testing::HasSubstr("quanto_qmap.json\": is"));
  // up_proj [160, 32] lies in groups of its whole rows: 80 x 32 bytes.
  EXPECT_THAT(message("quanto-int4", kSame, reshaped(".weight._data._data", {2560})),
              testing::HasSubstr("1 dimensions, not 2"));
  EXPECT_THAT(message("quanto-int4", kSame, reshaped(".weight._data._data", {160, 16})),
              testing::HasSubstr("has 160 rows for 160 groups, 2 a byte"));
  EXPECT_THAT(message("quanto-int4", kSame, reshaped(".weight._shift", {80, 2})),
              testing::HasSubstr("is not [160, 1]"));
  EXPECT_THAT(message("quanto-mixed", module("model.layers.0.mlp.up_proj", {{"weights", "qint8"}})),
              testing::HasSubstr("is F8_E4M3; I8 is read there"));
}

}  // namespace
}  // namespace vibee
