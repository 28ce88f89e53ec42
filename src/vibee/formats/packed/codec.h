// SPDX-License-Identifier: Apache-2.0
// Names of the functions behind each row of formats.inc: decode_<id> and encode_<id>, defined in the folder of the
// format's family; a format that is only read has no encode_<id>. Those of codes.inc have put_codes_<id>, too. Only
// formats/table and those families include this; everyone else goes through NumericFormat.
#pragma once

#include <cstdint>

namespace vibee {

#define VIBEE_FORMAT(id, gguf_type, block, bytes, encode)      \
  void decode_##id(const uint8_t* in, uint64_t n, float* out); \
  void encode_##id(const float* in, uint64_t n, const float* importance, uint8_t* out);
#include "vibee/formats/packed/formats.inc"
#undef VIBEE_FORMAT
#define VIBEE_CODES(id, levels) void put_codes_##id(const uint8_t* codes, uint8_t* block);
#include "vibee/formats/packed/codes.inc"
#undef VIBEE_CODES

}  // namespace vibee
