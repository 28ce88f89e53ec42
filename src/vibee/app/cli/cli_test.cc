// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/cli.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "vibee/app/cli/args.h"

namespace vibee {
namespace {

struct Outcome {
  int exit_status;
  std::string out, err;
};

Outcome run(std::vector<std::string> words) {
  words.insert(words.begin(), "vibee");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int exit_status = run_cli(int(argv.size()), argv.data());
  return {exit_status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

size_t lines(const std::string& text) { return size_t(std::count(text.begin(), text.end(), '\n')); }

TEST(Cli, HelpListsEveryVerbWithItsExample) {
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.exit_status, kExitOk);
  for (const Verb& verb : all_verbs()) {
    EXPECT_NE(help.out.find(verb.summary), std::string::npos);
    EXPECT_NE(help.out.find(verb.example), std::string::npos);
    const Outcome own = run({std::string(verb.name), "--help"});
    EXPECT_EQ(own.exit_status, kExitOk) << verb.name;
    EXPECT_NE(own.out.find("Usage: vibee " + std::string(verb.name)), std::string::npos) << verb.name;
  }
}

TEST(Cli, EveryVerbHasAPageWithItsOptionsAndAnExample) {
  const Outcome index = run({"help", "--markdown"});
  for (const Verb& verb : all_verbs()) {
    const std::string name(verb.name);
    EXPECT_NE(index.out.find("[" + name + "](" + name + ".md)"), std::string::npos) << name;
    const Outcome page = run({"help", name, "--markdown"});
    EXPECT_EQ(page.exit_status, kExitOk) << page.err;
    EXPECT_NE(page.out.find("\n# vibee " + name + "\n"), std::string::npos) << page.out;
    EXPECT_NE(page.out.find("For example:\n\n    vibee " + name), std::string::npos) << page.out;
  }
  EXPECT_NE(run({"help", "tree", "--markdown"}).out.find("## vibee tree check"), std::string::npos);
  EXPECT_NE(run({"help", "run", "--markdown"}).out.find("| `-c`, `--ctx` | number | `0` |"), std::string::npos);
  EXPECT_NE(run({"help", "run"}).out.find("--ctx"), std::string::npos);
  EXPECT_EQ(run({"help"}).out, run({"--help"}).out);
  EXPECT_EQ(run({"help", "nonsense"}).exit_status, kExitUsage);
}

TEST(Cli, EveryVerbRefusesAnUnknownOptionInOneLine) {
  for (const Verb& verb : all_verbs()) {
    const Outcome o = run({std::string(verb.name), "--no-such-option"});
    EXPECT_EQ(o.exit_status, kExitUsage) << verb.name;
    EXPECT_EQ(lines(o.err), 1u) << o.err;
    EXPECT_EQ(o.out, "") << verb.name;
  }
}

TEST(Cli, OutliersHaveAThresholdThatIsANumber) {
  const auto refused = [](const char* act, const char* threshold, const char* why) {
    const Outcome o = run({"run", "--act", act, "--outlier-threshold", threshold, "Once upon a time"});
    EXPECT_NE(o.exit_status, kExitOk) << threshold;
    EXPECT_EQ(lines(o.err), 1u) << o.err;
    EXPECT_NE(o.err.find(why), std::string::npos) << o.err;
    EXPECT_EQ(o.out, "");
  };
  refused("llm_int8", "-1", "use a number from 0");
  refused("llm_int8", "nan", "use a number from 0");
  refused("int8", "6", "of --act llm_int8");
  refused("f32", "6", "of --act llm_int8");
  refused("llm_int8", "six", "--outlier-threshold");
  refused("llm_int9", "6", "--act");
}

TEST(Cli, WrongUsageIsOneLineAndExit2) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"nonsense"},
                                             {""},
                                             {"tree", "show"},
                                             {"tree", "constants", "x"},
                                             {"tree", "constants", "-1"},
                                             {"tree", "constants", "nan"},
                                             {"tree", "--json=3x"},
                                             {"tree", "check", "--threads", "nan"},
                                             {"tree", "show", "a", "b"},
                                             {"\n\x1b[31m"}}) {
    const Outcome o = run(words);
    EXPECT_EQ(o.exit_status, kExitUsage) << words.back();
    EXPECT_EQ(lines(o.err), 1u) << o.err;
    EXPECT_EQ(o.err.find('\x1b'), std::string::npos);
  }
  EXPECT_EQ(run({}).exit_status, kExitUsage);
}

TEST(Cli, FailureIsOneLineAndExit1) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"tree", "show", "nothing"}, {"tree", "check", "v9999"}, {"tree", "check", "v1671", "--isa", "mmx"}}) {
    const Outcome o = run(words);
    EXPECT_EQ(o.exit_status, kExitFailed) << words.back();
    EXPECT_EQ(lines(o.err), 1u) << o.err;
  }
}

TEST(Cli, TreeListsAll131AndFiltersThem) {
  const Outcome json = run({"tree", "--json"});
  EXPECT_EQ(json.exit_status, kExitOk);
  size_t objects = 0;
  for (size_t at = 0; (at = json.out.find("{\"id\": \"v", at)) != std::string::npos; ++at) ++objects;
  EXPECT_EQ(objects, 131u);
  const Outcome text = run({"tree"});
  EXPECT_NE(text.out.find("131 techniques in 9 branches"), std::string::npos);
  EXPECT_EQ(lines(run({"tree", "--grep", "RADIX", "--json"}).out), 3u);
  EXPECT_EQ(run({"tree", "--grep", "nothing like this", "--json"}).out, "[]\n");
  EXPECT_NE(run({"tree", "show", "v1764"}).out.find("tree_speculation"), std::string::npos);
}

TEST(Args, KeepsDefaultsAndChecksRanges) {
  std::string text = "before";
  uint32_t number = 7;
  std::optional<double> maybe;
  const auto parse = [&](std::vector<std::string> words) {
    Args args("verb", "a verb");
    args.add("--text", text, "")
        .one_of({"before", "after"})
        .add("--number", number, "")
        .between(1, 10)
        .add("--maybe", maybe, "");
    words.insert(words.begin(), "verb");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    testing::internal::CaptureStderr();
    const std::optional<int> exit_status = args.parse(int(argv.size()), argv.data());
    testing::internal::GetCapturedStderr();
    return exit_status;
  };
  EXPECT_FALSE(parse({}).has_value());
  EXPECT_EQ(text, "before");
  EXPECT_EQ(number, 7u);
  EXPECT_FALSE(maybe.has_value());
  EXPECT_FALSE(parse({"--text", "after", "--number", "10", "--maybe", "0.5"}).has_value());
  EXPECT_EQ(text, "after");
  EXPECT_EQ(number, 10u);
  EXPECT_EQ(maybe, 0.5);
  EXPECT_EQ(parse({"--number", "11"}), kExitUsage);
  EXPECT_EQ(parse({"--number", "-1"}), kExitUsage);
  EXPECT_EQ(parse({"--text", "other"}), kExitUsage);
}

}  // namespace
}  // namespace vibee
