// SPDX-License-Identifier: Apache-2.0
// Times the best f32 kernel of one attention technique at the shape of SmolLM2 (9 heads, 3 KV heads, 64 dimensions): a
// whole causal prompt in FLOP/s and one decoded row in bytes of keys and values a second. The answer of each timed call
// is compared with the scalar kernel's first.
#include <chrono>
#include <cstring>
#include <thread>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/attention_cases.h"

namespace vibee {
namespace {

constexpr uint32_t kHeads = 9, kKvHeads = 3, kHeadDim = 64;

/// Median seconds of `runs` calls, after one that is not counted.
template <class Function>
double median_seconds(int runs, Function function) {
  std::vector<double> seconds;
  function();
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    function();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
  return seconds[size_t(runs / 2)];
}

/// All rows of the prompt; threads take blocks of 48 rows of a KV head in turn.
void prompt(const StoredSequence& s, const AttentionKernel& kernel, uint32_t threads, float* out) {
  constexpr uint32_t kBlock = 48;
  const uint32_t blocks = (s.c.length + kBlock - 1) / kBlock;
  const auto work = [&](uint32_t tid) {
    for (uint32_t item = tid; item < blocks * s.c.kv_heads; item += threads) {
      const uint32_t first = item / s.c.kv_heads * kBlock;
      s.attend_rows(kernel, item % s.c.kv_heads, first, std::min(first + kBlock, s.c.length), kMaxQueryTile, out);
    }
  };
  std::vector<std::jthread> helpers;
  for (uint32_t tid = 1; tid < threads; ++tid) helpers.emplace_back(work, tid);
  work(0);
}

}  // namespace

Status bench_family_kernels_attention(BenchContext& context, std::string_view id) {
  const RunSettings& settings = context.settings();
  const AttentionKernel *best = nullptr, *plain = nullptr;
  for (const AttentionKernel& kernel : attention_kernels()) {
    if (kernel.technique != id || kernel.kv != KvFormat::f32 || kernel.isa > settings.isa) continue;
    if (best == nullptr || kernel.isa > best->isa) best = &kernel;
    if (plain == nullptr || kernel.isa < plain->isa) plain = &kernel;
  }
  if (best == nullptr) return error(Code::invalid, "{} has no f32 kernel that runs here", id);
  const AttentionKernel& kernel = *best;
  {
    const StoredSequence s({300, kHeads, kKvHeads, kHeadDim}, KvFormat::f32, settings.seed);
    const std::vector<float> want = s.attend_all(*plain, 3), got = s.attend_all(kernel, 4);
    if (std::memcmp(want.data(), got.data(), want.size() * sizeof(float)) != 0)
      return error(Code::corrupt, "{} and {} differ; nothing was timed", kernel.symbol, plain->symbol);
  }
  const std::vector<uint32_t> lengths =
      settings.quick ? std::vector<uint32_t>{512, 2048} : std::vector<uint32_t>{512, 2048, 8192, 16384};
  for (uint32_t length : lengths) {
    if (!context.proceed(id, double(length) / lengths.back())) return error(Code::cancelled, "stopped");
    const StoredSequence s({length, kHeads, kKvHeads, kHeadDim}, KvFormat::f32, settings.seed);
    std::vector<float> out(s.q.size());
    const double flops = 2.0 * length * length * kHeadDim * kHeads;
    const double prompt_seconds =
        median_seconds(length > 4096 ? 1 : 5, [&] { prompt(s, kernel, settings.threads, out.data()); });
    context.figure(fmt::format("prompt of {}", length), flops / prompt_seconds / 1e9, "GFLOP/s", 0,
                   fmt::format("{}, {} threads", kernel.symbol, settings.threads));
    const double row_seconds = median_seconds(101, [&] {
      for (uint32_t h = 0; h < kKvHeads; ++h) s.attend_rows(kernel, h, length - 1, length, 1, out.data());
    });
    const double bytes = 2.0 * length * kKvHeads * kHeadDim * sizeof(float);
    context.figure(fmt::format("one row after {}", length), bytes / row_seconds / 1e9, "GB/s", 0,
                   fmt::format("{}, 1 thread", kernel.symbol));
    const double states = double(settings.threads) * 2 * kernel.tile * sizeof(FoldState);
    context.figure(fmt::format("memory saved at {}", length), 4.0 * length * length / states, "x", 0,
                   "one T x T array over fold states");
  }
  return {};
}

}  // namespace vibee
