// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/generate.h"

namespace vibee {

SamplingParams default_sampling(const SamplingDefaults& files) {
  SamplingParams p;  // all filters off
  p.temperature = files.says_how() ? 1 : 0.7f;
  if (!files.says_how()) {
    p.top_p = 0.95f;
    p.min_p = 0.05f;
  }
  const auto set = [](const auto& from, auto* to) {
    if (from) *to = std::remove_reference_t<decltype(*to)>(*from);
  };
  set(files.temperature, &p.temperature);
  set(files.top_k, &p.top_k);
  set(files.top_p, &p.top_p);
  set(files.min_p, &p.min_p);
  set(files.typical_p, &p.typical_p);
  set(files.repetition_penalty, &p.repetition_penalty);
  set(files.penalty_window, &p.penalty_window);
  return p;
}

Result<std::vector<int32_t>> encode_prompt(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids;
  if (tokenizer.add_bos() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  VIBEE_TRY(tokenizer.encode(text, true, &ids));
  return ids;
}

Result<std::vector<int32_t>> encode_prompt(const Model& model, const std::string& text) {
  return encode_prompt(model.tokenizer(), text);
}

bool has_chat_template(const Model& model) { return !model.tokenizer().chat_template().empty(); }

Result<std::vector<int32_t>> encode_chat(const Model& model, std::span<const ChatMessage> messages) {
  const Tokenizer& tokenizer = model.tokenizer();
  if (tokenizer.chat_template().empty())
    return error(Code::unsupported, "{} has no chat template; use `vibee run --raw` to continue a text", model.path());
  auto parsed = ChatTemplate::parse(tokenizer.chat_template());
  if (!parsed.ok()) return parsed.take_status().within("chat template of " + model.path());
  VIBEE_ASSIGN(const std::string text, apply_chat_template(*parsed, messages, true, tokenizer));
  return encode_rendered(tokenizer, text);
}

Result<std::unique_ptr<Generation>> Generation::start(Engine& engine, const std::vector<std::vector<int32_t>>& prompts,
                                                      const GenerateConfig& config) {
  std::unique_ptr<Generation> out(new Generation(engine));
  for (size_t i = 0; i < prompts.size(); ++i) {
    GenerateRequest request{prompts[i], config.sampling, config.max_tokens, config.stop, config.ignore_end};
    request.sampling.seed += i;
    request.grammar = config.grammar;
    request.adapter = config.adapter;
    auto id = engine.submit(std::move(request));
    if (!id.ok())
      return prompts.size() > 1 ? id.take_status().within(fmt::format("prompt {}", i + 1)) : id.take_status();
    if (i == 0) out->first_ = *id;  // the others follow
    ++out->count_;
    ++out->unfinished_;
    out->prompt_tokens_ += prompts[i].size();
  }
  return out;
}

Generation::~Generation() {
  for (uint32_t i = 0; unfinished_ > 0 && i < count_; ++i) engine_.cancel(first_ + i);
}

std::optional<uint32_t> Generation::take(const TokenEvent& event) {
  const uint32_t prompt = event.request - first_;
  if (prompt >= count_) return {};
  if (generated_++ == 0) first_token_seconds_ = timer_.seconds();
  if (event.finish != Finish::none && --unfinished_ == 0) after_ = engine_.stats();
  return prompt;
}

GenerateStats Generation::stats() const {
  const EngineStats& e = after_ ? *after_ : engine_.stats();
  return {prompt_tokens_,
          generated_,
          e.reused_tokens - before_.reused_tokens,
          first_token_seconds_,
          e.prompt_seconds - before_.prompt_seconds,
          e.decode_seconds - before_.decode_seconds,
          e.decode_only_rows - before_.decode_only_rows};
}

Result<GenerateResult> generate(Session& session, const std::vector<std::vector<int32_t>>& prompts,
                                const GenerateConfig& config,
                                const std::function<void(uint32_t, const std::string&)>& on_text,
                                const std::function<bool()>& cancelled) {
  Engine engine(session, config.engine);
  VIBEE_ASSIGN(const auto generation, Generation::start(engine, prompts, config));
  GenerateResult out;
  out.texts.resize(prompts.size());
  out.finishes.assign(prompts.size(), Finish::cancelled);
  out.tokens.resize(prompts.size());
  const auto on_token = [&](const TokenEvent& event) {
    generation->take(event);
    out.texts[event.request] += event.text;
    if (event.finish != Finish::none) out.finishes[event.request] = event.finish;
    if (config.sampling.logprobs > 0) out.tokens[event.request].push_back(event.sampled);
    if (on_text && !event.text.empty()) on_text(event.request, event.text);
  };
  const Status status = engine.run(on_token, cancelled);
  if (!status.ok() && status.code() != Code::cancelled) return status;
  out.stats = generation->stats();
  return out;
}

}  // namespace vibee
