// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/quantize.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <thread>

#include "vibee/app/jobs/allocate.h"
#include "vibee/app/jobs/bench_model.h"
#include "vibee/app/jobs/convert.h"
#include "vibee/app/jobs/load.h"
#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/base/text/quote.h"
#include "vibee/compress/quantize/calibrate.h"
#include "vibee/compress/quantize/qserve.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/eval/eval_text.h"
#include "vibee/model/eval/quality.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

uint32_t threads_of(uint32_t wanted) { return wanted ? wanted : std::max(1u, std::thread::hardware_concurrency()); }

/// Bytes read, as progress.
auto reading(const OnWork& on_work, std::string_view what) {
  return [&on_work, what](uint64_t done, uint64_t total) {
    return !on_work || on_work({what, "MB", double(done) / 1e6, double(total) / 1e6});
  };
}

struct Measurement {
  std::string file, base;
  const NamedText* text;
  uint32_t context, windows, threads;
  bool speed;
};

/// The quality of a file on a text beside its base, and where wanted its speed.
Result<Certificate::Quality> measure(const Measurement& m, const OnWork& on_work) {
  LoadConfig load_file;
  load_file.model = m.file;
  load_file.context = m.context;
  load_file.threads = m.threads;
  load_file.logits = 64;
  Certificate::Quality q{.text = text_hash(m.text->text), .context = m.context};
  {
    VIBEE_ASSIGN(const Loaded file, load(load_file));
    LoadConfig load_base = load_file;
    load_base.model = m.base;
    VIBEE_ASSIGN(const Loaded base, load(load_base));
    const Tokenizer& tokenizer = file.model->tokenizer();
    auto tokens = eval_tokens(tokenizer, m.text->text);
    if (!tokens.ok()) return tokens.take_status().within(m.text->name);
    const auto progress = [&](uint32_t done, uint32_t of, const QualityReport&) {
      return !on_work || on_work({"measuring quality", "windows", double(done), double(of)});
    };
    VIBEE_ASSIGN(const QualityReport r, measure_quality(*file.session, base.session.get(), *tokens, m.context,
                                                        window_bos(tokenizer), m.windows, progress));
    const Interval top1 = wilson(r.top1, r.scored);
    q.windows = r.windows;
    q.perplexity = r.perplexity, q.perplexity_error = r.perplexity_error, q.base_perplexity = r.base_perplexity;
    q.kl = r.kl, q.kl_error = r.kl_error;
    q.top1 = r.top1, q.top1_low = top1.low, q.top1_high = top1.high;
  }
  if (!m.speed) return q;
  load_file.context = 0;  // as long as the measurement needs
  const BenchConfig bench{.prompt = 256, .generate = 32, .sequences = 1, .runs = 3, .probe = false};
  VIBEE_ASSIGN(const BenchReport speed, bench_model(load_file, bench, [&](std::string_view, double fraction) {
                 return !on_work || on_work({"measuring speed", "", fraction, 1});
               }));
  q.prompt_rate = speed.prompt_rate, q.generate_rate = speed.generate_rate;
  q.machine = machine_of(m.threads);
  return q;
}

}  // namespace

std::string text_hash(const std::string& text) {
  Digest digest;
  digest.update(std::string_view(text));
  return digest.finish();
}

Result<Calibration> calibration_of(const QuantizeConfig& config, const Checkpoint& file, uint32_t threads,
                                   const OnWork& on_work) {
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer(file));
  VIBEE_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, make_tokenizer(std::move(spec)));
  auto tokens = eval_tokens(*tokenizer, config.calibration->text);
  if (!tokens.ok()) return tokens.take_status().within(config.calibration->name);
  CalibrateOptions options{.context = config.context,
                           .bos = window_bos(*tokenizer),
                           .threads = threads,
                           .progress = [&](uint64_t done, uint64_t of) {
                             return !on_work || on_work({"calibrating", "windows", double(done), double(of)});
                           }};
  return Calibration{std::move(*tokens), std::move(options)};
}

uint64_t hessian_bytes() { return std::min<uint64_t>(available_memory() / 4, 1 << 30); }

