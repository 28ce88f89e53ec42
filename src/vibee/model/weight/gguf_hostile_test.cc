// SPDX-License-Identifier: Apache-2.0
// Files made to break a reader: each gives one line that names the file, and none makes the reader take much memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/random/philox.h"
#include "vibee/kit/gguf_builder.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

using testing::HasSubstr;

constexpr uint64_t kHuge = uint64_t(10) << 30;

std::string message_of(const std::vector<uint8_t>& bytes) {
  const Result<Checkpoint> f = parse_gguf(bytes, "bad.gguf");
  return f.ok() ? "no error" : f.status().message();
}

struct Case {
  const char* name;
  const char* says;
  std::function<std::vector<uint8_t>()> make;
};

/// A sound little file whose bytes at `offset` are replaced.
std::vector<uint8_t> patched(size_t offset, const std::vector<uint8_t>& with) {
  std::vector<uint8_t> bytes = GgufBuilder().u32("k", 1).tensor("t", Format::f32, {4}).build();
  std::copy(with.begin(), with.end(), bytes.begin() + ptrdiff_t(offset));
  return bytes;
}
std::vector<uint8_t> le64(uint64_t v) { return ByteWriter().u64(v).bytes; }
std::vector<uint8_t> with_key(GgufType type, const std::vector<uint8_t>& value) {
  return GgufBuilder().key("evil", type, value).data(std::vector<uint8_t>(900)).build();
}
std::vector<uint8_t> with_array(GgufType element, uint64_t count) {
  return with_key(GgufType::array, GgufBuilder::array(element, count).bytes);
}
std::vector<uint8_t> with_tensor(const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset = 0) {
  return GgufBuilder().tensor_raw("evil", shape, type, offset).data(std::vector<uint8_t>(900)).build();
}
std::vector<uint8_t> with_alignment(uint32_t a) {
  return GgufBuilder().u32("general.alignment", a).tensor("t", Format::f32, {4}).build();
}
std::vector<uint8_t> nested(int depth) {
  ByteWriter w;
  for (int i = 0; i < depth; ++i) w.raw(GgufBuilder::array(GgufType::array, 1).bytes);
  return with_key(GgufType::array, w.raw(GgufBuilder::array(GgufType::u8, 0).bytes).bytes);
}

