// SPDX-License-Identifier: Apache-2.0
// Panels of floats, as they are and as codes behind scales (panel.h says how they lie): packed from the file's rows,
// and rows of them decoded.
#pragma once

#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// As pack_panel and decode_row, of formats whose rows meet floats, but lut3 .. lut8.
void pack_float_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel);
void decode_float_row(const PackedWeight& w, uint32_t row, float* out);

}  // namespace vibee
