// SPDX-License-Identifier: Apache-2.0
// vibee data: texts as the token stores that training reads.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <optional>
#include <thread>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/document_args.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/progress_line.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/train/data/build_store.h"
#include "vibee/train/data/write_stories.h"

namespace vibee {
namespace {

struct BuildArgs {
  std::string out, tokenizer;
  DocumentArgs documents;
  BuildConfig config;
  bool json = false;
};

std::string store_json(const std::string& path, const StoreReport& r) {
  return JsonObject()
      .text("path", path)
      .integer("documents", r.documents)
      .integer("tokens", r.tokens)
      .integer("learnt", r.learnt)
      .integer("bytes", r.bytes)
      .str();
}

void print_store(const std::string& path, const StoreReport& r) {
  std::puts(fmt::format("{}: {} documents, {} tokens{}, {:.1f} MB", path, r.documents, r.tokens,
                        r.learnt < r.tokens ? fmt::format(", {} of them answers", r.learnt) : "", double(r.bytes) / 1e6)
                .c_str());
}

Status build(BuildArgs& a) {
  BuildConfig& config = a.config;
  std::vector<std::string> outputs = {a.out};
  if (config.held_out > 0) {
    if (config.held_path.empty()) config.held_path = a.out + ".held";
    outputs.push_back(config.held_path);
  }
  VIBEE_ASSIGN(config.scan, a.documents.scan(outputs));
  const uint64_t total = a.documents.bytes();
  VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(a.tokenizer));
  catch_interrupt();
  ProgressLine line("MB", 1e6);
  auto report = build_store(a.out, *tokenizer, config, [&](uint64_t done) {
    line.show(done, total);
    return !interrupted();
  });
  line.clear();
  if (!report.ok()) return report.take_status();
  if (report->pieces > 0 && tokenizer->adds_space_prefix())
    std::fputs(
        fmt::format("vibee data: warning: {} pieces of long documents were encoded one by one, each with the space "
                    "that this tokenizer puts before a text\n",
                    report->pieces)
            .c_str(),
        stderr);
  if (a.json) {
    JsonObject out;
    out.raw("store", store_json(a.out, report->store));
    if (config.held_out > 0) out.raw("held_out", store_json(config.held_path, report->held));
    out.integer("read", report->read).number("seconds", report->seconds);
    std::puts(out.str().c_str());
    return {};
  }
  print_store(a.out, report->store);
  if (config.held_out > 0) print_store(config.held_path, report->held);
  std::puts(fmt::format("{:.1f} MB read in {:.1f} s, {:.1f} MB/s", double(report->read) / 1e6, report->seconds,
                        double(report->read) / 1e6 / std::max(report->seconds, 1e-9))
                .c_str());
  return {};
}

struct ShowArgs {
  std::string store, tokenizer;
  uint64_t document = 0;
  uint32_t sample = 200;
  bool json = false;
};

/// How many documents have 1, 2 to 3, 4 to 7, ... ids.
Result<std::vector<uint64_t>> length_histogram(const TokenStore& store) {
  std::vector<uint64_t> counts;
  TokenSpan span;
  uint64_t length = 0;
  for (uint64_t at = 0; at < store.tokens(); at += span.ids.size()) {
    VIBEE_TRY(store.read(at, std::min<uint64_t>(TokenStore::kBlock, store.tokens() - at), &span));
    for (const bool ends : span.ends) {
      ++length;
      if (!ends) continue;
      const size_t bucket = size_t(std::bit_width(length)) - 1;
      if (counts.size() <= bucket) counts.resize(bucket + 1);
      ++counts[bucket];
      length = 0;
    }
  }
  return counts;
}

/// The stretches of a document that are to be learnt, a line each.
std::string learnt_parts(const Tokenizer& tokenizer, const TokenSpan& span) {
  std::string out;
  for (size_t i = 0; i < span.ids.size();) {
    std::vector<int32_t> part;
    for (; i < span.ids.size() && span.learnt[i]; ++i) part.push_back(span.ids[i]);
    std::string text;
    for (const int32_t id : part) text += tokenizer.piece(id);
    if (!part.empty()) out += "\n  " + quote(text, 400);
    while (i < span.ids.size() && !span.learnt[i]) ++i;
  }
  return out;
}

Status show(const ShowArgs& a) {
  VIBEE_ASSIGN(const TokenStore store, TokenStore::open(a.store));
  VIBEE_ASSIGN(const std::vector<uint64_t> counts, length_histogram(store));
  std::string text, learnt;
  VIBEE_ASSIGN(const TokenStore::Extent extent, store.document(a.document));
  TokenSpan span;
  VIBEE_TRY(store.read(extent.begin, std::min<uint64_t>(extent.end - extent.begin, a.sample), &span));
  if (!a.tokenizer.empty()) {
    VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(a.tokenizer));
    VIBEE_TRY(store.check_tokenizer(*tokenizer));
    text = decode(*tokenizer, span.ids);
    learnt = learnt_parts(*tokenizer, span);
  }
  std::string ids;
  for (const int32_t id : span.ids) ids += (ids.empty() ? "" : a.json ? "," : " ") + std::to_string(id);
  const bool partly = std::find(span.learnt.begin(), span.learnt.end(), false) != span.learnt.end();
  if (a.json) {
    std::string mask;
    for (const bool is : span.learnt) mask += (mask.empty() ? "" : ",") + std::string(is ? "1" : "0");
    std::vector<std::string> rows;
    for (size_t i = 0; i < counts.size(); ++i)
      rows.push_back(JsonObject().integer("from", uint64_t(1) << i).integer("documents", counts[i]).str());
    JsonObject out;
    out.integer("documents", store.documents()).integer("tokens", store.tokens()).integer("learnt", store.learnt());
    out.integer("vocabulary", store.vocabulary()).integer("id_bytes", store.id_bytes()).integer("bytes", store.bytes());
    out.raw("lengths", json_array(rows)).integer("document", a.document).raw("ids", "[" + ids + "]");
    out.raw("learnt_of_ids", "[" + mask + "]");
    if (!a.tokenizer.empty()) out.text("text", text);
    std::puts(out.str().c_str());
    return {};
  }
  std::puts(fmt::format("{} documents, {} tokens, {} of them to be learnt; vocabulary of {}, {} bytes an id, {:.1f} MB",
                        store.documents(), store.tokens(), store.learnt(), store.vocabulary(), store.id_bytes(),
                        double(store.bytes()) / 1e6)
                .c_str());
  const uint64_t most = *std::max_element(counts.begin(), counts.end());
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const uint64_t from = uint64_t(1) << i;
    std::puts(fmt::format("{:>10} to {:<10} tokens {:>10} {}", from, 2 * from - 1, counts[i],
                          std::string(std::max<uint64_t>(1, counts[i] * 40 / most), '#'))
                  .c_str());
  }
  std::puts(
      fmt::format("document {}, {} tokens{}:", a.document, extent.end - extent.begin,
                  span.ids.size() < extent.end - extent.begin ? fmt::format(", the first {}", span.ids.size()) : "")
          .c_str());
  std::puts(a.tokenizer.empty() ? ids.c_str() : text.c_str());
  if (partly && !a.tokenizer.empty()) std::puts(("of it to be learnt:" + learnt).c_str());
  return {};
}

