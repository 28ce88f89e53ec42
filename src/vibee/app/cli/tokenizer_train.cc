// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/tokenizer_train.h"

#include <cstdio>

#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/progress_line.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/token/chat_template.h"
#include "vibee/train/data/tokenizer_train.h"

namespace vibee {

void TrainTokenizerArgs::add_to(Args& args) {
  args.add("DIR", directory, "the directory to write tokenizer.json and the files beside it to").required();
  documents.add_to(args);
  args.add("--vocab", vocabulary, "tokens in all");
  args.add("--pre", pre, "how texts are cut into words first").one_of({"gpt2", "llama3", "qwen2", "gpt-4o"});
  args.add("--special", special, "special tokens, ids from 0; the first ends a text (default <|endoftext|>)");
  args.add("--least", least, "how often a pair must occur to become a token");
  args.add("--chars", characters, "one token a character of the texts (and the bytes of one beyond ASCII)");
  args.add("--chat-template", chat_template, "a file with the chat template of models with this tokenizer (Jinja)");
  args.add("--json", json, "print an object");
}

Status TrainTokenizerArgs::run() const {
  TokenizerTraining config;
  VIBEE_ASSIGN(config.scan, documents.scan({}));
  config.characters = characters;
  config.pre = pre == "gpt2" ? "gpt-2" : pre == "llama3" ? "llama-bpe" : pre;
  if (!special.empty()) config.special = special;
  config.vocabulary = vocabulary;
  config.least = least;
  catch_interrupt();
  const uint64_t bytes = documents.bytes();
  ProgressLine reading("MB read", 1e6), merging("tokens", 1);
  auto trained = train_tokenizer(config, [&](std::string_view stage, uint64_t done) {
    if (stage == "read") {
      reading.show(done, bytes);
    } else {
      merging.show(done, vocabulary);
    }
    return !interrupted();
  });
  reading.clear();
  if (!trained.ok()) return trained.take_status();
  if (!chat_template.empty()) {
    VIBEE_ASSIGN(trained->spec.chat_template, read_text(chat_template));
    VIBEE_TRY(ChatTemplate::parse(trained->spec.chat_template).take_status().within(quote(chat_template, 400)));
  }
  const size_t tokens = trained->spec.tokens.size();
  if (!characters && tokens < vocabulary)
    std::fputs(fmt::format("vibee tokenizer: warning: only {} tokens: no further pair occurs {} times\n", tokens, least)
                   .c_str(),
               stderr);
  VIBEE_ASSIGN(const std::vector<std::string> paths, write_tokenizer_directory(std::move(trained->spec), directory));
  if (json) {
    std::puts(JsonObject()
                  .text("path", paths.front())
                  .integer("tokens", tokens)
                  .integer("read", trained->read)
                  .integer("words", trained->words)
                  .number("count_seconds", trained->count_seconds)
                  .number("merge_seconds", trained->merge_seconds)
                  .str()
                  .c_str());
  } else {
    std::puts(fmt::format("{}: {} tokens from {:.1f} MB, {} different {}; {:.2f} s to count, {:.2f} s to merge",
                          paths.front(), tokens, double(trained->read) / 1e6, trained->words,
                          characters ? "characters" : "words", trained->count_seconds, trained->merge_seconds)
                  .c_str());
  }
  return {};
}

}  // namespace vibee
