// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/grammar.h"

#include <gtest/gtest.h>

#include <regex>

#include "vibee/base/random/philox.h"
#include "vibee/kit/small_tokenizer.h"

namespace vibee {
namespace {

constexpr int32_t kEnd = 1, kFirstByte = 2;

/// Pieces of two to four characters of those that grammars are made of, and some real ones.
std::unique_ptr<Tokenizer> vocabulary(const std::string& missing = {}) {
  RandomStream random(7, Purpose::test);
  const std::string chars = "abcx01239-.,: \"\\{}[]nu/e\xc3\xa9";
  std::vector<std::string> pieces = {"true", "false", "null",  "\": \"", "\", \"",   "\":",      "\"}",
                                     "}}",   "]]",    "},{\"", "ab\"",   "\xf0\x9f", "\x98\x80", "\xc3\xa9\xc3"};
  for (int i = 0; i < 700; ++i) {
    std::string piece;
    for (uint32_t n = 2 + random.below(3); n-- > 0;) piece += chars[random.below(uint32_t(chars.size()))];
    if (std::ranges::find(pieces, piece) == pieces.end()) pieces.push_back(piece);
  }
  return small_tokenizer(pieces, missing);
}

std::shared_ptr<const TokenTrie> small_trie() {
  static const auto trie = std::make_shared<const TokenTrie>(*vocabulary());
  return trie;
}

std::shared_ptr<const Grammar> compiled(GrammarSource::Kind kind, const std::string& text,
                                        std::shared_ptr<const TokenTrie> trie = small_trie()) {
  auto grammar = Grammar::compile({kind, text}, std::move(trie));
  EXPECT_TRUE(grammar.ok()) << text << "\n" << grammar.status().message();
  return grammar.ok() ? *grammar : nullptr;
}

bool has(std::span<const uint64_t> mask, int32_t token) { return mask[size_t(token) / 64] >> (token % 64) & 1; }

/// Reads a text byte by byte.
std::optional<GrammarState> reads(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarState state(grammar);
  for (const char c : text)
    if (!state.accept(kFirstByte + uint8_t(c))) return {};
  return state;
}
bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  const auto state = reads(grammar, text);
  return state && state->complete();
}

std::vector<int32_t> tokens_of(std::span<const uint64_t> mask) {
  std::vector<int32_t> out;
  for (size_t i = 0; i < mask.size() * 64; ++i)
    if (has(mask, int32_t(i))) out.push_back(int32_t(i));
  return out;
}

/// The tokens that can be read from `state`, found by reading their bytes one at a time.
void try_bytes(const TokenTrie& trie, uint32_t node, const GrammarState& state, std::vector<int32_t>* out) {
  for (uint32_t at = node + 1; at < trie.nodes()[node].end; at = trie.nodes()[at].end) {
    GrammarState next = state;
    if (!next.accept(kFirstByte + trie.nodes()[at].byte)) continue;
    out->insert(out->end(), trie.tokens_at(at).begin(), trie.tokens_at(at).end());
    try_bytes(trie, at, next, out);
  }
}

const char* const kNested = R"gbnf(
root  ::= expr
expr  ::= term ([-+] term)*
term  ::= [0-9]+ | "(" expr ")" | "[" (expr ("," expr)*)? "]" | pair
pair  ::= "{" key ":" " "? expr "}"   # a comment
key   ::= "\"" [^"\\]* "\""
)gbnf";
/// Every text has many parses.
const char* const kAmbiguous = R"gbnf(root ::= item*
item ::= "a" | "aa" | "ab" item? | item2 "c"
item2 ::= "a" | "b" item | "")gbnf";

const std::vector<GrammarSource>& sources() {
  static const std::vector<GrammarSource> list = {
      {GrammarSource::json_object, {}},
      {GrammarSource::json_schema,
       R"({"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"string","maxLength":3},"c":{"enum":["x","y",null,1.5]}},"required":["ab"]})"},
      {GrammarSource::json_schema,
       R"({"type":"array","items":{"anyOf":[{"type":"number","minimum":-3,"maximum":12.5},{"type":"boolean"}]},"minItems":1,"maxItems":4})"},
      {GrammarSource::json_schema,
       R"({"$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"},"b":{"type":"string","pattern":"^a+b?"}},"additionalProperties":false}},"$ref":"#/$defs/n"})"},
      {GrammarSource::json_schema,
       R"({"type":"object","patternProperties":{"^a":{"type":"null"}},"additionalProperties":{"const":[1,{"x":"y"}]},"minProperties":1,"maxProperties":3})"},
      {GrammarSource::regex, "(ab|a[bc]{2,4})*x?|\\d+-\\d+"},
      {GrammarSource::regex, "[^\"]*\xc3\xa9+.*"},
      {GrammarSource::gbnf, kNested},
      {GrammarSource::gbnf, kAmbiguous},
  };
  return list;
}