Status verify(const std::string& path, const std::string& model, bool json) {
  VIBEE_ASSIGN(const TokenStore store, TokenStore::open(path));
  if (!model.empty()) {
    VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(model));
    VIBEE_TRY(store.check_tokenizer(*tokenizer));
  }
  catch_interrupt();
  ProgressLine line("million tokens", 1e6);
  Status status = store.verify([&](uint64_t done) {
    line.show(done, store.tokens());
    return !interrupted();
  });
  line.clear();
  VIBEE_TRY(std::move(status));
  std::puts(json ? JsonObject().boolean("good", true).integer("tokens", store.tokens()).str().c_str()
                 : fmt::format("{}: good, {} documents, {} tokens", path, store.documents(), store.tokens()).c_str());
  return {};
}

struct StoryArgs {
  std::string out, tokenizer, grammar;
  StoryOrder order;
  bool json = false;
};

Status stories(StoryArgs& a) {
  StoryOrder& order = a.order;
  if (order.threads == 0) order.threads = std::max(1u, std::thread::hardware_concurrency());
  if (order.tokens > 0 && a.tokenizer.empty())
    return error(Code::invalid, "--tokens are counted by a tokenizer; name it with --tokenizer, or use --bytes");
  if (order.stories == 0 && order.bytes == 0 && order.tokens == 0) order.stories = 1;
  order.lines = a.out.ends_with(".jsonl") || a.out.ends_with(".ndjson");
  std::unique_ptr<Tokenizer> tokenizer;
  if (!a.tokenizer.empty()) {
    VIBEE_ASSIGN(tokenizer, open_tokenizer(a.tokenizer));
    order.tokenizer = tokenizer.get();
  }
  std::string grammar;
  if (!a.grammar.empty()) {
    VIBEE_ASSIGN(grammar, read_text(a.grammar));
  }
  VIBEE_ASSIGN(const Storyteller teller,
               a.grammar.empty() ? Storyteller::own() : Storyteller::make(grammar, quote(a.grammar, 400)));
  std::optional<AtomicFile> file;
  if (a.out != "-") {
    VIBEE_ASSIGN(AtomicFile made, AtomicFile::create(a.out + ".part"));
    file.emplace(std::move(made));
  }
  catch_interrupt();
  ProgressLine line("MB", 1e6);
  const Timer timer;
  std::string waiting;  // written a MB at a time
  const auto flush = [&]() -> Status {
    if (file) VIBEE_TRY(file->append({reinterpret_cast<const uint8_t*>(waiting.data()), waiting.size()}));
    if (!file) std::fwrite(waiting.data(), 1, waiting.size(), stdout);
    waiting.clear();
    return {};
  };
  auto count = write_stories(
      teller, order,
      [&](std::string_view text) -> Status {
        waiting += text;
        return waiting.size() < 1 << 20 ? Status() : flush();
      },
      [&](const StoryCount& done) {
        line.show(done.bytes, order.bytes);
        return !interrupted();
      });
  line.clear();
  if (!count.ok()) return count.take_status();
  VIBEE_TRY(flush());
  if (!file) return {};
  VIBEE_TRY(file->commit(a.out));
  if (a.json) {
    JsonObject out;
    out.text("path", a.out).integer("stories", count->stories).integer("bytes", count->bytes);
    if (order.tokenizer != nullptr) out.integer("tokens", count->tokens);
    std::puts(out.number("seconds", timer.seconds()).str().c_str());
    return {};
  }
  std::puts(fmt::format("{}: {} stories, {:.1f} MB{} in {:.1f} s", a.out, count->stories, double(count->bytes) / 1e6,
                        order.tokenizer != nullptr ? fmt::format(", {} tokens", count->tokens) : "", timer.seconds())
                .c_str());
  return {};
}

}  // namespace

