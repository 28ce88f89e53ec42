// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/prompts.h"

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

/// Common words of English, short ones: vocabularies have them whole, with and without a space before them.
constexpr std::string_view kWords[] = {
    "about", "after",   "again",   "all",   "also",     "and",       "any",     "are",     "area",   "around", "back",
    "bad",   "be",      "because", "been",  "before",   "best",      "better",  "between", "big",    "black",  "body",
    "book",  "both",    "but",     "by",    "call",     "can",       "car",     "case",    "change", "child",  "city",
    "come",  "could",   "country", "day",   "did",      "different", "do",      "does",    "door",   "down",   "each",
    "early", "end",     "even",    "every", "eye",      "face",      "fact",    "family",  "far",    "feel",   "few",
    "find",  "first",   "follow",  "food",  "for",      "free",      "friend",  "from",    "game",   "get",    "give",
    "go",    "good",    "great",   "group", "hand",     "happen",    "hard",    "has",     "have",   "head",   "hear",
    "help",  "her",     "here",    "high",  "him",      "his",       "home",    "hour",    "house",  "how",    "if",
    "in",    "into",    "is",      "issue", "it",       "job",       "just",    "keep",    "kind",   "know",   "land",
    "large", "last",    "law",     "leave", "left",     "let",       "level",   "life",    "like",   "line",   "little",
    "live",  "long",    "look",    "love",  "make",     "man",       "many",    "may",     "me",     "mean",   "men",
    "might", "mind",    "moment",  "money", "month",    "more",      "morning", "most",    "move",   "much",   "must",
    "my",    "name",    "need",    "never", "new",      "next",      "night",   "no",      "not",    "now",    "number",
    "of",    "off",     "often",   "old",   "on",       "one",       "only",    "open",    "or",     "order",  "other",
    "our",   "out",     "over",    "own",   "part",     "people",    "person",  "place",   "plan",   "play",   "point",
    "power", "present", "public",  "put",   "question", "read",      "real",    "right",   "room",   "run",    "same",
    "say",   "school",  "second",  "see",   "set",      "several",   "she",     "should",  "show",   "side",   "since",
    "small", "so",      "some",    "start", "state",    "still",     "story",   "study",   "such",   "system", "take",
    "talk",  "tell",    "than",    "that",  "the",      "their",     "them",    "then",    "there",  "these",  "they",
    "thing", "think",   "this",    "those", "though",   "three",     "through", "time",    "to",     "today",  "too",
    "town",  "try",     "turn",    "two",   "under",    "until",     "up",      "use",     "very",   "want",   "war",
    "was",   "water",   "way",     "we",    "week",     "well",      "went",    "were",    "what",   "when",   "where",
    "which", "while",   "white",   "who",   "why",      "will",      "with",    "word",    "work",   "world",  "would",
    "write", "year",    "yes",     "you",   "young",    "your"};

}  // namespace

Result<Prompts> Prompts::create(const Tokenizer* tokenizer) {
  Prompts out;
  const auto tokens = [&](const std::string& text) {
    std::vector<int32_t> ids;
    return tokenizer->encode(text, false, &ids).ok() ? ids.size() : 0;
  };
  for (const std::string_view word : kWords) {
    // Alone, and twice more behind a space: what it takes at the start of a text and within one.
    const std::string w(word);
    if (!tokenizer || (tokens(w) == 1 && tokens(w + " " + w + " " + w) == 3)) out.words_.push_back(word);
  }
  if (out.words_.size() < 32)
    return error(Code::unsupported,
                 "the tokenizer has {} of {} common English words as one token, too few to write prompts of an exact "
                 "length; leave --tokenizer out, or give texts by --file",
                 out.words_.size(), std::size(kWords));
  return out;
}

std::string Prompts::text(uint32_t tokens, bool begins, uint64_t seed) const {
  RandomStream random(seed, Purpose::workload);
  std::string out;
  for (uint32_t i = 0; i < tokens; ++i) {
    if (i > 0 || !begins) out += ' ';
    out += words_[random.below(uint32_t(words_.size()))];
  }
  return out;
}

}  // namespace vibee
