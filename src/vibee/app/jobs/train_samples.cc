// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train_samples.h"

#include "vibee/app/jobs/generate.h"

namespace vibee {

Result<std::vector<std::string>> sample_texts(const std::string& model, const std::string& adapter,
                                              const SampleSettings& s) {
  LoadConfig load_with;
  load_with.model = model;
  load_with.threads = s.threads;
  load_with.batch = uint32_t(s.prompts.size());
  load_with.prefix = "off";
  if (!adapter.empty()) {
    load_with.loras = {adapter};
    load_with.max_lora_rank = s.lora_rank;
  }
  VIBEE_ASSIGN(Loaded loaded, load(load_with));
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& text : s.prompts) {
    if (s.chat && !has_chat_template(*loaded.model))
      return error(Code::invalid, "{}: has no chat template; leave sample.chat out", model);
    VIBEE_ASSIGN(std::vector<int32_t> ids, s.chat ? encode_chat(*loaded.model, std::vector<ChatMessage>{{"user", text}})
                                                  : encode_prompt(*loaded.model, text));
    const int32_t between = loaded.model->tokenizer().eos();  // what stands between two documents
    if (ids.empty() && between >= 0) ids.push_back(between);
    prompts.push_back(std::move(ids));
  }
  GenerateConfig config;
  config.sampling.temperature = float(s.temperature);
  config.sampling.seed = s.seed;
  config.max_tokens = s.tokens;
  config.engine = loaded.engine;
  if (!loaded.adapters.empty()) config.adapter = loaded.adapters[0].adapter;
  VIBEE_ASSIGN(GenerateResult result,
               generate(
                   *loaded.session, prompts, config, [](uint32_t, const std::string&) {}, [] { return false; }));
  return std::move(result.texts);
}

}  // namespace vibee