namespace {

Result<Importance> importance_of(const QuantizeConfig& config, const Checkpoint& file, const ModelConfig& model,
                                 const Calibration& text) {
  auto importance = calibrate(file, model, text.tokens, text.options);
  if (!importance.ok()) return importance.take_status().within(config.calibration->name);
  if (!config.save_imatrix.empty())
    VIBEE_TRY(importance->write(config.save_imatrix, config.calibration->name,
                                uint32_t(text.tokens.size() / config.context), config.context));
  return importance;
}

/// What it is that a measurement is of.
std::string measured_key(const Certificate& c, const QuantizeConfig& config, const std::vector<Format>& formats) {
  std::string key = fmt::format("{} {} {} {}", c.base, c.calibration, config.context, config.probe_windows);
  for (const Format f : formats) key += fmt::format(" {}", info(f).name);
  return key;
}

Result<std::vector<Format>> budget_formats(const QuantizeConfig& config) {
  std::vector<Format> out;
  std::vector<std::string> names = config.choices;
  if (names.empty()) names.assign(std::begin(kBudgetFormats), std::end(kBudgetFormats));
  for (const std::string& name : names) {
    VIBEE_ASSIGN(const Recipe recipe, find_recipe(name));
    if (info(recipe.base).name != name || info(recipe.base).block_elems == 1)
      return error(Code::invalid, "--choices {}: a mix or a float; a budget is spent on formats of blocks, e.g. q4_k",
                   quote(name, 40));
    out.push_back(recipe.base);
  }
  return out;
}

Status check(const QuantizeConfig& c) {
  VIBEE_TRY(check_options(c,
                          "--format --pure --budget --choices --measurement --picture --probe-windows --solver "
                          "--smooth-attention --calib --imatrix --save-imatrix --text"));
  if (c.calibration && !c.imatrix.empty())
    return error(Code::invalid, "--calib and --imatrix both give the importance; name one of them");
  if (c.solver != "search" && c.solver != "gptq")
    return error(Code::invalid, "--solver {}: search or gptq", quote(c.solver, 40));
  if (c.solver == "gptq" && !c.calibration)
    return error(Code::invalid, "--solver gptq: needs --calib TEXT, whose inputs it makes errors up for");
  if (c.smooth_attention && !c.calibration)
    return error(Code::invalid, "--smooth-attention: needs --calib TEXT, on whose keys it measures");
  if (!c.budget.empty() && !c.calibration)
    return error(Code::invalid, "--budget: needs --calib TEXT, on which it measures which matrices matter");
  if (c.budget.empty() && (!c.choices.empty() || !c.measurement.empty() || !c.picture.empty()))
    return error(Code::invalid, "--choices, --measurement and --picture say how a --budget is spent; there is none");
  if (!c.budget.empty() && c.pure)
    return error(Code::invalid, "--pure is one format, --budget one a matrix; name one of them");
  if (!c.save_imatrix.empty() && !c.calibration)
    return error(Code::invalid, "--save-imatrix {}: nothing is measured without --calib TEXT",
                 quote(c.save_imatrix, 400));
  std::error_code ignored;
  if (std::filesystem::is_directory(c.target, ignored))
    return error(Code::invalid, "{}: is a directory; name the file to write", quote(c.target, 400));
  if (c.calibration && c.text && c.calibration->text == c.text->text)
    return error(Code::invalid, "--text {}: is the calibration text; quality counts on a text that was held out",
                 quote(c.text->name, 400));
  return {};
}

Result<Allocation> allocate(const QuantizeConfig& config, const Checkpoint& file, const ModelConfig& model,
                            const QuantizeResult& so_far, const Calibration& text, const Importance* importance,
                            const GgufMetadata& metadata, Team* team, const OnWork& on_work) {
  VIBEE_ASSIGN(const std::vector<Format> formats, budget_formats(config));
  uint64_t elements = 0;
  for (const TensorInfo& t : file.tensors()) elements += t.elements();
  VIBEE_ASSIGN(const Budget budget, parse_budget(config.budget, elements));
  MeasureMatrices how{so_far.source,
                      format_scheme(file, formats, importance, team),
                      text.tokens,
                      text.options.bos,
                      config.context,
                      config.probe_windows,
                      text.options.threads,
                      config.measurement,
                      measured_key(so_far.certificate, config, formats)};
  how.progress = [&](std::string_view what, std::string_view unit, double done, double total) {
    return !on_work || on_work({what, unit, done, total});
  };
  if (budget.of == Budget::Of::speed) how.timed = formats;
  VIBEE_ASSIGN(const Measured measured, measure_matrices(file, how));
  const std::vector<MatrixChoices>& matrices = measured.matrices;
  auto chosen = budget.of == Budget::Of::bytes ? allocate_formats(file, metadata, matrices, uint64_t(budget.amount))
                : budget.of == Budget::Of::damage
                    ? allocate_damage(file, metadata, matrices, budget.amount)
                    : allocate_seconds(file, metadata, model, matrices, measured.seconds, 1 / budget.amount);
  if (!chosen.ok()) return chosen.take_status().within("--budget " + config.budget);
  if (!config.picture.empty()) {
    VIBEE_ASSIGN(const std::string svg, allocation_picture(file, metadata, matrices, *chosen));
    VIBEE_TRY(write_file(config.picture, svg));
  }
  return chosen;
}

}  // namespace

