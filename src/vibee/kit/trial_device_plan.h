// SPDX-License-Identifier: Apache-2.0
// Plans on a device over random weights, as tests run them: what a graph needs brought there, both steps of a trial's
// work, and what was seen.
#pragma once

#include "vibee/graph/device/device_plan.h"
#include "vibee/graph/pass/pass.h"
#include "vibee/kit/trial_runtime.h"
#include "vibee/kit/trial_step.h"

namespace vibee {

inline constexpr bool kFewer = VIBEE_SANITIZE_BUILD != 0;  ///< cases: fibers under sanitizers take their time

/// Weights of the files on a device, and where they are.
struct TrialWeights {
  ~TrialWeights() {
    if (runtime) (void)runtime->stream.synchronize();  // copies of an upload that failed
  }
  std::shared_ptr<DeviceRuntime> runtime;
  DeviceBlock block;
  std::map<std::string, DeviceMatrix, std::less<>> matrices;
  DeviceWeightTable table;
};

inline Status upload(const Graph& g, const SampleWeights& weights, DeviceRuntime& r, DevicePool& pool,
                     TrialWeights* out) {
  uint64_t bytes = 0;
  for (const Node& node : g.nodes) {
    const Type& type = g.type(node.out[0]);
    if (node.op != Op::weight || is_vector(type)) continue;
    const size_t rank = type.dims.size();
    DeviceMatrix m{0, type.elem.format, uint32_t(type.dims[rank - 2].n), uint32_t(type.dims[rank - 1].n),
                   rank == 3 ? uint32_t(type.dims[0].n) : 1};
    out->matrices[std::string(node.text("name"))] = m;
  }
  for (auto& [name, m] : out->matrices) bytes += DevicePool::taken(m.bytes());
  VIBEE_ASSIGN(out->block, pool.take(bytes));
  CudaAddress at = out->block.address();
  for (auto& [name, m] : out->matrices) {
    m.data = at;
    std::vector<uint8_t> packed(m.bytes());
    for (uint32_t e = 0; e < m.experts; ++e)
      pack_device_rows(m, m.n, weights.files().at(name).data() + e * m.n * m.row_bytes(),
                       packed.data() + e * device_row_bytes(m, m.n));
    VIBEE_TRY(r.ring.copy_in(r.stream, at, std::as_bytes(std::span(packed))));
    at += DevicePool::taken(m.bytes());
  }
  out->table = {[out](std::string_view name) {
                  const auto found = out->matrices.find(name);
                  return found == out->matrices.end() ? nullptr : &found->second;
                },
                weights.table().vector};
  return {};
}

/// The matrices of a work's adapters on a device, and what steps are given of them.
struct TrialAdapters {
  ~TrialAdapters() {
    if (runtime) (void)runtime->stream.synchronize();
  }
  std::shared_ptr<DeviceRuntime> runtime;
  std::vector<DeviceBlock> blocks;
  std::map<const LoraWeights*, std::vector<LoraWeights>> on_device;  ///< by the host's
};

inline Status upload_adapters(const Graph& g, const Work& work, DeviceRuntime& r, DevicePool& pool,
                              TrialAdapters* out) {
  std::map<int64_t, std::pair<int64_t, int64_t>> sizes;  // columns and rows of a target
  for (const Node& node : g.nodes) {
    if (node.op == Op::lora_down) sizes[node.integer("target")].first = g.type(node.in[0]).dims[1].n;
    if (node.op == Op::lora_up || node.op == Op::linear_lora)
      sizes[node.integer("target")].second = g.type(node.out[0]).dims[1].n;
  }
  const auto copied = [&](const float*& matrix, uint64_t elements) -> Status {
    VIBEE_ASSIGN(DeviceBlock block, pool.take(std::max<uint64_t>(elements, 1) * 4));
    VIBEE_TRY(r.ring.copy_in(r.stream, block.address(), std::as_bytes(std::span(matrix, elements))));
    matrix = reinterpret_cast<const float*>(block.address());
    out->blocks.push_back(std::move(block));
    return {};
  };
  for (const std::span<const LoraWeights> adapter : work.adapters) {
    if (adapter.empty()) continue;
    std::vector<LoraWeights>& own = out->on_device[adapter.data()];
    if (!own.empty()) continue;
    own.assign(adapter.begin(), adapter.end());
    for (size_t target = 0; target < own.size(); ++target) {
      const auto [k, n] = sizes[int64_t(target)];
      VIBEE_TRY(copied(own[target].a, uint64_t(own[target].rank) * uint64_t(k)));
      VIBEE_TRY(copied(own[target].b, uint64_t(own[target].rank) * uint64_t(n)));
    }
  }
  return {};
}

/// As models have it on a device.
inline Result<Graph> lowered_for_device(const Graph& graph) {
  const std::string disabled = "quantize_outputs";
  return run_passes(graph, {&disabled, 1});
}

inline DevicePlanOptions small_options() {
  DevicePlanOptions o;
  o.max_rows = 40;
  o.max_logits = 4;
  o.max_context = 64;
  o.max_sequences = 4;
  o.kv = KvFormat::f32;
  o.part_bytes = uint64_t(1) << 20;
  return o;
}

/// What of a run a test may look at.
struct Seen {
  uint64_t recorded = 0;
  std::vector<DevicePlan::CallTime> times;
};

/// Logits of both steps of all `works`, one behind the other on one plan; `repeats` computes each step so often.
inline Result<std::vector<float>> run_device(TrialRuntime& rig, const Graph& g, const SampleWeights& weights,
                                             const std::vector<Work>& works, const DevicePlanOptions& o,
                                             uint32_t repeats = 1, Seen* seen = nullptr, bool profile = false) {
  VIBEE_ASSIGN(const auto runtime, rig.open());
  VIBEE_ASSIGN(const auto pool, DevicePool::create(runtime->device, uint64_t(40) << 20));
  TrialWeights on_device;
  on_device.runtime = runtime;
  VIBEE_TRY(upload(g, weights, *runtime, *pool, &on_device));
  VIBEE_ASSIGN(const uint64_t stated, DevicePlan::bytes(g, o));
  const uint64_t before = pool->used();
  VIBEE_ASSIGN(const auto plan, DevicePlan::compile(g, on_device.table, o, runtime, *pool));
  EXPECT_EQ(pool->used() - before, stated);
  if (profile) VIBEE_TRY(plan->enable_profile());
  std::vector<float> logits;
  TrialAdapters adapters;
  adapters.runtime = runtime;
  for (const Work& work : works) {
    VIBEE_TRY(upload_adapters(g, work, *runtime, *pool, &adapters));
    VIBEE_ASSIGN(const SampleCache cache, SampleCache::make(g, o.kv, uint32_t(work.tokens.size()), o.max_context));
    const uint64_t pages = cache.views()[0].page_bytes * work.tokens.size() * (o.max_context / kPageTokens);
    VIBEE_ASSIGN(const DeviceBlock store, pool->take(pages + kKvSlack));
    VIBEE_TRY(runtime->device->call(runtime->device->driver().fill, "", store.address(), (unsigned char)0,
                                    size_t(store.bytes()), runtime->stream.get()));
    std::vector<DeviceKv> kv;
    for (const KvView& view : cache.views())
      kv.push_back({store.address() + uint64_t(view.base - cache.views()[0].base), view.page_bytes, view.layout});
    for (const bool second : {false, true}) {
      TrialStep step(work, second, [&](uint32_t s) { return cache.pages(s); });
      for (size_t s = 0; s < work.adapters.size(); ++s)
        if (!work.adapters[s].empty()) step.sequences[s].lora = adapters.on_device.at(work.adapters[s].data()).data();
      for (uint32_t i = 0; i < repeats; ++i) VIBEE_TRY(plan->run(step.batch(), kv));
      logits.insert(logits.end(), plan->outputs(), plan->outputs() + step.logits_rows.size() * plan->output_width());
    }
  }
  if (seen) {
    seen->recorded = plan->recorded_steps();
    seen->times.assign(plan->profile().begin(), plan->profile().end());
  }
  return logits;
}

/// Nothing was leaked or misused.
inline void expect_clean(TrialRuntime& rig) { EXPECT_EQ(rig.finish(), std::vector<std::string>{}); }

}  // namespace vibee
