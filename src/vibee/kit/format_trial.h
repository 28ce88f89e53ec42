// SPDX-License-Identifier: Apache-2.0
// The model that checks and benches of number formats run on, the user's or one made for the occasion, brought into
// formats while it is read as `--weights` does it.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/session/session.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

class FormatTrial {
 public:
  /// `wide`: larger than caches.
  static Result<FormatTrial> make(const RunSettings& settings, bool wide) {
    FormatTrial t;
    t.settings_ = settings;
    t.path_ = settings.model;
    if (!t.path_.empty()) return t;
    TinyModel m;
    m.vocab = 320;
    m.tokenizer = true;
    m.dim = m.ff = 128;
    m.head_dim = 64;
    if (wide) {
      m.dim = 768;
      m.ff = 2048;
      m.layers = 6;
      m.heads = 12;
      m.kv_heads = 4;
    }
    t.file_ = std::make_unique<TinyModelFile>(m);
    t.path_ = t.file_->path();
    return t;
  }

  struct Run {
    std::unique_ptr<Model> model;
    std::unique_ptr<Session> session;
    uint32_t vocab() const { return model->config().vocab; }
  };
  /// The model's file in formats by name (parse_formats), one after another; none: as it is.
  Result<Checkpoint> open(const std::vector<std::string>& formats) const {
    VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path_));
    for (const std::string& name : formats) {
      VIBEE_ASSIGN(const std::vector<Format> wanted, parse_formats(name));
      VIBEE_ASSIGN(file, recast_checkpoint(std::move(file), all_in(wanted)));
    }
    return file;
  }
  /// The model so; `float_rows`: `--act f32`; `outlier_threshold` above 0: `--act llm_int8`.
  Result<Run> load(const std::vector<std::string>& formats, bool float_rows = false) const {
    VIBEE_ASSIGN(Checkpoint file, open(formats));
    return load_file(std::move(file), float_rows);
  }
  Result<Run> load_file(Checkpoint file, bool float_rows = false, KvFormat kv = KvFormat::f16,
                        float outlier_threshold = 0) const {
    ModelOptions options{settings_.threads, settings_.isa, {}, false};
    if (float_rows) options.disable = {"quantize_activations"};
    if (outlier_threshold > 0) options.disable = {"quantize_outputs"};
    Run run;
    VIBEE_ASSIGN(run.model, Model::load(std::move(file), options));
    SessionOptions session;
    session.context = kContext;
    session.max_rows = session.max_logits = kTokens;
    if (float_rows) session.row_form = RowForm::floats;
    session.kv = kv;
    session.outlier_threshold = outlier_threshold;
    VIBEE_ASSIGN(run.session, Session::create(*run.model, session));
    return run;
  }

  const std::string& path() const { return path_; }

  /// Logits behind each of some tokens of a random text.
  static Result<std::vector<float>> logits(Run& run, uint64_t stream) {
    SequenceState state = run.session->new_sequence();
    const std::vector<int32_t> tokens = text(run, stream);
    const StepRows rows{&state, tokens, kTokens};
    VIBEE_ASSIGN(const std::span<float> out, run.session->step({&rows, 1}));
    return std::vector<float>(out.begin(), out.end());
  }
  /// Mean KL divergence from `base` over rows of logits, in nats.
  static double kl(const std::vector<float>& base, const std::vector<float>& other, uint32_t vocab) {
    double sum = 0;
    for (size_t at = 0; at < base.size(); at += vocab) {
      const double a = log_sum(&base[at], vocab), b = log_sum(&other[at], vocab);
      for (size_t i = at; i < at + vocab; ++i) sum += std::exp(base[i] - a) * ((base[i] - a) - (other[i] - b));
    }
    return sum / double(base.size() / vocab);
  }
  /// Of a model in formats from the model as it is, over a few texts.
  Result<double> kl_of(const std::string& format) const {
    VIBEE_ASSIGN(Run base, load({}, true));
    VIBEE_ASSIGN(Run other, load({format}, true));
    return kl_between(base, other);
  }
  static Result<double> kl_between(Run& base, Run& other) {
    double sum = 0;
    constexpr uint64_t kTexts = 4;
    for (uint64_t t = 0; t < kTexts; ++t) {
      VIBEE_ASSIGN(const std::vector<float> a, logits(base, t));
      VIBEE_ASSIGN(const std::vector<float> b, logits(other, t));
      sum += kl(a, b, base.vocab());
    }
    return sum / kTexts;
  }
  /// Tokens a second that a sequence generates, or that a prompt is read with, as ratios of runs in turns.
  Result<PairedRatio> speed_of(const std::string& format, const std::string& over, uint32_t pairs,
                               bool prompt = false) const {
    VIBEE_ASSIGN(Run a, load({format}));
    VIBEE_ASSIGN(Run b, load({over}));
    return speed_of(a, b, pairs, prompt);
  }
  static Result<PairedRatio> speed_of(Run& a, Run& b, uint32_t pairs, bool prompt) {
    std::vector<double> mine, theirs;
    for (uint32_t i = 0; i < pairs + 1; ++i) {
      VIBEE_ASSIGN(const double first, seconds(a, prompt));
      VIBEE_ASSIGN(const double second, seconds(b, prompt));
      if (i == 0) continue;  // what is touched for the first time
      mine.push_back(first);
      theirs.push_back(second);
    }
    return paired_ratio(theirs, mine);
  }

 private:
  static constexpr uint32_t kContext = 256, kTokens = 64;
  static std::vector<int32_t> text(const Run& run, uint64_t stream) {
    RandomStream random(stream, Purpose::workload);
    std::vector<int32_t> out(kTokens);
    for (int32_t& id : out) id = int32_t(3 + random.below(run.vocab() - 3));
    return out;
  }
  static double log_sum(const float* x, uint32_t n) {
    double most = x[0], sum = 0;
    for (uint32_t i = 1; i < n; ++i) most = std::max<double>(most, x[i]);
    for (uint32_t i = 0; i < n; ++i) sum += std::exp(x[i] - most);
    return most + std::log(sum);
  }
  static Result<double> seconds(Run& run, bool prompt) {
    SequenceState state = run.session->new_sequence();
    const std::vector<int32_t> tokens = text(run, 1);
    const Timer timer;
    for (uint32_t i = 0; i < kTokens / 2; ++i) {
      if (prompt && i == 1) break;
      const StepRows rows{&state, {&tokens[i], prompt ? kTokens : 1}, 1};
      VIBEE_TRY(run.session->step({&rows, 1}).take_status());
    }
    return timer.seconds();
  }
  RunSettings settings_;
  std::unique_ptr<TinyModelFile> file_;
  std::string path_;
};

}  // namespace vibee
