// SPDX-License-Identifier: Apache-2.0
// v1773: products of four bits beside those of rows of eight, and what the model in the binary loses by them, by plain
// rounding and as Atom, keys and values of four bits too.
#include <cmath>

#include "vibee/compress/quantize/atom_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/eval/eval_text.h"
#include "vibee/model/eval/quality.h"
#include "vibee/model/weight/builtin_model.h"
#include "vibee/train/data/stories.h"

namespace vibee {
namespace {

constexpr uint32_t kContext = 256;

/// A product of 512 rows that are quantised already, on one thread.
class Product {
 public:
  static constexpr uint32_t kRows = 512, kOutputs = 512, kInputs = 2048;
  Product(Format format, Isa isa) : kernel_(gemm_kernel(format, isa)) {
    RandomStream random(3, Purpose::workload);
    const uint32_t nr = panel_rows(format, isa);
    panels_ = pack(format, nr, kOutputs, kInputs, random_rows(format, kOutputs, kInputs, random));
    weight_ = {format, kOutputs, kInputs, nr, panels_.data()};
    std::vector<float> x(kRows * kInputs);
    for (float& v : x) v = random.normal();
    act_ = quantize(format, x, kRows, kInputs);
    ready_.resize(panel_scratch(kernel_, kInputs, kRows, RowForm::quantized));
  }
  double seconds() {
    const Timer timer;
    const MatmulInput in{act_.data(), nullptr, kRows, ready_.data()};
    float sum = 0;
    matmul(kernel_, weight_, in, 0, weight_.panels(),
           [&](uint32_t, uint32_t, uint32_t, const float* tile) { sum += tile[0]; });
    const double s = timer.seconds();
    return std::isnan(sum) ? -s : s;
  }

 private:
  const GemmKernel& kernel_;
  std::vector<uint8_t> panels_, act_, ready_;
  PackedWeight weight_;
};

PairedRatio product_speed(Format format, Format over, const RunSettings& settings) {
  Product mine(format, settings.isa), other(over, settings.isa);
  std::vector<double> a, b;
  for (uint32_t i = 0; i <= (settings.quick ? 7u : 21u); ++i) {
    const double first = mine.seconds(), second = other.seconds();
    if (i == 0) continue;  // what is touched for the first time
    a.push_back(first);
    b.push_back(second);
  }
  return paired_ratio(b, a);
}

struct Running {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
};
Result<Running> load(Checkpoint file, const RunSettings& settings, bool float_rows, KvFormat kv) {
  ModelOptions options{settings.threads, settings.isa, {}};
  if (float_rows) options.disable = {"quantize_activations"};
  Running out;
  VIBEE_ASSIGN(out.model, Model::load(std::move(file), options));
  SessionOptions session;
  session.context = kContext;
  session.max_rows = session.max_logits = 64;
  if (float_rows) session.row_form = RowForm::floats;
  session.kv = kv;
  VIBEE_ASSIGN(out.session, Session::create(*out.model, session));
  return out;
}

/// What the user's model, or that in the binary, loses on held-out stories.
Status quality(BenchContext& context) {
  const RunSettings& settings = context.settings();
  const std::string source = settings.model.empty() ? std::string(kBuiltinPath) : settings.model;
  VIBEE_ASSIGN(Checkpoint floats, open_checkpoint(source));
  VIBEE_ASSIGN(const ModelConfig config, read_config(floats));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(source));
  VIBEE_ASSIGN(Running base, load(std::move(floats), settings, true, KvFormat::f16));
  const Tokenizer& tokenizer = base.model->tokenizer();
  VIBEE_ASSIGN(const Storyteller teller, Storyteller::own());
  VIBEE_ASSIGN(const std::string text, teller.tell_bytes(1, settings.quick ? 60'000 : 400'000));
  VIBEE_ASSIGN(const std::vector<int32_t> calibration, eval_tokens(tokenizer, text));
  VIBEE_ASSIGN(const std::string other, teller.tell_bytes(2, 400'000));
  VIBEE_ASSIGN(const std::vector<int32_t> held_out, eval_tokens(tokenizer, other));
  const int32_t bos = window_bos(tokenizer);
  Team team(settings.threads);
  const CalibrateOptions options{.context = kContext, .bos = bos, .threads = settings.threads, .isa = settings.isa};
  VIBEE_ASSIGN(Hessians hessians, Hessians::open(file, config, calibration, options, 1 << 28));
  const TempFolder folder;
  const std::string directory = folder.path() + "/atom";
  VIBEE_ASSIGN(const AtomReport report, write_atom(file, hessians, team, settings.isa, directory, {}));

  const auto measured = [&](Checkpoint changed) -> Result<QualityReport> {
    VIBEE_ASSIGN(Running run, load(std::move(changed), settings, false, KvFormat::int4));
    return measure_quality(*run.session, base.session.get(), held_out, kContext, bos, settings.quick ? 12 : 64,
                           nullptr);
  };
  VIBEE_ASSIGN(const std::vector<Format> formats, parse_formats("w4a4"));
  VIBEE_ASSIGN(Checkpoint for_plain, open_checkpoint(source));
  const auto w4a4 = [of_blocks = all_in(formats)](const TensorInfo& t) {
    return t.name.starts_with("blk.") ? of_blocks(t) : Format::f16;
  };
  VIBEE_ASSIGN(Checkpoint rounded, recast_checkpoint(std::move(for_plain), RecastOptions{.format = w4a4}));
  VIBEE_ASSIGN(const QualityReport plain, measured(std::move(rounded)));
  VIBEE_ASSIGN(Checkpoint written, open_checkpoint(directory));
  VIBEE_ASSIGN(const QualityReport atom, measured(std::move(written)));
  const std::string note = fmt::format("{:.3f} bits a weight", report.bits_per_weight());
  context.figure("KL divergence of plain four bits, keys and values too", plain.kl, "nats");
  context.figure("KL divergence of atom, keys and values of four bits", atom.kl, "nats", 0, note);
  context.target("KL of plain four bits over that of atom", plain.kl / atom.kl, "x", 3, note);
  context.target("perplexity before over that of atom", atom.base_perplexity / atom.perplexity, "x", 1 / 1.1, note);
  return {};
}

}  // namespace

Status bench_atom(BenchContext& context) {
  for (const auto& [name, over] : {std::pair{"i4z128", Format::i4z128}, {"q4_0", Format::q4_0}}) {
    const PairedRatio r = product_speed(Format::atom128, over, context.settings());
    context.target(fmt::format("products of 512 rows, atom128 over {} and rows of eight bits", name), r.ratio, "x", 1.1,
                   fmt::format("{:.2f} to {:.2f}", r.low, r.high));
  }
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  VIBEE_ASSIGN(const PairedRatio prompt, trial.speed_of("atom", "int4", context.settings().quick ? 7 : 21, true));
  context.figure("reading a prompt, atom over int4", prompt.ratio, "x", 0,
                 fmt::format("{:.2f} to {:.2f}", prompt.low, prompt.high));
  return quality(context);
}

}  // namespace vibee
