// SPDX-License-Identifier: Apache-2.0
// Small zip files (members stored, not compressed) for tests of what reads wheels.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/formats/packed/little_endian.h"

namespace vibee {

inline uint32_t crc32_of(std::string_view data) {
  uint32_t crc = ~0u;
  for (const char c : data) {
    crc ^= uint8_t(c);
    for (int k = 0; k < 8; ++k) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

/// One member; `crc_error` is added to the checksum that the zip states.
inline std::string zip_of(std::string_view member, std::string_view data, uint32_t crc_error = 0) {
  const auto put = [](std::string& out, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out += char(v >> (8 * i));
  };
  const uint32_t crc = crc32_of(data) + crc_error;
  const auto common =
      [&](std::string& out) {  // version, flags, method, time, date, checksum, sizes, name and extra length
        put(out, 20, 2), put(out, 0, 2), put(out, 0, 2), put(out, 0, 2), put(out, 0x21, 2), put(out, crc, 4);
        put(out, uint32_t(data.size()), 4), put(out, uint32_t(data.size()), 4), put(out, uint32_t(member.size()), 2),
            put(out, 0, 2);
      };
  std::string zip = "PK\x03\x04";
  common(zip);
  zip.append(member).append(data);
  const uint32_t directory = uint32_t(zip.size());
  zip += "PK\x01\x02";
  put(zip, 20, 2);
  common(zip);
  put(zip, 0, 2), put(zip, 0, 2), put(zip, 0, 2), put(zip, 0, 4), put(zip, 0, 4);  // comment, disk, attributes, offset
  zip.append(member);
  const uint32_t length = uint32_t(zip.size()) - directory;
  zip += "PK\x05\x06";
  put(zip, 0, 4), put(zip, 1, 2), put(zip, 1, 2), put(zip, length, 4), put(zip, directory, 4), put(zip, 0, 2);
  return zip;
}

}  // namespace vibee