Result<QuantizeResult> quantize(const QuantizeConfig& config, const OnWork& on_work) {
  const Timer timer;
  VIBEE_TRY(check(config));
  VIBEE_ASSIGN(const Recipe recipe, find_recipe(config.format));
  QuantizeResult out;
  VIBEE_ASSIGN(out.source, resolve_model(config.source));
  std::error_code ignored;
  if (std::filesystem::equivalent(out.source, config.target, ignored))
    return error(Code::invalid, "{}: source and target are the same", quote(config.target, 400));
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.source));
  VIBEE_ASSIGN(const ModelConfig model, read_config(file));
  const uint32_t threads = threads_of(config.threads);
  Team team(threads);
  std::optional<Calibration> calibration;
  std::optional<Importance> importance;
  if (config.calibration) {
    VIBEE_ASSIGN(calibration, calibration_of(config, file, threads, on_work));
    VIBEE_ASSIGN(importance, importance_of(config, file, model, *calibration));
  } else if (!config.imatrix.empty()) {
    VIBEE_ASSIGN(importance, Importance::read(config.imatrix));
  }
  if (importance) VIBEE_TRY(importance->check(file));

  Certificate& c = out.certificate;
  c.recipe = config.budget.empty() ? std::string(recipe.name) : "budget " + config.budget;
  if (config.solver == "gptq") c.solver = config.solver;
  if (config.smooth_attention) c.edit = "smooth_attention";
  c.pure = config.pure;
  VIBEE_ASSIGN(c.base, content_hash(file, team, reading(on_work, "reading the model")));
  if (importance) c.importance = importance->hash();
  if (config.calibration) c.calibration = text_hash(config.calibration->text);
  c.weights.assign(64, '0');  // known when the file is whole
  if (config.text) {
    c.quality = Certificate::Quality{.text = text_hash(config.text->text)};
    c.quality->machine = machine_of(threads);
  }
  GgufMetadata metadata = file.metadata();
  Certificate::drop(&metadata);
  VIBEE_ASSIGN(const bool tokenizer, carry_tokenizer(file, &metadata, &out.warnings));
  if (config.text && !tokenizer)
    return error(Code::invalid, "--text: the result has no tokenizer to read it with{}",
                 out.warnings.empty() ? "" : ": " + out.warnings[0]);
  c.put(&metadata);

  FormatMix mix = recipe_mix(recipe, model, {config.pure, importance.has_value()});
  if (!config.budget.empty()) {
    VIBEE_ASSIGN(out.allocation,
                 allocate(config, file, model, out, *calibration, &*importance, metadata, &team, on_work));
    mix = {[&](const TensorInfo& t) {
      const auto at = out.allocation->formats.find(t.name);
      return at == out.allocation->formats.end() ? t.format : at->second;
    }};
  }
  std::optional<Hessians> hessians;
  std::optional<GptqSolver> solver;
  if (config.solver == "gptq") {
    auto opened = Hessians::open(file, model, calibration->tokens, calibration->options, hessian_bytes());
    if (!opened.ok()) return opened.take_status().within(config.calibration->name);
    hessians.emplace(std::move(*opened));
    solver.emplace(*hessians, team, detected_isa());
  }
  std::optional<SmoothAttention> smooth;
  if (config.smooth_attention) {
    auto measured = SmoothAttention::measure(file, model, calibration->tokens, calibration->options);
    if (!measured.ok()) return measured.take_status().within(config.calibration->name);
    smooth.emplace(std::move(*measured));
  }
  QuantizeOptions options{.importance = importance ? &*importance : nullptr,
                          .solver = solver ? &*solver : nullptr,
                          .inputs = fmt::format("{} {}", c.calibration, config.context),
                          .edit = smooth ? smooth->edit() : RecastEdit{},
                          .edited = smooth ? fmt::format(" smooth {} {}", c.calibration, config.context) : "",
                          .team = &team,
                          .progress = reading(on_work, "quantising")};
  const Timer encoding;
  options.finish = [&](const std::string& temporary, GgufMetadata* finished) -> Status {
    out.encode_seconds = encoding.seconds();
    VIBEE_ASSIGN(const Checkpoint written, open_checkpoint(temporary));
    VIBEE_ASSIGN(c.weights, content_hash(written, team, reading(on_work, "reading the result")));
    if (config.text) {
      const Measurement m{temporary, out.source, &*config.text, config.context, config.windows, threads, true};
      VIBEE_ASSIGN(c.quality, measure(m, on_work));
    }
    c.put(finished);
    return {};
  };
  VIBEE_ASSIGN(out.report, quantize_model(file, mix, std::move(metadata), config.target, options));
  if (out.report.unweighted > 0)
    out.warnings.push_back(fmt::format(
        "the importance knows nothing of {} of the matrices; all their columns count alike", out.report.unweighted));
  if (out.report.unsolved > 0)
    out.warnings.push_back(fmt::format(
        "{} matrices have no sums of inputs (embeddings, experts) or no codes to choose; their encoder rounded them",
        out.report.unsolved));
  if (out.report.indivisible > 0)
    out.warnings.push_back(
        fmt::format("{} matrices are in another format, for blocks do not divide their rows", out.report.indivisible));
  out.seconds = timer.seconds();
  return out;
}