TEST(GrammarState, MasksAreWhatReadingByteByByteAllows) {
  const std::string missing("\x01\x80\xf1x", 4);  // an x has no token of its own, though pieces hold it
  for (const auto& trie : {small_trie(), std::make_shared<const TokenTrie>(*vocabulary(missing))}) {
    for (const GrammarSource& source : sources()) {
      const auto grammar = compiled(source.kind, source.text, trie);
      ASSERT_TRUE(grammar);
      RandomStream random(3, Purpose::test);
      const uint32_t walks = VIBEE_SANITIZE_BUILD ? 2 : 6;
      for (uint32_t walk = 0; walk < walks; ++walk) {
        GrammarState state(grammar);
        for (int step = 0; step < 25 && !state.ended(); ++step) {
          std::vector<int32_t> expected;
          try_bytes(*trie, 0, state, &expected);
          if (state.complete()) expected.push_back(kEnd);
          std::ranges::sort(expected);
          const std::vector<int32_t> allowed = tokens_of(state.mask());
          ASSERT_EQ(allowed, expected) << source.text;
          ASSERT_FALSE(allowed.empty()) << source.text;
          ASSERT_EQ(state.forced(), allowed.size() == 1 ? std::optional(allowed[0]) : std::nullopt);
          // Long tokens of which there are few are as likely as bytes of which there are many.
          int32_t token = allowed[random.below(uint32_t(allowed.size()))];
          if (random.below(2) == 0)
            token = *std::ranges::max_element(
                allowed, {}, [&](int32_t t) { return trie->bytes(t).size() * 1000 + random.below(1000); });
          GrammarState other = state;
          ASSERT_TRUE(state.accept(token));
          ASSERT_TRUE(other.accept(token));
          ASSERT_TRUE(state == other);
        }
      }
    }
  }
}

