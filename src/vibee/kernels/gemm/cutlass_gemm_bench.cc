// SPDX-License-Identifier: Apache-2.0
// v1688: products of training and inference beside OpenBLAS, BLIS and oneDNN where they are installed, and beside this
// machine's own peak: in turns in one run, medians. A library's threads go on spinning for a while after a call, so
// there is a pause behind each.
#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <thread>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/hw/device/probe.h"
#include "vibee/kernels/gemm/dense_cases.h"
#include "vibee/kernels/gemm/vendor_gemm.h"

namespace vibee {
namespace {

constexpr auto kPause = std::chrono::milliseconds(30);

/// A product with what it multiplies; several copies of small ones, so that they do not stay in the cache.
class Product {
 public:
  Product(const GemmProblem& problem, const RunSettings& settings, bool packed)
      : problem_(problem), packed_(packed), team_(settings.threads) {
    problem_.packed_b = packed;
  }

  Status prepare(const RunSettings& settings) {
    VIBEE_ASSIGN(plan_, GemmPlan::make(problem_, settings.threads, settings.isa));
    VIBEE_ASSIGN(workspace_, HugeBuffer::allocate(plan_.workspace() + 64));
    const GemmProblem& p = problem_;
    const uint64_t floats = uint64_t(p.m) * p.k + uint64_t(p.k) * p.n + 2 * uint64_t(p.m) * p.n + p.n;
    constexpr uint64_t kBeyondCache = 64u << 20;
    copies_ = uint32_t(std::clamp<uint64_t>(kBeyondCache / (floats * sizeof(float)), 1, 16));
    RandomStream random(settings.seed, Purpose::test);
    for (uint32_t i = 0; i < copies_; ++i) {
      Operands o;
      for (const auto& [buffer, size] : {std::pair{&o.a, uint64_t(p.m) * p.k},
                                         {&o.b, uint64_t(p.k) * p.n},
                                         {&o.d, uint64_t(p.m) * p.n},
                                         {&o.bias, uint64_t(p.n)}}) {
        VIBEE_ASSIGN(*buffer, HugeBuffer::allocate(size * sizeof(float) + 64));
        for (uint64_t j = 0; j < size; ++j) buffer->as<float>()[j] = random.uniform() - 0.5f;
      }
      if (packed_) {
        o.panels = gemm_panels(plan_.problem());
        VIBEE_ASSIGN(o.packed, HugeBuffer::allocate(o.panels.bytes() + 64));
        gemm_pack_panels(plan_.problem(), settings.isa, std::span<const float>(o.b.as<float>(), uint64_t(p.k) * p.n), 0,
                         {0, o.panels.panels()}, o.packed.data());
        o.panels.data = o.packed.data();
      }
      operands_.push_back(std::move(o));
    }
    return {};
  }

  double flops() const { return 2.0 * problem_.m * problem_.n * problem_.k; }
  Team& team() { return team_; }
  /// Calls that take some milliseconds together.
  int repeats(double gflops) const { return int(std::clamp(4e-3 * gflops * 1e9 / flops(), 1.0, 200.0)); }

  Status ours() {
    Operands& o = next();
    return plan_.run(data(o), team_, {workspace_.data(), workspace_.size()});
  }
  Status vendor(const VendorGemm& library) {
    Operands& o = next();
    GemmProblem plain = problem_;
    plain.packed_b = false;
    plain.epilogue = {};
    return library.run(plain, data(o));
  }
  Status plain(const GemmPlan& plan) {
    Operands& o = next();
    return plan.run(data(o), team_, {workspace_.data(), workspace_.size()});
  }
  /// The epilogue as a pass over what a plain product left.
  Status unfused(const GemmPlan& plan, Isa isa) {
    Operands& o = next();
    VIBEE_TRY(plan.run(data(o), team_, {workspace_.data(), workspace_.size()}));
    team_.run([&](uint32_t tid) {
      const Range rows = share(problem_.m, tid, team_.size());
      for (uint32_t r = rows.begin; r < rows.end; ++r) {
        float* row = o.d.as<float>() + uint64_t(r) * problem_.n;
        pointwise(isa).add(row, o.bias.as<float>(), problem_.n, row);
        pointwise(isa).activate(*problem_.epilogue.activation, row, problem_.n, row);
      }
    });
    return {};
  }

