// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/completion_answer.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>

#include "vibee/model/token/detokenizer.h"

namespace vibee {
namespace {

std::string new_id(std::string_view prefix) {
  static std::atomic<uint64_t> count = 0;
  static const uint64_t base = [] {
    std::random_device device;
    return (uint64_t(device()) << 32) | device();
  }();
  return fmt::format("{}-{:016x}{:08x}", prefix, base, count++);
}

uint32_t characters(std::string_view text) {
  return uint32_t(std::count_if(text.begin(), text.end(), [](char c) { return (uint8_t(c) & 0xc0) != 0x80; }));
}

}  // namespace

CompletionAnswer::CompletionAnswer(CompletionRequest request, const ServedModel& model,
                                   std::shared_ptr<HttpExchange> exchange, HttpHeaders headers, Hooks hooks)
    : request_(std::move(request)),
      model_(model),
      exchange_(std::move(exchange)),
      headers_(std::move(headers)),
      hooks_(std::move(hooks)),
      id_(new_id(request_.chat ? "chatcmpl" : "cmpl")),
      created_(std::time(nullptr)),
      parts_(request_.parts.size()),
      unfinished_(uint32_t(request_.parts.size())) {
  if (request_.tools)
    for (Part& p : parts_) p.parser.emplace(*request_.tools);
  headers_.emplace_back("x-vibee-seed", std::to_string(request_.parts[0].sampling.seed));
}

/// The interface's name of how a text ended.
std::string CompletionAnswer::finish_reason(const Part& part) const {
  if (part.finish == Finish::none) return "null";
  if (part.finish == Finish::length || part.finish == Finish::context) return "\"length\"";
  return part.calls.empty() ? "\"stop\"" : "\"tool_calls\"";
}

/// The calls of a part from `from` on; in a stream each says which of them it is.
std::string CompletionAnswer::tool_calls(uint32_t index, size_t from, bool streamed) const {
  const Part& part = parts_[index];
  std::vector<std::string> out;
  for (size_t i = from; i < part.calls.size(); ++i) {
    JsonObject call;
    if (streamed) call.integer("index", i);
    call.text("id", fmt::format("call-{}-{}-{}", id_, index, i))
        .text("type", "function")
        .raw("function",
             JsonObject().text("name", part.calls[i].name).text("arguments", part.calls[i].arguments).str());
    out.push_back(call.str());
  }
  return json_array(out);
}

/// Takes calls out of what has come; text that may become one is held back.
void CompletionAnswer::find_calls(Part& part, TokenEvent* event) const {
  if (!part.parser) return;
  ToolCallParser::Pieces p = part.parser->push(event->text);
  event->text = std::move(p.content);
  if (event->finish != Finish::none) {
    ToolCallParser::Pieces rest = part.parser->finish();
    event->text += rest.content;
    p.calls.insert(p.calls.end(), rest.calls.begin(), rest.calls.end());
  }
  for (ToolCall& call : p.calls)
    if (request_.parallel_calls || part.calls.empty()) part.calls.push_back(std::move(call));
}

std::string CompletionAnswer::head() const {
  const std::string_view object =
      request_.chat ? request_.stream ? "chat.completion.chunk" : "chat.completion" : "text_completion";
  return fmt::format("\"id\": {}, \"object\": \"{}\", \"created\": {}, \"model\": {}, \"system_fingerprint\": {}",
                     json_quote(id_), object, created_, json_quote(request_.model), json_quote(request_.fingerprint));
}

std::string CompletionAnswer::piece(int32_t token) const {
  return json_quote(valid_utf8(model_.tokenizer().piece(token)));
}

std::string CompletionAnswer::token_ids(std::span<const Sampled> tokens) const {
  std::vector<std::string> ids;
  for (const Sampled& s : tokens) ids.push_back(std::to_string(s.token));
  return json_array(ids);
}

std::string CompletionAnswer::chat_logprobs(std::span<const Sampled> tokens) const {
  const auto entry = [&](int32_t token, float logprob) {
    std::vector<std::string> bytes;
    for (const char c : model_.tokenizer().piece(token)) bytes.push_back(std::to_string(uint8_t(c)));
    return fmt::format("\"token\": {}, \"logprob\": {}, \"bytes\": {}", piece(token), json_float(logprob),
                       json_array(bytes));
  };
  std::vector<std::string> content;
  for (const Sampled& s : tokens) {
    std::vector<std::string> top;
    for (const TokenLogprob& t : s.top) top.push_back("{" + entry(t.token, t.logprob) + "}");
    content.push_back(fmt::format("{{{}, \"top_logprobs\": {}}}", entry(s.token, s.logprob), json_array(top)));
  }
  return fmt::format("{{\"content\": {}, \"refusal\": null}}", json_array(content));
}

/// Of the tokens of a part from `from` on, behind those of its prompt where these are wanted.
std::string CompletionAnswer::text_logprobs(uint32_t index, size_t from, bool with_prompt) const {
  const Part& part = parts_[index];
  const Tokenizer& tokenizer = model_.tokenizer();
  std::vector<std::string> tokens, logprobs, top, offsets;
  const auto add = [&](const Sampled& s, bool known, uint32_t offset) {
    tokens.push_back(piece(s.token));
    logprobs.push_back(known ? json_float(s.logprob) : "null");
    offsets.push_back(std::to_string(offset));
    JsonObject alternatives;
    std::vector<std::string> names;
    for (const TokenLogprob& t : s.top) {
      // Two tokens of one spelling would be two members of one name: the likelier stands.
      std::string name = valid_utf8(tokenizer.piece(t.token));
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      alternatives.raw(name, json_float(t.logprob));
      names.push_back(std::move(name));
    }
    top.push_back(known ? alternatives.str() : "null");
  };
  uint32_t at = 0;  // where the text of the answer begins
  if (request_.echo) {
    const std::vector<int32_t>& prompt = request_.parts[index].prompt;
    for (size_t i = 0; i < prompt.size(); ++i) {
      if (with_prompt) add(i == 0 ? Sampled{prompt[0], 0, {}} : part.prompt[i - 1], i != 0, at);
      if (!tokenizer.is_control(prompt[i])) at += characters(valid_utf8(tokenizer.piece(prompt[i])));
    }
  }
  for (size_t i = from; i < part.tokens.size(); ++i) add(part.tokens[i], true, at + part.offsets[i]);
  return fmt::format("{{\"tokens\": {}, \"token_logprobs\": {}, \"top_logprobs\": {}, \"text_offset\": {}}}",
                     json_array(tokens), json_array(logprobs), json_array(top), json_array(offsets));
}

/// "logprobs" and what else stands beside the text of a choice.
std::string CompletionAnswer::beside(uint32_t index, size_t from, bool with_prompt) const {
  const Part& p = parts_[index];
  const auto tokens = std::span(p.tokens).subspan(from);
  const std::string logprobs = request_.logprobs < 0 ? "null"
                               : request_.chat       ? chat_logprobs(tokens)
                                                     : text_logprobs(index, from, with_prompt);
  std::string out = fmt::format(", \"logprobs\": {}, \"finish_reason\": {}", logprobs, finish_reason(p));
  if (request_.token_ids) out += ", \"token_ids\": " + token_ids(tokens);
  return out;
}

std::string CompletionAnswer::usage() const {
  uint64_t prompt = 0, generated = 0, cached = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (i % request_.best_of == 0) {
      prompt += request_.parts[i].prompt.size();
      cached += parts_[i].times.reused;
    }
    generated += parts_[i].generated;
  }
  return fmt::format(
      "{{\"prompt_tokens\": {}, \"completion_tokens\": {}, \"total_tokens\": {}, \"prompt_tokens_details\": "
      "{{\"cached_tokens\": {}}}}}",
      prompt, generated, prompt + generated, cached);
}

