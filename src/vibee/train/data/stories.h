// SPDX-License-Identifier: Apache-2.0
// Stories of a grammar: as much simple English as one asks for, to train small models on without a download. Story i of
// a seed is a function of both, so that any range can be told anywhere. The words are in data/stories.txt.
//
//   # a comment
//   [rule]                      what follows are its alternatives, one a line
//   text of one alternative     a line that begins with a space goes on with the one before
//   word :: key=value k=a/b     attributes of a word; of several values one is chosen whenever it is asked for
//
// In a text:
//   {rule}                  an alternative of the rule, not the one that it gave last in this story
//   {X=rule}  {X:rule}      the same, kept as X, which begins with a capital letter; with ":" it is said, too. No two
//   names of
//                           a story have the same text.
//   {X}  {X.key}            what is kept, an attribute of it; {X.he} {X.him} {X.his} {X.himself} follow its g=f|m|n
//   {X?key=value:yes|no}    by an attribute; without "=value" whether there is one
//   (one|two|)              one of these
//   //                      a new paragraph
// Sentences get their capital letter, also a {rule} behind "...?" or "...!", and "a" becomes "an" where it has to.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

struct StoryGrammar;

class Storyteller {
 public:
  /// A grammar with the rule "story". Names that nothing gives a meaning are errors with their line.
  static Result<Storyteller> make(std::string_view grammar, const std::string& name);
  /// The grammar of data/stories.txt.
  static Result<Storyteller> own();
  Storyteller(Storyteller&&) noexcept;
  ~Storyteller();

  /// Story `i`, without a line break at its end. For any number of threads. Fails where a grammar never ends, or asks
  /// for what a word does not have.
  Result<std::string> tell(uint64_t seed, uint64_t i) const;
  /// As many as make so many bytes, each with an empty line behind it.
  Result<std::string> tell_bytes(uint64_t seed, uint64_t bytes) const;

 private:
  Storyteller();
  std::unique_ptr<StoryGrammar> grammar_;
};

/// Capital letters and articles, as above.
std::string finish_sentences(std::string_view text);

}  // namespace vibee
