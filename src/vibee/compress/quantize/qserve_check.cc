// SPDX-License-Identifier: Apache-2.0
// v1774: every group that the first level can make stays in bytes under the second, what the second level costs, the
// same logits on every instruction set, keys and values of four bits, and smoothing that changes no bit.
#include <algorithm>
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/compress/quantize/qserve.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/attention_cases.h"
#include "vibee/kit/format_trial.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

constexpr uint32_t kGroup = 128;

/// Every least and largest byte of a group and every byte between them: those that come back beyond a byte, and groups
/// whose error is larger than that of the paper's step and zero point.
struct Groups {
  uint64_t beyond = 0, compared = 0, worse = 0;
};
Groups every_group() {
  const NumericFormat& f = info(Format::qoq128);
  Groups out;
  // The first group holds 119, so that the row's scale is one and its bytes are its numbers.
  std::vector<float> row(3 * kGroup), back(row.size());
  std::vector<uint8_t> bytes(f.row_bytes(row.size()));
  for (int low = -119; low <= 0; ++low)
    for (int high = 0; high <= 119; ++high) {
      std::fill(row.begin(), row.end(), 0.0f);
      row[0] = 119;
      for (uint32_t g = 1; g < 3; ++g) {
        row[g * kGroup] = float(low), row[g * kGroup + 1] = float(high);
        for (uint32_t i = 2; i < kGroup; ++i) {
          const int at = low + int((g - 1) * (kGroup - 2) + i - 2);
          row[g * kGroup + i] = float(std::min(at, high));
        }
      }
      f.encode(row.data(), row.size(), nullptr, bytes.data());
      f.decode(bytes.data(), row.size(), back.data());
      const double step = std::max(1.0, std::nearbyint((high - low) / 15.0));
      const double zero = std::min(std::nearbyint(-low / step), 15.0);
      for (uint32_t g = kGroup; g < row.size(); g += kGroup) {
        double mine = 0, papers = 0;
        for (uint32_t i = g; i < g + kGroup; ++i, ++out.compared) {
          out.beyond += back[i] < -128 || back[i] > 127 || back[i] != std::nearbyint(back[i]);
          const double as_in_paper = (std::clamp(std::nearbyint(row[i] / step) + zero, 0.0, 15.0) - zero) * step;
          papers += (as_in_paper - row[i]) * (as_in_paper - row[i]);
          mine += (double(back[i]) - row[i]) * (double(back[i]) - row[i]);
        }
        out.worse += mine > papers;
      }
    }
  return out;
}

/// Mean square of the error on normal numbers over theirs: of the two levels, and of four bits between the least and
/// the largest of a group with a scale in floats.
struct Errors {
  double two_levels, direct;
};
Errors errors(uint64_t seed) {
  const NumericFormat& f = info(Format::qoq128);
  RandomStream random(seed, Purpose::test);
  constexpr uint32_t kRow = 8 * kGroup, kRows = 200;
  std::vector<float> x(kRow), back(kRow);
  std::vector<uint8_t> bytes(f.row_bytes(kRow));
  double two = 0, direct = 0, all = 0;
  for (uint32_t r = 0; r < kRows; ++r) {
    for (float& v : x) v = random.normal();
    f.encode(x.data(), kRow, nullptr, bytes.data());
    f.decode(bytes.data(), kRow, back.data());
    for (uint32_t g = 0; g < kRow; g += kGroup) {
      const auto [low, high] = std::minmax_element(&x[g], &x[g] + kGroup);
      const double least = std::min(*low, 0.0f), scale = (std::max(*high, 0.0f) - least) / 15,
                   zero = std::nearbyint(-least / scale);
      for (uint32_t i = g; i < g + kGroup; ++i) {
        const double u = std::clamp(std::nearbyint(x[i] / scale) + zero, 0.0, 15.0), d = (u - zero) * scale - x[i];
        direct += d * d;
        two += (double(back[i]) - x[i]) * (double(back[i]) - x[i]);
        all += double(x[i]) * x[i];
      }
    }
  }
  return {two / all, direct / all};
}

