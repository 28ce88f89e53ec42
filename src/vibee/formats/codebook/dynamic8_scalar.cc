// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/codebook/dynamic8_block.h"

namespace vibee {
namespace {

/// Codes of sixteen numbers.
void encode16(const Dynamic8Map& map, V16 x, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) codes[i] = dynamic8_code(map, x.lane[i]);
}

}  // namespace

extern const Dynamic8Kernels dynamic8_kernels_scalar;
constinit const Dynamic8Kernels dynamic8_kernels_scalar = {encode_block<encode16>, decode_block};

}  // namespace vibee