TEST(GrammarState, RefusesWhatIsNotInTheMaskAndStaysAsItWas) {
  const auto grammar = compiled(GrammarSource::regex, "ab*");
  GrammarState state(grammar);
  const GrammarState before = state;
  for (const int32_t token : {-1, 0, kEnd, kFirstByte + 'b', 100'000}) EXPECT_FALSE(state.accept(token));
  EXPECT_TRUE(state == before);
  ASSERT_TRUE(state.accept(kFirstByte + 'a'));
  EXPECT_TRUE(state.complete());
  ASSERT_TRUE(state.accept(kEnd));
  EXPECT_TRUE(state.ended());
  EXPECT_TRUE(tokens_of(state.mask()).empty());
}

TEST(GrammarState, AFinishedTextForcesTheEnd) {
  GrammarState state(compiled(GrammarSource::regex, "w"));
  EXPECT_EQ(state.forced(), kFirstByte + 'w');
  ASSERT_TRUE(state.accept(kFirstByte + 'w'));
  EXPECT_EQ(state.forced(), kEnd);
}

TEST(GrammarState, NestsToALimitAndComesBack) {
  GrammarState state(compiled(GrammarSource::json_schema, R"({"type":"array","items":{"$ref":"#"}})"));
  int depth = 0;
  while (state.accept(kFirstByte + '[')) ++depth;
  EXPECT_GT(depth, 64);
  EXPECT_LT(depth, 300);
  while (depth-- > 0) ASSERT_TRUE(state.accept(kFirstByte + ']'));
  EXPECT_EQ(state.forced(), kEnd);
}

TEST(GrammarState, StaysBoundedWhereParsesExplode) {
  GrammarState state(compiled(GrammarSource::gbnf, "root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"b\""));
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(state.accept(kFirstByte + 'a'));
  ASSERT_TRUE(state.accept(kFirstByte + 'b'));
  for (int i = 0; i < 60; ++i) {
    const std::vector<int32_t> allowed = tokens_of(state.mask());
    ASSERT_FALSE(allowed.empty());
    ASSERT_TRUE(state.accept(allowed[0]));
    if (state.complete()) break;
  }
  EXPECT_TRUE(state.complete());
}

TEST(GrammarState, NeverNeedsABytesWithoutAToken) {
  const auto tokenizer = small_tokenizer({"\xf0\x9f\x98\x80", "ab\x01"}, std::string("\x01\x02\x98", 3));
  const auto trie = std::make_shared<const TokenTrie>(*tokenizer);
  const auto grammar = compiled(GrammarSource::regex, "(\xf0\x9f\x98\x80|ab\\x01|a.)+", trie);
  RandomStream random(5, Purpose::test);
  for (int walk = 0; walk < 20; ++walk) {
    GrammarState state(grammar);
    for (int i = 0; i < 30 && !state.ended(); ++i) {
      const std::vector<int32_t> allowed = tokens_of(state.mask());
      ASSERT_FALSE(allowed.empty());
      ASSERT_TRUE(state.accept(allowed[random.below(uint32_t(allowed.size()))]));
    }
  }
  const auto none = Grammar::compile({GrammarSource::regex, "\\x01"}, trie);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().message(), "regular expression: no text can be written that it allows");
}

TEST(GrammarRegex, AcceptsWhatTheStandardLibraryMatches) {
  const std::string alphabet = "ab1-";
  std::vector<std::string> texts = {""};
  for (size_t i = 0; i < texts.size() && texts[i].size() < 5; ++i)
    for (const char c : alphabet) texts.push_back(texts[i] + c);
  for (const char* pattern :
       {"a",           "a*",      "(a|b)*1", "a+b?",        "(?:ab){2}",   "(ab|a)(b1|1)", "[ab]{1,3}-?",
        "[^a]+",       "\\d\\D",  "\\w*-",   "a{0}",        "(a{2}){1,2}", "((a*)*b)*",    "(|a)+1",
        "a.b",         "[a-b1]*", "[\\d-]+", "(a*?b|1+?)*", "^ab|b1$",     "a{2,}",        "(a|ab)(c|b1|)(1|-)?",
        "\\x61\\u0062"}) {
    const auto grammar = compiled(GrammarSource::regex, pattern);
    ASSERT_TRUE(grammar);
    const std::regex oracle(pattern);
    for (const std::string& text : texts)
      ASSERT_EQ(accepts(grammar, text), std::regex_match(text, oracle)) << pattern << " on " << text;
  }
}

TEST(GrammarGbnf, ReadsNestedRules) {
  const auto grammar = compiled(GrammarSource::gbnf, kNested);
  for (const char* good : {"1", "1+2-(3)", "[]", "[1,2+3]", "{\"a\": 1}", "{\"\":[{\"b\":2}]}-(4)"})
    EXPECT_TRUE(accepts(grammar, good)) << good;
  for (const char* bad : {"", "1+", "(1", "[1,]", "{\"a\" 1}", "{\"a\\\":1}"})
    EXPECT_FALSE(accepts(grammar, bad)) << bad;
}

TEST(GrammarGbnf, CountsRepetitionsOfRules) {
  const auto grammar =
      compiled(GrammarSource::gbnf, "root ::= p{2,4} q{0,1} p{1}\np ::= \"(\" p? \")\"\nq ::= \"[\" q* \"]\"");
  for (const char* good : {"()()()", "()(())()()()", "()()[[][]]()"}) EXPECT_TRUE(accepts(grammar, good)) << good;
  for (const char* bad : {"()()", "()()()()()()", "()[]()", "()()[][]()"}) EXPECT_FALSE(accepts(grammar, bad)) << bad;
}

struct Refusal {
  GrammarSource::Kind kind;
  const char* text;
  const char* message;
};
class GrammarRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(GrammarRefusal, SaysWhatAndWhere) {
  const auto made = Grammar::compile({GetParam().kind, GetParam().text}, small_trie());
  ASSERT_FALSE(made.ok()) << GetParam().text;
  EXPECT_EQ(made.status().message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Sources, GrammarRefusal,
    testing::Values(
        Refusal{GrammarSource::json_schema, "{", "JSON schema: is not JSON"},
        Refusal{GrammarSource::json_schema, "3", "JSON schema: \"/\": a schema is an object, true or false"},
        Refusal{GrammarSource::json_schema, R"({"properties":{"x/y":{"items":{"not":{}}}}})",
                "JSON schema: \"/properties/x~1y/items/not\": the keyword is not supported"},
        Refusal{GrammarSource::json_schema, R"({"type":"strin"})", "JSON schema: \"/type\": is not a type"},
        Refusal{GrammarSource::json_schema, R"({"minLength":-1})", "JSON schema: \"/minLength\": is not a count"},
        Refusal{GrammarSource::json_schema, R"({"$ref":"#/$defs/a"})",
                "JSON schema: \"/$ref\": \"#/$defs/a\" is not there"},
        Refusal{GrammarSource::json_schema, R"({"$ref":"http://x/y"})",
                "JSON schema: \"/$ref\": a reference to another document is not supported"},
        Refusal{GrammarSource::json_schema, R"x({"pattern":"a(?!b)"})x",
                "JSON schema: \"/pattern\": pattern, byte 4: lookaround is not supported"},
        Refusal{GrammarSource::json_schema, R"({"format":"iri"})",
                "JSON schema: \"/format\": the format \"iri\" is not supported"},
        Refusal{GrammarSource::json_schema, "false", "JSON schema: no text can be written that it allows"},
        Refusal{GrammarSource::json_schema, R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})",
                "JSON schema: no text can be written that it allows"},
        Refusal{GrammarSource::json_schema, R"({"oneOf":[{"type":"integer"},{"type":"number"}]})",
                "JSON schema: \"/oneOf\": a choice whose branches 0 and 1 may share values (anyOf allows that) is not "
                "supported"},
        Refusal{GrammarSource::json_schema,
                R"({"oneOf":[{"type":"string","format":"date"},{"maxLength":4,"type":"string"}]})",
                "JSON schema: \"/oneOf\": a choice whose branches 0 and 1 may share values (anyOf allows that) is not "
                "supported"},
        Refusal{GrammarSource::regex, "a(b", "regular expression: pattern, byte 3: ends too early"},
        Refusal{GrammarSource::regex, "a**", "regular expression: pattern, byte 2: \"*\" is out of place"},
        Refusal{GrammarSource::regex, "[b-a]", "regular expression: pattern, byte 4: a range out of order"},
        Refusal{GrammarSource::regex, "(a|b)*a(a|b){40}",
                "regular expression: the pattern: takes an automaton of more than 50000 states; use smaller counts"},
        Refusal{GrammarSource::gbnf, "rot ::= \"a\"", "grammar: line 1, rule \"rot\": there is no rule \"root\""},
        Refusal{GrammarSource::gbnf, "root ::= a\n\na ::= b", "grammar: line 3: the rule \"b\" is not defined"},
        Refusal{GrammarSource::gbnf, "root ::= root \"a\" | \"a\"",
                "grammar: the rule \"root\" calls itself before it reads anything (left recursion); write it as a "
                "repetition"},
        Refusal{GrammarSource::gbnf, "root ::= \"a",
                "grammar: line 1, rule \"root\": expected a quote before the end"}));

TEST(GrammarSchema, KnowsWhenBranchesShareNothing) {
  for (
      const char* text :
      {R"({"oneOf":[{"type":"string"},{"type":"null"}]})", R"({"oneOf":[{"const":"a"},{"enum":["b","c"]}]})",
       R"({"oneOf":[{"maximum":1,"type":"number"},{"exclusiveMinimum":1,"type":"number"}]})",
       R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"}},"required":["t"]},{"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})",
       R"({"oneOf":[{"type":"object","required":["a"]},{"type":"object","properties":{"b":true},"additionalProperties":false}]})"})
    EXPECT_TRUE(compiled(GrammarSource::json_schema, text)) << text;
}

TEST(GrammarCompiler, RemembersWhatItCompiled) {
  GrammarCompiler compiler(*vocabulary(), {}, 2);
  const GrammarSource a{GrammarSource::regex, "a"}, b{GrammarSource::regex, "b"}, c{GrammarSource::regex, "c"};
  const auto first = *compiler.compile(a);
  EXPECT_EQ(*compiler.compile(a), first);
  ASSERT_TRUE(compiler.compile(b).ok());
  EXPECT_EQ(*compiler.compile(a), first);
  ASSERT_TRUE(compiler.compile(c).ok());  // b was not used for longest
  EXPECT_EQ(*compiler.compile(a), first);
  EXPECT_FALSE(compiler.compile({GrammarSource::regex, "("}).ok());
}

}  // namespace
}  // namespace vibee
