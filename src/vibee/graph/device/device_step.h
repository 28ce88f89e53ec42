// SPDX-License-Identifier: Apache-2.0
// What a call sees while its step is given to the device. Launched on the device later, in order: nothing here waits.
#pragma once

#include <algorithm>
#include <bit>

#include "vibee/graph/device/attention_groups.h"
#include "vibee/graph/device/device_plan.h"
#include "vibee/kernels/gemm/gemm_launch.h"
#include "vibee/kernels/gemm/gemm_shape.h"
#include "vibee/kernels/pointwise/lora_launch.h"

namespace vibee {

/// Where a plan's parts lie: offsets into its block of the device's memory.
struct DeviceLayout {
  std::vector<uint32_t> nodes;   ///< of the graph, one a call
  std::vector<uint64_t> values;  ///< of every value that a call makes
  std::vector<bool> per_logits_row;
  // What a step copies in. Behind `lists_at` lie, as a step needs them, the tables of its adapters, its attention's
  // items and parts of rows, then the tables of pages.
  uint64_t inputs = 0, tokens = 0, positions = 0, types = 0, logits_rows = 0, places = 0, sequence_first = 0,
           sequence_count = 0, row_adapter = 0, lists_at = 0, inputs_end = 0;
  uint64_t float_rows = 0;      ///< rows of f32 between two launches of a call
  uint64_t converted_rows = 0;  ///< rows as a product's weight wants them
  uint64_t part_sums = 0, part_values = 0;
  uint64_t product_parts = 0, product_counters = 0, product_counter_bytes = 0;  ///< WgmmaGemmArgs
  uint64_t route_starts = 0, route_pairs = 0, route_tiles = 0;                  ///< a work list of a mixture's pairs
  uint64_t constants = 0, bytes = 0;
  uint32_t targets = 0;  ///< products that adapters change
  // Of the step: where in the block a list's arrays begin, and the tables of pages.
  struct List {
    uint64_t items = 0, row_parts = 0;
  };
  std::vector<List> list_at;
  uint64_t page_tables = 0;
  /// [targets][room] of each part of LoraWeights.
  struct AdapterTables {
    uint64_t a = 0, b = 0, rank = 0, scale = 0;
    uint32_t room = 0;
  } adapters;
  std::vector<AttentionGroups> lists;  ///< one for each shape of attention in the graph

  static Result<DeviceLayout> make(const Graph& graph, const DevicePlanOptions& options);
};

/// The adapters of a step: which of them a row has, -1 none, and what LoraTable wants of them, [targets][room].
struct StepAdapters {
  std::vector<int32_t> of_row;
  std::vector<const float*> a, b;
  std::vector<uint32_t> rank;
  std::vector<float> scale;
  uint32_t room = 0;
};
/// Room is made in powers of two: a step with as many adapters or a few more has the shape of the one before.
constexpr uint32_t adapter_room(uint32_t adapters) { return adapters == 0 ? 0 : std::bit_ceil(adapters); }
/// An error where there are more than `most`.
Result<StepAdapters> step_adapters(const RaggedBatch& batch, uint32_t targets, uint32_t most);

/// The memory that an address of a device stands for, as kernels' arguments have it.
template <class T>
T* device_pointer(CudaAddress address) {
  return reinterpret_cast<T*>(address);
}

class DeviceStep {
 public:
  /// Without keys and values a step that only looks kernels up.
  DeviceStep(DevicePlan& plan, Sizes sizes, std::span<const DeviceKv> kv)
      : plan_(plan), layout_(*plan.layout_), sizes_(sizes), kv_(kv) {}

  const DevicePlan& plan() const { return plan_; }
  Sizes sizes() const { return sizes_; }
  uint32_t rows_of(ValueId id) const { return uint32_t(layout_.per_logits_row[id] ? sizes_.s : sizes_.t); }
  uint32_t processors() const { return plan_.runtime_->device->info().multiprocessors; }
  template <class T>
  T* value(ValueId id) const {
    return at<T>(layout_.values[id]);
  }
  const int32_t* ids(RowIds which) const {
    return at<int32_t>(which == RowIds::tokens      ? layout_.tokens
                       : which == RowIds::positions ? layout_.positions
                                                    : layout_.types);
  }
  const int32_t* logits_rows() const { return at<int32_t>(layout_.logits_rows); }
  /// Row r's page * kPageTokens + lane.
  const uint32_t* places() const { return at<uint32_t>(layout_.places); }
  /// Where each sequence's rows begin, and how many it has.
  const uint32_t* sequence_first() const { return at<uint32_t>(layout_.sequence_first); }
  const uint32_t* sequence_count() const { return at<uint32_t>(layout_.sequence_count); }
  const uint32_t* page_tables() const { return at<uint32_t>(layout_.page_tables); }
  const SplitItem* items(uint32_t list) const { return at<SplitItem>(layout_.list_at[list].items); }
  const uint32_t* row_parts(uint32_t list) const { return at<uint32_t>(layout_.list_at[list].row_parts); }
  std::vector<AttentionGroup> groups(uint32_t list) const;
  float* part_sums() const { return at<float>(layout_.part_sums); }
  float* part_values() const { return at<float>(layout_.part_values); }
  float* product_parts() const { return at<float>(layout_.product_parts); }
  uint32_t* product_counters() const { return at<uint32_t>(layout_.product_counters); }
  float* float_rows() const { return at<float>(layout_.float_rows); }
  bool has_adapters() const { return kv_.empty() || layout_.adapters.room > 0; }
  LoraTable adapters(uint32_t target) const {
    const DeviceLayout::AdapterTables& t = layout_.adapters;
    const uint64_t first = uint64_t(target) * t.room;
    return {at<const float*>(t.a) + first, at<const float*>(t.b) + first, at<uint32_t>(t.rank) + first,
            at<float>(t.scale) + first, at<int32_t>(layout_.row_adapter)};
  }
  DeviceKv kv(uint32_t layer) const { return kv_.empty() ? DeviceKv{} : kv_[layer]; }

