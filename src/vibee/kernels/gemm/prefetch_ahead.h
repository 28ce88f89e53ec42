// SPDX-License-Identifier: Apache-2.0
// Included by kernels of an instruction set alone.
#pragma once

#include <immintrin.h>

#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

/// A row alone reads panels once, as fast as memory gives them: asks for a block's bytes some blocks before they are
/// multiplied, so that the two overlap. Past the end of the weight nothing is read.
template <Format F, uint32_t kNr>
inline void prefetch_ahead(const uint8_t* codes) {
  constexpr uint32_t kAhead = 128 * kNr;
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr uint32_t kBytes =
      code_bytes(kLayout.codes, kNr) + header_bytes(kLayout.header, kNr) / (superblock(kLayout.header) / 32);
  for (uint32_t i = 0; i < kBytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(codes + kAhead + i), _MM_HINT_T0);
}

}  // namespace
}  // namespace vibee
