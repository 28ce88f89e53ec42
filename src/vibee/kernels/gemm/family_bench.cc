// SPDX-License-Identifier: Apache-2.0
// Times the best kernel of each format of one matmul technique on a matrix of SmolLM2's shape (1536 x 512), on one
// thread: 512 rows in multiply-adds a second, one row in bytes of panels a second. Before that its answer is compared
// with the scalar row's.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/gemm_cases.h"

namespace vibee {
namespace {

constexpr uint32_t kN = 1536, kK = 512;

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

/// Seconds that all panels take for `rows` rows.
double time_rows(const GemmKernel& kernel, const PackedWeight& w, const std::vector<float>& x, uint32_t rows,
                 int runs) {
  const std::vector<uint8_t> act = is_integer(w.format) ? quantize(w.format, x, rows, w.k) : std::vector<uint8_t>();
  std::vector<uint8_t> ready(panel_scratch(kernel, w.k, rows, RowForm::quantized));
  float sink = 0;
  const double seconds = median_seconds(runs, [&] {
    matmul(kernel, w, MatmulInput{act.data(), act.empty() ? x.data() : nullptr, rows, ready.data()}, 0, w.panels(),
           [&](uint32_t, uint32_t, uint32_t, const float* tile) { sink += tile[0]; });
  });
  return sink == sink ? seconds : 0;
}

}  // namespace

Status bench_family_kernels_gemm(BenchContext& context, std::string_view id) {
  const RunSettings& settings = context.settings();
  RandomStream random(settings.seed, Purpose::test);
  bool any = false;
  for (const NumericFormat& f : all_formats()) {
    if (!context.proceed(id, double(&f - all_formats().data()) / double(all_formats().size())))
      return error(Code::cancelled, "stopped");
    const GemmKernel &best = gemm_kernel(f.format, settings.isa), &plain = gemm_kernel(f.format, Isa::scalar);
    if (best.technique != id) continue;
    any = true;
    const std::vector<uint8_t> bytes = random_rows(f.format, kN, kK, random);
    const uint32_t nr = panel_rows(f.format, best.isa), plain_nr = panel_rows(f.format, Isa::scalar);
    const std::vector<uint8_t> panels = pack(f.format, nr, kN, kK, bytes);
    const PackedWeight w{f.format, kN, kK, nr, panels.data()};
    std::vector<float> x(512 * kK);
    for (float& v : x) v = random.normal();
    {
      const uint32_t n = 40, rows = 5;
      const std::vector<uint8_t> plain_panels = pack(f.format, plain_nr, n, kK, bytes);
      const std::vector<uint8_t> act = is_integer(f.format) ? quantize(f.format, x, rows, kK) : std::vector<uint8_t>();
      const auto want = multiply(plain, {f.format, n, kK, plain_nr, plain_panels.data()}, act, x, rows);
      const std::vector<uint8_t> few = pack(f.format, nr, n, kK, bytes);
      const auto got = multiply(best, {f.format, n, kK, nr, few.data()}, act, x, rows);
      if (std::memcmp(want.data(), got.data(), want.size() * sizeof(float)) != 0)
        return error(Code::corrupt, "{} and {} differ; nothing was timed", best.symbol, plain.symbol);
    }
    const uint32_t rows = settings.quick ? 96 : 512;
    context.figure(fmt::format("{}, {} rows", f.name, rows),
                   double(kN) * kK * rows / time_rows(best, w, x, rows, 5) / 1e9, "GMAC/s", 0,
                   fmt::format("{}, 1 thread", best.symbol));
    context.figure(fmt::format("{}, one row", f.name), double(w.bytes()) / time_rows(best, w, x, 1, 31) / 1e9, "GB/s",
                   0, "panels in the cache, 1 thread");
  }
  if (!any) return error(Code::invalid, "{} has no kernel that runs here", id);
  return {};
}

}  // namespace vibee
