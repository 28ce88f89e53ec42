// SPDX-License-Identifier: Apache-2.0
// The functions behind Call::run; run_functions.cc maps ops to them.
#pragma once

#include "vibee/graph/exec/plan.h"
#include "vibee/kernels/gemm/quantize_row.h"

namespace vibee {

/// Widest row that a fused norm or order keeps on the stack.
inline constexpr uint32_t kMaxRowWidth = 16384;

/// Row `row` of `rows` at `act`, by the call's rule, which is not ActRule::floats, or in bf16; with its outliers where
/// the plan has a threshold.
void quantize_row(const Call& c, const Worker& w, const float* x, uint32_t k, uint8_t* act, uint32_t rows,
                  uint32_t row);
/// 32 elements of it, by ActRule::block or in bf16.
void quantize_block(const Call& c, const Worker& w, const float* x, uint32_t k, uint8_t* act, uint32_t rows,
                    uint32_t row, uint32_t block);
/// Rows so quantised as the input of products with the call's weights.
RowsInput quantized_input(const Call& c, const Worker& w, const uint8_t* act, uint32_t rows, uint32_t k);
/// Float rows as the input of a product.
RowsInput float_input(const Worker& w, const float* x, uint32_t rows);

void run_embed(const Call&, Worker&);
void run_rms_norm(const Call&, Worker&);
void run_layer_norm(const Call&, Worker&);
void run_activation(const Call&, Worker&);
void run_moe_route(const Call&, Worker&);
void run_moe_gated(const Call&, Worker&);
void run_moe_down(const Call&, Worker&);
void run_norm_quantize(const Call&, Worker&);
void run_quantize(const Call&, Worker&);
void run_add(const Call&, Worker&);
void run_gated(const Call&, Worker&);
void run_scale(const Call&, Worker&);
void run_soft_cap(const Call&, Worker&);
void run_permute_columns(const Call&, Worker&);
void run_rope_table(const Call&, Worker&);
void run_rope(const Call&, Worker&);
void run_take_rows(const Call&, Worker&);
void run_pool_rows(const Call&, Worker&);
void run_linear(const Call&, Worker&);
void run_linear_add(const Call&, Worker&);
void run_lora_down(const Call&, Worker&);
void run_lora_up(const Call&, Worker&);
void run_linear_lora(const Call&, Worker&);
void run_linear_gated(const Call&, Worker&);
void run_linear_qkv(const Call&, Worker&);
void run_kv_append(const Call&, Worker&);
void run_attention(const Call&, Worker&);

}  // namespace vibee
