// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize_exl2.h"

#include <filesystem>

#include "vibee/app/jobs/allocate.h"
#include "vibee/base/text/quote.h"
#include "vibee/compress/quantize/certificate.h"

namespace vibee {
namespace {

uint64_t weight_bytes(const std::string& directory) {
  uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
    if (entry.path().extension() == ".safetensors") sum += entry.file_size(ignored);
  return sum;
}

}  // namespace

Result<SchemeResult<Exl2Report>> quantize_exl2(const QuantizeConfig& config, const OnWork& on_work) {
  if (config.budget.empty()) return error(Code::invalid, "--scheme exl2: needs --budget, e.g. 3.5bpw");
  if (!config.calibration)
    return error(Code::invalid, "--scheme exl2: needs --calib TEXT, by which inputs are sorted and errors made up for");
  VIBEE_ASSIGN(const std::unique_ptr<SchemeJob> job,
               SchemeJob::open(config, "--budget --calib --head-bits --measurement --probe-windows", on_work));
  VIBEE_TRY(exl2_head(config.head_bits).take_status());
  const Checkpoint& file = job->file();
  VIBEE_ASSIGN(Hessians* const hessians, job->hessians());
  VIBEE_ASSIGN(const Calibration* const text, job->calibration());
  VIBEE_ASSIGN(Exl2Model quantiser, Exl2Model::open(file, *hessians, job->team(), detected_isa()));
  Exl2Report out;
  for (const TensorInfo& t : file.tensors()) out.elements += t.elements();
  uint64_t elements = 0;  // that the budget is for
  for (const TensorInfo& t : quantiser.linears()) elements += t.elements();
  VIBEE_ASSIGN(const Budget budget, parse_budget(config.budget, elements));
  if (budget.of != Budget::Of::bytes)
    return error(Code::invalid, "--budget {}: of exl2 a budget is a size, as 3.5bpw", quote(config.budget, 40));

  MeasureMatrices how;
  how.source = job->source();
  how.scheme.errors = [&](const MeasureProgress& progress) {
    return quantiser.measure(
        [&](uint64_t done, uint64_t of) { return progress("measuring errors", "matrices", double(done), double(of)); });
  };
  how.scheme.changed = [&](const MatrixChoices& m, size_t choice) { return quantiser.changed(m, choice); };
  how.scheme.check = Exl2Model::check;
  how.tokens = text->tokens;
  how.bos = text->options.bos;
  how.context = config.context;
  how.windows = config.probe_windows;
  how.threads = job->threads();
  how.file = config.measurement;
  VIBEE_ASSIGN(const std::string base, content_hash(file, job->team(), [&](uint64_t done, uint64_t total) {
                 return job->work("reading the model", "MB", double(done) / 1e6, double(total) / 1e6);
               }));
  how.key =
      fmt::format("exl2 {} {} {} {}", base, text_hash(config.calibration->text), config.context, config.probe_windows);
  how.progress = [&](std::string_view what, std::string_view unit, double done, double total) {
    return job->work(what, unit, done, total);
  };
  VIBEE_ASSIGN(const Measured measured, measure_matrices(file, how));
  auto chosen = quantiser.allocate(measured.matrices, 8 * uint64_t(budget.amount));
  if (!chosen.ok()) return chosen.take_status().within("--budget " + config.budget);
  out.allocation = std::move(*chosen);
  out.left = quantiser.left();
  out.head = quantiser.head().has_value();
  VIBEE_TRY(quantiser.write(out.allocation, {config.target, config.head_bits, job->tokenizer(), job->quantising()}));
  out.bytes = weight_bytes(config.target);
  return job->finish(std::move(out));
}

}  // namespace vibee
