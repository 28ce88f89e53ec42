// SPDX-License-Identifier: Apache-2.0
// v1773: sums of four bits at their extremes, the same logits on every instruction set, an order of inputs that changes
// nothing but the order of a sum, and what the kept inputs are worth where some channels are large.
#include <algorithm>
#include <cmath>

#include "vibee/compress/quantize/atom_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/inject_outliers.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

/// Products in which every code is an end of its range, and both sides have the same signs or opposite ones: those that
/// differ from plain code's.
Status check_extremes(CheckContext& context) {
  constexpr uint32_t kRows = 16, kOutputs = 32, kInputs = 512;
  uint64_t differ = 0, products = 0;
  for (const Format format : {Format::i4a128, Format::atom128, Format::atom32}) {
    const NumericFormat& f = info(format);
    std::vector<float> w(kOutputs * kInputs), x(kRows * kInputs);
    for (uint32_t j = 0; j < kOutputs; ++j)
      for (uint32_t i = 0; i < kInputs; ++i) w[j * kInputs + i] = j % 4 < 2 ? (j % 2 ? 1.0f : -1.0f) : i % 2 ? 1 : -1;
    for (uint32_t r = 0; r < kRows; ++r)
      for (uint32_t i = 0; i < kInputs; ++i) x[r * kInputs + i] = r % 4 < 2 ? (r % 2 ? 1.0f : -1.0f) : i % 2 ? 1 : -1;
    std::vector<uint8_t> bytes(kOutputs * f.row_bytes(kInputs));
    f.encode_rows(w.data(), kOutputs, kInputs, nullptr, bytes.data());
    std::vector<float> plain;
    for (const Isa isa : kIsas) {
      if (isa > context.settings().isa) break;
      const GemmKernel& kernel = gemm_kernel(format, isa);
      const uint32_t nr = panel_rows(format, isa);
      const std::vector<uint8_t> panels = pack(format, nr, kOutputs, kInputs, bytes);
      const PackedWeight packed{format, kOutputs, kInputs, nr, panels.data()};
      const std::vector<float> out = multiply(kernel, packed, quantize(format, x, kRows, kInputs), x, kRows);
      if (plain.empty()) plain = out;
      for (size_t i = 0; i < out.size(); ++i, ++products) differ += out[i] != plain[i];
    }
  }
  context.equal("products of extreme codes that differ from plain code's", double(differ), 0, "",
                fmt::format("{} products", products));
  return {};
}

/// All groups but the last are those of plain four bits.
void check_plain(CheckContext& context) {
  constexpr uint32_t kInputs = 1024;
  RandomStream random(context.settings().seed, Purpose::test);
  std::vector<float> x(kInputs), a(kInputs), b(kInputs);
  uint64_t differ = 0;
  for (const auto& [atom, plain] :
       {std::pair{Format::atom32, Format::i4a32}, {Format::atom64, Format::i4a64}, {Format::atom128, Format::i4a128}}) {
    for (float& v : x) v = random.normal();
    for (const auto& [format, to] : {std::pair{atom, &a}, {plain, &b}}) {
      std::vector<uint8_t> bytes(info(format).row_bytes(kInputs));
      info(format).encode(x.data(), kInputs, nullptr, bytes.data());
      info(format).decode(bytes.data(), kInputs, to->data());
    }
    for (uint32_t i = 0; i < kInputs - info(atom).block_elems; ++i) differ += a[i] != b[i];
  }
  context.equal("weights outside of the kept group that differ from plain four bits", double(differ), 0);
}

double largest_change(const std::vector<float>& a, const std::vector<float>& b) {
  double off = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    off = std::max(off, std::fabs(double(a[i]) - double(b[i])));
    size = std::max(size, std::fabs(double(a[i])));
  }
  return off / size;
}

/// The directory of a model, calibrated on random tokens.
Result<AtomReport> write(const Checkpoint& file, const RunSettings& settings, const std::string& directory) {
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  RandomStream random(settings.seed, Purpose::workload);
  std::vector<int32_t> tokens(32 * 64);
  for (int32_t& id : tokens) id = int32_t(random.below(config.vocab));
  Team team(settings.threads);
  const CalibrateOptions calibrate{.context = 64, .threads = settings.threads, .isa = settings.isa};
  VIBEE_ASSIGN(Hessians hessians, Hessians::open(file, config, tokens, calibrate, 1 << 26));
  return write_atom(file, hessians, team, settings.isa, directory, {});
}

