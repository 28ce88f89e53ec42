// SPDX-License-Identifier: Apache-2.0
// vibee run.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <utility>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/chat.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/grammar_args.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/profile.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/jobs/generate.h"
#include "vibee/app/jobs/tuned_file.h"
#include "vibee/base/text/json_object.h"
#include "vibee/hw/device/probe.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

std::string token_json(const Model& model, const Sampled& s) {
  std::vector<std::string> top;
  for (const TokenLogprob& t : s.top)
    top.push_back(JsonObject()
                      .integer("id", t.token)
                      .text("text", model.tokenizer().piece(t.token))
                      .number("logprob", t.logprob)
                      .str());
  return JsonObject()
      .integer("id", s.token)
      .text("text", model.tokenizer().piece(s.token))
      .number("logprob", s.logprob)
      .raw("top", json_array(top))
      .str();
}

/// Share of the machine's limit: bytes read a second over the bandwidth measured now.
std::string limit_line(const Loaded& loaded, const GenerateStats& s) {
  auto probe = BandwidthProbe::create();
  if (!probe.ok() || s.decode_rows < 2) return {};
  const double gb = probe->gb_per_second(loaded.model->team(), loaded.model->isa(), 7);
  const double read = s.decode_rate() * double(loaded.model->bytes_per_token()) / 1e9;
  return fmt::format(
      "each token reads {:.1f} MB of weights: {:.1f} GB/s, {:.0f} % of this machine's {:.1f} GB/s (measured now)",
      double(loaded.model->bytes_per_token()) / 1e6, read, 100 * read / gb, gb);
}

}  // namespace

