// SPDX-License-Identifier: Apache-2.0
// Which kernels of a device compute with weights in panels of small floats, and how they are launched.
#pragma once

#include "vibee/kernels/gemm/float_panel_gemm_launch.h"
#include "vibee/kernels/gemm/gemm_shape.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// Panels of 16 rows of k elements, of formats that is_scaled_float.
Result<FloatPanelForm> float_panel_form(Format format, uint32_t k);

/// At most 8 rows: sixteen columns a block. More: tiles of 64 x 64. Bytes do not depend on which.
Result<GemmShape> float_panel_gemm_shape(Format format, uint32_t rows, uint32_t n, uint32_t k);
GemmShape float_panel_embed_shape(uint32_t rows, uint32_t k);

}  // namespace vibee
