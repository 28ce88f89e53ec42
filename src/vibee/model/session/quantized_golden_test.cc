// SPDX-License-Identifier: Apache-2.0
// Directories whose linears other projects have quantised (data/golden/quantized, tools/make_quantized_goldens.py):
// their values are the file's, bit for bit (but for the rounding of HQQ's offsets, tools/make_hqq_goldens.py), and with
// rows that stay floats they give the logits of transformers.
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
  bool in_gguf() const { return GetParam().ends_with("-mxfp4"); }
  std::string directory() const { return VIBEE_SOURCE_DIR "/data/golden/quantized/" + GetParam(); }
  nlohmann::json golden() const {
    std::ifstream text(directory() + "/golden.json");
    return nlohmann::json::parse(text);
  }
  /// How far from the file's values: 0, but where the script that made it derives what an offset rounded apart may
  /// cost.
  float within() const { return golden().value("within", 0.0f); }
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
  options.row_form = RowForm::floats;
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
  auto file = open_checkpoint(directory());
  ASSERT_TRUE(file.ok()) << file.status().message();
  const TensorInfo* t = file->find(golden().at("tensor").get<std::string>());
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(info(t->format).in_gguf(), in_gguf());
  std::vector<uint8_t> raw(t->bytes);
  ASSERT_TRUE(file->read(*t, 0, raw).ok());
  std::vector<float> values(t->elements()), wanted(values.size());
  info(t->format).decode_rows(raw.data(), t->rows(), t->row_length(), values.data());
  std::ifstream floats(directory() + "/weight.bin", std::ios::binary);
  floats.read(reinterpret_cast<char*>(wanted.data()), std::streamsize(wanted.size() * 4));
  ASSERT_TRUE(floats.good());
  std::vector<float> order(t->row_length());  // of columns
  std::iota(order.begin(), order.end(), 0.0f);
  if (const TensorInfo* said = file->find("blk.1.ffn_down.perm"); said != nullptr) {
    ASSERT_TRUE(file->read(*said, 0, {reinterpret_cast<uint8_t*>(order.data()), said->bytes}).ok());
  }
  const size_t k = order.size();
  const float near = within();
  for (size_t i = 0; i < values.size(); ++i)
    ASSERT_NEAR(values[i], wanted[i - i % k + size_t(order[i % k])], near) << i;
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
  EXPECT_THAT(values, testing::Pointwise(testing::FloatNear(within()), wanted));
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

/// Changes of a golden's tensors; several in turn.
using Change = std::function<void(nlohmann::json&, std::string&)>;
Change renamed(const std::string& from, const std::string& to) {
  return [from, to](nlohmann::json& said, std::string&) {
    said[kLinear + to] = said[kLinear + from];
    said.erase(kLinear + from);
  };
}
Change reshaped(const std::string& suffix, const nlohmann::json& shape, const char* dtype = nullptr) {
  return [suffix, shape, dtype](nlohmann::json& said, std::string&) {
    said[kLinear + suffix]["shape"] = shape;
    if (dtype != nullptr) said[kLinear + suffix]["dtype"] = dtype;
  };
}
Change poked(const std::string& suffix, const std::string& bytes) {
  return [suffix, bytes](nlohmann::json& said, std::string& data) {
    data.replace(said[kLinear + suffix]["data_offsets"][0].get<size_t>(), bytes.size(), bytes);
  };
}
Change both(const Change& a, const Change& b) {
  return [a, b](nlohmann::json& said, std::string& data) {
    a(said, data);
    b(said, data);
  };
}

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
       "quant_method \"aqlm\" is not read; gptq, marlin, awq, compressed-tensors, bitsandbytes, fp8, exl2, atom, hqq, "
       "qoq, torchao, modelopt are"},
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
      {"ct-int8", "format", "naive-quantized", "naive-quantized"},
      {"ct-mxfp4", "format", "pack-quantized", "type \"float\""},
      {"qoq", "wbits", 8, "wbits 8 of qoq; 4 are read"},
      {"qoq", "wbits", nullptr, "wbits is missing, not a whole number"},
      {"qoq", "group_size", 64, "group_size 64 of qoq; 128, and -1 for rows, are read"},
      {"qoq", "group_size", -1, "s1_szeros\" is missing"},
      {"qoq-row", "group_size", 128, "s2_scales\" is missing"},
  };
  for (const auto& c : cases) EXPECT_THAT(message(c.golden, with(c.key, c.value)), testing::HasSubstr(c.says));
  EXPECT_THAT(message("ct-pack", [](nlohmann::json& c) { c["config_groups"]["group_0"]["weights"]["num_bits"] = 5; }),
              testing::HasSubstr("5 bits"));
  EXPECT_THAT(message("ct-pack8", [](nlohmann::json& c) { c["config_groups"]["group_0"]["weights"]["num_bits"] = 4; }),
              testing::HasSubstr("weight_packed"));
}

