// SPDX-License-Identifier: Apache-2.0
// v1772: what a width costs in time and bytes, and what it loses beside tables that were made for it alone.
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/compress/quantize/any_precision_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/builtin_model.h"

namespace vibee {
namespace {

Format table_format(uint32_t bits) { return Format(size_t(Format::lut3) + bits - 3); }

struct Matrix {
  PackedWeight w;
  std::vector<uint8_t> panels;
  static Matrix make(Format format, uint32_t n, uint32_t k, Isa isa, RandomStream& random) {
    Matrix m;
    const uint32_t nr = panel_rows(format, isa);
    m.panels = pack(format, nr, n, k, random_rows(format, n, k, random));
    m.w = {format, n, k, nr, m.panels.data()};
    return m;
  }
  double seconds(Isa isa, const std::vector<float>& x) const {
    const std::vector<uint8_t> act = is_integer(w.format) ? quantize(w.format, x, 1, w.k) : std::vector<uint8_t>();
    float sink = 0;
    const Timer timer;
    matmul(gemm_kernel(w.format, isa), w, MatmulInput{act.data(), act.empty() ? x.data() : nullptr, 1}, 0, w.panels(),
           [&](uint32_t, uint32_t, uint32_t, const float* tile) { sink += tile[0]; });
    return sink == sink ? timer.seconds() : 0;
  }
};

/// One row through a matrix of each width and of q8_0, in turns.
Status bench_products(BenchContext& context) {
  const Isa isa = context.settings().isa;
  const uint32_t n = context.settings().quick ? 2048 : 8192, k = 4096;
  RandomStream random(context.settings().seed, Purpose::test);
  std::vector<float> x(k);
  for (float& v : x) v = random.normal();
  std::vector<Matrix> all;
  for (uint32_t bits = 3; bits <= 8; ++bits) all.push_back(Matrix::make(table_format(bits), n, k, isa, random));
  all.push_back(Matrix::make(Format::q8_0, n, k, isa, random));
  std::vector<std::vector<double>> times(all.size());
  for (int run = 0; run < 12; ++run)
    for (size_t i = 0; i < all.size(); ++i) {
      if (!context.proceed("products", run / 12.0)) return error(Code::cancelled, "stopped");
      const double seconds = all[i].seconds(isa, x);
      if (run > 0) times[i].push_back(seconds);
    }
  const auto median = [&](size_t i) {
    std::nth_element(times[i].begin(), times[i].begin() + std::ptrdiff_t(times[i].size() / 2), times[i].end());
    return times[i][times[i].size() / 2];
  };
  const std::string note = fmt::format("one row, {} x {}, 1 thread", n, k);
  for (size_t i = 0; i + 1 < all.size(); ++i)
    context.figure(fmt::format("{} bits", i + 3), double(n) * k / median(i) / 1e9, "Gweight/s", 0, note);
  context.figure("q8_0", double(n) * k / median(all.size() - 1) / 1e9, "Gweight/s", 0, note);
  context.target("time of 8 bits over that of 3", median(5) / median(0), "x", 2, note);
  double slowest_step = INFINITY;
  for (size_t i = 0; i + 2 < all.size(); ++i) slowest_step = std::min(slowest_step, median(i + 1) / median(i));
  context.target("least ratio of a width's time to that of the one below", slowest_step, "x", 1, note);
  return {};
}

/// Texts that the model itself writes, so that its divergence is measured where it knows what to say.
Result<std::vector<int32_t>> own_text(FormatTrial::Run& run, uint64_t stream, uint32_t count) {
  SequenceState state = run.session->new_sequence();
  std::vector<int32_t> out = {int32_t(1 + stream)};
  RandomStream random(stream, Purpose::workload);
  while (out.size() < count) {
    const StepRows rows{&state, {&out.back(), 1}, 1};
    VIBEE_ASSIGN(const std::span<float> logits, run.session->step({&rows, 1}));
    size_t best = 0;
    double most = -INFINITY;
    for (size_t i = 0; i < logits.size(); ++i) {
      const double noisy = logits[i] - std::log(-std::log(random.uniform() + 1e-12) + 1e-12);
      if (noisy > most) most = noisy, best = i;
    }
    out.push_back(int32_t(best));
  }
  return out;
}
Result<std::vector<float>> logits_of(FormatTrial::Run& run, const std::vector<int32_t>& text) {
  SequenceState state = run.session->new_sequence();
  const StepRows rows{&state, text, uint32_t(text.size())};
  VIBEE_ASSIGN(const std::span<float> out, run.session->step({&rows, 1}));
  return std::vector<float>(out.begin(), out.end());
}

Status bench_quality(BenchContext& context) {
  RunSettings settings = context.settings();
  if (settings.model.empty()) settings.model = kBuiltinPath;
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(settings, false));
  VIBEE_ASSIGN(const Checkpoint source, open_checkpoint(trial.path()));
  const TempFolder folder;
  const std::string directory = folder.path() + "/any";
  Team team(settings.threads);
  const Timer timer;
  VIBEE_ASSIGN(const AnyPrecisionReport report,
               write_any_precision(source, {}, directory, {.widths = {}, .team = &team}));
  context.figure("seconds of writing all widths", timer.seconds(), "s", 0,
                 fmt::format("{:.2f} million weights, {} threads", double(report.elements) / 1e6, settings.threads));
  context.figure("bits a weight of all widths", report.bits_per_weight(), "bits", 0, "planes and tables of 3 to 8");

