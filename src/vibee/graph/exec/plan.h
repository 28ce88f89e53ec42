// SPDX-License-Identifier: Apache-2.0
// A compiled plan: a flat array of calls cut into regions. Inside a region a thread runs every call on its own slice;
// barriers stand only where a call reads what another thread wrote. Row work in a step of few rows is repeated by each
// thread into memory of its own instead of being shared; kernels choose by the number of rows in the call, so one plan
// serves 1 to max_rows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/thread/team.h"
#include "vibee/graph/exec/call_parameters.h"
#include "vibee/graph/ir/ir.h"
#include "vibee/kernels/attention/flashinfer.h"
#include "vibee/kernels/gemm/outliers.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// Steps of up to this many rows repeat row work on every thread.
inline constexpr uint32_t kReplicatedRows = 4;

/// Rows that an expert multiplies at once: more bring nothing, fewer waste tiles of kActMaxGroup.
inline constexpr uint32_t kExpertRows = 4 * kActMaxGroup;

/// How a call is spread over the threads.
enum class Spread : uint8_t {
  rows,     ///< row work: repeated by every thread in small steps, sliced by rows in large ones
  columns,  ///< sliced by output columns (or heads, or work items); results are shared
};

/// Loaded weights by name; both outlive the plan.
struct WeightTable {
  std::function<const PackedWeight*(std::string_view)> matrix;
  VectorTable vector;
};

struct PlanOptions {
  uint32_t max_rows = 512;      ///< rows a step, at most
  uint32_t max_logits = 1;      ///< rows whose logits are wanted, at most
  uint32_t max_context = 4096;  ///< positions a sequence, at most
  uint32_t threads = 1;
  Isa isa = Isa::scalar;
  KvFormat kv = KvFormat::f16;
  bool balance_attention = true;  ///< v1692: attention is dealt by cost
  bool cut_keys = true;           ///< v1691: threads share the keys of few rows
  bool cascade = true;            ///< v1675: rows that share pages read them once
  /// How rows meet integer weights: quantised, as floats (`--act f32`), or where there are many in a step in bf16
  /// (`--act bf16`, kernels/gemm/bf16_rows.h), for which `isa` has to be amx.
  RowForm row_form = RowForm::quantized;
  /// Elements of quantised rows that stay floats (kernels/gemm/outliers.h, `--act llm_int8`): those of at least this
  /// size; 0: none. The pass quantize_outputs must be off.
  float outlier_threshold = 0;
};

class Plan;
struct Call;

/// What a call sees while it runs on one thread.
struct Worker {
  const Plan& plan;
  const RaggedBatch& batch;
  std::span<const KvView> kv;  ///< one a layer
  Team& team;
  uint32_t tid, threads;
  Sizes sizes;
  bool small;  ///< row work is repeated
  Range rows(uint32_t n) const { return small ? Range{0, n} : share(n, tid, threads); }
};

struct Call : CallParameters {
  void (*run)(const Call&, Worker&) = nullptr;
  Spread spread = Spread::rows;
  bool barrier_small = false, barrier_large = false;  ///< before the call
  const PackedWeight* weight[3] = {};
  const GemmKernel* gemm[3] = {};
  const float* vector[3] = {};
  const PointwiseKernels* pw = nullptr;
  const AttentionKernel* attention = nullptr;
  const AttentionKernel* many_attention = nullptr;  ///< of many rows with RowForm::bf16
  uint32_t work_list = 0;                           ///< of an attention
  bool quantizes_rows = false;                      ///< the call quantises its float rows for itself
};

class Plan {
 public:
  /// The arena's size for a graph without compiling it: what `compile` would allocate, to the byte.
  static Result<uint64_t> arena_bytes(const Graph& graph, const PlanOptions& options);
  static Result<std::unique_ptr<Plan>> compile(const Graph& graph, const WeightTable& weights,
                                               const PlanOptions& options);

