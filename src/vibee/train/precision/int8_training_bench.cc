// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/random/philox.h"

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/cutlass_gemm.h"
#include "vibee/kernels/gemm/int8_gemm.h"
#include "vibee/kit/trial_precision.h"

namespace vibee {
namespace {

/// A linear's forward product and the gradient of its rows, in floats and in integers (what is rounded included, but
/// for weights, which are once a step).
class TwoProducts {
 public:
  static constexpr uint32_t kRows = 1024;
  TwoProducts(uint32_t n, uint32_t k, const RunSettings& settings)
      : n_(n), k_(k), isa_(settings.isa), team_(settings.threads) {
    RandomStream random(settings.seed, Purpose::test);
    for (auto* list : {&x_, &g_, &w_}) {
      list->resize(uint64_t(list == &x_ ? kRows * k : list == &g_ ? kRows * n : n * k));
      for (float& v : *list) v = random.normal();
    }
    y_.resize(uint64_t(kRows) * n), dx_.resize(uint64_t(kRows) * k);
  }
  Status prepare() {
    VIBEE_ASSIGN(forward_, GemmPlan::make({kRows, n_, k_, {}, {Format::f32, true}, {}}, team_.size(), isa_));
    VIBEE_ASSIGN(backward_, GemmPlan::make({kRows, k_, n_, {}, {}, {}}, team_.size(), isa_));
    stride_ = std::max(int8_workspace(n_, isa_), int8_workspace(k_, isa_));
    VIBEE_ASSIGN(work_, HugeBuffer::allocate(
                            std::max({forward_.workspace(), backward_.workspace(), team_.size() * stride_}) + 64));
    VIBEE_ASSIGN(panels_, HugeBuffer::allocate(int8_panel_bytes(n_, k_) + int8_panel_bytes(k_, n_)));
    forward_panels_ = {panels_.data(), n_, k_};
    backward_panels_ = {panels_.data() + int8_panel_bytes(n_, k_), k_, n_};
    for (const PackedPanels* p : {&forward_panels_, &backward_panels_}) {
      const ProductOperand w{w_.data(), Format::f32, k_, p == &backward_panels_, p->rows, p->depth};
      int8_pack(w, int8_largest(w, {0, w.rows}, isa_), {0, p->panels()}, isa_, *p);
    }
    return {};
  }
  double floats() {
    const Timer timer;
    const auto run = [&](const GemmPlan& plan, const std::vector<float>& a, std::vector<float>* d) {
      GemmData data;
      data.a = std::span<const float>(a), data.b = std::span<const float>(w_), data.d = *d;
      const Status done = plan.run(data, team_, {work_.data(), plan.workspace()});
      VIBEE_CHECK(done.ok(), "{}", done.message());
    };
    run(forward_, x_, &y_), run(backward_, g_, &dx_);
    return timer.seconds();
  }
  double integers() {
    const Timer timer;
    const auto run = [&](const std::vector<float>& a, const PackedPanels& b, std::vector<float>* d, uint32_t tid) {
      const uint32_t tile = int8_tile_rows(isa_);
      const Range tiles = share((kRows + tile - 1) / tile, tid, team_.size());
      int8_product({a.data(), Format::f32, b.depth, false, kRows, b.depth}, b,
                   {tiles.begin * tile, std::min(kRows, tiles.end * tile)}, isa_, d->data(), b.rows,
                   {work_.data() + tid * stride_, stride_});
    };
    team_.run([&](uint32_t tid) {
      run(x_, forward_panels_, &y_, tid);
      team_.barrier();
      run(g_, backward_panels_, &dx_, tid);
    });
    return timer.seconds();
  }

 private:
  uint32_t n_, k_;
  Isa isa_;
  Team team_;
  std::vector<float> x_, g_, w_, y_, dx_;
  GemmPlan forward_, backward_;
  HugeBuffer work_, panels_;
  uint64_t stride_ = 0;
  PackedPanels forward_panels_, backward_panels_;
};

}  // namespace

/// Two of a linear's three products beside those in floats, a step of a model of 20 M parameters, and what small models
/// learn of stories.
Status bench_int8_training(BenchContext& context) {
  const RunSettings& settings = context.settings();
  const bool quick = settings.quick;
  double floats = 0, integers = 0;
  for (const auto& [n, k] : {std::pair{1152u, 384u}, {384u, 384u}, {1024u, 384u}, {384u, 1024u}}) {
    TwoProducts products(n, k, settings);
    VIBEE_TRY(products.prepare());
    std::vector<double> of_floats, of_integers;
    for (int i = 0; i < (quick ? 7 : 25); ++i) {
      of_floats.push_back(products.floats());
      of_integers.push_back(products.integers());
    }
    const PairedRatio ratio = paired_ratio(of_floats, of_integers);
    context.figure(fmt::format("forward and dx, weight {} x {}: speed over f32", n, k), ratio.ratio, "x", 0,
                   fmt::format("{} rows; {:.2f} to {:.2f} at 95 %", TwoProducts::kRows, ratio.low, ratio.high));
    std::sort(of_floats.begin(), of_floats.end()), std::sort(of_integers.begin(), of_integers.end());
    floats += of_floats[of_floats.size() / 2], integers += of_integers[of_integers.size() / 2];
  }
  context.target("forward and dx of a layer's products: speed over f32", floats / integers, "x", 1.6);
  if (!context.proceed("a step", 0.2)) return {};
  VIBEE_TRY(bench_step("int8-switchback", 1.2, context));
  if (!context.proceed("learning", 0.5)) return {};

  TrialPrecision trial(settings);
  VIBEE_TRY(trial.prepare());
  VIBEE_ASSIGN(const TrialPrecision::Learnt f32, trial.learn(Format::f32, Master::f32));
  context.figure("held-out loss, f32", f32.loss, "nats", 0, trial.size());
  for (const char* recipe : {"int8-switchback", "int8-rows", "int8-forward"}) {
    if (!context.proceed(recipe, 0.8)) return {};
    trial.multiply(recipe);
    VIBEE_ASSIGN(const TrialPrecision::Learnt learnt, trial.learn(Format::f32, Master::f32));
    context.target(fmt::format("loss of f32 over that of {}", recipe), f32.loss / learnt.loss, "x", 1 / 1.005,
                   trial.size());
  }
  return {};
}

}  // namespace vibee
