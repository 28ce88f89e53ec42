// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/hash/siphash.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace vibee {
namespace {

// Key 00 01 .. 0f, message 00 01 ..: vectors_sip128 of the reference implementation, here as OpenSSL prints them.
TEST(SipHash, GivesTheReferenceValues) {
  const struct {
    size_t bytes;
    const char* hex;
  } vectors[] = {{0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
                 {7, "a1f1ebbed8dbc153c0b84aa61ff08239"},  {8, "3b62a9ba6258f5610f83e264f31497b4"},
                 {15, "5493e99933b0a8117e08ec0f97cfc3d9"}, {63, "5150d1772f50834a503e069a973fbd7c"},
                 {80, "d2c76ae17a4370f858fba4795a0df822"}};
  const SipHash hash(0x0706050403020100, 0x0f0e0d0c0b0a0908);
  for (const auto& [bytes, hex] : vectors) {
    std::vector<uint8_t> message(bytes);
    std::iota(message.begin(), message.end(), uint8_t(0));
    const Hash128 h = hash(message);
    std::string got;
    for (const uint64_t word : {h.low, h.high})
      for (int i = 0; i < 8; ++i) got += fmt::format("{:02x}", word >> 8 * i & 0xff);
    EXPECT_EQ(got, hex) << bytes;
  }
}

}  // namespace
}  // namespace vibee