bool VerifyResult::holds() const {
  return std::all_of(claims.begin(), claims.end(), [](const Claim& c) { return c.holds; });
}

Result<VerifyResult> verify(const VerifyConfig& config, const OnWork& on_work) {
  VerifyResult out;
  VIBEE_ASSIGN(out.path, resolve_model(config.file));
  const uint32_t threads = threads_of(config.threads);
  std::string base;
  {
    VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(out.path));
    VIBEE_ASSIGN(out.certificate, Certificate::read(file));
    Team team(threads);
    VIBEE_ASSIGN(const std::string weights, content_hash(file, team, reading(on_work, "reading the file")));
    out.claims.push_back({"weights", out.certificate.weights, weights, weights == out.certificate.weights});
    if (!config.base.empty()) {
      VIBEE_ASSIGN(base, resolve_model(config.base));
      VIBEE_ASSIGN(const Checkpoint other, open_checkpoint(base));
      VIBEE_ASSIGN(const std::string hash, content_hash(other, team, reading(on_work, "reading the base")));
      out.claims.push_back({"base", out.certificate.base, hash, hash == out.certificate.base});
    }
  }
  if (!config.text) return out;
  if (!out.certificate.quality)
    return error(Code::invalid, "{}: its certificate measures nothing; --text has nothing to be compared with",
                 quote(out.path, 400));
  if (base.empty())
    return error(Code::invalid,
                 "--text: quality is measured beside the model that the file was made from; name it with "
                 "--base");
  const Certificate::Quality& claimed = *out.certificate.quality;
  const std::string hash = text_hash(config.text->text);
  out.claims.push_back({"text", claimed.text, hash, hash == claimed.text});
  if (!out.holds()) return out;  // measured on other things, the rest would say nothing
  const Measurement m{out.path, base, &*config.text, claimed.context, claimed.windows, threads, false};
  VIBEE_ASSIGN(const Certificate::Quality found, measure(m, on_work));
  // Steps give the same bytes on every machine; what is left is the order in which means are summed by other builds.
  constexpr double kRelative = 1e-6;
  const auto number = [&](std::string what, double a, double b) {
    const bool same = std::abs(a - b) <= kRelative * std::max(std::abs(a), 1e-3);
    out.claims.push_back({std::move(what), fmt::format("{:.8g}", a), fmt::format("{:.8g}", b), same});
  };
  number("windows", claimed.windows, found.windows);
  number("perplexity", claimed.perplexity, found.perplexity);
  number("perplexity of the base", claimed.base_perplexity, found.base_perplexity);
  number("KL divergence", claimed.kl, found.kl);
  number("standard error of the KL divergence", claimed.kl_error, found.kl_error);
  number("same top token", claimed.top1, found.top1);
  return out;
}

}  // namespace vibee
