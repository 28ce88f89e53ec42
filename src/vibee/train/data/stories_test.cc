// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/stories.h"

#include <gmock/gmock.h>

#include <map>
#include <set>
#include <sstream>
#include <unordered_map>

#include "vibee/kit/small_tokenizer.h"
#include "vibee/train/data/story_grammar.h"
#include "vibee/train/data/write_stories.h"

namespace vibee {
namespace {

using ::testing::HasSubstr;

std::string told(const std::string& grammar, uint64_t i = 0) {
  const auto teller = Storyteller::make(grammar, "g");
  if (!teller.ok()) return teller.status().message();
  const auto text = teller->tell(1, i);
  return text.ok() ? *text : text.status().message();
}

TEST(Stories, SentencesAreFinished) {
  EXPECT_EQ(finish_sentences("  a apple.  a hour // \"a dog?\" he said. \"yes.\" it ran. "),
            "An apple. An hour\n\n\"A dog?\" he said. \"Yes.\" It ran.");
  EXPECT_EQ(finish_sentences("she said, \"dear,\" and left. \"oh,\" it said, \"no.\""),
            "She said, \"dear,\" and left. \"Oh,\" it said, \"no.\"");
  EXPECT_EQ(finish_sentences("a use of a unicorn, a old one a one"), "A use of a unicorn, an old one a one");
}

TEST(Stories, WhatIsKeptStays) {
  const std::string grammar =
      "[story]\n{X=who}{Y=who}{X} saw {Y}.\n {X.he} took {X.his} {X.thing}. {X?kind=big:yes|no}{X?kind:(!|!)|?}\n"
      "[who]\nAnn :: g=f kind=big thing=red_hat/blue_hat\nBob :: g=m thing=cup\n";
  std::set<std::string> all;
  for (uint64_t i = 0; i < 200; ++i) all.insert(told(grammar, i));
  EXPECT_EQ(
      all, (std::set<std::string>{"Ann saw Bob. She took her red hat. Yes!", "Ann saw Bob. She took her blue hat. Yes!",
                                  "Bob saw Ann. He took his cup. No?"}));
}

TEST(Stories, ARuleBehindWhatIsSaidBeginsASentence) {
  EXPECT_EQ(told("[story]\n{X=w}\"go!\" {w} ran. \"go?\" {X.he} ran. \"go,\" {w} said.\n[w]\nann :: g=f\n"),
            "\"Go!\" Ann ran. \"Go?\" she ran. \"Go,\" ann said.");
}

TEST(Stories, ARuleDoesNotSayTheSameTwice) {
  for (uint64_t i = 0; i < 50; ++i) {
    const std::string text = told("[story]\n{w} {w}\n[w]\nred\nblue\n", i);
    EXPECT_TRUE(text == "Red blue" || text == "Blue red") << text;
  }
}

TEST(Stories, SaysWhatIsWrongWithAGrammar) {
  const auto wrong = [](const std::string& grammar, const std::string& message) {
    EXPECT_THAT(told(grammar), HasSubstr(message)) << grammar;
  };
  wrong("", "has no rule [story]");
  wrong("text\n", "line 1: text before the first [rule]");
  wrong("[story]\n", "rule [story] is empty");
  wrong("[story]\nhi\n[story]\nhi\n", "line 3: [story] stands twice");
  wrong("[story]\nhi {name}\n", "line 2: there is no rule \"name\"");
  wrong("[story]\nhi\n[name]\nx\n", "rule [name] is used nowhere");
  wrong("[story]\nhi {X}\n", "line 2: nothing is ever kept as \"X\"");
  wrong("[story]\n(a|b\n", "something is not closed");
  wrong("[story]\na}\n", "nothing was opened");
  wrong("[story]\n{}\n", "a name is missing");
  wrong("[story]\nx :: a\n", "no key=value");
  wrong("[story]\n{X=w}{X.k}\n[w]\na\n", "\"a\" as X has no attribute \"k\"");
  wrong("[story]\n{X}{X=w}\n[w]\na\n", "\"X\" is used before it is kept");
  wrong("[story]\nx{story}\n", "rule [story] does not come to an end");
  wrong(
      "[story]\n{a}{a}\n[a]\n{b}{b}{b}{b}{b}{b}{b}{b}\n[b]\n{c}{c}{c}{c}{c}{c}{c}{c}\n[c]\n{d}{d}{d}{d}{d}{d}{d}{d}\n["
      "d]\n"
      "{e}{e}{e}{e}{e}{e}{e}{e}{e}{e}\n[e]\n{f}{f}{f}{f}\n[f]\nx\n",
      "does not come to an end");
  wrong("[story]\n" + std::string(100, '(') + "\n", "nested too deeply");
}

TEST(Stories, OwnGrammarTellsWithoutErrors) {
  const auto teller = Storyteller::own();
  ASSERT_TRUE(teller.ok()) << teller.status().message();
  const uint64_t n = VIBEE_SANITIZE_BUILD ? 2000 : 20000;
  std::unordered_map<std::string, int> phrases;
  std::set<std::string> openings, whole;
  uint64_t words = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const auto text = teller->tell(1, i);
    ASSERT_TRUE(text.ok()) << i << ": " << text.status().message();
    for (const char* bad : {"{", "}", "|", "  ", " .", " ,", "..", "//", " a a", " an b", "\n "})
      ASSERT_EQ(text->find(bad), std::string::npos) << i << ": " << bad << ": " << *text;
    ASSERT_TRUE(text->ends_with('.') || text->ends_with('!') || text->ends_with('?') || text->ends_with('"')) << *text;
    ASSERT_EQ(std::count(text->begin(), text->end(), '"') % 2, 0) << *text;
    whole.insert(*text);
    openings.insert(text->substr(0, text->find('.')));
    std::istringstream in(*text);
    std::vector<std::string> list;
    for (std::string word; in >> word;) list.push_back(word);
    words += list.size();
    for (size_t k = 0; i < 2000 && k + 5 <= list.size(); ++k)
      ++phrases[list[k] + ' ' + list[k + 1] + ' ' + list[k + 2] + ' ' + list[k + 3] + ' ' + list[k + 4]];
  }
  EXPECT_EQ(whole.size(), n);
  EXPECT_GT(openings.size(), n / 4);
  EXPECT_GT(double(words) / double(n), 90);
  uint64_t total = 0;
  for (const auto& [phrase, times] : phrases) total += uint64_t(times);
  RecordProperty("distinct_5grams_of_2000", fmt::format("{:.3f}", double(phrases.size()) / double(total)));
  EXPECT_GT(double(phrases.size()) / double(total), 0.2);
}

TEST(WriteStories, GivesTheSameBytesOnAnyThreadsAndAnyRange) {
  const auto teller = Storyteller::own();
  ASSERT_TRUE(teller.ok());
  const auto text = [&](StoryOrder order) {
    std::string out;
    const auto count = write_stories(*teller, order, [&](std::string_view part) {
      out += part;
      return Status();
    });
    EXPECT_TRUE(count.ok() && count->bytes == out.size());
    return out;
  };
  const std::string whole = text({.seed = 4, .stories = 1500, .threads = 1});
  EXPECT_EQ(text({.seed = 4, .stories = 1500, .threads = 3}), whole);
  EXPECT_EQ(text({.seed = 4, .stories = 700}) + text({.seed = 4, .first = 700, .stories = 800, .threads = 2}), whole);
  EXPECT_NE(text({.seed = 5, .stories = 1500}), whole);
  const std::string bytes = text({.seed = 4, .bytes = 100000, .threads = 2});
  EXPECT_GE(bytes.size(), 100000u);
  EXPECT_LT(bytes.size(), 110000u);
  EXPECT_TRUE(whole.starts_with(bytes));
  const auto tokenizer = small_tokenizer({"the", " "});
  const auto counted =
      write_stories(*teller, {.tokens = 5000, .tokenizer = tokenizer.get()}, [](std::string_view) { return Status(); });
  ASSERT_TRUE(counted.ok());
  EXPECT_GE(counted->tokens, 5000u);
  EXPECT_THAT(text({.seed = 4, .stories = 1, .lines = true}), testing::StartsWith("{\"text\": \""));
  EXPECT_FALSE(write_stories(*teller, {}, [](std::string_view) { return Status(); }).ok());
}

}  // namespace
}  // namespace vibee