std::string CompletionAnswer::timings() const {
  RequestTimes t;
  for (const Part& p : parts_)
    if (p.times.queue + p.times.prompt + p.times.decode > t.queue + t.prompt + t.decode) t = p.times;
  const double total = timer_.seconds();
  return JsonObject()
      .number("queue_ms", 1e3 * t.queue)
      .number("prompt_ms", 1e3 * t.prompt)
      .number("decode_ms", 1e3 * (t.decode - t.sampling))
      .number("sampling_ms", 1e3 * (t.sampling - t.grammar))
      .number("grammar_ms", 1e3 * t.grammar)
      .number("network_ms", 1e3 * std::max(0.0, total - t.queue - t.prompt - t.decode))
      .number("total_ms", 1e3 * total)
      .str();
}

std::string CompletionAnswer::chunk(const std::string& choices, const std::string& usage) const {
  std::string out = "data: {" + head() + ", \"choices\": [" + choices + "]";
  if (!usage.empty()) out += ", \"usage\": " + usage;
  return out + "}\n\n";
}

void CompletionAnswer::token(uint32_t part, TokenEvent event) {
  if (done_) return;
  Part& p = parts_[part];
  const double now = timer_.seconds();
  if (first_s_ == 0) {
    first_s_ = now;
    hooks_.first_token();
  } else if (p.generated > 0) {
    hooks_.gap(now - p.last_s);
  }
  p.last_s = now;
  p.times = event.times;
  if (!event.prompt.empty()) p.prompt = std::move(event.prompt);
  const bool first = p.generated == 0;
  if (event.sampled.token >= 0) {
    ++p.generated;
    p.score += event.sampled.logprob;
    if (request_.logprobs >= 0 || request_.token_ids) {
      p.offsets.push_back(characters(p.text));
      p.tokens.push_back(event.sampled);
    }
  }
  find_calls(p, &event);
  p.text += event.text;
  p.finish = event.finish;
  if (request_.stream) send(part, event, first);
  if (event.finish != Finish::none && --unfinished_ == 0) return finish();
  const bool behind = unsent() > kMostUnsent;
  if (behind && !told_behind_) hooks_.behind();
  told_behind_ = behind;
}

