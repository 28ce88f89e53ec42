// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/packed_gemm_shape.h"

#include <algorithm>
#include <cstring>

#include "vibee/formats/codebook/tables.h"
#include "vibee/kernels/gemm/packed_gemm_block.h"
#include "vibee/kernels/pointwise/route_launch.h"

namespace vibee {
namespace {

constexpr uint32_t kMostTiles = 0x7fffffff, kMostStrips = 65535;

PanelScales scales_of(PanelHeader header) {
  switch (header) {
    case PanelHeader::dm: return PanelScales::half_offset;
    case PanelHeader::e8: return PanelScales::e8;
    case PanelHeader::e4: return PanelScales::e4;
    case PanelHeader::k: return PanelScales::k;
    case PanelHeader::k2: return PanelScales::k2;
    case PanelHeader::k6: return PanelScales::k6;
    case PanelHeader::ks: return PanelScales::ks;
    default: break;
  }
  if (has_row_scales(header)) return PanelScales::row;
  if (has_zeros(header)) return PanelScales::whole_zero;
  if (has_offsets(header)) return PanelScales::whole_offset;
  return has_float_scales(header) ? PanelScales::whole : PanelScales::half;
}
PanelCodes kind_of(Codes codes) {
  if (codes == Codes::s8) return PanelCodes::bytes;
  if (codes == Codes::iq4 || codes == Codes::e2m1) return PanelCodes::named;
  return codes == Codes::u4 ? PanelCodes::nibbles : PanelCodes::parts;
}
const char* name(PanelCodes kind) {
  const char* const names[] = {"nibbles", "parts", "named", "bytes"};
  return names[size_t(kind)];
}

}  // namespace

Result<PanelForm> panel_form(Format format, uint32_t k) {
  const PanelLayout p = panel_layout(format);
  if (!is_integer(format))
    return error(Code::unsupported, "{}: no kernel of a device reads its panels; formats of integer codes have them",
                 info(format).name);
  const uint32_t sb = superblock(p.header);
  if (k % sb != 0)
    return error(Code::invalid, "{}: rows of {} elements; panels have whole superblocks of {}", info(format).name, k,
                 sb);
  const uint64_t stride = panel_bytes(format, kPanelRows, k);
  if (stride > UINT32_MAX)
    return error(Code::unsupported, "{}: a panel of 16 rows of {} has {} bytes; at most {}", info(format).name, k,
                 stride, UINT32_MAX);
  const CodeParts parts = code_parts(p.codes);
  PanelForm f;
  f.stride = stride;
  f.blocks = k / 32, f.superblock = sb / 32;
  f.header = header_bytes(p.header, kPanelRows), f.codes = code_bytes(p.codes, kPanelRows);
  f.kept_from = p.keeps_last && f.blocks > 0 ? f.blocks - f.superblock : f.blocks;
  f.tail = uint32_t(stride) - tail_bytes(p, kPanelRows);
  f.scales = scales_of(p.header), f.kind = kind_of(p.codes);
  f.zero = f.kind == PanelCodes::nibbles || f.kind == PanelCodes::parts ? p.zero : 0;
  if (f.kind == PanelCodes::named) std::memcpy(f.values, p.codes == Codes::iq4 ? kIq4Values : kE2m1Doubled, 16);
  f.nibbles = parts.nibbles, f.pair_bit = parts.pair_bit, f.single_bit = parts.single_bit;
  f.halves = halves(p.header), f.split = p.header == PanelHeader::e4;
  f.has_min = has_min(p.header), f.row_scale = p.row_scale;
  const ActRule rule = act_rule(format);
  f.row_sum = rule == ActRule::row;
  f.chain = f.row_sum ? std::max(f.blocks, 1u) : std::max(act_rule_group(rule) / 32, 1u);
  return f;
}

Result<GemmShape> packed_gemm_shape(Format format, uint32_t rows, uint32_t n, uint32_t k) {
  VIBEE_ASSIGN(const PanelForm form, panel_form(format, k));
  if (rows <= kFewRows) {
    const uint32_t blocks = rows == 0 ? 0 : parts_of(n, kPair);
    return GemmShape{fmt::format("vibee_packed_gemv_{}", name(form.kind)),
                     {{blocks, 1, 1}, kFewWarps * kWarp, few_floats(form, rows) * 4}};
  }
  const uint64_t tiles = uint64_t(parts_of(rows, kManyRows)) * parts_of(n, kManyColumns);
  if (tiles > kMostTiles)
    return error(Code::unsupported, "{}: D of {} x {} has {} tiles; a launch has at most {}", info(format).name, rows,
                 n, tiles, kMostTiles);
  return GemmShape{fmt::format("vibee_packed_gemm_{}", name(form.kind)), {{uint32_t(tiles), 1, 1}, kManyThreads, 0}};
}

Result<GroupedShape> packed_grouped_shape(Format format, const GroupedSizes& s) {
  VIBEE_ASSIGN(const PanelForm form, panel_form(format, s.k));
  if (s.experts == 0 || std::max(s.pairs, s.experts) > kMostTiles)
    return error(Code::unsupported, "{}: {} pairs by {} experts; each is at most {}, and one expert", info(format).name,
                 s.pairs, s.experts, kMostTiles);
  const bool few = s.pairs / s.experts <= kFewRows;
  const uint32_t columns = parts_of(s.n, few ? kPair : kManyColumns);
  if (columns > kMostStrips)
    return error(Code::unsupported, "{}: experts of {} columns; a launch has at most {}", info(format).name, s.n,
                 kMostStrips * kPair);
  if (!few)
    return GroupedShape{fmt::format("vibee_packed_grouped_gemm_{}", name(form.kind)),
                        {{route_tiles(s.pairs, s.experts, kManyRows), columns, 1}, kManyThreads, 0},
                        kManyRows};
  const uint32_t rows = std::clamp(s.rows, 1u, kFewRows);
  return GroupedShape{
      fmt::format("vibee_packed_grouped_gemv_{}", name(form.kind)),
      {{route_tiles(s.pairs, s.experts, rows), columns, 1}, kFewWarps * kWarp, few_floats(form, rows) * 4},
      rows};
}

Result<QuantizeRowsArgs> quantize_rows_args(ActRule rule, uint32_t k) {
  const uint32_t group = rule == ActRule::row ? k : std::max(act_rule_group(rule), kActBlock);
  if (rule == ActRule::floats) return error(Code::invalid, "quantize_rows: rows of this rule stay floats");
  if (k % kActBlock != 0 || (group > 0 && k % group != 0))
    return error(Code::invalid, "quantize_rows: rows of {} elements; {} has whole groups of {}", k, name(rule), group);
  QuantizeRowsArgs args;
  args.k = k, args.group = group;
  args.four_bits = act_rule_group(rule) != 0;
  args.kept_from = keeps_last(rule) && k > 0 ? k - group : k;
  return args;
}
GemmShape quantize_rows_shape(uint32_t rows, uint32_t k) {
  return {"vibee_quantize_rows", {{k == 0 ? 0 : rows, 1, 1}, threads_for(k / 4, 256), 0}};
}

Result<GemmShape> packed_embed_shape(Format format, uint32_t rows, uint32_t k) {
  VIBEE_ASSIGN(const PanelForm form, panel_form(format, k));
  return GemmShape{fmt::format("vibee_packed_embed_{}", name(form.kind)),
                   {{k == 0 ? 0 : rows, 1, 1}, threads_for(k / 8, 256), 0}};
}

}  // namespace vibee
