// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/tune_model.h"

#include "vibee/app/jobs/generate.h"
#include "vibee/app/jobs/tuned_file.h"
#include "vibee/model/eval/quality.h"

namespace vibee {
namespace {

constexpr uint32_t kWindow = 256, kWindows = 4;  // tokens that quality is measured over

/// The plain model, and tokens to measure others over.
struct Base {
  LoadConfig config;
  Loaded loaded;
  std::vector<int32_t> tokens;
  int32_t bos = -1;
};

Result<Base> make_base(const LoadConfig& plain, const std::string& text) {
  Base b;
  b.config = plain;
  b.config.context = kWindow;
  b.config.batch = kWindows;
  b.config.logits = 64;
  b.config.prefix = "off";
  VIBEE_ASSIGN(b.loaded, load(b.config));
  const Tokenizer& tokenizer = b.loaded.model->tokenizer();
  if (tokenizer.add_bos()) b.bos = tokenizer.bos();
  if (!text.empty()) {
    VIBEE_TRY(tokenizer.encode(text, false, &b.tokens));
    return b;
  }
  VIBEE_ASSIGN(const std::vector<int32_t> start, encode_prompt(*b.loaded.model, "The"));
  GenerateConfig g;
  g.sampling.temperature = 1;
  g.sampling.seed = 1;
  g.max_tokens = kWindow - uint32_t(start.size());
  g.ignore_end = true;
  g.engine = b.loaded.engine;
  g.sampling.logprobs = 1;  // the tokens themselves are wanted
  const std::vector<std::vector<int32_t>> prompts(kWindows, start);
  VIBEE_ASSIGN(const GenerateResult made,
               generate(
                   *b.loaded.session, prompts, g, [](uint32_t, const std::string&) {}, [] { return false; }));
  for (const std::vector<Sampled>& sampled : made.tokens) {
    b.tokens.insert(b.tokens.end(), start.begin(), start.end());
    for (const Sampled& s : sampled) b.tokens.push_back(s.token);
  }
  return b;
}

Result<TuneQuality> quality_of(const Base& base, const std::vector<Setting>& settings) {
  LoadConfig config = base.config;
  for (const Setting& s : settings) VIBEE_TRY(apply(s, &config));
  VIBEE_ASSIGN(const Loaded other, load(config));
  VIBEE_ASSIGN(const QualityReport q,
               measure_quality(*other.session, base.loaded.session.get(), base.tokens, kWindow, base.bos, kWindows,
                               [](uint32_t, uint32_t, const QualityReport&) { return true; }));
  return TuneQuality{q.kl, q.kl_error, q.top1, q.top1_error};
}

std::vector<std::string> words_of(const LoadConfig& c) {
  std::vector<std::string> out = {c.model};
  const LoadConfig defaults;
  const auto add = [&](const char* option, const std::string& value) { out.insert(out.end(), {option, value}); };
  if (c.bits) add("--bits", std::to_string(c.bits));
  if (c.device != defaults.device) add("--device", c.device);
  if (c.threads) add("--threads", std::to_string(c.threads));
  if (!c.isa.empty()) add("--isa", c.isa);
  if (c.context) add("--ctx", std::to_string(c.context));
  if (c.chunk != defaults.chunk) add("--chunk", std::to_string(c.chunk));
  if (c.weights != defaults.weights) add("--weights", c.weights);
  if (c.kv != defaults.kv) add("--kv", c.kv);
  if (c.act != defaults.act) add("--act", c.act);
  if (c.outlier_threshold) add("--outlier-threshold", fmt::format("{}", *c.outlier_threshold));
  if (c.memory) add("--memory", std::to_string(*c.memory));
  if (c.attention_split != defaults.attention_split) add("--attention-split", c.attention_split);
  for (const std::string& id : c.disable) add("--disable", id);
  return out;
}

}  // namespace

Result<TuneReport> tune_model(const LoadConfig& plain, const TuneConfig& config, const std::string& text,
                              const std::function<bool(std::string_view, double)>& progress) {
  const Timer timer;
  VIBEE_ASSIGN(const std::string self, own_binary());
  VIBEE_ASSIGN(const TunedFor what, tuned_for(plain.model));
  VIBEE_ASSIGN(const std::vector<TuneOption> options, tune_options(plain));
  VIBEE_ASSIGN(const Base base, make_base(plain, text));
  std::string doing;
  double fraction = 0;
  TuneProbe probe;
  probe.seconds = [&] { return timer.seconds(); };
  probe.progress = [&](std::string_view what, double done) {
    doing = what;
    fraction = done;
    return progress(what, done);
  };
  probe.quality = [&](const std::vector<Setting>& settings) { return quality_of(base, settings); };
  probe.time = [&](const std::vector<Setting>& settings) {
    LoadConfig c = plain;
    for (const Setting& s : settings) {
      const Status applied = apply(s, &c);
      if (!applied.ok()) return Result<BenchFigures>(applied);
    }
    std::vector<std::string> words = words_of(c);
    words.insert(words.end(), {"--prompt", std::to_string(config.prompt), "--tokens", std::to_string(config.generate),
                               "--sequences", "1", "--runs", "1"});
    return bench_process(self, std::move(words), [&] { return progress(doing, fraction); });
  };
  VIBEE_ASSIGN(TuneReport report, tune(options, config, probe));
  report.model = what.model;
  report.model_bytes = what.bytes;
  report.cpu = what.cpu;
  return report;
}

}  // namespace vibee
