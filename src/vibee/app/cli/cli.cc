// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/cli.h"

#include <cstdio>
#include <exception>
#include <string>

#include "vibee/app/cli/version.h"
#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr Verb kVerbs[] = {
#define VIBEE_VERB(name, summary, example) {#name, summary, example, &verb_##name},
#include "vibee/app/cli/verbs.inc"
#undef VIBEE_VERB
};

void print_error(std::string_view verb, std::string_view message) {
  std::fflush(stdout);
  const std::string line = fmt::format("vibee{}{}: {}\n", verb.empty() ? "" : " ", verb, one_line(message));
  std::fputs(line.c_str(), stderr);
}

/// A verb that could not write its whole answer (disk full, closed pipe) has not succeeded.
int flush_answer(std::string_view verb, int exit_status) {
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && exit_status == kExitOk) {
    print_error(verb, "standard output could not be written; is the disk full or the pipe closed?");
    return kExitFailed;
  }
  return exit_status;
}

}  // namespace

std::span<const Verb> all_verbs() { return kVerbs; }

std::string help_text() {
  std::string out =
      "vibee runs language models fast on this machine, and says what each acceleration gives and costs.\n\n"
      "usage: vibee VERB [arguments]      vibee help VERB explains one\n\nverbs\n";
  for (const Verb& verb : kVerbs) out += fmt::format("  {:<10} {}\n", verb.name, verb.summary);
  out += "\nexamples\n";
  for (const Verb& verb : kVerbs) out += fmt::format("  {}\n", verb.example);
  return out + "\nexit status: 0 done, 1 failed, 2 wrong usage\n";
}

Result<const Verb*> find_verb(std::string_view name) {
  std::string names;
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) return &verb;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", verb.name);
  }
  return error(Code::invalid, "'{}' is not a verb (there are: {})", name, names);
}

int fail(std::string_view verb, const Status& status) {
  print_error(verb, status.message());
  return kExitFailed;
}

int fail_usage(std::string_view verb, std::string_view message) {
  print_error(verb, fmt::format("{}; try `vibee{}{} --help`", message, verb.empty() ? "" : " ", verb));
  return kExitUsage;
}

int run_cli(int argc, char** argv) {
  const std::string_view word = argc < 2 ? "--help" : argv[1];
  if (word == "--help" || word == "-h") {
    std::fputs(help_text().c_str(), stdout);
    return flush_answer("", argc < 2 ? kExitUsage : kExitOk);
  }
  if (word == "--version") {
    std::fputs(version_text().c_str(), stdout);
    return flush_answer("", kExitOk);
  }
  const auto found = find_verb(word);
  if (!found.ok()) return fail_usage("", found.status().message());
  const Verb* verb = *found;
  try {
    return flush_answer(verb->name, verb->run(argc - 1, argv + 1));
  } catch (const std::bad_alloc&) {
    return fail(verb->name, Status(Code::no_memory, "out of memory; a smaller model, context or batch needs less"));
  } catch (const std::exception& e) {
    return fail(verb->name, Status(Code::invalid, fmt::format("unexpected error: {}", e.what())));
  }
}

}  // namespace vibee
