// SPDX-License-Identifier: Apache-2.0
// vibee verify: whether a file is what its certificate says.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/work_line.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"

namespace vibee {

int verb_verify(int argc, char** argv) {
  VerifyConfig config;
  std::string text;
  bool json = false;
  Args args("verify",
            "Computes again what a quantised file's certificate says: the hash of its weights; with --base that of the "
            "model it was made from; with --text also perplexity, KL divergence and agreement. Fails where it does not "
            "match.");
  args.add("FILE", config.file, "a file that `vibee quantize` wrote").required();
  args.add("--base", config.base, "the model that it was made from");
  args.add("--text", text, "the text that it was measured on");
  args.add("--threads", config.threads, "threads; 0: one a core").between(0, 256);
  args.add("--json", json, "print an object");
  args.example("vibee verify small.gguf");
  args.example("vibee verify small.gguf --base smollm2-135m --text book.txt");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  if (!text.empty()) {
    auto read = read_text(text);
    if (!read.ok()) return fail("verify", read.status());
    config.text = NamedText{text, std::move(*read)};
  }
  catch_interrupt();
  WorkLine line;
  const auto result = verify(config, line.on_work());
  line.clear();
  if (!result.ok()) return fail("verify", result.status());
  if (json) {
    std::vector<std::string> claims;
    for (const Claim& c : result->claims)
      claims.push_back(JsonObject()
                           .text("what", c.what)
                           .text("claimed", c.claimed)
                           .text("found", c.found)
                           .boolean("holds", c.holds)
                           .str());
    std::puts(JsonObject()
                  .text("path", result->path)
                  .text("recipe", result->certificate.recipe)
                  .boolean("holds", result->holds())
                  .raw("claims", json_array(claims))
                  .str()
                  .c_str());
  } else {
    for (const Claim& c : result->claims)
      if (c.holds) std::puts(fmt::format("{}: {}, as certified", c.what, quote(c.found)).c_str());
  }
  std::string wrong;
  for (const Claim& c : result->claims)
    if (!c.holds)
      wrong += fmt::format("{}{} is {}, certified is {}", wrong.empty() ? "" : "; ", c.what, quote(c.found),
                           quote(c.claimed));
  if (wrong.empty()) return kExitOk;
  return fail("verify",
              error(Code::invalid, "{}: does not match its certificate: {}", quote(result->path, 400), wrong));
}

}  // namespace vibee