int verb_run(int argc, char** argv) {
  LoadConfig config;
  SamplingArgs sampling;
  GrammarArgs grammar;
  std::string prompt, prompts_file, system, demo, trace;
  bool json = false, raw = false, profile = false, quiet = false, tuned = false;
  Args args("run",
            "Generates text. A prompt goes through the model's chat template when it has one; --raw continues the text "
            "as it stands.");
  add_model_args(args, config, true);
  add_kv_disk(args, config);
  add_lora_args(args, config, "PATH[:SCALE]: generate with this LoRA adapter (a PEFT directory or a GGUF file)");
  args.add("PROMPT", prompt, "the prompt; `-` reads it from standard input");
  args.add("--prompts", prompts_file, "a file with one prompt a line, generated together in batches of --batch");
  args.add("--system", system, "a system message before the prompt");
  args.add("--raw", raw, "no chat template");
  sampling.add_to(args);
  grammar.add_to(args);
  args.add("--logprobs", sampling.logprobs, "with --json: alternatives to report for each token").between(0, 100);
  args.add("--tuned", tuned, "with what `vibee tune` chose for this model on this machine");
  args.add("--profile", profile, "print where the time went, call by call");
  args.add("--trace", trace, "write a Chrome trace of the calls to this file");
  args.add("--quiet", quiet, "the text only");
  args.add("--demo", demo, "answer this prompt, then print the speed against the machine's limit and what to try next");
  args.add("--json", json, "print an array of objects");
  args.example("vibee run \"Once upon a time\"")
      .example("vibee run smollm2-135m \"Why is the sky blue?\"")
      .example("vibee run model.gguf --raw \"Once upon a time\" -n 64 --greedy")
      .example("vibee run smollm2-135m \"Why is the sky blue?\" --lora adapters/pirate:0.8")
      .example("vibee run smollm2-135m --prompts prompts.txt --batch 16 --json")
      .example("vibee run smollm2-135m \"Which year was it?\" --regex \"[12][0-9]{3}\"")
      .example("vibee run smollm2-135m \"Describe a cat.\" --json-schema cat.json");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  // One argument of several words is a prompt for the model in the binary; one word may be a model that is not here.
  if (prompt.empty() && demo.empty() && prompts_file.empty() && config.model.find(' ') != std::string::npos &&
      !resolve_model(config.model).ok())
    prompt = std::exchange(config.model, kBuiltinModel);
  if (tuned) {
    const Status applied = apply_tuned(&config);
    if (!applied.ok()) return fail("run", applied);
  }
  if (!demo.empty()) prompt = demo;
  if (config.loras.size() > 1) return fail_usage("run", "--lora: one adapter a run");
  if (prompt.empty() == prompts_file.empty()) return fail_usage("run", "needs one of PROMPT and --prompts");
  std::vector<std::string> texts = {prompt};
  if (prompt == "-") texts[0].assign(std::istreambuf_iterator<char>(std::cin), {});
  if (!prompts_file.empty()) {
    texts.clear();
    const Status read = add_lines(prompts_file, &texts);
    if (!read.ok()) return fail("run", read);
  }
  auto loaded = load(config);
  if (!loaded.ok()) return fail("run", loaded.status());
  auto generate_with = generate_config(sampling, loaded->sampling);
  if (!generate_with.ok()) return fail("run", generate_with.status());
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& text : texts) {
    std::vector<ChatMessage> messages;
    if (!system.empty()) messages.push_back({"system", system});
    messages.push_back({"user", text});
    auto ids = raw || !has_chat_template(*loaded->model)
                   ? encode_prompt(*loaded->model, system.empty() ? text : system + "\n" + text)
                   : encode_chat(*loaded->model, messages);
    if (!ids.ok()) return fail("run", ids.status());
    prompts.push_back(std::move(*ids));
  }
  auto compiled = grammar.compile(loaded->model->tokenizer());
  if (!compiled.ok()) return fail("run", compiled.status());
  generate_with->grammar = *compiled;
  generate_with->engine = loaded->engine;
  if (!loaded->adapters.empty()) generate_with->adapter = loaded->adapters[0].adapter;
  if (profile || !trace.empty()) {
    const Status enabled = enable_profile(*loaded->session);
    if (!enabled.ok()) return fail("run", enabled);
  }
  const bool stream = !json && prompts.size() == 1;
  auto result = generate(
      *loaded->session, prompts, *generate_with,
      [&](uint32_t, const std::string& text) {
        if (!stream) return;
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      },
      interrupted);
  if (!result.ok()) return fail("run", result.status());
  const GenerateStats& s = result->stats;
  if (json) {
    std::vector<std::string> items;
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<std::string> tokens;
      for (const Sampled& t : result->tokens[i]) tokens.push_back(token_json(*loaded->model, t));
      JsonObject o;
      o.text("prompt", texts[i])
          .text("text", result->texts[i])
          .text("finish", name(result->finishes[i]))
          .integer("prompt_tokens", prompts[i].size());
      o.integer("seed", generate_with->sampling.seed + i);
      if (sampling.logprobs > 0) o.raw("tokens", json_array(tokens));
      items.push_back(o.str());
    }
    std::puts(JsonObject()
                  .raw("results", json_array(items))
                  .number("prompt_tokens_per_s", s.prompt_rate())
                  .number("generated_tokens_per_s", s.decode_rate())
                  .number("first_token_s", s.first_token_seconds)
                  .number("load_s", loaded->seconds)
                  .str()
                  .c_str());
  } else if (!stream) {
    for (size_t i = 0; i < texts.size(); ++i)
      std::puts(fmt::format("### {}\n{}\n", texts[i], result->texts[i]).c_str());
  } else {
    std::fputs("\n", stdout);
  }
  if (!json && !quiet) {
    std::fflush(stdout);
    std::fputs(
        fmt::format("[{}; loaded in {:.2f} s; seed {}]\n", speed_line(s), loaded->seconds, generate_with->sampling.seed)
            .c_str(),
        stderr);
    if (loaded->disk) {
      loaded->disk->flush();
      std::fputs(fmt::format("[{}]\n", kv_disk_line(loaded->disk->stats())).c_str(), stderr);
    }
  }
  if (profile) std::fputs(profile_table(*loaded->session).c_str(), stderr);
  if (!trace.empty()) {
    const Status written = write_trace(*loaded->session, trace);
    if (!written.ok()) return fail("run", written);
  }
  if (!demo.empty()) {
    std::fputs(fmt::format("[{}]\n\ntry next:\n  vibee chat {}\n  vibee bench {}\n  vibee tree\n",
                           limit_line(*loaded, s), config.model, config.model)
                   .c_str(),
               stderr);
    if (isatty(STDIN_FILENO) && !interrupted())
      return chat_loop(*loaded, *generate_with, {{"user", demo}, {"assistant", result->texts[0]}});
  }
  return interrupted() ? kExitFailed : kExitOk;
}

}  // namespace vibee
