// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/float_panel_gemm_shape.h"

#include <algorithm>

#include "vibee/formats/float/nf4_quantization.h"
#include "vibee/kernels/gemm/float_panel_gemm_block.h"

namespace vibee {

Result<FloatPanelForm> float_panel_form(Format format, uint32_t k) {
  const PanelLayout p = panel_layout(format);
  if (!is_scaled_float(format))
    return error(Code::unsupported, "{}: no kernel of a device reads its panels", info(format).name);
  const uint32_t sb = superblock(p.header);
  if (k % sb != 0)
    return error(Code::invalid, "{}: rows of {} elements; panels have whole superblocks of {}", info(format).name, k,
                 sb);
  FloatPanelForm f;
  f.stride = panel_bytes(format, kPanelRows, k);
  f.blocks = k / kBlockDepth, f.superblock = sb / kBlockDepth;
  f.header = header_bytes(p.header, kPanelRows), f.codes = code_bytes(p.codes, kPanelRows);
  f.powers = p.header == PanelHeader::e8;
  // A minifloat's bits where a half has them are the number smaller by the power of two between the exponents' biases.
  switch (p.codes) {
    case Codes::e4m3: f.sign = 0x80, f.shift = 7, f.by = 0x1p8f; break;
    case Codes::e5m2: f.sign = 0x80, f.shift = 8; break;
    case Codes::e2m3: f.kind = FloatCodes::six, f.sign = 0x20, f.shift = 7, f.by = 0x1p14f; break;
    case Codes::e3m2: f.kind = FloatCodes::six, f.sign = 0x20, f.shift = 8, f.by = 0x1p12f; break;
    default:
      f.kind = FloatCodes::nibbles, f.named = true;
      std::copy_n(p.codes == Codes::nf4 ? kNf4Values : kBnbFp4Values, 16, f.values);
  }
  return f;
}

Result<GemmShape> float_panel_gemm_shape(Format format, uint32_t rows, uint32_t n, uint32_t k) {
  VIBEE_TRY(float_panel_form(format, k).take_status());
  if (rows <= kFloatFewRows)
    return GemmShape{"vibee_float_panel_gemv", {{rows == 0 ? 0 : parts_of(n, kPanelRows), 1, 1}, kFloatFewThreads, 0}};
  const uint64_t tiles = uint64_t(parts_of(rows, kFgemmSide)) * parts_of(n, kFgemmSide);
  if (tiles > 0x7fffffff)
    return error(Code::unsupported, "{}: D of {} x {} has {} tiles; a launch has at most {}", info(format).name, rows,
                 n, tiles, 0x7fffffff);
  return GemmShape{"vibee_float_panel_gemm", {{uint32_t(tiles), 1, 1}, kFgemmThreads, 0}};
}

GemmShape float_panel_embed_shape(uint32_t rows, uint32_t k) {
  return {"vibee_float_panel_embed", {{k == 0 ? 0 : rows, 1, 1}, threads_for(k, 256), 0}};
}

}  // namespace vibee
