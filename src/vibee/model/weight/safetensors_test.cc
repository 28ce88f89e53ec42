// SPDX-License-Identifier: Apache-2.0
// Safetensors: what a file says is read as written, and files made to break a reader each give one line that names the
// file and what is wrong.
#include "vibee/model/weight/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

using testing::HasSubstr;

std::vector<uint8_t> file(std::string_view header, size_t data_bytes, uint64_t claimed = UINT64_MAX) {
  std::vector<uint8_t> out(8);
  const uint64_t n = claimed == UINT64_MAX ? header.size() : claimed;
  for (size_t i = 0; i < 8; ++i) out[i] = uint8_t(n >> (8 * i));
  out.insert(out.end(), header.begin(), header.end());
  for (size_t i = 0; i < data_bytes; ++i) out.push_back(uint8_t(i));
  return out;
}

std::string message_of(const std::vector<uint8_t>& bytes) {
  const auto f = parse_safetensors(bytes, "bad.safetensors");
  return f.ok() ? "no error" : f.status().message();
}

TEST(Safetensors, ReadsTensorsAndMetadata) {
  const auto f = parse_safetensors(file(R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                                        R"("__metadata__":{"format":"pt"},)"
                                        R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                        R"("c":{"dtype":"I64","shape":[1],"data_offsets":[16,24]}}  )",
                                        24),
                                   "ok.safetensors");
  ASSERT_TRUE(f.ok()) << f.status().message();
  ASSERT_EQ(f->tensors().size(), 3u);
  EXPECT_EQ(f->metadata().at("format"), "pt");
  EXPECT_EQ(f->tensors()[0].name, "a");
  EXPECT_TRUE(f->tensors()[0].shape.empty());
  EXPECT_EQ(f->tensors()[1].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(f->tensors()[1].format, Format::bf16);
  EXPECT_FALSE(f->tensors()[2].format.has_value());
  uint8_t bytes[3];
  ASSERT_TRUE(f->read(f->tensors()[1], 2, bytes).ok());
  EXPECT_EQ(bytes[0], 6);
}

TEST(Safetensors, AnEmptyModelIsAFile) { EXPECT_TRUE(parse_safetensors(file("{}", 0), "x").ok()); }

TEST(Safetensors, HostileFilesAreRefused) {
  const struct {
    std::vector<uint8_t> bytes;
    const char* says;
  } cases[] = {
      {{}, "0 bytes"},
      {{1, 2, 3}, "3 bytes"},
      {file("{}", 0, 1ull << 63), "header of 9223372036854775808 bytes"},
      {file("{}", 0, UINT64_MAX - 1), "is claimed"},
      {file("{}", 0, 3), "header of 3 bytes"},
      {file("{}", 0, 0), "header of 0 bytes"},
      {file("[]", 0), "begin with '{'"},
      {file(R"({"a":)", 0), "not JSON"},
      {file("{\"a\xff\":1}", 0), "not JSON"},
      {file(R"({"a":1})", 0), "dtype is missing"},
      {file(R"({"a":[[[[[[[[[[]]]]]]]]]]})", 0), "nested deeper than 4"},
      {file("{\"a\":" + std::string(100000, '['), 0), "nested deeper"},
      {file(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4), "name has 0 bytes"},
      {file("{\"" + std::string(300, 'a') + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4), "300 bytes"},
      {file(R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", 4), "unknown dtype \"F4\""},
      {file(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4), "dtype is 7"},
      {file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "asks for 8 bytes"},
      {file(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "shape holds -1"},
      {file(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4), "shape holds 1"},
      {file(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4), "shape holds"},
      {file(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4), "more than 2^64"},
      {file(R"({"a":{"dtype":"F32","shape":[9223372036854775807,2,2],"data_offsets":[0,0]}})", 0), "more than 2^64"},
      {file(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4), "at most 8"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4), "at most 2"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4), "no range"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4), "4 to 0"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3), "has 3 bytes of data"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775803,9223372036854775807]}})", 4),
       "bytes of data"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
            R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8),
       "\"a\" stands twice"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
            R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
            6),
       "overlaps"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
            R"("b":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})",
            9),
       "1 bytes before tensor \"b\""},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})", 5), "belong to none"},
      {file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5), "1 bytes at its end"},
      {file(R"({"__metadata__":{"a":1}})", 0), "wanted a string"},
      {file(R"({"__metadata__":3})", 0), "not an object"},
  };
  for (const auto& c : cases) {
    const std::string message = message_of(c.bytes);
    EXPECT_THAT(message, HasSubstr(c.says));
    EXPECT_THAT(message, HasSubstr("bad.safetensors"));
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(Safetensors, AHeaderOfManyValuesTakesBoundedMemory) {
  std::string header = "{\"a\":[0";
  for (int i = 0; i < (1 << 21); ++i) header += ",0";
  EXPECT_THAT(message_of(file(header + "]}", 0)), HasSubstr("more than 1048576 values"));
}

class ShardedTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "safetensors_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void write(const std::string& name, const std::vector<uint8_t>& bytes) {
    std::ofstream(dir_ + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  }
  void index(const std::string& map) { std::ofstream(dir_ + "/model.safetensors.index.json") << map; }
  std::string message() {
    const auto set = open_safetensors_directory(dir_);
    return set.ok() ? "no error" : set.status().message();
  }
  static std::vector<uint8_t> shard(const std::string& tensor) {
    return file("{\"" + tensor + R"(":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4);
  }
  std::string dir_;
};