  bool only_looks_up() const { return kv_.empty(); }
  CudaDevice& device() const { return *plan_.runtime_->device; }
  /// Nothing where the grid has no blocks.
  template <class Args>
  Status launch(std::string_view kernel, const LaunchShape& shape, const Args& args) {
    if (std::ranges::min(shape.grid) == 0) return {};
    VIBEE_ASSIGN(CudaKernel * found, plan_.runtime_->kernels->find(kernel));
    if (only_looks_up()) return {};
    Args copy = args;
    void* packed[] = {&copy};
    return found->launch(plan_.runtime_->stream, shape, packed);
  }

  /// The rows that a call multiplies, `rows` of k, as products with weights of a format want them: floats or quantised
  /// rows as they are, else a copy that stays until another is asked for.
  Result<const void*> rows_for(const DeviceCall& call, Format format, uint32_t rows, uint32_t k);
  struct WorkList {
    const uint32_t *tiles, *pairs;
  };
  /// A route's pairs by expert in tiles of at most tile_rows (route_launch.h), made unless it is the last one made.
  Result<WorkList> work_list(ValueId route, uint32_t experts, uint32_t chosen, uint32_t tile_rows);

 private:
  template <class T>
  T* at(uint64_t offset) const {
    return device_pointer<T>(plan_.block_.address() + offset);
  }

  DevicePlan& plan_;
  const DeviceLayout& layout_;
  Sizes sizes_;
  std::span<const DeviceKv> kv_;
  ValueId converted_ = UINT32_MAX;
  Format converted_for_ = Format::f32;
  ValueId listed_ = UINT32_MAX;
  uint32_t listed_in_ = 0;
};

/// What becomes of a product's sums.
struct ProductEnd {
  float* out = nullptr;
  GemmActivation activation = GemmActivation::none;
  const float* multiply = nullptr;  ///< laid out as `out`
  const float* residual = nullptr;  ///< laid out as `out`
};
/// The arguments of a product of `rows` of the call's rows by a matrix, or by one of its experts.
Result<GemmArgs> product_args(const DeviceCall& call, DeviceStep& step, const DeviceMatrix& matrix, uint32_t rows,
                              const ProductEnd& end);
/// What the elements of a matrix that lies in rows are to products.
GemmOperand operand_of(Format format);
GemmActivation activation_of(Gate gate);
/// end(the call's rows times matrix^T).
Status device_product(const DeviceCall& call, DeviceStep& step, const DeviceMatrix& matrix, const ProductEnd& end);
/// What products with a matrix take of WgmmaGemmArgs::parts and arrived, whatever the rows.
struct WgmmaMemory {
  uint64_t parts = 0, counters = 0;
};
WgmmaMemory wgmma_memory(const DevicePlanOptions& options, Format format, uint32_t n, uint32_t k);
/// Rows of k floats at x, quantised by a rule to records at `to`.
Status device_quantize(DeviceStep& step, ActRule rule, const float* x, uint32_t rows, uint32_t k, void* to);

Status device_linear(const DeviceCall&, DeviceStep&);
Status device_linear_add(const DeviceCall&, DeviceStep&);
Status device_linear_gated(const DeviceCall&, DeviceStep&);
Status device_linear_qkv(const DeviceCall&, DeviceStep&);
Status device_linear_lora(const DeviceCall&, DeviceStep&);
Status device_lora_down(const DeviceCall&, DeviceStep&);
Status device_lora_up(const DeviceCall&, DeviceStep&);
Status device_moe_route(const DeviceCall&, DeviceStep&);
Status device_moe_gated(const DeviceCall&, DeviceStep&);
Status device_moe_down(const DeviceCall&, DeviceStep&);
Status device_kv_append(const DeviceCall&, DeviceStep&);
Status device_attention(const DeviceCall&, DeviceStep&);

}  // namespace vibee
