// SPDX-License-Identifier: Apache-2.0
// From tokens to the answer of /v1/chat/completions or /v1/completions: one body at the end, or an event a token.
// The events of a stream, put together, are the body.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vibee/app/http/http_server.h"
#include "vibee/app/server/completion_request.h"
#include "vibee/app/server/tool_calls.h"
#include "vibee/core/measure/measure.h"

namespace vibee {

/// What became of a request, for metrics.
struct CompletionOutcome {
  std::string_view outcome;  ///< ok, cancelled, timeout, failed
  double first_token_s = 0, total_s = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  RequestTimes times;  ///< of its slowest part
};

class CompletionAnswer final : public JobReceiver {
 public:
  struct Hooks {
    std::function<void()> first_token;
    std::function<void(double)> gap;                     ///< seconds between two tokens of an answer
    std::function<void()> behind;                        ///< the client takes what comes more slowly than it is made
    std::function<void(const CompletionOutcome&)> done;  ///< once, whatever happened
  };
  /// `headers` go out with the answer.
  CompletionAnswer(CompletionRequest request, const ServedModel& model, std::shared_ptr<HttpExchange> exchange,
                   HttpHeaders headers, Hooks hooks);

  void token(uint32_t part, TokenEvent event) override;
  void failed(const Status& status) noexcept override;
  /// Ends with an error, where it has not ended.
  void fail(const ApiError& error, std::string_view outcome);
  bool done() const { return done_; }
  const ServedModel& model() const { return model_; }
  /// Bytes that wait for the client.
  size_t unsent() const { return exchange_ ? exchange_->unsent() : 0; }
  static constexpr size_t kMostUnsent = 256 << 10;

 private:
  struct Part {
    std::string text;
    std::vector<Sampled> tokens;
    std::vector<uint32_t> offsets;  ///< where each token's text begins, in characters
    std::vector<Sampled> prompt;
    Finish finish = Finish::none;
    uint32_t generated = 0;
    double score = 0;  ///< sum of log-probabilities
    double last_s = 0;
    size_t sent = 0;  ///< of its tokens
    bool told_role = false;
    std::optional<ToolCallParser> parser;  ///< where tools may be called
    std::vector<ToolCall> calls;
    size_t calls_sent = 0;
    RequestTimes times;
  };

  uint32_t prompt_of(uint32_t part) const { return part / request_.best_of; }
  void send(uint32_t part, const TokenEvent& event, bool first);
  void find_calls(Part& part, TokenEvent* event) const;
  std::string tool_calls(uint32_t index, size_t from, bool streamed) const;
  std::string finish_reason(const Part& part) const;
  void finish();
  std::string chunk(const std::string& choices, const std::string& usage) const;
  std::string usage() const;
  std::string timings() const;
  std::string token_ids(std::span<const Sampled> tokens) const;
  std::string chat_logprobs(std::span<const Sampled> tokens) const;
  std::string text_logprobs(uint32_t index, size_t from, bool with_prompt) const;
  std::string beside(uint32_t index, size_t from, bool with_prompt) const;
  std::string piece(int32_t token) const;
  std::string head() const;
  void end(std::string_view outcome);

  CompletionRequest request_;
  const ServedModel& model_;
  std::shared_ptr<HttpExchange> exchange_;
  HttpHeaders headers_;
  Hooks hooks_;
  std::string id_;
  int64_t created_;
  std::vector<Part> parts_;
  uint32_t unfinished_;
  Timer timer_;
  double first_s_ = 0;
  bool done_ = false, told_behind_ = false;
};

}  // namespace vibee