TEST_F(ShardedTest, ShardsAreOneModel) {
  write("a.safetensors", shard("x"));
  write("b.safetensors", shard("y"));
  index(R"({"metadata":{"total_size":8},"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  const auto set = open_safetensors_directory(dir_);
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ(set->tensors().size(), 2u);
  EXPECT_THAT(set->tensors().at("y").file->path(), HasSubstr("b.safetensors"));
}

TEST_F(ShardedTest, MistakesAreNamed) {
  EXPECT_THAT(message(), HasSubstr("neither model.safetensors nor"));
  write("pytorch_model.bin", {1});
  EXPECT_THAT(message(), HasSubstr("pickle"));
  write("a.safetensors", shard("x"));
  write("b.safetensors", shard("y"));
  index("{");
  EXPECT_THAT(message(), HasSubstr("not JSON"));
  index("{}");
  EXPECT_THAT(message(), HasSubstr("weight_map is missing"));
  index(R"({"weight_map":{"x":3}})");
  EXPECT_THAT(message(), HasSubstr("its shard is 3"));
  index(R"({"weight_map":{"x":"a.safetensors","z":"c.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("shard \"c.safetensors\" is missing"));
  index(R"({"weight_map":{"x":"b.safetensors","y":"a.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("\"x\" is not in its shard \"b.safetensors\" but in"));
  index(R"({"weight_map":{"x":"a.safetensors","z":"b.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("\"z\" is not in its shard"));
  write("b.safetensors", shard("x"));
  index(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("\"x\" stands in"));
  for (const char* evil :
       {"../a.safetensors", "/etc/passwd", "..", ".", "", "sub/a.safetensors", "a\\\\b", "a\\u0000b"}) {
    index(fmt::format(R"({{"weight_map":{{"x":"{}"}}}})", evil));
    EXPECT_THAT(message(), HasSubstr("not the name of a file beside the index")) << evil;
  }
  write("b.safetensors", file(R"({"y":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
                              R"("w":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})",
                              8));
  index(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  EXPECT_THAT(message(), HasSubstr("\"w\" of"));
}

TEST(Json, LimitsAndKinds) {
  const auto j = parse_json(R"({"a":[1,-2.5,true,null,"x"],"b":{"c":18446744073709551615}})");
  ASSERT_TRUE(j.ok());
  EXPECT_EQ(j->find("a")->items[1].number, -2.5);
  EXPECT_TRUE(j->find("b")->find("c")->is(JsonValue::Kind::number));
  EXPECT_EQ(j->find("z"), nullptr);
  EXPECT_FALSE(parse_json("{\"a\":1,\"a\":1}").ok());
  EXPECT_FALSE(parse_json("{} x").ok());
  EXPECT_FALSE(parse_json("").ok());
  EXPECT_FALSE(parse_json("1e999").ok());
  EXPECT_FALSE(parse_json(std::string(1000, '[')).ok());
}

}  // namespace
}  // namespace vibee