TEST_F(Hostile, TensorsAreRefusedByName) {
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

TEST_F(Hostile, TensorsOfHqqAreRefusedByName) {
  // up_proj [128, 64] of hqq-4 has 128 groups of 64, two a byte; of hqq-mixed codes of 5 bits in bytes.
  const auto says = [&](const char* golden, const Change& change, const char* what) {
    EXPECT_THAT(message(golden, kSame, change), testing::HasSubstr(what));
  };
  EXPECT_EQ(message("hqq-4", kSame), "no error");
  EXPECT_EQ(message("hqq-mixed", kSame), "no error");
  says("hqq-4", renamed(".scale", ".scales"), "up_proj.scale\" is missing");
  says("hqq-4", renamed(".packing", ".packed"), "up_proj.packing\" is missing");
  says("hqq-4", renamed(".scale", ".zero_scale"), "up_proj.zero_scale\" holds scales and zeros in one");
  says("hqq-4", poked(".axis", std::string("\0", 1)), "axis\" is 0: groups along outputs are not read");
  says("hqq-4", reshaped(".axis", {1}), "1 dimensions, not 0");
  says("hqq-4", poked(".quant_scale", "\1"), "quant_scale\" is set: scales and zeros that are quantised themselves");
  says("hqq-4", poked(".quant_zero", "\1"), "quant_zero\" is set");
  says("hqq-4", poked(".packing", "7"), "packing\" is not one of 8bit_u8, 4bit_u8, 3bit_32, 2bit_u8, 1bit_u8");
  says("hqq-4", poked(".packing", "8"), "nbits\" is 4 in bytes; 5 to 8 are");
  says("hqq-4", poked(".packing", "2"), "has 64 rows and 4096 bytes for 128 groups of 64, packed as 2bit_u8");
  says("hqq-4", poked(".group_size", "\x30"), "is 48 with 64 inputs; groups of a multiple of 32");
  says("hqq-4", poked(".group_size", std::string("\0\0\0\x80", 4)), "is -2147483648 with 64 inputs");
  says("hqq-4", poked(".group_size", "\x20"), "has 64 rows and 4096 bytes for 256 groups of 32, packed as 4bit_u8");
  says("hqq-4", poked(".shape", std::string("\0", 1)), "shape\" is [0, 64]");
  says("hqq-4", poked(".shape", "\x7f"), "has 64 rows and 4096 bytes for 127 groups");
  says("hqq-4", poked(".shape", std::string(16, '\x7f')), "shape\" is [");
  says("hqq-4", reshaped(".W_q", {32, 128}), "has 32 rows and 4096 bytes for 128 groups");
  says("hqq-4", reshaped(".zero", {64, 2}), "zero\" is not [128, 1]");
  says("hqq-4", reshaped(".zero", {128, 1}, "I16"), "zero\" is I16; F16, BF16, F32 is read there");
  says("hqq-4", poked(".scale", std::string("\x00\x7e", 2)), "has nan at element 0");
  says("hqq-mixed", poked(".nbits", "\4"), "nbits\" is 4 in bytes");
  says("hqq-mixed", poked(".W_q", "\x20"), "has code 32 in group 0; nbits says 5");
  says("hqq-mixed", poked(".group_size", "\x20"), "is 32; with 5 bits, groups of a multiple of 64 are read");
  const std::string largest("\xff\xff\x7f\x7f", 4);
  says("hqq-mixed", both(poked(".scale", largest), poked(".zero", largest)), "zero\" times scale is -inf in group 0");
}

TEST_F(Hostile, TensorsOfQserveAreRefusedByName) {
  const auto says = [&](const char* golden, const Change& change, const char* what) {
    EXPECT_THAT(message(golden, kSame, change), testing::HasSubstr(what));
  };
  const auto group = [](int scale, int zero) {  // of the first row
    return both(poked(".s2_scales", std::string(1, char(scale))), poked(".s2_zeros", std::string(1, char(zero))));
  };
  EXPECT_EQ(message("qoq", kSame), "no error");
  EXPECT_EQ(message("qoq-row", kSame), "no error");
  says("qoq", renamed(".s2_zeros", ".zeros"), "up_proj.s2_zeros\" is missing");
  says("qoq", reshaped(".qweight", {128, 64}, "U8"), "qweight\" is U8; I8 is read there");
  says("qoq", reshaped(".qweight", {64, 128}), "s1_scales\" is not [64]");
  says("qoq", reshaped(".qweight", {256, 32}), "has 256 rows of 64 inputs");
  says("qoq", reshaped(".s2_scales", {128, 1}), "s2_scales\" is not [1, 128]");
  says("qoq", poked(".s1_scales", std::string("\x00\x7c", 2)), "has inf at element 0");
  says("qoq", group(17, 0), "s2_scales\" has 17 for group 0 of row 0; 1 to 16 are held");
  says("qoq", group(0, 0), "has 0 for group 0 of row 0");
  says("qoq", group(-1, 0), "has -1 for group 0 of row 0");
  says("qoq", group(4, -7), "s2_zeros\" has -7 for group 0 of row 0, which no whole zero point");
  says("qoq", group(2, -32), "s2_zeros\" has -32 for group 0 of row 0");
  says("qoq", group(16, 0), "group 0 of row 0 reconstructs to ");
  EXPECT_EQ(message("qoq", kSame, group(1, -15)), "no error");
  says("qoq-row", renamed(".s1_szeros", ".zeros"), "up_proj.s1_szeros\" is missing");
  says("qoq-row", reshaped(".s1_szeros", {64, 2}), "2 dimensions, not 1");
}

TEST_F(Hostile, MapsOfQuantoAreRefusedByName) {
  const auto module = [](const std::string& name, const nlohmann::json& value) {
    return [name, value](nlohmann::json& map) { map[name] = value; };
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

TEST_F(Hostile, WeightsOfTorchaoAreRefusedByName) {
  using Edit = std::function<void(nlohmann::json&, std::string&)>;
  const auto part = [](const char* suffix) { return kLinear + std::string("._weight_") + suffix; };
  const auto set = [&](const char* suffix, const char* key, const nlohmann::json& value) -> Edit {
    return [=](nlohmann::json& said, std::string&) { said[part(suffix)][key] = value; };
  };
  const auto renamed = [&](const char* from, const char* to) -> Edit {
    return [=](nlohmann::json& said, std::string&) {
      said[part(to)] = said[part(from)];
      said.erase(part(from));
    };
  };
  const auto poked = [&](const char* suffix, const std::string& bytes) -> Edit {
    return [=](nlohmann::json& said, std::string& data) {
      data.replace(said[part(suffix)]["data_offsets"][0].get<size_t>(), bytes.size(), bytes);
    };
  };
  const auto described = [](const std::string& text) -> Edit {
    return [=](nlohmann::json& said, std::string&) { said["__metadata__"][kLinear + std::string(".weight")] = text; };
  };
  const Edit undescribed = [](nlohmann::json& said, std::string&) {
    said["__metadata__"].erase(kLinear + std::string(".weight"));
  };
  const Edit small_groups = [&](nlohmann::json& said, std::string&) {
    for (const char* suffix : {"scale", "zero_point"}) said[part(suffix)]["shape"] = {64, 2};
  };
  const struct {
    const char* golden;
    Edit edit;
    const char* says;
  } cases[] = {
      {"int8", renamed("scale", "scales"), "up_proj._weight_scale\" is missing"},
      {"int8", renamed("zero_point", "act_pre_scale"), "_weight_act_pre_scale\" scales what the weight multiplies"},
      {"int8", undescribed, "up_proj._weight_qdata\" has no class: the header of its file does not say"},
      {"int8", described("{"), "_weight_qdata\" has a description: "},
      {"int8", described("[]"), "_weight_qdata\" is of the class missing; Int8Tensor, "},
      {"int8", described(R"({"_type": "Int4TilePackedTo4dTensor"})"),
       "\"Int4TilePackedTo4dTensor\"; Int8Tensor, IntxUnpackedToInt8Tensor, Int4Tensor, Float8Tensor, MXTensor, "
       "NVFP4Tensor are read"},
      {"int8", described(R"({"_type": "IntxUnpackedToInt8Tensor"})"), "has codes of \"\"; int1 to int8 are read"},
      {"int8", set("qdata", "dtype", "U8"), "_weight_qdata\" is U8; I8 is read there"},
      {"int8", set("scale", "dtype", "I32"), "_weight_scale\" is I32; F32, BF16, F16 is read there"},
      {"int8", set("scale", "shape", {1, 128}), "is [1, 128], which makes no blocks of [128, 64]"},
      {"int8", set("scale", "shape", {64, 2}), "_weight_zero_point\" is not [64, 2], as the scale is"},
      {"int8", set("scale", "shape", {128}), "_weight_scale\" has 1 dimensions, not 2"},
      {"int8", poked("scale", std::string("\0\0\xc0\x7f", 4)), "_weight_scale\" has nan at element 0"},
      {"intx8-zero", small_groups, "has 64 inputs in groups of 32; groups of a multiple of 64 are read"},
      {"intx4", poked("qdata", "\x7f"), "has 127 in row 0, column 0; 4 bits hold -8 to 7"},
      {"intx4", poked("zero_point", "\x08"), "_weight_zero_point\" has 8 in row 0, column 0"},
      {"int4", set("scale", "shape", {128, 2}), "_weight_scale\" is [128, 2], not [groups, 128]"},
      {"int4", set("zero_point", "shape", {1, 256}), "_weight_zero_point\" is not [2, 128]"},
      {"fp8", set("qdata", "dtype", "F8_E5M2"), "is F8_E5M2; F8_E4M3 is read there"},
      {"fp8", poked("qdata", "\x7f"), "_weight_qdata\" is not a number in row 0, column 0"},
      {"fp8", described(R"({"_type": "MXTensor"})"), "float8_e4m3fn and float4_e2m1fn_x2 are read"},
      {"mxfp4", set("scale", "shape", {16, 32}), "_weight_scale\" is not [32, 16]"},
      {"mxfp4", poked("scale", "\xff"), "has nan for row 0, block 0"},
      {"mxfp8", poked("qdata", "\xff"), "is not a number in row 0, column 0"},
      {"mxfp8", described(R"({"_type": "MXTensor", "_data": {"elem_dtype": {"_data": "float8_e4m3fn"}}})"),
       "has a block_size of nothing; 32 is read"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(message("torchao-" + std::string(c.golden), kSame), "no error");
    EXPECT_THAT(message("torchao-" + std::string(c.golden), kSame, c.edit), testing::HasSubstr(c.says));
  }
}

}  // namespace
}  // namespace vibee