Status check_order(CheckContext& context, const FormatTrial& trial) {
  const TempFolder folder;
  const std::string directory = folder.path() + "/atom";
  VIBEE_ASSIGN(const Checkpoint file, trial.open({"f32"}));
  VIBEE_TRY(write(file, context.settings(), directory).take_status());
  std::vector<float> plain_code;
  for (const Isa isa : kIsas) {
    if (isa > context.settings().isa) break;
    RunSettings there = context.settings();
    there.isa = isa;
    VIBEE_ASSIGN(const FormatTrial here, FormatTrial::make(there, false));
    VIBEE_ASSIGN(Checkpoint written, open_checkpoint(directory));
    VIBEE_ASSIGN(FormatTrial::Run run, here.load_file(std::move(written)));
    VIBEE_ASSIGN(const std::vector<float> logits, FormatTrial::logits(run, 1));
    if (plain_code.empty()) plain_code = logits;
    context.equal(fmt::format("{}: logits equal those of plain code", name(isa)), logits == plain_code, 1);
  }
  // The weights as they were written, their inputs sorted and put back.
  VIBEE_ASSIGN(Checkpoint sorted, open_checkpoint(directory));
  VIBEE_ASSIGN(Checkpoint again, open_checkpoint(directory));
  VIBEE_ASSIGN(Checkpoint back, recast_checkpoint(std::move(again), all_in(Format::f32)));
  VIBEE_ASSIGN(FormatTrial::Run in_order, trial.load_file(std::move(sorted), true, KvFormat::f32));
  VIBEE_ASSIGN(FormatTrial::Run as_inputs, trial.load_file(std::move(back), true, KvFormat::f32));
  VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(in_order, 1));
  VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(as_inputs, 1));
  context.at_most("what an order of inputs changes of logits in floats, relative", largest_change(b, a), 1e-5);
  return {};
}

Status check_kept(CheckContext& context, const FormatTrial& trial) {
  VIBEE_ASSIGN(Checkpoint floats, trial.open({"f32"}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(floats));
  const auto injected = [&]() -> Result<Checkpoint> {
    VIBEE_ASSIGN(Checkpoint file, trial.open({"f32"}));
    return recast_checkpoint(std::move(file), {}, inject_outliers(config, 64, 32));
  };
  VIBEE_ASSIGN(const Checkpoint file, injected());
  const TempFolder folder;
  const std::string directory = folder.path() + "/atom";
  VIBEE_ASSIGN(const AtomReport report, write(file, context.settings(), directory));
  // Both in the same matrices: embedding and head are floats in either.
  VIBEE_ASSIGN(const std::vector<Format> formats, parse_formats("w4a4"));
  const auto w4a4 = [of_blocks = all_in(formats)](const TensorInfo& t) {
    return t.name.starts_with("blk.") ? of_blocks(t) : Format::f16;
  };
  VIBEE_ASSIGN(Checkpoint for_plain, injected());
  VIBEE_ASSIGN(Checkpoint rounded, recast_checkpoint(std::move(for_plain), RecastOptions{.format = w4a4}));
  VIBEE_ASSIGN(Checkpoint written, open_checkpoint(directory));
  VIBEE_ASSIGN(FormatTrial::Run base, trial.load_file(std::move(floats), true));
  VIBEE_ASSIGN(FormatTrial::Run plain, trial.load_file(std::move(rounded)));
  VIBEE_ASSIGN(FormatTrial::Run atom, trial.load_file(std::move(written)));
  VIBEE_ASSIGN(const double plain_kl, FormatTrial::kl_between(base, plain));
  VIBEE_ASSIGN(const double atom_kl, FormatTrial::kl_between(base, atom));
  context.at_most(
      "KL of atom over that of plain four bits, a channel in 64 large", atom_kl / plain_kl, 0.2, "x",
      fmt::format("{:.3g} of {:.3g} nats, {:.2f} bits a weight", atom_kl, plain_kl, report.bits_per_weight()));
  return {};
}

}  // namespace

Status check_atom(CheckContext& context) {
  context.not_built("orders folded into the op before (rows are put in order as they are quantised)");
  context.not_built("more kept inputs than one group; clips chosen by the user; CUDA kernels");
  if (context.describe_only()) return {};
  VIBEE_TRY(check_extremes(context));
  check_plain(context);
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  VIBEE_TRY(check_order(context, trial));
  return check_kept(context, trial);
}

}  // namespace vibee
