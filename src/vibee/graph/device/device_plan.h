// SPDX-License-Identifier: Apache-2.0
// A plan that runs on a device: the graph's calls, each some launches, one behind the other on the runtime's stream.
// What a step differs in (ids, positions, page tables, work of attention) is copied in before it; what comes out is
// copied back behind it. A step that has the shape of the one before is recorded as a CUDA graph and launched as one
// from then on.
//
// Values are f32 but for rows quantised by the CPU's rules. Products with weights of integer formats and of f32 have
// the bytes of the CPU's kernels, those with bf16 and f16 round rows to the weight's type and run on matrix units.
// Whatever computes a row is chosen by the plan, not by the rows beside it, so its bytes do not depend on these.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "vibee/core/device/cuda_graph.h"
#include "vibee/core/device/device_pool.h"
#include "vibee/core/device/kernel_times.h"
#include "vibee/graph/device/device_runtime.h"
#include "vibee/graph/device/device_weights.h"
#include "vibee/kernels/gemm/wgmma_gemm_shape.h"

namespace vibee {

struct DevicePlanOptions {
  uint32_t max_rows = 512;      ///< rows a step, at most
  uint32_t max_logits = 1;      ///< rows whose logits are wanted, at most
  uint32_t max_context = 4096;  ///< positions a sequence, at most
  uint32_t max_sequences = 1;   ///< in a step, at most
  uint32_t max_adapters = 1;    ///< different ones in a step, at most
  KvFormat kv = KvFormat::f16;  ///< f32, f16 or q8_0
  /// Attention over pages of 16 bits on matrix units; else by fma, with the bytes of the CPU's kernels.
  bool matrix_attention = true;
  bool record = true;  ///< steps of one shape become CUDA graphs
  /// Products of bf16 and f16 by warpgroups, of devices that have them; none: by warps.
  std::optional<WgmmaDevice> warpgroups = {};
  /// What parts of attention may take, at least those of one row; a step's rows go through in groups of so many.
  uint64_t part_bytes = uint64_t(64) << 20;
};

/// Keys and values of a layer on the device, as KvView has them on the host.
struct DeviceKv {
  CudaAddress base = 0;     ///< the layer's share of page 0
  uint64_t page_bytes = 0;  ///< from one page to the next
  KvLayout layout;
};

class DevicePlan;
class DeviceStep;
struct DeviceLayout;

struct DeviceCall : CallParameters {
  Status (*run)(const DeviceCall&, DeviceStep&) = nullptr;
  const DeviceMatrix* weight[3] = {};
  CudaAddress vector[3] = {};    ///< of f32; 0: none
  CudaAddress frequency_at = 0;  ///< of a rotation table: f64
  uint32_t list = 0;             ///< of an attention: which of the step's work
};

class DevicePlan {
 public:
  /// What a plan takes of the device, to the byte, without making it.
  static Result<uint64_t> bytes(const Graph& graph, const DevicePlanOptions& options);
  /// Takes `bytes` of the pool. Every kernel that a step may launch is looked up now. The weights outlive the plan.
  static Result<std::unique_ptr<DevicePlan>> compile(const Graph& graph, const DeviceWeightTable& weights,
                                                     const DevicePlanOptions& options,
                                                     std::shared_ptr<DeviceRuntime> runtime, DevicePool& pool);
  ~DevicePlan();

  /// Runs one step and waits for it. `kv` has one entry a layer; the pages of every position written or read exist.
  /// Sequences have their rows one behind the other; the matrices of their adapters lie on the device. After an error
  /// what the step wrote is undefined.
  Status run(const RaggedBatch& batch, std::span<const DeviceKv> kv);

  /// The first output of the last step in memory of the host, [rows asked for, or sequences][output_width()].
  float* outputs() const { return reinterpret_cast<float*>(results_.data()); }
  uint32_t output_width() const { return output_width_; }
  const DevicePlanOptions& options() const { return options_; }
  std::span<const DeviceCall> calls() const { return calls_; }
  uint64_t recorded_steps() const { return recorded_steps_; }  ///< that ran as a graph

  /// Nanoseconds of the device by call, and how often, since enable_profile(); steps are not recorded while it is on.
  struct CallTime {
    uint64_t work = 0, calls = 0;
  };
  Status enable_profile();
  std::span<const CallTime> profile() const { return times_; }
  /// The calls of the first steps, in nanoseconds since enable_profile(): a step begins when the host gives it, its
  /// calls where the device says.
  struct Event {
    uint32_t call;
    uint64_t begin, end;
  };
  std::span<const Event> trace() const { return events_; }

 private:
  friend class DeviceStep;
  DevicePlan();
  Status copy_inputs(const RaggedBatch& batch);
  Status run_calls(DeviceStep& step);
  Status run_timed(DeviceStep& step);

  DevicePlanOptions options_;
  std::shared_ptr<DeviceRuntime> runtime_;
  DeviceBlock block_;
  std::vector<DeviceCall> calls_;
  std::unique_ptr<DeviceLayout> layout_;
  PinnedMemory inputs_, results_;
  ValueId output_ = 0;
  uint32_t output_width_ = 0;
  CudaGraph graph_;
  std::vector<uint64_t> shape_, recorded_;  ///< what launches depend on: of the last step, and of the graph
  uint64_t recorded_steps_ = 0;
  KernelTimes kernel_times_;
  std::vector<CallTime> times_;
  std::vector<Event> events_;
  std::chrono::steady_clock::time_point profile_begin_;
};

/// The function behind DeviceCall::run; null for ops that devices do not run.
using DeviceRunFn = Status (*)(const DeviceCall&, DeviceStep&);
DeviceRunFn device_function(Op op);

}  // namespace vibee
