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

Result<std::vector<int32_t>> encode_prompt(const Model& model, const std::string& text) {
  std::vector<int32_t> ids;
  const Tokenizer& tokenizer = model.tokenizer();
  if (tokenizer.add_bos() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  VIBEE_TRY(tokenizer.encode(text, true, &ids));
  return ids;
}

bool has_chat_template(const Model& model) { return !model.tokenizer().chat_template().empty(); }

Result<std::vector<int32_t>> encode_chat(const Model& model, std::span<const ChatMessage> messages) {
  const Tokenizer& tokenizer = model.tokenizer();
  if (tokenizer.chat_template().empty())
    return error(Code::unsupported, "{} has no chat template; use `vibee run --raw` to continue a text", model.path());
  auto parsed = ChatTemplate::parse(tokenizer.chat_template());
  if (!parsed.ok()) return parsed.take_status().within("chat template of " + model.path());
  VIBEE_ASSIGN(const std::string text, apply_chat_template(*parsed, messages, true, tokenizer));
  std::vector<int32_t> ids;
  VIBEE_TRY(tokenizer.encode(text, true, &ids));
  // Templates that do not write BOS themselves get it where the model asks for one.
  const int32_t bos = tokenizer.bos();
  if (tokenizer.add_bos() && bos >= 0 && (ids.empty() || ids[0] != bos)) ids.insert(ids.begin(), bos);
  return ids;
}

Result<Generation> Generation::start(Session& session, const std::vector<std::vector<int32_t>>& prompts,
                                     const GenerateConfig& config) {
  Generation out;
  out.engine_ = std::make_unique<Engine>(session, config.engine);
  for (size_t i = 0; i < prompts.size(); ++i) {
    GenerateRequest request{prompts[i], config.sampling, config.max_tokens, config.stop, config.ignore_end};
    request.sampling.seed += i;
    out.prompt_tokens_ += prompts[i].size();
    auto id = out.engine_->submit(std::move(request));
    if (!id.ok())
      return prompts.size() > 1 ? id.take_status().within(fmt::format("prompt {}", i + 1)) : id.take_status();
  }
  return out;
}

Status Generation::step(const OnToken& on_token) {
  if (!timer_) timer_.emplace();
  return engine_->step([&](const TokenEvent& event) {
    if (generated_++ == 0) first_token_seconds_ = timer_->seconds();
    on_token(event);
  });
}

GenerateStats Generation::stats() const {
  const EngineStats& e = engine_->stats();
  return {prompt_tokens_,   generated_,       e.reused_tokens,   first_token_seconds_,
          e.prompt_seconds, e.decode_seconds, e.decode_only_rows};
}

Result<GenerateResult> generate(Session& session, const std::vector<std::vector<int32_t>>& prompts,
                                const GenerateConfig& config,
                                const std::function<void(uint32_t, const std::string&)>& on_text,
                                const std::function<bool()>& cancelled) {
  VIBEE_ASSIGN(Generation generation, Generation::start(session, prompts, config));
  GenerateResult out;
  out.texts.resize(prompts.size());
  out.finishes.assign(prompts.size(), Finish::cancelled);
  out.tokens.resize(prompts.size());
  const auto on_token = [&](const TokenEvent& event) {
    out.texts[event.request] += event.text;
    if (event.finish != Finish::none) out.finishes[event.request] = event.finish;
    if (config.sampling.logprobs > 0) out.tokens[event.request].push_back(event.sampled);
    if (on_text && !event.text.empty()) on_text(event.request, event.text);
  };
  while (!generation.done() && !(cancelled && cancelled())) VIBEE_TRY(generation.step(on_token));
  out.stats = generation.stats();
  return out;
}

}  // namespace vibee