const Case kCases[] = {
    {"Empty", "the magic", [] { return std::vector<uint8_t>(); }},
    {"Magic", "not a GGUF file: it starts with \"GGML\"",
     [] {
       return patched(0, {'G', 'G', 'M', 'L'});
     }},
    {"MagicOfControlBytes", "\\x00\\x0a",
     [] {
       return patched(0, {0, '\n', 1, 2});
     }},
    {"VersionZero", "version 0",
     [] {
       return patched(4, {0, 0, 0, 0});
     }},
    {"VersionOne", "version 1",
     [] {
       return patched(4, {1, 0, 0, 0});
     }},
    {"VersionNewer", "version 4",
     [] {
       return patched(4, {4, 0, 0, 0});
     }},
    {"BigEndian", "big-endian",
     [] {
       return patched(4, {0, 0, 0, 3});
     }},
    {"TensorCountHuge", "tensors claimed", [] { return patched(8, le64(kHuge)); }},
    {"TensorCountMax", "tensors claimed", [] { return patched(8, le64(UINT64_MAX)); }},
    {"TensorCountOneMore", "", [] { return patched(8, le64(2)); }},
    {"KeyCountHuge", "keys claimed", [] { return patched(16, le64(kHuge)); }},
    {"KeyCountMax", "keys claimed", [] { return patched(16, le64(UINT64_MAX)); }},
    {"KeyCountOneMore", "", [] { return patched(16, le64(2)); }},
    {"KeyNameHuge", "the name of key 0 claims", [] { return patched(24, le64(kHuge)); }},
    {"KeyNameMax", "claims 18446744073709551615", [] { return patched(24, le64(UINT64_MAX)); }},
    {"KeyNameEmpty", "has no name", [] { return GgufBuilder().u32("", 1).build(); }},
    {"KeyNameLong", "at most 65535", [] { return GgufBuilder().u32(std::string(65536, 'k'), 1).build(); }},
    {"KeyTwice", "key \"k\" stands twice", [] { return GgufBuilder().u32("k", 1).str("k", "x").build(); }},
    {"KeyOfControlBytes", "\"a\\x0ab\"", [] { return GgufBuilder().u32("a\nb", 1).u32("a\nb", 1).build(); }},
    {"ValueTypeUnknown", "unknown value type 13",
     [] {
       return GgufBuilder().key_raw("evil", 13, {1, 2, 3, 4}).build();
     }},
    {"ValueTypeMax", "unknown value type",
     [] {
       return GgufBuilder().key_raw("evil", UINT32_MAX, {1, 2, 3, 4}).build();
     }},
    {"BoolTwo", "is not a bool", [] { return with_key(GgufType::boolean, {2}); }},
    {"BoolInArray", "is not a bool",
     [] {
       return with_key(GgufType::array, GgufBuilder::array(GgufType::boolean, 2).raw({1, 9}).bytes);
     }},
    {"StringHuge", "at most 16777216", [] { return with_key(GgufType::string, le64(kHuge)); }},
    {"StringMax", "at most 16777216", [] { return with_key(GgufType::string, le64(UINT64_MAX)); }},
    {"StringPastTheEnd", "the file has", [] { return with_key(GgufType::string, le64(5000)); }},
    {"ArrayHuge", "elements of type u8 claimed", [] { return with_array(GgufType::u8, kHuge); }},
    {"ArrayMax", "elements of type f64 claimed", [] { return with_array(GgufType::f64, UINT64_MAX); }},
    {"ArrayProductOverflows", "elements of type u64 claimed",
     [] { return with_array(GgufType::u64, uint64_t(1) << 61); }},
    {"ArrayProductWrapsToSmall", "claimed", [] { return with_array(GgufType::u32, (uint64_t(1) << 62) + 1); }},
    {"ArrayOfStringsHuge", "elements of type string claimed", [] { return with_array(GgufType::string, kHuge); }},
    {"ArrayOfStringsOnePast", "string 0 claims",
     [] { return with_key(GgufType::array, GgufBuilder::array(GgufType::string, 1).u64(kHuge).bytes); }},
    {"ArrayElementUnknown", "unknown element type 99",
     [] { return with_key(GgufType::array, ByteWriter().u32(99).u64(1).bytes); }},
    {"ArrayOfArraysHuge", "elements of type array claimed", [] { return with_array(GgufType::array, kHuge); }},
    {"ArrayInnerUnknown", "unknown element type 77",
     [] { return with_key(GgufType::array, GgufBuilder::array(GgufType::array, 1).u32(77).u64(0).bytes); }},
    {"ArrayInnerHuge", "claimed",
     [] { return with_key(GgufType::array, GgufBuilder::array(GgufType::array, 1).u32(0).u64(kHuge).bytes); }},
    {"NestedTooDeep", "nested deeper than 4", [] { return nested(5); }},
    {"NestedVeryDeep", "nested deeper than 4", [] { return nested(2000); }},
    {"AlignmentZero", "power of two", [] { return with_alignment(0); }},
    {"AlignmentThree", "power of two", [] { return with_alignment(3); }},
    {"AlignmentOne", "power of two", [] { return with_alignment(1); }},
    {"AlignmentHuge", "power of two", [] { return with_alignment(1u << 31); }},
    {"AlignmentText", "general.alignment\" is string",
     [] { return GgufBuilder().str("general.alignment", "32").tensor("t", Format::f32, {4}).build(); }},
    {"SplitModel", "one of 3 parts", [] { return GgufBuilder().u32("split.count", 3).build(); }},
    {"TensorNameEmpty", "has no name", [] { return GgufBuilder().tensor("", Format::f32, {4}).build(); }},
    {"TensorNameLong", "at most 255",
     [] { return GgufBuilder().tensor(std::string(256, 'n'), Format::f32, {4}).build(); }},
    {"TensorTwice", "tensor \"t\" stands twice",
     [] { return GgufBuilder().tensor("t", Format::f32, {4}).tensor("t", Format::f32, {4}).build(); }},
    {"NoDimensions", "has 0 dimensions", [] { return with_tensor({}, 0); }},
    {"FiveDimensions", "has 5 dimensions",
     [] {
       return with_tensor({1, 1, 1, 1, 1}, 0);
     }},
    {"ZeroDimension", "0 elements in dimension 1",
     [] {
       return with_tensor({4, 0}, 0);
     }},
    {"ProductOverflows", "more than 2^64",
     [] {
       return with_tensor({uint64_t(1) << 32, uint64_t(1) << 32}, 0);
     }},
    {"ProductWrapsToSmall", "more than 2^64",
     [] {
       return with_tensor({(uint64_t(1) << 63) + 1, 2}, 0);
     }},
    {"BytesOverflow", "claims 4611686018427387904 elements", [] { return with_tensor({uint64_t(1) << 62}, 0); }},
    {"ElementsHuge", "the whole file has", [] { return with_tensor({kHuge}, 0); }},
    {"RowNotABlock", "needs a multiple of 256", [] { return with_tensor({288}, 12); }},
    {"RowNotABlockThoughTotalIs", "needs a multiple of 32",
     [] {
       return with_tensor({16, 2}, 2);
     }},
    {"TypeRemoved", "type q4_2 (id 4)", [] { return with_tensor({32}, 4); }},
    {"TypeRemovedLater", "type q4_0_8_8 (id 33)", [] { return with_tensor({32}, 33); }},
    {"TypeNotBuilt", "type iq2_xxs (id 16), which this build cannot read; readable: f32 f16 bf16 q4_0",
     [] { return with_tensor({256}, 16); }},
    {"TypeUnknown", "type ? (id 4294967295)", [] { return with_tensor({32}, UINT32_MAX); }},
    {"OffsetUnaligned", "not a multiple of the alignment 32", [] { return with_tensor({4}, 0, 8); }},
    {"OffsetPastTheEnd", "past the end", [] { return with_tensor({4}, 0, kHuge); }},
    {"OffsetOverflows", "past the end", [] { return with_tensor({4}, 0, UINT64_MAX - 31); }},
    {"DataCutOff", "past the end", [] { return with_tensor({230}, 0, 0); }},
    {"Overlap", "tensors \"a\" and \"b\" overlap",
     [] {
       return GgufBuilder()
           .tensor_raw("a", {16}, 0, 0)
           .tensor_raw("b", {16}, 0, 32)
           .data(std::vector<uint8_t>(96))
           .build();
     }},
    {"OverlapInReverse", "overlap",
     [] {
       return GgufBuilder()
           .tensor_raw("a", {16}, 0, 32)
           .tensor_raw("b", {16}, 0, 0)
           .data(std::vector<uint8_t>(96))
           .build();
     }},
    {"SameBytes", "overlap",
     [] {
       return GgufBuilder()
           .tensor_raw("a", {8}, 0, 0)
           .tensor_raw("b", {8}, 0, 0)
           .data(std::vector<uint8_t>(32))
           .build();
     }},
};

