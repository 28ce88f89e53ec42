// SPDX-License-Identifier: Apache-2.0
// Which ops a plan can run, and how each is spread over the threads.
#include "vibee/graph/exec/row_calls.h"

namespace vibee {
namespace {

struct Runnable {
  Op op;
  RunFn run;
  Spread spread;
};
constexpr Runnable kRunnable[] = {
    {Op::embed, run_embed, Spread::rows},
    {Op::rms_norm, run_rms_norm, Spread::rows},
    {Op::layer_norm, run_layer_norm, Spread::rows},
    {Op::activation, run_activation, Spread::rows},
    {Op::moe_route, run_moe_route, Spread::rows},
    {Op::moe_gated, run_moe_gated, Spread::columns},
    {Op::moe_down, run_moe_down, Spread::columns},
    {Op::norm_quantize, run_norm_quantize, Spread::rows},
    {Op::quantize, run_quantize, Spread::rows},
    {Op::add, run_add, Spread::rows},
    {Op::gated, run_gated, Spread::rows},
    {Op::scale, run_scale, Spread::rows},
    {Op::soft_cap, run_soft_cap, Spread::rows},
    {Op::permute_columns, run_permute_columns, Spread::rows},
    {Op::rope_table, run_rope_table, Spread::rows},
    {Op::rope, run_rope, Spread::rows},
    {Op::take_rows, run_take_rows, Spread::rows},
    {Op::pool_rows, run_pool_rows, Spread::rows},
    {Op::linear, run_linear, Spread::columns},
    {Op::linear_add, run_linear_add, Spread::columns},
    {Op::lora_down, run_lora_down, Spread::rows},
    {Op::lora_up, run_lora_up, Spread::columns},
    {Op::linear_lora, run_linear_lora, Spread::columns},
    {Op::linear_gated, run_linear_gated, Spread::columns},
    {Op::linear_qkv, run_linear_qkv, Spread::columns},
    {Op::kv_append, run_kv_append, Spread::columns},
    {Op::attention, run_attention, Spread::columns},
};

const Runnable* find(Op op) {
  for (const Runnable& r : kRunnable)
    if (r.op == op) return &r;
  return nullptr;
}

}  // namespace

RunFn run_function(Op op) {
  const Runnable* r = find(op);
  return r ? r->run : nullptr;
}
Spread spread_of(Op op) {
  const Runnable* r = find(op);
  return r ? r->spread : Spread::rows;
}

}  // namespace vibee
