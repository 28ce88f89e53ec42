// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/session_executor.h"

#include "vibee/core/measure/measure.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/serve/decode/stop.h"

namespace vibee {
namespace {

class ModelWriter final : public AnswerWriter {
 public:
  ModelWriter(const Model& model, const GenerateRequest& request)
      : tokenizer_(model.tokenizer()),
        sampler_(request.sampling, pointwise(model.isa())),
        decoder_(tokenizer_),
        stop_(request.stop),
        ignore_end_(request.ignore_end) {
    if (request.grammar) grammar_.emplace(request.grammar);
    decoder_.speak(request.spoken);
  }

  void next(std::span<float> logits, std::span<const int32_t> tokens, TokenEvent* event) override {
    std::span<const uint64_t> allowed;
    if (grammar_) {
      const Timer timer;
      allowed = grammar_->mask();
      event->times.grammar += timer.seconds();
    }
    event->sampled = sampler_.sample(logits, tokens, uint32_t(tokens.size()), allowed);
    const int32_t token = event->sampled.token;
    if (grammar_) VIBEE_CHECK(grammar_->accept(token), "token {} is not in the mask", token);
    if (tokenizer_.is_end(token) && !ignore_end_) {
      event->finish = Finish::end_token;
      return;
    }
    event->text = stop_.push(decoder_.push(token));
    if (stop_.stopped()) event->finish = Finish::stop_string;
  }

  void resume(int32_t token) override {
    stop_.push(decoder_.push(token));
    if (grammar_) VIBEE_CHECK(grammar_->accept(token), "token {} is not in the mask", token);
  }

  std::string rest() override {
    std::string text = stop_.push(decoder_.finish());
    return text += stop_.finish();
  }

  Sampled score(std::span<const float> logits, int32_t token, uint32_t alternatives) override {
    return sampler_.score(logits, token, alternatives);
  }

 private:
  const Tokenizer& tokenizer_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopStrings stop_;
  std::optional<GrammarState> grammar_;
  bool ignore_end_;
};

}  // namespace

Result<std::unique_ptr<AnswerWriter>> SessionExecutor::open(const GenerateRequest& request) {
  const Model& model = session_.model();
  for (const std::string& stop : request.stop)
    if (stop.empty()) return error(Code::invalid, "a stop string is empty");
  VIBEE_TRY(validate(request.sampling, model.config().vocab));
  if (request.grammar && request.ignore_end)
    return error(Code::invalid, "a grammar ends its text with an end token, which ignore_end would go past; use one");
  if (request.grammar && request.grammar->trie().size() > model.config().vocab)
    return error(Code::invalid, "the grammar was compiled for a vocabulary of {}, the model has {}",
                 request.grammar->trie().size(), model.config().vocab);
  if (request.adapter && (model.loras() == nullptr || !model.loras()->owns(*request.adapter)))
    return error(Code::invalid, "the adapter was not loaded for this model");
  return std::unique_ptr<AnswerWriter>(new ModelWriter(model, request));
}

Result<Executor::StepResult> SessionExecutor::step(std::span<const StepRows> rows) {
  const Timer timer;
  VIBEE_ASSIGN(const std::span<float> logits, session_.step(rows));
  return StepResult{logits, session_.model().config().vocab, timer.seconds()};
}

}  // namespace vibee