class Hostile : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, Hostile, testing::ValuesIn(kCases),
                         [](const auto& c) { return std::string(c.param.name); });

TEST_P(Hostile, IsRefusedInOneLine) {
  const std::string message = message_of(GetParam().make());
  EXPECT_THAT(message, HasSubstr("\"bad.gguf\""));
  EXPECT_THAT(message, HasSubstr("offset"));
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_THAT(message, testing::Not(HasSubstr("\n")));
  EXPECT_LT(message.size(), 400u);
}

TEST(Hostile, ClaimsTakeNoMemory) {
  const uint64_t before = peak_resident_memory();
  for (const Case& c : kCases) {
    const std::vector<uint8_t> bytes = c.make();
    for (int i = 0; i < 20; ++i) ASSERT_THAT(message_of(bytes), HasSubstr(c.says));
  }
  EXPECT_LT(peak_resident_memory() - before, uint64_t(32) << 20);
}

GgufBuilder small() {
  GgufBuilder b;
  b.str("general.architecture", "llama").u32("general.alignment", 32).strings("words", {"one", "two"});
  b.floats("f", {1, 2}).boolean("b", true);
  return b.tensor("x", Format::q4_0, {32, 2}).tensor("y", Format::f32, {3});
}

TEST(Hostile, EveryTruncationIsAnError) {
  const std::vector<uint8_t> bytes = small().build();
  ASSERT_EQ(message_of(bytes), "no error");
  for (size_t n = 0; n < bytes.size(); ++n) {
    const std::string message = message_of({bytes.begin(), bytes.begin() + ptrdiff_t(n)});
    ASSERT_THAT(message, HasSubstr("\"bad.gguf\"")) << n;
    ASSERT_THAT(message, HasSubstr("offset")) << n;
  }
}

TEST(Hostile, EveryChangedByteIsAnErrorOrASoundFile) {
  const std::vector<uint8_t> bytes = small().build();
  RandomStream random(3, Purpose::test);
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (uint8_t v : {uint8_t(0), uint8_t(1), uint8_t(0x7f), uint8_t(0x80), uint8_t(0xff), uint8_t(random.bits())}) {
      std::vector<uint8_t> changed = bytes;
      changed[at] = v;
      const Result<Checkpoint> f = parse_gguf(changed, "bad.gguf");
      if (!f.ok()) continue;
      for (const TensorInfo& t : f->tensors()) {
        ASSERT_LE(t.offset + t.bytes, changed.size()) << at;
        std::vector<uint8_t> data(t.bytes);
        ASSERT_TRUE(f->read(t, 0, data).ok()) << at;
      }
      for (const auto& [key, value] : f->metadata()) ASSERT_THAT(f->describe(key), testing::Not(HasSubstr("\n"))) << at;
    }
  }
}

}  // namespace
}  // namespace vibee