void CompletionAnswer::send(uint32_t index, const TokenEvent& event, bool first) {
  if (!exchange_->begun()) {
    HttpHeaders headers = headers_;
    headers.emplace_back("Content-Type", "text/event-stream");
    headers.emplace_back("Cache-Control", "no-store");
    headers.emplace_back("X-Accel-Buffering", "no");  // proxies would gather events
    exchange_->begin(200, std::move(headers));
  }
  Part& p = parts_[index];
  const bool echo = first && request_.echo;
  const bool tells = request_.logprobs >= 0 || request_.token_ids;
  const bool calls = p.calls_sent < p.calls.size();
  if (event.text.empty() && event.finish == Finish::none && !tells && !echo && !calls) return;  // held back
  std::string choice = fmt::format("{{\"index\": {}", index);
  if (request_.chat) {
    JsonObject delta;
    if (!std::exchange(p.told_role, true)) delta.text("role", "assistant");
    if (!calls || !event.text.empty()) delta.text("content", event.text);
    if (calls) delta.raw("tool_calls", tool_calls(index, std::exchange(p.calls_sent, p.calls.size()), true));
    choice += ", \"delta\": " + delta.str();
  } else {
    choice += ", \"text\": " + json_quote((echo ? request_.prompts[prompt_of(index)] : "") + event.text);
  }
  choice += beside(index, std::exchange(p.sent, p.tokens.size()), echo) + "}";
  exchange_->write(chunk(choice, request_.include_usage ? "null" : ""));
}

void CompletionAnswer::finish() {
  if (request_.stream) {
    if (request_.include_usage) exchange_->write(chunk("", usage()));
    if (request_.timings)
      exchange_->write(
          fmt::format("data: {{{}, \"choices\": [], \"vibee\": {{\"timings\": {}}}}}\n\n", head(), timings()));
    exchange_->write("data: [DONE]\n\n");
    exchange_->end();
    return end("ok");
  }
  std::vector<std::string> choices;
  for (size_t first = 0; first < parts_.size(); first += request_.best_of) {
    std::vector<size_t> order(request_.best_of);
    std::iota(order.begin(), order.end(), first);
    const auto mean = [&](size_t i) { return parts_[i].score / std::max(1u, parts_[i].generated); };
    if (request_.best_of > request_.n)
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return mean(a) > mean(b); });
    for (uint32_t k = 0; k < request_.n; ++k) {
      const auto index = uint32_t(order[k]);
      std::string choice = fmt::format("{{\"index\": {}", choices.size());
      if (request_.chat) {
        JsonObject message;
        message.text("role", "assistant");
        if (parts_[index].calls.empty() || !parts_[index].text.empty())
          message.text("content", parts_[index].text);
        else
          message.raw("content", "null");
        if (!parts_[index].calls.empty()) message.raw("tool_calls", tool_calls(index, 0, false));
        choice += ", \"message\": " + message.raw("refusal", "null").raw("annotations", "[]").str();
      } else {
        choice +=
            ", \"text\": " + json_quote((request_.echo ? request_.prompts[prompt_of(index)] : "") + parts_[index].text);
      }
      choices.push_back(choice + beside(index, 0, request_.echo) + "}");
    }
  }
  std::string body = fmt::format("{{{}, \"choices\": {}, \"usage\": {}", head(), json_array(choices), usage());
  if (!request_.metadata.is_null()) body += ", \"metadata\": " + request_.metadata.dump();
  if (request_.chat) body += ", \"service_tier\": \"default\"";
  if (request_.timings) body += ", \"vibee\": {\"timings\": " + timings() + "}";
  HttpHeaders headers = headers_;
  headers.emplace_back("Content-Type", "application/json");
  exchange_->respond({200, std::move(headers), body + "}"});
  end("ok");
}

void CompletionAnswer::failed(const Status& status) noexcept {
  try {
    fail(api_error(status), "failed");
  } catch (const std::exception&) {  // not even for that: the client sees its connection cut
    if (exchange_) exchange_->end(false);
    end("failed");
  }
}

void CompletionAnswer::fail(const ApiError& error, std::string_view outcome) {
  if (done_) return;
  if (exchange_->begun()) {  // no finish_reason is made up: the error is the last event, and [DONE] does not come
    exchange_->write("data: " + error.body() + "\n\n");
    exchange_->end();
  } else {
    HttpResponse response = error.response();
    response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
    exchange_->respond(std::move(response));
  }
  end(outcome);
}

void CompletionAnswer::end(std::string_view outcome) {
  if (std::exchange(done_, true)) return;
  CompletionOutcome o{outcome, first_s_, timer_.seconds(), 0, 0, 0, {}};
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& p = parts_[i];
    if (i % request_.best_of == 0) {
      o.prompt_tokens += request_.parts[i].prompt.size();
      o.cached_tokens += p.times.reused;
    }
    o.generated_tokens += p.generated;
    if (p.times.queue + p.times.prompt + p.times.decode >= o.times.queue + o.times.prompt + o.times.decode)
      o.times = p.times;
  }
  exchange_ = nullptr;
  hooks_.done(o);
}

}  // namespace vibee