/// Largest distance of a stored key or value from what it was, over its scale.
double stored_error(uint64_t seed) {
  constexpr uint32_t kDim = 64;
  std::vector<uint8_t> page(KvLayout{KvFormat::int4, 1, kDim}.layer_bytes() + kKvSlack);
  const KvView view{page.data(), page.size(), {KvFormat::int4, 1, kDim}};
  RandomStream random(seed, Purpose::test);
  double worst = 0;
  for (uint32_t round = 0; round < 2000; ++round) {
    float key[kDim], value[kDim];
    const float size = std::exp(3 * random.normal()), center = random.normal() * size;
    for (uint32_t i = 0; i < kDim; ++i) key[i] = center + size * random.normal(), value[i] = size * random.normal();
    const uint32_t lane = round % kPageTokens;
    kv_store(pointwise_scalar, view, 0, lane, 0, key, value);
    const float of_keys = half_to_float(reinterpret_cast<const uint16_t*>(view.key(0, 0))[lane]);
    const float of_values = half_to_float(reinterpret_cast<const uint16_t*>(view.value(0, 0))[lane]);
    for (uint32_t i = 0; i < kDim; ++i) {
      worst = std::max(worst, std::fabs(double(stored_key(view, 0, lane, 0, i)) - key[i]) / of_keys);
      worst = std::max(worst, std::fabs(double(stored_value(view, 0, lane, 0, i)) - value[i]) / of_values);
    }
  }
  return worst;
}

Status check_model(CheckContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  std::vector<float> first;
  for (const Isa isa : kIsas) {
    if (isa > context.settings().isa) break;
    RunSettings settings = context.settings();
    settings.isa = isa;
    VIBEE_ASSIGN(const FormatTrial here, FormatTrial::make(settings, false));
    VIBEE_ASSIGN(FormatTrial::Run run, here.load({"qoq"}));
    VIBEE_ASSIGN(const std::vector<float> logits, FormatTrial::logits(run, 1));
    if (first.empty()) first = logits;
    context.equal(fmt::format("{}: logits equal those of plain code", name(isa)), logits == first, 1);
  }
  VIBEE_ASSIGN(const Checkpoint file, trial.open({"f32"}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  RandomStream random(context.settings().seed, Purpose::workload);
  std::vector<int32_t> tokens(16 * 64);
  for (int32_t& id : tokens) id = int32_t(random.below(config.vocab));
  VIBEE_ASSIGN(const SmoothAttention smooth,
               SmoothAttention::measure(file, config, tokens, {.context = 64, .threads = context.settings().threads}));
  VIBEE_ASSIGN(Checkpoint plain_file, trial.open({"f32"}));
  VIBEE_ASSIGN(Checkpoint edited, recast_checkpoint(std::move(plain_file), {}, smooth.edit()));
  VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({"f32"}, true));
  VIBEE_ASSIGN(FormatTrial::Run levelled, trial.load_file(std::move(edited), true));
  VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(plain, 1));
  VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(levelled, 1));
  // Powers of two commute with every rounding of a product; keys stored as halves keep their bits, too.
  context.equal("logits of a smoothed model equal the model's", a == b, 1);
  return {};
}

}  // namespace

Status check_qserve(CheckContext& context) {
  context.not_built(
      "writing checkpoints of QServe; quantising with scales of channels alone; rotation, smoothing of outputs, clip "
      "search");
  context.not_built("CUDA kernels");
  if (context.describe_only()) return {};
  const Groups groups = every_group();
  context.equal("codes of two levels that come back as no byte", double(groups.beyond), 0, "",
                fmt::format("all groups of 119 levels each side, {} codes", groups.compared));
  context.equal("groups with a larger error than the paper's step has", double(groups.worse), 0);
  const Errors e = errors(context.settings().seed);
  context.at_most("error of two levels over that of one in floats", e.two_levels / e.direct, 1.1, "x");
  // tree/precision.md S5 has 9.5e-3 for groups of 96; larger groups have larger errors.
  context.at_most("mean square of the error on normal numbers, groups of 128", e.two_levels, 1.1e-2);
  context.at_most("largest error of four-bit keys and values", stored_error(context.settings().seed),
                  0.5 * (1 + 0x1p-18), "scales");
  return check_model(context);
}

}  // namespace vibee
