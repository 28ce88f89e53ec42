// SPDX-License-Identifier: Apache-2.0
// Panels of formats of tables (panel.h says how they lie): packed from the file's rows, and rows of them decoded.
#pragma once

#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// As pack_panel and decode_row, of lut3 .. lut8.
void pack_table_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel);
void decode_table_row(const PackedWeight& w, uint32_t row, float* out);

}  // namespace vibee