  VIBEE_ASSIGN(FormatTrial::Run base, trial.load({}, true));
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> want;
  for (uint64_t t = 0; t < (settings.quick ? 8u : 32u); ++t) {
    VIBEE_ASSIGN(std::vector<int32_t> text, own_text(base, t, 64));
    texts.push_back(std::move(text));
    VIBEE_ASSIGN(std::vector<float> logits, logits_of(base, texts.back()));
    want.push_back(std::move(logits));
  }
  const auto kl = [&](Checkpoint file) -> Result<double> {
    VIBEE_ASSIGN(FormatTrial::Run run, trial.load_file(std::move(file), true));
    double sum = 0;
    for (size_t t = 0; t < texts.size(); ++t) {
      VIBEE_ASSIGN(const std::vector<float> got, logits_of(run, texts[t]));
      sum += FormatTrial::kl(want[t], got, base.vocab());
    }
    return sum / double(texts.size());
  };
  for (const uint32_t bits : {4u, 5u}) {
    VIBEE_ASSIGN(Checkpoint nested, open_checkpoint(directory, bits));
    VIBEE_ASSIGN(const double of_nested, kl(std::move(nested)));
    VIBEE_ASSIGN(Checkpoint plain, open_checkpoint(trial.path()));
    VIBEE_ASSIGN(
        Checkpoint direct, recast_checkpoint(std::move(plain), [&](const TensorInfo& t) {
          return is_nested(t, false) ? table_format(bits) : info(t.format).block_elems == 1 ? t.format : Format::f16;
        }));
    VIBEE_ASSIGN(const double of_direct, kl(std::move(direct)));
    context.figure(fmt::format("{} bits: KL divergence", bits), of_nested, "nats");
    context.target(fmt::format("{} bits: KL of tables made for it over that of nested ones", bits),
                   of_direct / of_nested, "x", 1 / 1.10);
  }
  return {};
}

}  // namespace

Status bench_any_precision(BenchContext& context) {
  VIBEE_TRY(bench_products(context));
  for (const uint32_t k : {4096u, 8192u}) {
    double all = double(k);  // eight planes
    for (uint32_t bits = 3; bits <= 8; ++bits) all += info(table_format(bits)).head_bytes;
    context.target(fmt::format("bytes of 8 bits a weight over all widths of a row of {}", k), k / all, "x",
                   k == 4096 ? 1 / 1.26 : 1 / 1.13);
  }
  return bench_quality(context);
}

}  // namespace vibee
