// SPDX-License-Identifier: Apache-2.0
// Proves the matmul kernels of one technique: every row gives the bytes of the contract computed from the file's
// blocks, on shapes that end inside a tile and a panel, and those are as near to doubles as their roundings allow.
#include <bit>
#include <cmath>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/gemm_cases.h"

namespace vibee {
namespace {

struct Tally {
  double worst = 0;  ///< error over its bound
  size_t different = 0, compared = 0;
};

/// One matrix through every row of the technique that multiplies its format and may run here.
void run_case(std::string_view id, Format format, Isa most, uint32_t rows, RandomStream& random, Tally& tally) {
  const uint32_t unit = row_unit(format), n = 1 + random.below(50),
                 k = unit * (unit == 1          ? 77
                             : unit == 256      ? 2
                             : is_table(format) ? 35
                                                : 5);
  const std::vector<uint8_t> bytes = random_rows(format, n, k, random);
  std::vector<float> x(uint64_t(rows) * k);
  for (float& v : x) v = random.normal();
  std::vector<double> exact, terms;
  const std::vector<float> want = reference(format, bytes, n, k, x, rows, &exact, &terms);
  for (size_t i = 0; i < want.size(); ++i) {
    const double bound = rounding_steps(format, k) * 0x1p-23 * terms[i] + 1e-30;
    const double error = std::fabs(want[i] - exact[i]) / bound;
    tally.worst = error <= tally.worst ? tally.worst : error;
  }
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.technique != id || kernel.format != format || kernel.isa > most) continue;
    const uint32_t nr = panel_rows(format, kernel.isa);
    const std::vector<uint8_t> panels = pack(format, nr, n, k, bytes);
    const std::vector<uint8_t> act = is_integer(format) ? quantize(format, x, rows, k) : std::vector<uint8_t>();
    const std::vector<float> got = multiply(kernel, {format, n, k, nr, panels.data()}, act, x, rows);
    for (size_t i = 0; i < want.size(); ++i)
      tally.different += std::bit_cast<uint32_t>(want[i]) != std::bit_cast<uint32_t>(got[i]);
    tally.compared += want.size();
  }
}

}  // namespace

Status check_family_kernels_gemm(CheckContext& context, std::string_view id) {
  if (context.describe_only()) return {};
  RandomStream random(context.settings().seed, Purpose::test);
  size_t compared = 0;
  for (const NumericFormat& f : all_formats()) {
    if (!context.proceed(id, double(&f - all_formats().data()) / double(all_formats().size())))
      return error(Code::cancelled, "stopped");
    Tally tally;
    for (const uint32_t rows : {1u, 3u, 4u, 7u, 12u, 13u, 29u})
      run_case(id, f.format, context.settings().isa, rows, random, tally);
    if (tally.compared == 0) continue;  // the technique has no kernel for it
    context.equal(fmt::format("{}: values unlike the contract's", f.name), double(tally.different), 0, "",
                  fmt::format("{} compared", tally.compared));
    context.at_most(fmt::format("{}: error against double over its bound", f.name), tally.worst, 1);
    compared += tally.compared;
  }
  if (compared == 0) return error(Code::invalid, "{} has no kernel that runs here", id);
  return {};
}

}  // namespace vibee
