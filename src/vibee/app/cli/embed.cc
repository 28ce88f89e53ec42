// SPDX-License-Identifier: Apache-2.0
// vibee embed.
#include "vibee/app/jobs/embed.h"

#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"

namespace vibee {
int verb_embed(int argc, char** argv) {
  LoadConfig config;
  set_embed_defaults(&config);
  EmbedConfig how;
  std::vector<std::string> texts;
  std::string file, pooling;
  bool json = false, plain = false;
  Args args("embed",
            "Embeds texts: one vector a text, a line of numbers each. Pooling and normalisation are those that the "
            "model's files say. Texts may be as long as --ctx.");
  add_model_args(args, config, true);
  args.add("TEXT", texts, "the texts");
  args.add("--file", file, "a file with one text a line; -: standard input");
  args.add("--pooling", pooling, "mean, max, cls or last instead of what the files say");
  args.add("--no-normalize", plain, "vectors as they come out, not of length one");
  args.add("--truncate", how.truncate, "cut texts that are too long instead of refusing them");
  args.add("--json", json, "print an object");
  args.example("vibee embed minilm-l6 \"A cat sleeps.\" \"A dog runs.\"")
      .example("vibee embed minilm-l6 --file sentences.txt --json")
      .example("vibee embed smollm2-135m \"A cat sleeps.\" --pooling mean");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  if (!pooling.empty()) {
    config.pooling = find_pooling(pooling);
    if (!config.pooling) return fail_usage("embed", fmt::format("--pooling {}: use mean, max, cls or last", pooling));
  }
  if (plain) how.normalise = false;
  const Status read = add_lines(file, &texts);
  if (!read.ok()) return fail("embed", read);
  if (texts.empty()) return fail_usage("embed", "needs texts, or --file");
  auto loaded = load(config);
  if (!loaded.ok()) return fail("embed", loaded.status());
  const Timer timer;
  auto embeddings = embed(*loaded->session, texts, how, interrupted);
  if (!embeddings.ok()) return fail("embed", embeddings.status());
  const double seconds = timer.seconds();
  std::vector<std::string> items;
  uint64_t tokens = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Embedding& e = (*embeddings)[i];
    tokens += e.text.tokens;
    if (e.text.cut > 0)
      std::fputs(fmt::format("vibee embed: warning: text {}: {} tokens were cut off\n", i + 1, e.text.cut).c_str(),
                 stderr);
    std::string numbers;
    for (float v : e.values) numbers += fmt::format("{}{}", numbers.empty() ? "" : json ? ", " : " ", json_float(v));
    if (!json) {
      std::puts(numbers.c_str());
      continue;
    }
    items.push_back(JsonObject()
                        .integer("index", i)
                        .integer("tokens", e.text.tokens)
                        .integer("cut", e.text.cut)
                        .raw("embedding", "[" + numbers + "]")
                        .str());
  }
  if (json) {
    const ModelConfig& c = loaded->model->config();
    std::puts(JsonObject()
                  .text("model", loaded->model->path())
                  .text("pooling", name(*c.pooling))
                  .boolean("normalized", how.normalise.value_or(c.normalise))
                  .integer("tokens", tokens)
                  .number("seconds", seconds)
                  .raw("embeddings", json_array(items))
                  .str()
                  .c_str());
  }
  return kExitOk;
}

}  // namespace vibee
