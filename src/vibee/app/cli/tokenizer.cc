// SPDX-License-Identifier: Apache-2.0
// vibee tokenizer: text to ids and back with the tokenizer of a model file or of a tokenizer.json, and chat templates.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/tokenizer_train.h"
#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/token/chat_template.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/tokenizer_json.h"
#include "vibee/model/token/tokenizer_json_write.h"

namespace vibee {
namespace {

struct EncodeArgs {
  std::string model, path = "-";
  bool json = false, count = false, time = false, special = false;
};

Status encode(const EncodeArgs& a) {
  VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(a.model));
  VIBEE_ASSIGN(const std::string text, read_text(a.path));
  std::vector<int32_t> ids;
  const Timer timer;
  VIBEE_TRY(tokenizer->encode(text, a.special, &ids));
  const double seconds = timer.seconds();
  std::string list;
  for (size_t i = 0; !a.count && i < ids.size(); ++i)
    list += (i > 0 ? (a.json ? "," : " ") : "") + std::to_string(ids[i]);
  if (a.json) {
    JsonObject object;
    object.integer("tokens", ids.size()).integer("bytes", text.size());
    if (!a.count) object.raw("ids", "[" + list + "]");
    if (a.time) object.number("seconds", seconds);
    std::puts(object.str().c_str());
    return {};
  }
  std::puts(a.count ? std::to_string(ids.size()).c_str() : list.c_str());
  if (a.time) std::puts(fmt::format("{:.3f} s, {:.1f} MB/s", seconds, double(text.size()) / 1e6 / seconds).c_str());
  return {};
}

Status decode_ids(const std::string& model, const std::vector<std::string>& words) {
  VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(model));
  std::vector<int32_t> ids;
  for (const std::string& word : words) {
    size_t used = 0;
    int64_t id = -1;
    for (const char c : word) {
      if (c < '0' || c > '9' || used > 9) break;
      id = (used++ == 0 ? 0 : id * 10) + (c - '0');
    }
    if (used != word.size() || id >= tokenizer->size())
      return error(Code::invalid, "\"{}\" is no id of this vocabulary of {} tokens", word, tokenizer->size());
    ids.push_back(int32_t(id));
  }
  std::puts(decode(*tokenizer, ids).c_str());
  return {};
}

Status show(const std::string& model, bool json) {
  VIBEE_ASSIGN(const auto t, open_tokenizer(model));
  JsonObject object;
  object.text("model", t->model()).text("pre", t->pre()).integer("tokens", t->size());
  object.integer("bos", t->bos()).integer("eos", t->eos()).integer("unk", t->unk()).integer("pad", t->pad());
  object.boolean("add_bos", t->add_bos()).boolean("add_eos", t->add_eos());
  object.boolean("chat_template", !t->chat_template().empty());
  if (json) {
    std::puts(object.str().c_str());
    return {};
  }
  std::puts(fmt::format("{} tokenizer of {} tokens{}", t->model(), t->size(), t->pre().empty() ? "" : ", " + t->pre())
                .c_str());
  std::puts(fmt::format("bos {}{}, eos {}{}, unk {}, pad {}", t->bos(), t->add_bos() ? " (added)" : "", t->eos(),
                        t->add_eos() ? " (added)" : "", t->unk(), t->pad())
                .c_str());
  return {};
}

struct BenchArgs {
  std::string model, path = "-";
  uint32_t runs = 5;
  bool lines = false, json = false;
};

/// The speed of one thread, words in the cache: a first run is not counted.
Status bench(const BenchArgs& a) {
  VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(a.model));
  VIBEE_ASSIGN(const std::string text, read_text(a.path));
  std::vector<std::string_view> parts = {text};
  if (a.lines) {
    parts.clear();
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      parts.push_back(std::string_view(text).substr(at, end - at));
      at = end + 1;
    }
  }
  if (text.empty()) return error(Code::invalid, "{}: is empty; give a text", quote(a.path, 400));
  std::vector<double> seconds;
  std::vector<int32_t> ids;
  size_t tokens = 0;
  for (uint32_t run = 0; run <= std::max(1u, a.runs); ++run) {
    tokens = 0;
    const Timer timer;
    for (const std::string_view part : parts) {
      ids.clear();
      VIBEE_TRY(tokenizer->encode(part, true, &ids));
      tokens += ids.size();
    }
    if (run > 0) seconds.push_back(timer.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2], rate = double(text.size()) / 1e6 / median;
  if (a.json) {
    std::puts(JsonObject()
                  .integer("bytes", text.size())
                  .integer("texts", parts.size())
                  .integer("tokens", tokens)
                  .integer("runs", seconds.size())
                  .number("seconds", median)
                  .number("mb_per_s", rate)
                  .str()
                  .c_str());
  } else {
    std::puts(fmt::format("{:.1f} MB/s, {} tokens of {} bytes in {:.4f} s (median of {})", rate, tokens, text.size(),
                          median, seconds.size())
                  .c_str());
  }
  return {};
}

