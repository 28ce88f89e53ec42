// SPDX-License-Identifier: Apache-2.0
// v1774: what weights of two levels gain over q4_0's and cost beside them, what smoothing is worth to keys of four bits
// where some channels are large, and what a cache of four bits gains where many read long contexts.
#include "vibee/compress/quantize/qserve.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/trial_model.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

/// KL divergence that keys and values of four bits cost a model some of whose channels of keys are 32 times as large,
/// as it is and smoothed.
struct KeyCost {
  double plain, smoothed;
};
Result<KeyCost> key_cost(const FormatTrial& trial, const RunSettings& settings) {
  VIBEE_ASSIGN(Checkpoint file, trial.open({"f32"}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  std::vector<std::vector<float>> large(config.layers, std::vector<float>(config.kv_heads * config.head_dim, 1));
  for (auto& layer : large)
    for (uint32_t i = 5; i < layer.size(); i += 32) layer[i] = 32;
  const SmoothAttention inject(config, large, -1);
  const auto injected = [&]() -> Result<Checkpoint> {
    VIBEE_ASSIGN(Checkpoint plain, trial.open({"f32"}));
    return recast_checkpoint(std::move(plain), {}, inject.edit());
  };
  RandomStream random(settings.seed, Purpose::workload);
  std::vector<int32_t> tokens(32 * 64);
  for (int32_t& id : tokens) id = int32_t(random.below(config.vocab));
  VIBEE_ASSIGN(Checkpoint a, injected());
  VIBEE_ASSIGN(const SmoothAttention smooth,
               SmoothAttention::measure(a, config, tokens, {.context = 64, .threads = settings.threads}));
  VIBEE_ASSIGN(FormatTrial::Run base, trial.load_file(std::move(file), true, KvFormat::f32));
  VIBEE_ASSIGN(FormatTrial::Run plain, trial.load_file(std::move(a), true, KvFormat::int4));
  VIBEE_ASSIGN(Checkpoint b, injected());
  VIBEE_ASSIGN(Checkpoint levelled, recast_checkpoint(std::move(b), {}, smooth.edit()));
  VIBEE_ASSIGN(FormatTrial::Run smoothed, trial.load_file(std::move(levelled), true, KvFormat::int4));
  KeyCost out;
  VIBEE_ASSIGN(out.plain, FormatTrial::kl_between(base, plain));
  VIBEE_ASSIGN(out.smoothed, FormatTrial::kl_between(base, smoothed));
  return out;
}

/// Seconds of steps of 32 sequences, a row each, behind so many positions.
Result<double> step_seconds(Session& session, std::vector<SequenceState>& states, uint32_t steps) {
  const int32_t token = 7;
  std::vector<StepRows> rows;
  for (SequenceState& s : states) rows.push_back({&s, {&token, 1}, 1});
  const Timer timer;
  for (uint32_t i = 0; i < steps; ++i) VIBEE_TRY(session.step(rows).take_status());
  return timer.seconds();
}

Result<PairedRatio> serving(const RunSettings& settings) {
  constexpr uint32_t kSequences = 32;
  const uint32_t context = settings.quick ? 512 : 2048, chunk = 256, pairs = settings.quick ? 7 : 15, steps = 4;
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(settings, true));
  struct Side {
    std::unique_ptr<Session> session;
    std::vector<SequenceState> states;
  } sides[2];
  const KvFormat formats[] = {KvFormat::int4, KvFormat::q8_0};
  for (int i = 0; i < 2; ++i) {
    VIBEE_ASSIGN(sides[i].session,
                 model.session({context + steps * (pairs + 2), kSequences, chunk, kSequences, formats[i]}));
    const std::vector<int32_t> text = model.prompt(context, 1);
    for (uint32_t s = 0; s < kSequences; ++s) {
      SequenceState& state = sides[i].states.emplace_back(sides[i].session->new_sequence());
      for (uint32_t at = 0; at < context; at += chunk) {
        const StepRows rows{&state, std::span(text).subspan(at, chunk), 0};
        VIBEE_TRY(sides[i].session->step({&rows, 1}).take_status());
      }
    }
  }
  std::vector<double> mine, theirs;
  for (uint32_t p = 0; p <= pairs; ++p) {
    VIBEE_ASSIGN(const double four, step_seconds(*sides[0].session, sides[0].states, steps));
    VIBEE_ASSIGN(const double eight, step_seconds(*sides[1].session, sides[1].states, steps));
    if (p == 0) continue;
    mine.push_back(four);
    theirs.push_back(eight);
  }
  return paired_ratio(theirs, mine);
}

}  // namespace

Status bench_qserve(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  const uint32_t pairs = context.settings().quick ? 7 : 21;
  VIBEE_ASSIGN(const PairedRatio prompt, trial.speed_of("qoq", "q4_0", pairs, true));
  context.target("reading a prompt, qoq over q4_0", prompt.ratio, "x", 1.05,
                 fmt::format("{:.2f} to {:.2f}", prompt.low, prompt.high));
  VIBEE_ASSIGN(const double two_levels, trial.kl_of("qoq"));
  VIBEE_ASSIGN(const double one_level, trial.kl_of("q4_0"));
  context.figure("KL divergence of qoq weights, plain rounding", two_levels, "nats");
  context.target("KL of q4_0 over that of qoq, plain rounding", one_level / two_levels, "x", 1 / 1.45);
  VIBEE_ASSIGN(const KeyCost keys, key_cost(trial, context.settings()));
  context.figure("KL divergence of int4 keys and values, large channels", keys.plain, "nats");
  context.target("what smoothing divides it by", keys.plain / keys.smoothed, "x", 2);
  VIBEE_ASSIGN(const PairedRatio served, serving(context.settings()));
  context.target(
      "steps of 32 sequences behind long contexts, int4 over q8_0 keys and values", served.ratio, "x", 1.5,
      fmt::format("{:.2f} to {:.2f}, {} positions", served.low, served.high, context.settings().quick ? 512 : 2048));
  return {};
}

}  // namespace vibee
