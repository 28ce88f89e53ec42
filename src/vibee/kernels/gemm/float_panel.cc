// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/float_panel.h"

#include <bit>
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/formats/float/microscaling.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/float/nf4_quantization.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

/// The codes of a 32-block of a scaled float format, `step` bytes from one k to the next: 1 in a file's row, NR in a
/// panel.
uint8_t get_float_code(Codes codes, const uint8_t* p, uint32_t step, uint32_t j) {
  if (codes == Codes::e4m3 || codes == Codes::e5m2) return p[j * step];
  const uint32_t low = p[j % 16 * step] >> (j < 16 ? 0 : 4) & 15;
  return uint8_t(has_six_bits(codes) ? low | (p[(16 + j % 8) * step] >> (2 * (j / 8)) & 3) << 4 : low);
}
void put_float_code(Codes codes, uint8_t* p, uint32_t step, uint32_t j, uint8_t code) {  // onto zeros
  if (codes == Codes::e4m3 || codes == Codes::e5m2) {
    p[j * step] = code;
    return;
  }
  p[j % 16 * step] = uint8_t(p[j % 16 * step] | (code & 15) << (j < 16 ? 0 : 4));
  if (has_six_bits(codes)) p[(16 + j % 8) * step] = uint8_t(p[(16 + j % 8) * step] | code >> 4 << (2 * (j / 8)));
}
/// Bytes from a row's or a panel's begin to the codes of the 32-block of element i, for nr rows.
uint64_t float_codes_at(const PanelLayout& p, uint32_t nr, uint32_t i) {
  const uint32_t sb = superblock(p.header), codes = code_bytes(p.codes, nr);
  return uint64_t(i / sb) * (header_bytes(p.header, nr) + sb / 32 * codes) + header_bytes(p.header, nr) +
         i % sb / 32 * codes;
}

void pack_scaled_floats(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel) {
  const PanelLayout p = panel_layout(format);
  const uint32_t sb = superblock(p.header), scale = header_bytes(p.header, 1);
  std::memset(panel, 0, panel_bytes(format, nr, k));
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t i = 0; i < k; i += 32) {
      const uint8_t* row = in + r * info(format).row_bytes(k);
      const uint64_t to = float_codes_at(p, nr, i), from = float_codes_at(p, 1, i);
      if (i % sb == 0) std::memcpy(panel + to - scale * nr + scale * r, row + from - scale, scale);
      for (uint32_t j = 0; j < 32; ++j)
        put_float_code(p.codes, panel + to + r, nr, j, get_float_code(p.codes, row + from, 1, j));
    }
}
float float_of_code(Codes codes, uint8_t code) {
  switch (codes) {
    case Codes::e4m3: return E4m3::decode(code);
    case Codes::e5m2: return E5m2::decode(code);
    case Codes::e2m3: return E2m3::decode(code);
    case Codes::e3m2: return E3m2::decode(code);
    case Codes::nf4: return kNf4Values[code];
    default: return kBnbFp4Values[code];
  }
}
float scaled_float(const PackedWeight& w, uint32_t row, uint32_t i) {
  const PanelLayout p = panel_layout(w.format);
  const uint8_t* panel = w.data + row / w.nr * w.stride();
  const uint32_t r = row % w.nr, sb = superblock(p.header);
  const uint8_t* header = panel + float_codes_at(p, w.nr, i / sb * sb) - header_bytes(p.header, w.nr);
  const float scale = p.header == PanelHeader::e8 ? e8m0(header[r]) : std::bit_cast<float>(load_u32(header + 4 * r));
  return scale * float_of_code(p.codes, get_float_code(p.codes, panel + float_codes_at(p, w.nr, i) + r, w.nr, i % 32));
}

}  // namespace

void pack_float_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel) {
  if (is_scaled_float(format)) return pack_scaled_floats(format, nr, k, rows, in, panel);
  const uint32_t size = format == Format::f32 ? 4 : 2;
  std::memset(panel, 0, panel_bytes(format, nr, k));
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t i = 0; i < k; ++i)
      std::memcpy(panel + (uint64_t(i) * nr + r) * size, in + (uint64_t(r) * k + i) * size, size);
}

void decode_float_row(const PackedWeight& w, uint32_t row, float* out) {
  if (is_scaled_float(w.format)) {
    for (uint32_t i = 0; i < w.k; ++i) out[i] = scaled_float(w, row, i);
    return;
  }
  const uint64_t first = (row / w.nr * uint64_t(w.k)) * w.nr + row % w.nr;
  for (uint32_t i = 0; i < w.k; ++i) {
    const uint64_t at = first + uint64_t(i) * w.nr;
    if (w.format == Format::f32) std::memcpy(out + i, w.data + 4 * at, 4);
    if (w.format == Format::f16) out[i] = half_to_float(load_u16(w.data + 2 * at));
    if (w.format == Format::bf16) out[i] = bf16_to_float(load_u16(w.data + 2 * at));
  }
}

}  // namespace vibee
