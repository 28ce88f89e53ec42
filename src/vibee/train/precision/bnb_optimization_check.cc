// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "vibee/base/hash/siphash.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/codebook/dynamic8.h"
#include "vibee/kernels/gemm/outlier_cases.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/inject_outliers.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_training.h"
#include "vibee/train/precision/bnb_optimization.h"

namespace vibee {
namespace {

constexpr int64_t kWeights = 4096;

// Of what bitsandbytes computed (data/golden/optimiser): its maps, and codes behind one step, first moments and second
// ones.
constexpr uint64_t kSignedMap = 0xe2985e7d4a3c3e20, kUnsignedMap = 0x7aaed1638fd8cf0e, kAdamCodes = 0x06bd3f9ba75656ee,
                   kMomentumCodes = 0x3789576f3015579f, kLionCodes = kMomentumCodes;  // gradients, times a number

/// The gradients and weights of tools/make_optimiser_goldens.py, which asked bitsandbytes.
std::vector<float> gradients(int64_t t) {
  std::vector<float> g(kWeights);
  for (int64_t i = 0; i < kWeights; ++i)
    g[size_t(i)] = float(double((i * 7919 + t * 104729) % 4001 - 2000) * std::exp2(-14.0 - double((i * 31 + t) % 9)));
  return g;
}
std::vector<float> weights() {
  std::vector<float> w(kWeights);
  for (int64_t i = 0; i < kWeights; ++i) w[size_t(i)] = float(i * 257 % 1999 - 999) / 1024;
  return w;
}

uint64_t hash_of(const void* bytes, size_t n) { return SipHash(0, 0)({static_cast<const uint8_t*>(bytes), n}).low; }

/// Weights and moments in 8 bits under a rule.
struct Steps {
  Optimiser o;
  std::vector<float> w;
  std::vector<uint8_t> bytes[kMostMoments];
  uint64_t count() const { return info(o.rule).moments(o); }
  MomentElements moment(uint32_t m) {
    const bool squares = m == info(o.rule).squares;
    const MomentForm form = squares ? MomentForm::unsigned_dynamic8 : MomentForm::dynamic8;
    bytes[m].resize(MomentElements::bytes(form, 256, kWeights));
    return MomentElements::at(bytes[m].data(), form, 256, kWeights);
  }
  void step(Isa isa, int64_t t) {
    std::vector<float> x[kMostMoments] = {std::vector<float>(kWeights), std::vector<float>(kWeights)};
    float* at[kMostMoments] = {};
    for (uint32_t m = 0; m < count(); ++m) at[m] = moment(m).load(isa, kWeights, x[m].data());
    const UpdateRule& rule = info(o.rule);
    rule.kernel(isa)(rule.step(o, uint64_t(t), true), gradients(t).data(), kWeights, w.data(), at);
    for (uint32_t m = 0; m < count(); ++m) moment(m).store(isa, at[m], kWeights);
  }
};

/// AdamW with moments in 8 bits as the paper defines it, in double: the nearest of all values is looked for.
std::vector<double> by_definition(const Optimiser& o, int64_t steps) {
  const std::vector<float> start = weights();
  std::vector<double> w(start.begin(), start.end()), m(kWeights), v(kWeights);
  const auto narrow = [](std::vector<double>* x, bool is_signed) {
    const Dynamic8Map& map = dynamic8_map(is_signed);
    for (size_t block = 0; block < size_t(kWeights); block += 256) {
      double largest = 0;
      for (size_t i = block; i < block + 256; ++i) largest = std::max(largest, std::fabs((*x)[i]));
      for (size_t i = block; i < block + 256; ++i) {
        double best = std::numeric_limits<double>::infinity(), found = 0;
        for (const float value : map.values)
          if (const double off = std::fabs((*x)[i] / largest - double(value)); off < best) best = off, found = value;
        (*x)[i] = found * largest;
      }
    }
  };
  for (int64_t t = 1; t <= steps; ++t) {
    const std::vector<float> g = gradients(t);
    const double first = 1 - std::pow(o.beta1, double(t)), second = 1 - std::pow(o.beta2, double(t));
    for (size_t i = 0; i < size_t(kWeights); ++i) {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * double(g[i]);
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * double(g[i]) * double(g[i]);
      w[i] = w[i] * (1 - o.rate * o.decay) - o.rate * (m[i] / first) / (std::sqrt(v[i] / second) + o.eps);
    }
    narrow(&m, true), narrow(&v, false);
  }
  return w;
}

/// Bytes of the moments of the weight that has the most.
Result<uint64_t> largest_moments(const TrialTraining& trial) {
  VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(trial.model, {}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  VIBEE_ASSIGN(const auto step, TrainStep::create(file, config, trial.options));
  uint64_t largest = 0;
  for (const TrainStep::Weight& w : step->weights()) {
    const MomentForm form = moment_form(RuleId::adamw, 0, w.narrow_moments);
    largest = std::max(largest, 2 * MomentElements::bytes(form, trial.options.precision.moment_block, w.count));
  }
  return largest;
}

/// Products with outliers that are not those of the contract, and those that an infinite threshold changes.
struct Products {
  uint64_t compared = 0, wrong = 0, changed = 0;
};
Products products_apart(Isa most, uint64_t seed) {
  RandomStream random(seed, Purpose::workload);
  constexpr float kNever = std::numeric_limits<float>::infinity();
  Products out;
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > most || !is_integer(kernel.format)) continue;
    if (act_rule_group(act_rule(kernel.format)) != 0) continue;  // rows of four bits have no outliers apart
    const Format format = kernel.format;
    const uint32_t nr = panel_rows(format, kernel.isa);
    for (const uint32_t rows : {1u, 4u, 15u}) {
      const uint32_t n = 1 + random.below(40), k = row_unit(format) * (1 + random.below(2));
      const std::vector<uint8_t> bytes = random_rows(format, n, k, random);
      std::vector<float> x(rows * k);
      for (float& v : x) v = random.normal();
      const std::vector<uint8_t> panels = pack(format, nr, n, k, bytes);
      const PackedWeight w{format, n, k, nr, panels.data()};
      const auto product = [&](float threshold) {
        return multiply_apart(kernel, w, quantize_rows_apart(format, threshold, x, rows, k, kernel.isa), rows);
      };
      const auto differ = [](const std::vector<float>& a, const std::vector<float>& b) {
        return std::memcmp(a.data(), b.data(), a.size() * 4) != 0;
      };
      ++out.compared;
      out.wrong += differ(product(2), reference_apart(format, 2, bytes, n, k, x, rows));
      out.changed += differ(product(kNever), multiply(kernel, w, quantize(format, x, rows, k), x, rows));
    }
  }
  return out;
}

/// A model whose normed rows have outliers, in q8_0: what rows of 8 bits cost it.
Status check_llm_int8(CheckContext& context) {
  const Products products = products_apart(context.settings().isa, context.settings().seed);
  const std::string all = fmt::format("{} products of every integer kernel", products.compared);
  context.equal("products with outliers apart that the scalar contract does not give", double(products.wrong), 0, "",
                all);
  context.equal("products that an infinite threshold changes", double(products.changed), 0, "", all);

  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  VIBEE_ASSIGN(Checkpoint file, trial.open({"f32"}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  const auto injected = [&](Format format) -> Result<Checkpoint> {
    VIBEE_ASSIGN(Checkpoint floats, trial.open({"f32"}));
    VIBEE_ASSIGN(Checkpoint other, recast_checkpoint(std::move(floats), {}, inject_outliers(config, 32, 64)));
    return recast_checkpoint(std::move(other), all_in(format));
  };
  const auto run = [&](Format format, bool float_rows, float threshold) -> Result<FormatTrial::Run> {
    VIBEE_ASSIGN(Checkpoint other, injected(format));
    return trial.load_file(std::move(other), float_rows, KvFormat::f16, threshold);
  };
  VIBEE_ASSIGN(FormatTrial::Run before, trial.load_file(std::move(file), true));
  VIBEE_ASSIGN(FormatTrial::Run behind, run(Format::f32, true, 0));
  VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(before, 1));
  VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(behind, 1));
  double off = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    off = std::max(off, std::fabs(double(a[i]) - double(b[i])));
    size = std::max(size, std::fabs(double(a[i])));
  }
  context.at_most("what injected outliers change of logits in floats, relative", off / size, 1e-5);

