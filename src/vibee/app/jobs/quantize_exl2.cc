// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_exl2.h"

#include <filesystem>
#include <thread>

#include "vibee/app/jobs/allocate.h"
#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/quote.h"
#include "vibee/compress/quantize/certificate.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

Status check(const QuantizeConfig& c) {
  if (c.budget.empty()) return error(Code::invalid, "--scheme exl2: needs --budget, e.g. 3.5bpw");
  if (!c.calibration)
    return error(Code::invalid, "--scheme exl2: needs --calib TEXT, by which inputs are sorted and errors made up for");
  if (c.pure || !c.choices.empty() || !c.picture.empty() || !c.imatrix.empty() || !c.save_imatrix.empty() ||
      c.solver != "search")
    return error(
        Code::invalid,
        "--scheme exl2: --pure, --choices, --picture, --imatrix, --save-imatrix and --solver are of GGUF files");
  if (c.text)
    return error(Code::invalid, "--scheme exl2: a directory has no certificate; measure it with vibee eval --base {}",
                 quote(c.source, 400));
  std::error_code ignored;
  if (std::filesystem::exists(c.target, ignored))
    return error(Code::invalid, "{}: is there already; name a new directory", quote(c.target, 400));
  return exl2_head(c.head_bits).take_status();
}

uint64_t weight_bytes(const std::string& directory) {
  uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
    if (entry.path().extension() == ".safetensors") sum += entry.file_size(ignored);
  return sum;
}

}  // namespace

Result<Exl2Result> quantize_exl2(const QuantizeConfig& config, const OnWork& on_work) {
  const Timer timer;
  VIBEE_TRY(check(config));
  Exl2Result out;
  VIBEE_ASSIGN(out.source, resolve_model(config.source));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.source));
  VIBEE_ASSIGN(const ModelConfig model, read_config(file));
  const uint32_t threads = config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  Team team(threads);
  const auto work = [&](std::string_view what, std::string_view unit, double done, double total) {
    return !on_work || on_work({what, unit, done, total});
  };
  VIBEE_ASSIGN(const Calibration text, calibration_of(config, file, threads, on_work));
  auto hessians = Hessians::open(file, model, text.tokens, text.options, hessian_bytes());
  if (!hessians.ok()) return hessians.take_status().within(config.calibration->name);
  VIBEE_ASSIGN(Exl2Model quantiser, Exl2Model::open(file, *hessians, team, detected_isa()));
  for (const TensorInfo& t : file.tensors()) out.elements += t.elements();
  uint64_t elements = 0;  // that the budget is for
  for (const TensorInfo& t : quantiser.linears()) elements += t.elements();
  VIBEE_ASSIGN(const Budget budget, parse_budget(config.budget, elements));
  if (budget.of != Budget::Of::bytes)
    return error(Code::invalid, "--budget {}: of exl2 a budget is a size, as 3.5bpw", quote(config.budget, 40));
  VIBEE_ASSIGN(const std::vector<TokenizerFile> tokenizer, carry_to_hf(file, nullptr, &out.warnings));

  MeasureMatrices how;
  how.source = out.source;
  how.scheme.errors = [&](const MeasureProgress& progress) {
    return quantiser.measure(
        [&](uint64_t done, uint64_t of) { return progress("measuring errors", "matrices", double(done), double(of)); });
  };
  how.scheme.changed = [&](const MatrixChoices& m, size_t choice) { return quantiser.changed(m, choice); };
  how.scheme.check = Exl2Model::check;
  how.tokens = text.tokens;
  how.bos = text.options.bos;
  how.context = config.context;
  how.windows = config.probe_windows;
  how.threads = threads;
  how.file = config.measurement;
  VIBEE_ASSIGN(const std::string base, content_hash(file, team, [&](uint64_t done, uint64_t total) {
                 return work("reading the model", "MB", double(done) / 1e6, double(total) / 1e6);
               }));
  how.key =
      fmt::format("exl2 {} {} {} {}", base, text_hash(config.calibration->text), config.context, config.probe_windows);
  how.progress = work;
  VIBEE_ASSIGN(const Measured measured, measure_matrices(file, how));
  auto chosen = quantiser.allocate(measured.matrices, 8 * uint64_t(budget.amount));
  if (!chosen.ok()) return chosen.take_status().within("--budget " + config.budget);
  out.allocation = std::move(*chosen);
  out.left = quantiser.left();
  out.head = quantiser.head().has_value();
  VIBEE_TRY(
      quantiser.write(out.allocation, {config.target, config.head_bits, tokenizer, [&](uint64_t done, uint64_t of) {
                                         return work("quantising", "MB", double(done) / 1e6, double(of) / 1e6);
                                       }}));
  out.bytes = weight_bytes(config.target);
  out.seconds = timer.seconds();
  return out;
}

}  // namespace vibee
