// SPDX-License-Identifier: Apache-2.0
// NumericFormat: what the bytes of a stored tensor mean. One row a format (packed/formats.inc); readers, panels, the
// memory planner and the tests all work from the rows, so adding a format is a row and its decode (docs/adding.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

/// The type of formats that no GGUF file has.
inline constexpr uint32_t kNoGgufType = UINT32_MAX;

/// One name a row of formats.inc, in its order.
enum class Format : uint8_t {
#define VIBEE_FORMAT(id, gguf_type, block, bytes, encode) id,
#include "vibee/formats/packed/formats.inc"
#undef VIBEE_FORMAT
};

struct NumericFormat {
  Format format;
  std::string_view name;  ///< as in `--format`, e.g. "q4_k"
  uint32_t gguf_type;     ///< ggml type id of the file format, or kNoGgufType
  uint32_t block_elems;   ///< elements a block; a row's length is a multiple of it
  uint32_t block_bytes;   ///< bytes a block
  /// Decodes `n` elements (a multiple of block_elems) to floats, bit-exactly as tree/precision.md S2 states.
  void (*decode)(const uint8_t* bytes, uint64_t n, float* out);
  /// Encodes the `n` elements of one row; nullptr where only reading is built. Where a block has a scale that can be
  /// searched, what is least is the sum of squared errors, each times the element's `importance`: n numbers of zero or
  /// more, or null, which counts all alike and leaves the blocks of 32 of integers and MXFP4 to plain rounding.
  void (*encode)(const float* in, uint64_t n, const float* importance, uint8_t* bytes);

  /// How many codes an element has, 0 where they cannot be put one by one.
  uint16_t levels;
  /// Writes the codes (below `levels`) of all elements of one block, whose scales and offsets stay; nullptr as above.
  void (*put_codes)(const uint8_t* codes, uint8_t* block);

  /// Bytes in front of a row's blocks: a table that all of them look their codes up in, a scale of all, or more bits of
  /// the last block. Such a format decodes and encodes whole rows, one at a time.
  uint32_t head_bytes = 0;

  /// Whether all blocks of a row share a scale or a table, so that its encoder has to see where a row ends.
  bool knows_rows() const {
    return format == Format::qoq32 || format == Format::qoq64 || format == Format::qoq128 || head_bytes != 0;
  }
  /// Decodes `rows` rows of `k` elements, one after another.
  void decode_rows(const uint8_t* bytes, uint64_t rows, uint64_t k, float* out) const {
    if (head_bytes == 0) return decode(bytes, rows * k, out);
    for (uint64_t r = 0; r < rows; ++r) decode(bytes + r * row_bytes(k), k, out + r * k);
  }
  /// Encodes `rows` rows of `k` elements, one after another: all at once where blocks know nothing of rows.
  void encode_rows(const float* in, uint64_t rows, uint64_t k, const float* importance, uint8_t* bytes) const {
    if (!knows_rows()) return encode(in, rows * k, importance, bytes);
    for (uint64_t r = 0; r < rows; ++r)
      encode(in + r * k, k, importance ? importance + r * k : nullptr, bytes + r * row_bytes(k));
  }

  bool in_gguf() const { return gguf_type != kNoGgufType; }
  double bits_per_weight() const { return 8.0 * block_bytes / block_elems; }  ///< of blocks alone
  /// Bytes of a row of `n` elements; `n` must be a multiple of block_elems.
  uint64_t row_bytes(uint64_t n) const { return head_bytes + n / block_elems * block_bytes; }
};

/// All formats, in the order of the enum.
std::span<const NumericFormat> all_formats();
const NumericFormat& info(Format format);
/// nullptr when this build has no such type; `gguf_type_name` still names it for the error message ("?" if unknown).
const NumericFormat* format_of_gguf_type(uint32_t gguf_type);
std::string_view gguf_type_name(uint32_t gguf_type);
Result<Format> parse_format(std::string_view name);
/// The formats that a name stands for, the best first: a format's own name, or a family of those in groups of several
/// lengths: int4, int8, fp8, fp6, nf4, ... Rows take the first whose blocks divide them.
Result<std::vector<Format>> parse_formats(std::string_view name);
/// Names of families, and of the formats that can be written.
std::vector<std::string> writable_formats();
/// The format, or the one that takes its place for rows that its blocks do not divide: the nearest one in size with
/// blocks of 32, else f16.
Format fitting(Format format, uint64_t row_length);

}  // namespace vibee