int verb_data(int argc, char** argv) {
  Args args("data", "Texts as the token stores that training reads.");
  BuildArgs b;
  Args& build_args = args.sub("build", "a store of the ids of texts; it appears whole or not at all");
  build_args.add("STORE", b.out, "the file to write").required();
  b.documents.add_to(build_args);
  build_args.add("--tokenizer", b.tokenizer, "a model, or the path of a tokenizer.json").required();
  build_args.add("--special", b.config.special, "read special tokens spelled in texts as such");
  build_args.add("--held-out", b.config.held_out, "share of the documents to keep for evaluation, by their hashes")
      .between(0, 0.9);
  build_args.add("--held-store", b.config.held_path, "where those go; STORE.held when not given");
  build_args.add("--json", b.json, "print an object");
  ShowArgs s;
  Args& show_args = args.sub("show", "what a store holds: counts, lengths, a document");
  show_args.add("STORE", s.store, "a file of `vibee data build`").required();
  show_args.add("--tokenizer", s.tokenizer, "a model, or the path of a tokenizer.json: shows text in the place of ids");
  show_args.add("--document", s.document, "which document to show, from 0");
  show_args.add("--sample", s.sample, "at most this many of its tokens");
  show_args.add("--json", s.json, "print an object");
  std::string verify_store, verify_tokenizer;
  bool verify_json = false;
  Args& verify_args = args.sub("verify", "reads all of a store and checks it");
  verify_args.add("STORE", verify_store, "a file of `vibee data build`").required();
  verify_args.add("--tokenizer", verify_tokenizer, "a model, or the path of a tokenizer.json, that made it");
  verify_args.add("--json", verify_json, "print an object");
  StoryArgs t;
  Args& story_args = args.sub("stories", "as much simple English as asked for, from a grammar of stories");
  story_args
      .add("FILE", t.out,
           "the file to write: text with <|endoftext|> behind each story, or JSON lines (.jsonl); -: standard output")
      .required();
  story_args.add("--stories", t.order.stories, "at least so many stories; 1 when nothing is said");
  story_args.add("--bytes", t.order.bytes, "at least so many bytes");
  story_args.add("--tokens", t.order.tokens, "at least so many tokens of --tokenizer");
  story_args.add("--tokenizer", t.tokenizer, "a model, or the path of a tokenizer.json, to count tokens with");
  story_args.add("--seed", t.order.seed, "other seeds tell other stories");
  story_args.add("--first", t.order.first, "number of the first story: ranges of one seed do not meet");
  story_args.add("--grammar", t.grammar, "another grammar, in the form of data/stories.txt");
  t.order.threads = 0;
  story_args.add("-t,--threads", t.order.threads, "threads; 0: one a core").between(0, 1024);
  story_args.add("--json", t.json, "print an object");
  args.example("vibee data build books.tokens books/*.txt --tokenizer smollm2-135m");
  args.example("vibee data build chat.tokens chat.jsonl --tokenizer smollm2-135m --held-out 0.01");
  args.example("vibee data show books.tokens --tokenizer smollm2-135m --document 7");
  args.example("vibee data stories stories.txt --bytes 100000000");
  args.example(
      "vibee data build stories.tokens stories.txt --separator \"<|endoftext|>\" --tokenizer DIR/tokenizer.json");
  args.example("vibee data verify books.tokens");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  Status status;
  if (build_args.chosen()) {
    status = build(b);
  } else if (show_args.chosen()) {
    status = show(s);
  } else if (verify_args.chosen()) {
    status = verify(verify_store, verify_tokenizer, verify_json);
  } else if (story_args.chosen()) {
    status = stories(t);
  } else {
    return fail_usage("data", "say build, show, verify or stories");
  }
  return status.ok() ? kExitOk : fail("data", status);
}

}  // namespace vibee
