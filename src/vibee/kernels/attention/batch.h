// SPDX-License-Identifier: Apache-2.0
// The plain spans of one step: packed tokens of several sequences and where their keys and values lie. Prefill, chunks,
// decode and mixes of them differ only in these numbers; nothing below model/session knows a "phase".
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "vibee/kernels/pointwise/lora.h"

namespace vibee {

inline constexpr uint32_t kPageTokens = 16;  ///< positions a page
inline constexpr uint32_t kSplitKeys = 256;  ///< keys a split of the attention fold (tree/serving.md S2)

/// How keys and values are stored: floats, bytes with a half scale for 32 dimensions, or four bits between the least
/// and the largest of a head (Lin et al., QServe, MLSys 2025, section 4.2).
enum class KvFormat : uint8_t { f32, f16, q8_0, int4 };
struct KvFormatInfo {
  KvFormat format;
  std::string_view name;  ///< of --kv
  uint32_t unit;          ///< divides the head dimensions that it can hold
};
inline constexpr KvFormatInfo kKvFormats[] = {
    {KvFormat::f32, "f32", 1}, {KvFormat::f16, "f16", 1}, {KvFormat::q8_0, "q8_0", 32}, {KvFormat::int4, "int4", 32}};
constexpr const KvFormatInfo& info(KvFormat f) { return kKvFormats[size_t(f)]; }

/// The rows of one sequence in a step: `rows` new tokens at positions `first` .. `first + rows`, after which the
/// sequence holds first + rows tokens. pages[p / 16] is the page of position p.
struct SequenceRows {
  uint32_t row;  ///< index of its first row in the batch
  uint32_t rows;
  uint32_t first;  ///< position of its first row
  const uint32_t* pages;
  const LoraWeights* lora = nullptr;  ///< of its adapter, one an adapted product of the graph; null: none
};

/// A step over several sequences. tokens, positions and types (which of two texts a row is of; empty for graphs that do
/// not ask) have one entry a row; logits_rows are the rows whose logits are wanted, ascending. A graph that pools rows
/// gives one row a sequence, and wants as many logits_rows.
struct RaggedBatch {
  std::span<const int32_t> tokens;
  std::span<const int32_t> positions;
  std::span<const SequenceRows> sequences;
  std::span<const uint32_t> logits_rows;
  std::span<const int32_t> types = {};
};

/// One layer's share of a page. Keys [kv head][head_dim][16], so that lanes are keys; values [kv head][16][head_dim],
/// so that lanes are dimensions. q8_0 puts the half scales of a head, one for 32 dimensions and key, before its codes;
/// int4 a half scale and a half minimum of each of the sixteen keys. Its codes are in nibbles, the lower ones first: of
/// keys those of dimensions 2i and 2i + 1 share sixteen bytes, of values those of 16 dimensions and of the next 16, so
/// that no two keys share a byte (threads write them).
struct KvLayout {
  KvFormat format = KvFormat::f16;
  uint32_t kv_heads = 0, head_dim = 0;
  /// Bytes of keys (or of values) of one head in one page.
  constexpr uint64_t head_bytes() const {
    const uint64_t n = uint64_t(head_dim) * kPageTokens;
    switch (format) {
      case KvFormat::f32: return 4 * n;
      case KvFormat::f16: return 2 * n;
      case KvFormat::q8_0: return n + 2 * n / 32;
      case KvFormat::int4: break;
    }
    return n / 2 + 4 * kPageTokens;
  }
  /// Bytes of keys and values of one layer in one page.
  constexpr uint64_t layer_bytes() const { return 2 * kv_heads * head_bytes(); }
};

/// Kernels load 16 lanes at once: this many bytes after the last page are readable (their values are not used).
inline constexpr uint64_t kKvSlack = 64;

/// The pages of one layer: page p of a sequence lies at base + pages[p] * page_bytes.
struct KvView {
  uint8_t* base = nullptr;  ///< the layer's share of page 0
  uint64_t page_bytes = 0;  ///< from one page to the next
  KvLayout layout;
  uint8_t* key(uint32_t page, uint32_t head) const { return base + page * page_bytes + head * layout.head_bytes(); }
  uint8_t* value(uint32_t page, uint32_t head) const { return key(page, layout.kv_heads + head); }
};

}  // namespace vibee
