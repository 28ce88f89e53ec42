// SPDX-License-Identifier: Apache-2.0
// vibee help: what --help prints, of all verbs or of one, and as the pages of docs/verbs.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"

namespace vibee {
namespace {

std::string index_page() {
  std::string out =
      "<!-- Written by `make docs` from src/vibee/app/cli/verbs.inc. -->\n# The verbs of vibee\n\n"
      "| verb | what it does | for example |\n|---|---|---|\n";
  for (const Verb& verb : all_verbs())
    out += fmt::format("| [{0}]({0}.md) | {1} | `{2}` |\n", verb.name, verb.summary, verb.example);
  return out +
         "\nExit status: 0 done, 1 failed (one line on standard error says why and what to do), 2 wrong usage. Results "
         "go "
         "to standard\noutput, as JSON with `--json` where a verb has it.\n";
}

}  // namespace

int verb_help(int argc, char** argv) {
  std::string word;
  bool markdown = false;
  Args args("help", "Explains a verb; without one, lists them all.");
  args.add("VERB", word, "the verb");
  args.add("--markdown", markdown, "print the page of docs/verbs");
  args.example("vibee help run");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  if (word.empty()) {
    std::fputs((markdown ? index_page() : help_text()).c_str(), stdout);
    return kExitOk;
  }
  const auto verb = find_verb(word);
  if (!verb.ok()) return fail_usage("help", verb.status().message());
  std::string option = markdown ? kMarkdownHelp : "--help";
  char* words[] = {word.data(), option.data(), nullptr};
  return (*verb)->run(2, words);
}

}  // namespace vibee