 private:
  struct Operands {
    HugeBuffer a, b, d, bias, packed;
    PackedWeight panels;
  };
  Operands& next() { return operands_[turn_++ % copies_]; }
  GemmData data(Operands& o) const {
    const GemmProblem& p = problem_;
    GemmData out;
    out.a = std::span<const float>(o.a.as<float>(), uint64_t(p.m) * p.k);
    out.b = std::span<const float>(o.b.as<float>(), uint64_t(p.k) * p.n);
    if (packed_) out.packed = &o.panels;
    out.d = {o.d.as<float>(), uint64_t(p.m) * p.n};
    out.bias = {o.bias.as<float>(), p.n};
    return out;
  }

  GemmProblem problem_;
  bool packed_;
  Team team_;
  GemmPlan plan_;
  HugeBuffer workspace_;
  uint32_t copies_ = 1, turn_ = 0;
  std::vector<Operands> operands_;
};

struct Contender {
  std::string name;
  std::function<Status()> call;
  bool pause = false;
  std::vector<double> seconds = {};
};

/// Every contender `repeats` times in a round; the first call of all is not counted.
Status in_turns(std::vector<Contender>& all, int rounds, int repeats) {
  for (int r = -1; r < rounds; ++r)
    for (Contender& c : all) {
      const Timer timer;
      for (int i = 0; i < (r < 0 ? 1 : repeats); ++i) VIBEE_TRY(c.call());
      if (r >= 0) c.seconds.push_back(timer.seconds() / repeats);
      if (c.pause) std::this_thread::sleep_for(kPause);
    }
  return {};
}

struct Libraries {
  std::vector<VendorGemm> found;
  explicit Libraries(BenchContext& context) {
    for (const GemmVendor which : kGemmVendors) {
      auto library = VendorGemm::open(which, context.settings().threads);
      if (library.ok())
        found.push_back(std::move(*library));
      else
        context.figure(fmt::format("{} beside it", name(which)), 0, "", 0, library.status().message());
    }
  }
};

GemmProblem linear(uint32_t m, uint32_t n, uint32_t k) {
  GemmProblem p;
  p.m = m;
  p.n = n;
  p.k = k;
  p.b.transposed = true;  // a weight [n, k]
  return p;
}

struct Shape {
  std::string name;
  GemmProblem problem;
  bool packed;
  double of_peak, of_best;  ///< targets; 0: none
};

Status time_shape(BenchContext& context, const Libraries& libraries, const Shape& shape, int rounds) {
  const RunSettings& settings = context.settings();
  Product product(shape.problem, settings, shape.packed);
  VIBEE_TRY(product.prepare(settings));
  std::vector<Contender> all = {{"ours", [&] { return product.ours(); }}};
  for (const VendorGemm& library : libraries.found)
    all.push_back({library.description(), [&] { return product.vendor(library); }, true});
  std::vector<double> peaks;
  all.push_back({"peak", [&] {
                   peaks.push_back(compute_peaks(product.team(), settings.isa, 1).fma_gflops);
                   return Status();
                 }});
  VIBEE_TRY(in_turns(all, rounds, product.repeats(300)));
  const double peak = median(peaks);
  size_t best = 0;
  std::string others;
  for (size_t i = 1; i <= libraries.found.size(); ++i) {
    if (best == 0 || median(all[i].seconds) < median(all[best].seconds)) best = i;
    others +=
        fmt::format("{}{} {:.1f}", i > 1 ? ", " : "", all[i].name, product.flops() / median(all[i].seconds) / 1e9);
  }
  const double ours = product.flops() / median(all[0].seconds) / 1e9;
  const std::string note = fmt::format("{:.1f} GFLOP/s of {:.1f}, {} threads, median of {}{}{}", ours, peak,
                                       settings.threads, rounds, others.empty() ? "" : "; ", others);
  if (shape.of_peak > 0)
    context.target(shape.name, 100 * ours / peak, "% of FMA peak", shape.of_peak, note);
  else
    context.figure(shape.name, ours, "GFLOP/s", peak, note);
  if (best > 0 && shape.of_best > 0) {
    const PairedRatio r = paired_ratio(all[best].seconds, all[0].seconds);
    context.target(fmt::format("{} over the best library", shape.name), r.ratio, "x", shape.of_best,
                   fmt::format("{}; {:.2f} to {:.2f}", all[best].name, r.low, r.high));
  }
  return {};
}

Status time_epilogue(BenchContext& context, int rounds) {
  const RunSettings& settings = context.settings();
  GemmProblem problem = linear(512, 1536, 576);
  GemmPlan plain;
  VIBEE_ASSIGN(plain, GemmPlan::make(problem, settings.threads, settings.isa));
  problem.epilogue.bias = true;
  problem.epilogue.activation = Gate::gelu_tanh;
  Product product(problem, settings, false);
  VIBEE_TRY(product.prepare(settings));
  std::vector<Contender> all = {{"fused", [&] { return product.ours(); }},
                                {"unfused", [&] { return product.unfused(plain, settings.isa); }},
                                {"without", [&] { return product.plain(plain); }}};
  VIBEE_TRY(in_turns(all, rounds, product.repeats(300)));
  const PairedRatio r = paired_ratio(all[1].seconds, all[0].seconds);
  const PairedRatio most = paired_ratio(all[1].seconds, all[2].seconds);
  context.target(
      "bias and GELU in the epilogue over a pass behind it", r.ratio, "x", 1.15,
      fmt::format("512 x 1536 x 576, {} threads, median of {} pairs, {:.2f} to {:.2f}; {:.2f} if an epilogue "
                  "took no time",
                  settings.threads, rounds, r.low, r.high, most.ratio));
  return {};
}

}  // namespace

Status bench_cutlass_gemm(BenchContext& context) {
  const bool quick = context.settings().quick;
  const Libraries libraries(context);
  GemmProblem square;
  square.m = square.n = square.k = 1024;
  GemmProblem input_gradient = linear(4096, 1536, 576), weight_gradient = linear(576, 1536, 4096);
  input_gradient.b.transposed = false;  // dX [m, in] = dY [m, out] W [out, in]
  weight_gradient.a.transposed = true;  // dW [out, in] = dY^T [out, m] X [m, in]
  weight_gradient.b.transposed = false;
  std::vector<Shape> shapes = {{"1024 x 1024 x 1024", square, false, 85, 1},
                               {"4096 x 576 x 1536", linear(4096, 576, 1536), false, 88, 1},
                               {"input gradient 4096 x 1536 x 576", input_gradient, false, 0, 1},
                               {"weight gradient 576 x 1536 x 4096", weight_gradient, false, 0, 1}};
  for (const uint32_t m : {4u, 8u, 16u})
    shapes.push_back({fmt::format("{} rows by 2048 x 8192, panels", m), linear(m, 2048, 8192), true, 0, 1.5});
  const auto of_models = quick
                             ? std::vector<std::array<uint32_t, 2>>{{1536, 576}}
                             : std::vector<std::array<uint32_t, 2>>{{1536, 576}, {576, 1536}, {2048, 640}, {640, 2048}};
  for (const auto& [n, k] : of_models)
    for (const uint32_t m : {1u, 8u, 64u, 512u})
      shapes.push_back({fmt::format("{} x {} x {}, panels", m, n, k), linear(m, n, k), true, 0, m <= 64 ? 1.3 : 0.95});
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (!context.proceed(shapes[i].name, double(i) / double(shapes.size()))) return error(Code::cancelled, "stopped");
    VIBEE_TRY(time_shape(context, libraries, shapes[i], quick ? 15 : 41));
  }
  return time_epilogue(context, quick ? 41 : 101);
}

}  // namespace vibee