  VIBEE_ASSIGN(FormatTrial::Run base, run(Format::q8_0, true, 0));
  VIBEE_ASSIGN(FormatTrial::Run plain, run(Format::q8_0, false, 0));
  VIBEE_ASSIGN(FormatTrial::Run apart, run(Format::q8_0, false, 6));
  VIBEE_ASSIGN(const double plain_kl, FormatTrial::kl_between(base, plain));
  VIBEE_ASSIGN(const double apart_kl, FormatTrial::kl_between(base, apart));
  context.at_most("KL from rows of floats, outliers apart over plain rows of 8 bits", apart_kl / plain_kl, 0.1, "x",
                  fmt::format("{:.3g} of {:.3g} nats", apart_kl, plain_kl));
  return {};
}

}  // namespace

Status check_bnb_optimization(CheckContext& context) {
  context.not_built(
      "LLM.int8() in training; columns fixed beforehand (--outlier-static); directories of bitsandbytes in 8 bits are "
      "read, not written");
  context.not_built("CUDA kernels");
  if (context.describe_only()) return {};
  const Isa isa = context.settings().isa;

  context.equal("the signed map has the bytes of bitsandbytes'", hash_of(dynamic8_map(true).values, 1024) == kSignedMap,
                1);
  context.equal("the unsigned map has", hash_of(dynamic8_map(false).values, 1024) == kUnsignedMap, 1);
  Optimiser adam, momentum, lion;
  adam.rate = 3e-3;
  momentum.rule = RuleId::sgd, momentum.rate = 1e-2, momentum.decay = 0;
  lion.rule = RuleId::lion, lion.rate = 1e-3, lion.beta2 = 0.99;
  for (const auto& [o, codes] : {std::pair{adam, kAdamCodes}, {momentum, kMomentumCodes}, {lion, kLionCodes}}) {
    Steps steps{o, weights(), {}};
    steps.step(isa, 1);
    std::vector<uint8_t> all;
    for (uint32_t m = 0; m < steps.count(); ++m)
      all.insert(all.end(), steps.bytes[m].begin(), steps.bytes[m].begin() + kWeights);
    context.equal(fmt::format("codes behind a step of {} are those of bitsandbytes", info(o.rule).name),
                  hash_of(all.data(), all.size()) == codes, 1);
  }
  Steps hundred{adam, weights(), {}};
  for (int64_t t = 1; t <= 100; ++t) hundred.step(isa, t);
  const std::vector<double> want = by_definition(adam, 100);
  double off = 0, square = 0;
  for (size_t i = 0; i < size_t(kWeights); ++i) {
    off += (hundred.w[i] - want[i]) * (hundred.w[i] - want[i]);
    square += want[i] * want[i];
  }
  context.at_most("weights behind 100 steps beside the definition in double, relative", std::sqrt(off / square), 1e-5);
  if (!context.proceed("training", 0.4)) return error(Code::cancelled, "stopped");

  const TempFolder folder;
  TrialTraining trial;
  trial.model.dim = 64;
  trial.steps = 20;
  trial.options.isa = isa;
  for (const bool narrow : {false, true}) {
    trial.options.precision.narrow_moments = narrow;
    trial.options.paged = {};
    VIBEE_ASSIGN(const TrainStep::Memory memory, trial.memory());
    VIBEE_ASSIGN(const TrialTraining::Run in_memory, trial.run(0));
    VIBEE_ASSIGN(const uint64_t largest, largest_moments(trial));
    trial.options.paged = {2 * largest, folder.path()};
    VIBEE_ASSIGN(const TrainStep::Memory window, trial.memory());
    VIBEE_ASSIGN(const TrialTraining::Run paged, trial.run(0));
    const std::string in = narrow ? "8 bits" : "f32";
    context.equal("20 steps: paged moments in " + in + " and all else have the bytes of those in memory",
                  paged.state == in_memory.state, 1);
    context.at_most("bytes of moments in memory, of those on the disk, " + in,
                    double(window.moments) / double(memory.moments), 0.5);
  }
  if (!context.proceed("products with outliers", 0.7)) return error(Code::cancelled, "stopped");
  return check_llm_int8(context);
}

}  // namespace vibee