  /// Runs one step. Allocates nothing and takes no lock. `kv` has one view a layer; the pages of every position written
  /// or read exist. The caller has checked the batch (model/session).
  void run(Team& team, const RaggedBatch& batch, std::span<const KvView> kv);

  /// The first output of the last step, [rows asked for, or sequences where rows are pooled][output_width()].
  float* outputs() const { return pointer<float>(output_, 0, false); }
  uint32_t output_width() const { return output_width_; }
  uint64_t arena_size() const { return arena_.size(); }
  const PlanOptions& options() const { return options_; }
  std::span<const Call> calls() const { return calls_; }
  uint32_t regions_small() const { return regions_small_; }

  /// Where a value lies for a thread. Repeated values have one copy a thread in small steps.
  template <class T>
  T* pointer(ValueId id, uint32_t tid, bool small) const {
    const Place& p = places_[id];
    return reinterpret_cast<T*>(arena_.data() + p.offset + (p.repeated && small ? uint64_t(tid) * p.stride : 0));
  }
  /// Rows of a value in a step.
  uint32_t rows_of(ValueId id, Sizes sizes) const { return uint32_t(per_logits_row_[id] ? sizes.s : sizes.t); }
  FoldState* parts() const { return reinterpret_cast<FoldState*>(arena_.data() + parts_offset_); }
  const WorkList& work_list(uint32_t i) const { return work_lists_[i]; }
  /// The same work in tiles of a call's many_attention.
  const WorkList& many_list(uint32_t i) const { return many_lists_[i]; }
  /// Whether so many rows are rounded to bf16.
  bool takes_bf16(uint32_t rows) const { return options_.row_form == RowForm::bf16 && rows >= kBf16FromRows; }
  /// A thread's memory for rows that a product quantises itself.
  uint8_t* quantized_rows(uint32_t tid) const { return arena_.data() + quantized_offset_ + tid * quantized_stride_; }
  /// A thread's memory for float rows that an expert's product gathers.
  float* gathered_rows(uint32_t tid) const {
    return reinterpret_cast<float*>(arena_.data() + gathered_offset_ + tid * gathered_stride_);
  }
  /// A thread's memory for panels that a product makes ready (kernels/gemm/gemm.h).
  uint8_t* panels(uint32_t tid) const { return arena_.data() + panels_offset_ + tid * panels_stride_; }

  /// Nanoseconds by call and thread since enable_profile(), and time spent waiting at the barrier before each call.
  struct CallTime {
    uint64_t work = 0, wait = 0, calls = 0;
  };
  void enable_profile();
  std::span<const CallTime> profile() const { return times_; }  ///< calls x threads
  struct Event {
    uint32_t call, tid;
    uint64_t begin, end;
  };
  std::span<const Event> trace() const { return events_; }

 private:
  struct Place {
    uint64_t offset = 0, stride = 0;
    bool repeated = false;
  };
  struct Layout;
  void work(Worker& worker);

  PlanOptions options_;
  std::vector<Call> calls_;
  std::vector<Place> places_;
  std::vector<bool> per_logits_row_;
  HugeBuffer arena_;
  uint64_t parts_offset_ = 0, quantized_offset_ = 0, quantized_stride_ = 0, gathered_offset_ = 0, gathered_stride_ = 0;
  uint64_t panels_offset_ = 0, panels_stride_ = 0;
  std::vector<WorkList> work_lists_;  ///< one for each shape of attention in the graph
  std::vector<WorkList> many_lists_;  ///< likewise, with RowForm::bf16
  ValueId output_ = 0;
  uint32_t output_width_ = 0, regions_small_ = 0;
  std::vector<CallTime> times_;
  std::vector<Event> events_;
  uint64_t profile_origin_ = 0;
};

/// The functions behind Call::run, one an op that plans can execute; nullptr for ops that only the interpreter runs.
using RunFn = void (*)(const Call&, Worker&);
RunFn run_function(Op op);
Spread spread_of(Op op);

}  // namespace vibee
