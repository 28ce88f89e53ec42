// SPDX-License-Identifier: Apache-2.0
// vibee eval: quality over a text.
#include <unistd.h>

#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/model/eval/eval_text.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/eval/quality.h"

namespace vibee {
int verb_eval(int argc, char** argv) {
  LoadConfig config;
  config.context = 512;
  std::string text_path, base;
  uint32_t windows = 0;
  bool json = false;
  Args args("eval",
            "Perplexity over a text in windows of --ctx tokens; the second half of each window is scored. With --base "
            "also KL divergence and "
            "top-1 agreement against that model, streamed side by side.");
  add_model_args(args, config);
  add_lora_args(args, config, "PATH[:SCALE]: the model with this LoRA adapter; the base goes without");
  args.add("--text", text_path, "the text").required();
  args.add("--base", base, "model to compare with");
  args.add("--windows", windows, "windows at most; 0: the whole text");
  args.add("--json", json, "print an object");
  args.example("vibee eval smollm2-135m --text book.txt")
      .example("vibee eval small.gguf --base smollm2-135m --text book.txt --windows 50")
      .example("vibee eval smollm2-135m --lora run/adapter.gguf --base run/model.gguf --text book.txt");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  if (config.loras.size() > 1) return fail_usage("eval", "--lora: one adapter at a time");
  catch_interrupt();
  config.logits = 64;
  auto text = read_text(text_path);
  if (!text.ok()) return fail("eval", text.status());
  auto loaded = load(config);
  if (!loaded.ok()) return fail("eval", loaded.status());
  std::optional<Loaded> other;
  if (!base.empty()) {
    LoadConfig base_config = config;
    base_config.model = base;
    base_config.weights = "keep";  // what --weights does is what is measured
    base_config.bits = 0;
    base_config.loras.clear();
    auto b = load(base_config);
    if (!b.ok()) return fail("eval", b.status());
    other = std::move(*b);
  }
  const Model& model = *loaded->model;
  const Tokenizer& tokenizer = model.tokenizer();
  auto tokens = eval_tokens(tokenizer, *text);
  if (!tokens.ok()) return fail("eval", tokens.take_status().within(text_path));
  const bool terminal = isatty(STDERR_FILENO);
  const Timer timer;
  auto report = measure_quality(
      *loaded->session, other ? other->session.get() : nullptr, *tokens, config.context, window_bos(tokenizer), windows,
      [&](uint32_t done, uint32_t of, const QualityReport& r) {
        if (terminal)
          std::fputs(fmt::format("\r\033[K{} of {} windows, perplexity {:.4f}, {:.0f} s left", done, of, r.perplexity,
                                 timer.seconds() / done * (of - done))
                         .c_str(),
                     stderr);
        return !interrupted();
      },
      loaded->adapters.empty() ? nullptr : loaded->adapters[0].adapter.get());
  if (terminal) std::fputs("\r\033[K", stderr);
  if (!report.ok()) return fail("eval", report.status());
  const QualityReport& r = *report;
  if (json) {
    JsonObject out;
    out.text("model", loaded->model->path())
        .integer("context", config.context)
        .integer("windows", r.windows)
        .integer("scored", r.scored);
    out.number("perplexity", r.perplexity)
        .number("perplexity_error", r.perplexity_error)
        .number("seconds", timer.seconds());
    if (r.compared) {
      out.text("base", other->model->path())
          .number("base_perplexity", r.base_perplexity)
          .number("log_ratio", r.log_ratio);
      out.number("log_ratio_error", r.log_ratio_error)
          .number("kl", r.kl)
          .number("kl_error", r.kl_error)
          .number("kl_median", r.kl_median);
      out.number("kl_90", r.kl_90).number("kl_99", r.kl_99).number("kl_999", r.kl_999).number("kl_max", r.kl_max);
      out.number("top1", r.top1).number("top1_error", r.top1_error).number("rms_delta_p", r.rms_delta_p);
    }
    std::puts(out.str().c_str());
    return kExitOk;
  }
  std::puts(fmt::format("perplexity {:.4f} +- {:.4f} over {} positions in {} windows of {} ({:.1f} s)", r.perplexity,
                        r.perplexity_error, r.scored, r.windows, config.context, timer.seconds())
                .c_str());
  if (r.compared)
    std::puts(fmt::format("base       {:.4f}; ln ratio {:.5f} +- {:.5f}\nKL(base||model) {:.6f} +- {:.6f} nats, median "
                          "{:.6f}, 90 % {:.6f}, 99 % {:.6f}, 99.9 % {:.6f}, max {:.4f}\n"
                          "same top token {:.3f} +- {:.3f} %; RMS change of the true token's probability {:.4f} %",
                          r.base_perplexity, r.log_ratio, r.log_ratio_error, r.kl, r.kl_error, r.kl_median, r.kl_90,
                          r.kl_99, r.kl_999, r.kl_max, 100 * r.top1, 100 * r.top1_error, 100 * r.rms_delta_p)
                  .c_str());
  return kExitOk;
}

}  // namespace vibee
