// SPDX-License-Identifier: Apache-2.0
// Importance from one run over a text: the model's training graph runs forward in f32, window by window, and what each
// product reads is squared and summed by column.
#pragma once

#include <functional>

#include "vibee/base/simd/isa.h"
#include "vibee/compress/quantize/importance.h"
#include "vibee/model/layer/config.h"

namespace vibee {

/// Windows of text below which importance is noise.
inline constexpr uint32_t kLeastWindows = 8;

struct CalibrateOptions {
  uint32_t context = 512;  ///< tokens of a window; windows do not overlap, what is left over is not read
  uint32_t windows = 0;    ///< at most; 0: all
  int32_t bos = -1;        ///< in the place of each window's first token; -1: none
  uint32_t threads = 1;
  Isa isa = detected_isa();
  std::function<bool(uint64_t done, uint64_t of)> progress = nullptr;  ///< in windows; false stops
};

/// Refuses a text of less than kLeastWindows windows, and ids that the model does not have.
Result<Importance> calibrate(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                             const CalibrateOptions& options);

}  // namespace vibee
