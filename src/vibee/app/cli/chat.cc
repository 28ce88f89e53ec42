// SPDX-License-Identifier: Apache-2.0
// vibee chat.
#include "vibee/app/cli/chat.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"

namespace vibee {

std::string speed_line(const GenerateStats& s) {
  const std::string reused = s.reused ? fmt::format("{} kept and ", s.reused) : "";
  return fmt::format(
      "{}{} prompt tokens at {:.1f} tokens/s, first token after {:.3f} s, {} generated at {:.1f} tokens/s", reused,
      s.prompt_tokens - s.reused, s.prompt_rate(), s.first_token_seconds, s.generated, s.decode_rate());
}

Result<GenerateConfig> generate_config(const SamplingArgs& sampling, const SamplingDefaults& files) {
  GenerateConfig config;
  VIBEE_ASSIGN(config.sampling, sampling.params(files));
  config.max_tokens = sampling.max_tokens;
  config.stop = sampling.stop;
  config.ignore_end = sampling.ignore_end;
  return config;
}

int chat_loop(Loaded& loaded, const GenerateConfig& config, std::vector<ChatMessage> messages) {
  const bool terminal = isatty(STDIN_FILENO);
  if (terminal) std::fputs("Type a message; an empty line or Ctrl-D ends.\n", stderr);
  for (std::string line;;) {
    if (terminal) std::fputs("> ", stdout);
    std::fflush(stdout);
    if (!std::getline(std::cin, line) || line.empty() || interrupted()) break;
    messages.push_back({"user", line});
    auto prompt = encode_chat(*loaded.model, messages);
    if (!prompt.ok()) return fail("chat", prompt.status());
    auto result = generate(
        *loaded.session, {*prompt}, config,
        [](uint32_t, const std::string& text) {
          std::fwrite(text.data(), 1, text.size(), stdout);
          std::fflush(stdout);
        },
        interrupted);
    if (!result.ok()) return fail("chat", result.status());
    std::fputs("\n", stdout);
    messages.push_back({"assistant", result->texts[0]});
    if (terminal) std::fputs(fmt::format("[{}]\n", speed_line(result->stats)).c_str(), stderr);
  }
  if (loaded.disk) {
    loaded.disk->flush();
    std::fputs(fmt::format("[{}]\n", kv_disk_line(loaded.disk->stats())).c_str(), stderr);
  }
  return kExitOk;
}

int verb_chat(int argc, char** argv) {
  LoadConfig config;
  SamplingArgs sampling;
  std::string system;
  Args args("chat",
            "A conversation on the terminal through the model's chat template; standard input may also be a file of "
            "messages.");
  add_model_args(args, config);
  add_kv_disk(args, config);
  add_lora_args(args, config, "PATH[:SCALE]: generate with this LoRA adapter (a PEFT directory or a GGUF file)");
  args.add("--system", system, "a system message");
  sampling.add_to(args);
  args.example("vibee chat smollm2-135m --system \"Answer in one sentence.\"")
      .example("vibee chat smollm2-135m --kv-disk ~/.cache/vibee/pages,4G");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  if (config.loras.size() > 1) return fail_usage("chat", "--lora: one adapter a conversation");
  auto loaded = load(config);
  if (!loaded.ok()) return fail("chat", loaded.status());
  auto generate_with = generate_config(sampling, loaded->sampling);
  if (!generate_with.ok()) return fail("chat", generate_with.status());
  std::vector<ChatMessage> messages;
  if (!system.empty()) messages.push_back({"system", system});
  generate_with->engine = loaded->engine;
  if (!loaded->adapters.empty()) generate_with->adapter = loaded->adapters[0].adapter;
  return chat_loop(*loaded, *generate_with, std::move(messages));
}

}  // namespace vibee
