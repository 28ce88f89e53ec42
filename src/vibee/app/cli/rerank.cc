// SPDX-License-Identifier: Apache-2.0
// vibee rerank.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/jobs/embed.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"

namespace vibee {

int verb_rerank(int argc, char** argv) {
  LoadConfig config;
  set_embed_defaults(&config);
  config.output = Output::scores;
  EmbedConfig how;
  std::string query, file;
  std::vector<std::string> documents;
  bool json = false;
  Args args("rerank",
            "Scores documents against a query with a cross-encoder (a BERT with a classifier of one label) and prints "
            "them, best first: score, number, document.");
  add_model_args(args, config, true);
  args.add("QUERY", query, "what is looked for").required();
  args.add("DOCUMENT", documents, "the documents");
  args.add("--file", file, "a file with one document a line; -: standard input");
  args.add("--truncate", how.truncate, "cut documents that are too long instead of refusing them");
  args.add("--json", json, "print an object");
  args.example("vibee rerank DIR \"how do cats sleep\" \"Cats sleep all day.\" \"Dogs bark.\"")
      .example("vibee rerank DIR \"how do cats sleep\" --file documents.txt --json");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  const Status read = add_lines(file, &documents);
  if (!read.ok()) return fail("rerank", read);
  if (documents.empty()) return fail_usage("rerank", "needs documents, or --file");
  auto loaded = load(config);
  if (!loaded.ok()) return fail("rerank", loaded.status());
  const Timer timer;
  auto ranked = rerank(*loaded->session, query, documents, how, interrupted);
  if (!ranked.ok()) return fail("rerank", ranked.status());
  std::vector<std::string> items;
  uint64_t tokens = 0;
  for (const Ranked& r : *ranked) {
    tokens += r.text.tokens;
    if (r.text.cut > 0)
      std::fputs(
          fmt::format("vibee rerank: warning: document {}: {} tokens were cut off\n", r.index + 1, r.text.cut).c_str(),
          stderr);
    if (!json) {
      std::puts(fmt::format("{:.6f} {} {}", r.score, r.index + 1, documents[r.index]).c_str());
      continue;
    }
    items.push_back(JsonObject()
                        .integer("index", r.index)
                        .number("score", r.score)
                        .number("logit", r.logit)
                        .integer("tokens", r.text.tokens)
                        .integer("cut", r.text.cut)
                        .str());
  }
  if (json)
    std::puts(JsonObject()
                  .text("model", loaded->model->path())
                  .integer("tokens", tokens)
                  .number("seconds", timer.seconds())
                  .raw("results", json_array(items))
                  .str()
                  .c_str());
  return kExitOk;
}

}  // namespace vibee
