// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/device/hardware_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "vibee/hw/device/h100_optimization.h"
#include "vibee/hw/device/h200_optimization.h"

namespace vibee {
namespace {

using testing::HasSubstr;

std::string h100_text() {
  std::ifstream file(VIBEE_SOURCE_DIR "/data/hw/h100_sxm5_80.json");
  return {std::istreambuf_iterator<char>(file), {}};
}
/// What is said of the H100's profile with `from` replaced, which it has once or more often.
std::string refusal(const std::string& from, const std::string& to) {
  std::string text = h100_text();
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const auto profile = parse_hardware_profile(text, "p.json");
  EXPECT_FALSE(profile.ok()) << from;
  return profile.status().message();
}

TEST(HardwareProfile, SaysWhatIsWrong) {
  ASSERT_TRUE(parse_hardware_profile(h100_text(), "p.json").ok());
  EXPECT_THAT(parse_hardware_profile("{", "p.json").status().message(), HasSubstr("p.json: is no JSON"));
  EXPECT_THAT(parse_hardware_profile("[]", "p.json").status().message(), HasSubstr("is no object"));
  EXPECT_THAT(refusal("\"latency\"", "\"latencies\""), HasSubstr("unknown key 'latencies'; did you mean 'latency'?"));
  EXPECT_THAT(refusal("\"u\": \"GHz\"", "\"u\": \"MHz\""), HasSubstr("clock is in MHz; use GHz"));
  EXPECT_THAT(refusal("\"v\": 132", "\"v\": -132"), HasSubstr("cores is -132; it has to be positive"));
  EXPECT_THAT(refusal("\"v\": 132", "\"v\": 120"), HasSubstr("cores x operations a clock x clock"));
  EXPECT_THAT(refusal("\"basis\": \"datasheet\"", "\"basis\": \"guess\""), HasSubstr("cores rests on 'guess'"));
  EXPECT_THAT(refusal("\"v\": 25,", "\"v\": 26,"), HasSubstr("lanes x rate"));
  EXPECT_THAT(refusal("85045149696", "95045149696"), HasSubstr("usable bytes"));
  EXPECT_THAT(refusal("\"schema\": 1", "\"schema\": 2"), HasSubstr("schema is unknown"));
  EXPECT_THAT(refusal("\"src\": \"dense", "\"date\": \"dense"), HasSubstr("clock.src is no text"));
  EXPECT_THAT(refusal("[64, 128, 16]", "[64, 128]"), HasSubstr("are of m, n and k"));
}

TEST(HardwareProfile, AnyTextIsReadOrRefused) {
  const std::string text = h100_text();
  for (size_t i = 0; i < text.size(); i += 7) {
    std::string cut = text.substr(0, i), other = text;
    other[i] = char(other[i] ^ 0x15);
    (void)parse_hardware_profile(cut, "cut");
    (void)parse_hardware_profile(other, "other");
  }
}

TEST(HardwareProfile, OfADevice) {
  DeviceInfo info;
  info.major = 9;
  info.name = "NVIDIA H200";
  EXPECT_EQ(profile_of(info)->id, "h200_sxm_141");
  info.name = "NVIDIA H100 80GB HBM3 MIG 1g.10gb";
  EXPECT_EQ(profile_of(info)->id, "h100_sxm5_80");
  info.name = "another";
  info.memory_bytes = uint64_t(140) << 30;
  EXPECT_EQ(profile_of(info)->id, "h200_sxm_141");
  info.major = 8;
  EXPECT_EQ(profile_of(info), nullptr);
  EXPECT_FALSE(hopper_tuning(info, {}).has_value());
  EXPECT_THAT(find_hardware_profile("h10").status().message(), HasSubstr("the nearest is h100_sxm5_80"));
}

TEST(HardwareProfile, BytesUnderWay) {
  EXPECT_EQ(hopper_base()->flight_bytes(), uint64_t(3.35e12 * 1e-6 / 132));
  EXPECT_NEAR(hopper_base()->ridge("bf16"), 295, 1);
}

}  // namespace
}  // namespace vibee