Status export_files(const std::string& model, const std::string& directory) {
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer_spec(model));
  VIBEE_ASSIGN(const std::vector<std::string> paths, write_tokenizer_directory(std::move(spec), directory));
  for (const std::string& path : paths) std::puts(path.c_str());
  return {};
}

struct RenderArgs {
  std::string model, context = "-";
  int64_t now = -1;
};

/// A template's text over a JSON object, as it is: no newline is added.
Status render(const RenderArgs& a) {
  std::string source;
  if (a.model.ends_with(".jinja")) {
    VIBEE_ASSIGN(source, read_text(a.model));
  } else {
    VIBEE_ASSIGN(const TokenizerSpec spec, read_tokenizer_spec(a.model));
    source = spec.chat_template;
    if (source.empty()) return error(Code::invalid, "{}: has no chat template", quote(a.model, 400));
  }
  VIBEE_ASSIGN(const ChatTemplate chat, ChatTemplate::parse(source));
  VIBEE_ASSIGN(const std::string json, read_text(a.context));
  const auto context = OrderedJson::parse(json, nullptr, false);
  if (!context.is_object())
    return error(Code::invalid, "{}: is not a JSON object; give {{\"messages\": [...], ...}}", quote(a.context, 400));
  VIBEE_ASSIGN(const std::string text,
               chat.render(context, a.now < 0 ? std::optional<std::time_t>() : std::time_t(a.now)));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace

int verb_tokenizer(int argc, char** argv) {
  EncodeArgs e;
  std::string decode_model, show_model;
  std::vector<std::string> ids;
  bool show_json = false;
  Args args("tokenizer", "Text to token ids and back, with the tokenizer of a model or of a tokenizer.json.");
  Args& encode_args = args.sub("encode", "the ids of a text, without the tokens put around it");
  encode_args.add("MODEL", e.model, "a model, or the path of a tokenizer.json").required();
  encode_args.add("--text", e.path, "a file; -: standard input");
  encode_args.add("--special", e.special, "read special tokens spelled in the text as such");
  encode_args.add("--count", e.count, "how many, not which");
  encode_args.add("--time", e.time, "the time it took");
  encode_args.add("--json", e.json, "print an object");
  Args& decode_args = args.sub("decode", "the text of ids");
  decode_args.add("MODEL", decode_model, "a model, or the path of a tokenizer.json").required();
  decode_args.add("IDS", ids, "token ids").required();
  Args& show_args = args.sub("show", "what a tokenizer is");
  show_args.add("MODEL", show_model, "a model, or the path of a tokenizer.json").required();
  show_args.add("--json", show_json, "print an object");
  BenchArgs b;
  Args& bench_args = args.sub("bench", "how fast a text becomes ids on one thread");
  bench_args.add("MODEL", b.model, "a model, or the path of a tokenizer.json").required();
  bench_args.add("--text", b.path, "a file; -: standard input");
  bench_args.add("--lines", b.lines, "every line is a text of its own");
  bench_args.add("--runs", b.runs, "timed runs, after one that is not");
  bench_args.add("--json", b.json, "print an object");
  std::string export_model, export_directory;
  Args& export_args = args.sub("export", "writes tokenizer.json and the files beside it, as transformers loads them");
  export_args.add("MODEL", export_model, "a model, or the path of a tokenizer.json").required();
  export_args.add("DIR", export_directory, "the directory to write them to").required();
  RenderArgs r;
  Args& render_args = args.sub("render", "what a chat template makes of a conversation, byte for byte");
  render_args.add("MODEL", r.model, "a model, or the path of a template (.jinja)").required();
  render_args.add(
      "--context", r.context,
      "a file with a JSON object: messages, add_generation_prompt, tools, bos_token, ...; -: standard input");
  render_args.add("--now", r.now, "seconds since 1970 that strftime_now takes for the time");
  TrainTokenizerArgs t;
  Args& train_args = args.sub("train", "learns a tokenizer from texts: byte-level BPE, or one token a character");
  t.add_to(train_args);
  args.example("vibee tokenizer encode smollm2-135m --text book.txt --count --time");
  args.example("vibee tokenizer train DIR stories.txt --vocab 4096 --pre llama3");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  Status status;
  if (encode_args.chosen()) {
    status = encode(e);
  } else if (decode_args.chosen()) {
    status = decode_ids(decode_model, ids);
  } else if (show_args.chosen()) {
    status = show(show_model, show_json);
  } else if (bench_args.chosen()) {
    status = bench(b);
  } else if (export_args.chosen()) {
    status = export_files(export_model, export_directory);
  } else if (render_args.chosen()) {
    status = render(r);
  } else if (train_args.chosen()) {
    status = t.run();
  } else {
    return fail_usage("tokenizer", "say encode, decode, show, bench, export, render or train");
  }
  return status.ok() ? kExitOk : fail("tokenizer", status);
}

}  // namespace vibee
