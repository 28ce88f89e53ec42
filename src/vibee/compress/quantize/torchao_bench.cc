// SPDX-License-Identifier: Apache-2.0
// v1743: a trained model goes on for some steps in floats, and is rounded, or for the format that it will be stored in.
#include "vibee/compress/quantize/torchao.h"

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/eval/eval_text.h"
#include "vibee/model/weight/builtin_model.h"
#include "vibee/model/weight/recast.h"
#include "vibee/train/data/stories.h"
#include "vibee/train/loop/schedule.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {
namespace {

class Continued {
 public:
  explicit Continued(const RunSettings& settings)
      : settings_(settings), steps_(settings.quick ? 30 : 300), held_out_(settings.quick ? 48 : 256) {}

  Status prepare() {
    VIBEE_ASSIGN(Checkpoint file,
                 open_checkpoint(settings_.model.empty() ? std::string(kBuiltinPath) : settings_.model));
    VIBEE_ASSIGN(file_, recast_checkpoint(std::move(file), all_in(std::vector<Format>{Format::f32})));
    VIBEE_ASSIGN(config_, read_config(*file_));
    VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer(*file_));
    VIBEE_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, make_tokenizer(std::move(spec)));
    VIBEE_ASSIGN(const Storyteller teller, Storyteller::own());
    const uint64_t wanted = uint64_t(held_out_ + steps_ * kRows) * kLength + 1;
    // What is held out comes first: it is the same however long is learnt.
    for (uint64_t i = 0; tokens_.size() < wanted; ++i) {
      VIBEE_ASSIGN(const std::string story, teller.tell(settings_.seed + 100, i));
      VIBEE_ASSIGN(const std::vector<int32_t> ids, eval_tokens(*tokenizer, story));
      tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    }
    return {};
  }

  struct Learnt {
    std::vector<uint8_t> state;
    double loss = 0;
    std::vector<double> seconds;
  };
  /// `stored` empty: in floats.
  Result<Learnt> learn(const std::vector<Format>& stored, const BenchContext& context, double at) const {
    VIBEE_ASSIGN(const auto step, begin(stored));
    Learnt out;
    Schedule rates;
    rates.steps = steps_, rates.warmup = steps_ / 10, rates.rate = 2e-4, rates.final_rate = 1e-5;
    for (uint32_t t = 0; t < steps_; ++t) {
      if (!context.proceed("learning", at)) return error(Code::cancelled, "stopped");
      const Timer timer;
      step->set_rate(rate_at(rates, t + 1));
      Rows part;
      for (uint32_t r = 0; r < kRows; ++r) part.add(&tokens_[uint64_t(held_out_ + t * kRows + r) * kLength]);
      VIBEE_TRY(step->add(part.batch()));
      VIBEE_TRY(step->update().take_status());
      out.seconds.push_back(timer.seconds());
    }
    VIBEE_ASSIGN(out.loss, loss(*step));
    for (const StatePart& part : step->state()) out.state.insert(out.state.end(), part.bytes.begin(), part.bytes.end());
    return out;
  }
  /// What was learnt in floats, in a format.
  Result<double> loss_in(const std::vector<Format>& stored, const Learnt& learnt) const {
    VIBEE_ASSIGN(const auto step, begin(stored));
    uint64_t at = 0;
    for (const StatePart& part : step->state()) {
      VIBEE_TRY(part.put(0, std::span(learnt.state).subspan(at, part.size())));
      at += part.size();
    }
    VIBEE_TRY(step->resume(steps_));
    return loss(*step);
  }
  std::string size() const {
    return fmt::format("{}, {} steps of {} tokens, {} held out", file_->path(), steps_, kRows * kLength,
                       held_out_ * kLength);
  }

 private:
  static constexpr uint32_t kRows = 8, kLength = 128;
  /// Rows of tokens, each a document.
  struct Rows {
    std::vector<int32_t> tokens, targets, documents;
    std::vector<float> weights;
    void add(const int32_t* from) {
      const auto first = int32_t(tokens.size());
      tokens.insert(tokens.end(), from, from + kLength);
      targets.insert(targets.end(), from + 1, from + kLength + 1);
      documents.insert(documents.end(), kLength, first);
    }
    TrainBatch batch() {
      weights.assign(tokens.size(), 1 / float(tokens.size()));
      return {tokens, targets, documents, weights};
    }
  };

  Result<std::unique_ptr<TrainStep>> begin(const std::vector<Format>& stored) const {
    TrainStepOptions o;
    o.max_rows = kRows * kLength;
    o.threads = settings_.threads;
    o.isa = settings_.isa;
    o.clip = 1;
    o.precision.stored = stored;
    return TrainStep::create(*file_, config_, o);
  }
  Result<double> loss(TrainStep& step) const {
    double sum = 0;
    for (uint32_t first = 0; first < held_out_; first += kRows) {
      Rows part;
      for (uint32_t r = 0; r < kRows; ++r) part.add(&tokens_[uint64_t(first + r) * kLength]);
      VIBEE_ASSIGN(const float one, step.evaluate(part.batch()));
      sum += double(one) * kRows / held_out_;
    }
    return sum;
  }

  RunSettings settings_;
  uint32_t steps_, held_out_;  ///< rows
  std::optional<Checkpoint> file_;
  ModelConfig config_;
  std::vector<int32_t> tokens_;
};

}  // namespace

/// What learning for a format gives back of the loss that rounding costs, and what a step of it takes.
Status bench_torchao(BenchContext& context) {
  Continued model(context.settings());
  VIBEE_TRY(model.prepare());
  VIBEE_ASSIGN(const Continued::Learnt floats, model.learn({}, context, 0));
  context.figure("held-out loss in floats", floats.loss, "nats", 0, model.size());
  struct Case {
    const char* name;
    double target;  ///< 0: a figure alone
  };
  double done = 0.25;
  for (const Case& c : {Case{"q4_0", 0.6}, Case{"i3m64", 0}, Case{"mxfp4", 0}}) {
    VIBEE_ASSIGN(const std::vector<Format> stored, prepared_formats(c.name));
    VIBEE_ASSIGN(const double rounded, model.loss_in(stored, floats));
    VIBEE_ASSIGN(const Continued::Learnt aware, model.learn(stored, context, done));
    done += 0.25;
    const std::string of = std::string(c.name) + ": ";
    context.figure(of + "what rounding afterwards costs", rounded - floats.loss, "nats");
    context.figure(of + "what is left of it where it was learnt for", aware.loss - floats.loss, "nats");
    const double back = (rounded - aware.loss) / (rounded - floats.loss);
    if (c.target > 0) {
      context.target(of + "share of it that comes back", back, "", c.target);
    } else {
      context.figure(of + "share of it that comes back", back, "");
    }
    const PairedRatio step = paired_ratio(floats.seconds, aware.seconds);
    context.figure(of + "speed of a step over floats", step.ratio, "x", 0,
                   fmt::format("{:.3f} to {:.3f} at 95 %", step.low, step.high));
  }
  return {};
}

}  // namespace vibee
