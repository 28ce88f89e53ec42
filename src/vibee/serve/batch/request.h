// SPDX-License-Identifier: Apache-2.0
// What is asked of an engine, and what comes back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/adapter/lora_pool.h"
#include "vibee/serve/decode/sampler.h"
#include "vibee/serve/grammar/grammar.h"

namespace vibee {

enum class Finish : uint8_t { none, end_token, stop_string, length, context, cancelled };
std::string_view name(Finish finish);

struct GenerateRequest {
  std::vector<int32_t> prompt;  ///< token ids, not empty
  SamplingParams sampling;
  uint32_t max_tokens = 256;
  std::vector<std::string> stop;
  bool ignore_end = false;  ///< go on after an end token
  uint64_t space = 0;       ///< requests of different spaces never share what was computed
  int priority = 0;         ///< its class: a larger one goes before, and may take a place from a smaller one
  uint64_t key = 0;         ///< whose it is, for orders that are fair between keys
  /// What the text keeps to, compiled for this model's tokenizer; null: anything. The end token is drawn where the text
  /// may end, and alone where it must.
  std::shared_ptr<const Grammar> grammar = nullptr;
  std::vector<int32_t> spoken = {};  ///< control tokens that count as text in the answer
  /// How many alternatives to report for each token of the prompt, the first one excepted; nothing of such a prompt is
  /// reused. With it max_tokens may be 0.
  std::optional<uint32_t> prompt_logprobs = {};
  /// Tokens of its text that an engine before this one gave already: it goes on behind them. Counted in max_tokens.
  std::vector<int32_t> generated = {};
  /// Of the model's pool; kept until the request is done, and part of its space. Null: the model as it is.
  std::shared_ptr<const LoraAdapter> adapter = nullptr;
};

/// Where the time of a request went so far; seconds.
struct RequestTimes {
  double queue = 0;     ///< until its first step
  double prompt = 0;    ///< from then to its first token
  double decode = 0;    ///< from then on
  double grammar = 0;   ///< of these: finding out what the grammar allows
  double sampling = 0;  ///< of these: choosing its tokens and writing them as text
  uint32_t reused = 0;  ///< tokens of its prompt that were computed earlier
};

/// What one step gave to one request.
struct TokenEvent {
  uint32_t request = 0;
  Sampled sampled = {-1, 0, {}};  ///< token -1: nothing was generated (max_tokens is 0)
  std::string text = {};          ///< may be empty: half a character, or held back for a stop string
  Finish finish = Finish::none;
  RequestTimes times = {};
  std::vector<Sampled> prompt = {};  ///< with the first event, where prompt_logprobs asked for it
};
using OnToken = std::function<void(const TokenEvent&)>;

}  // namespace vibee
