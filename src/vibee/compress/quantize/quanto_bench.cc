// SPDX-License-Identifier: Apache-2.0
// v1742: what qint4 gains beside weights of floats, and what a search of shifts gains beside none.
#include "vibee/compress/quantize/quanto_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/eval/eval_text.h"
#include "vibee/model/eval/quality.h"
#include "vibee/model/weight/builtin_model.h"
#include "vibee/train/data/stories.h"

namespace vibee {
namespace {

Result<std::string> written(const TempFolder& folder, const std::string& source, const QuantoType& type, bool hqq,
                            uint32_t threads) {
  const std::string directory = fmt::format("{}/{}{}", folder.path(), type.scheme, hqq ? "-hqq" : "");
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(source));
  Team team(threads);
  VIBEE_TRY(write_quanto(file, {}, directory, type, hqq, {.team = &team}).take_status());
  return directory;
}

/// The directory beside the floats that it stands for.
Status bench_speed(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  const TempFolder folder;
  VIBEE_ASSIGN(const QuantoType qint4, find_quanto_type("qint4"));
  RunSettings settings = context.settings();
  VIBEE_ASSIGN(settings.model, written(folder, trial.path(), qint4, false, settings.threads));
  VIBEE_ASSIGN(const Checkpoint directory, open_checkpoint(settings.model));
  VIBEE_ASSIGN(const TensorInfo* linear, directory.tensor("blk.0.ffn_down.weight"));
  const std::string held(info(linear->format).name);
  VIBEE_ASSIGN(const FormatTrial quantised, FormatTrial::make(settings, true));
  VIBEE_ASSIGN(const PairedRatio speed, quantised.speed_of(held, "f32", settings.quick ? 7 : 21));
  context.target("generation, qint4 over f32", speed.ratio, "x", 3,
                 fmt::format("{:.2f} to {:.2f}; held as {}", speed.low, speed.high, held));
  return {};
}

Status bench_quality(BenchContext& context) {
  RunSettings settings = context.settings();
  if (settings.model.empty()) settings.model = kBuiltinPath;
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(settings, false));
  VIBEE_ASSIGN(const Storyteller teller, Storyteller::own());
  VIBEE_ASSIGN(const std::string text, teller.tell_bytes(2, 100'000));
  VIBEE_ASSIGN(Checkpoint source, open_checkpoint(settings.model));
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer(source));
  VIBEE_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, make_tokenizer(std::move(spec)));
  VIBEE_ASSIGN(const std::vector<int32_t> tokens, eval_tokens(*tokenizer, text));
  VIBEE_ASSIGN(FormatTrial::Run base, trial.load_file(std::move(source), true));
  const TempFolder folder;
  for (const char* scheme : {"qint4", "qint2"}) {
    VIBEE_ASSIGN(const QuantoType type, find_quanto_type(scheme));
    double kl[2];
    for (const bool hqq : {false, true}) {
      VIBEE_ASSIGN(const std::string directory, written(folder, settings.model, type, hqq, settings.threads));
      VIBEE_ASSIGN(Checkpoint file, open_checkpoint(directory));
      VIBEE_ASSIGN(FormatTrial::Run other, trial.load_file(std::move(file), true));
      VIBEE_ASSIGN(const QualityReport q, measure_quality(*other.session, base.session.get(), tokens, 128,
                                                          window_bos(*tokenizer), settings.quick ? 20 : 100, nullptr));
      kl[hqq] = q.kl;
      context.figure(fmt::format("KL divergence of {}, {}", scheme, hqq ? "hqq" : "max"), q.kl, "nats", 0,
                     fmt::format("+- {:.4f}", q.kl_error));
    }
    context.target(fmt::format("{}: KL of max over that of hqq", scheme), kl[0] / kl[1], "x", 1 / 0.9);
  }
  return {};
}

}  // namespace

Status bench_quanto(BenchContext& context) {
  VIBEE_TRY(bench_speed(context));
  return bench_quality(context);
}

}  // namespace vibee
