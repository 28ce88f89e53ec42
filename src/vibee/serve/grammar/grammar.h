// SPDX-License-Identifier: Apache-2.0
// Constrained decoding (tree/serving.md S7): which tokens may come next so that a text keeps to a grammar. Sources are
// compiled to context-free rules whose terminals are deterministic automata of bytes; a state is the set of stacks that
// the text so far allows. Every state that is ever reached can be finished by tokens of one byte, so a mask is never
// empty.
//
//   GrammarCompiler compiler(model.tokenizer());
//   auto grammar = compiler.compile({GrammarSource::json_schema, text});   // Result<shared_ptr<const Grammar>>
//   request.grammar = *grammar;                                            // GenerateRequest
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/serve/grammar/token_trie.h"

namespace vibee {

struct GrammarSource {
  enum Kind : uint8_t {
    json_schema,  ///< a JSON Schema (2020-12 or draft-07); json_schema.h says what of it
    json_object,  ///< any JSON object; no text
    regex,        ///< ECMA-262 (regex_syntax.h says what of it); the whole text matches
    gbnf,         ///< llama.cpp's notation; the rule `root`
    tagged,       ///< free text with parts of a schema in it (tagged.h)
  };
  Kind kind;
  std::string text;
  bool operator==(const GrammarSource&) const = default;
};

/// A compiled grammar for one vocabulary. Immutable but for a cache of masks; any number of threads may use one.
class Grammar {
 public:
  /// Work and memory are bounded whatever the source. Code::invalid for what is not of the notation, Code::unsupported
  /// for what is not built or exceeds a budget, Code::no_memory never; the message names the place: a JSON pointer, an
  /// offset, a line.
  static Result<std::shared_ptr<const Grammar>> compile(const GrammarSource& source,
                                                        std::shared_ptr<const TokenTrie> trie);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  const TokenTrie& trie() const { return *trie_; }
  /// Bytes of automata and rules, without the cache of masks.
  size_t bytes() const;

 private:
  friend class GrammarState;
  struct Impl;
  Grammar();
  std::shared_ptr<const TokenTrie> trie_;
  std::unique_ptr<Impl> impl_;
};

/// Where one text stands in a grammar. A few words for each parse that is still open: cheap to copy.
class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<const Grammar> grammar);

  /// Bit t of word t / 64: whether token t may come next. At least one may, until an end token was accepted. Ids at and
  /// behind the trie's size have no bits. Valid until the state is used again.
  std::span<const uint64_t> mask();
  /// Goes on with a token; false, and nothing changed, when the mask does not have it.
  bool accept(int32_t token);
  /// Whether the text so far may end here.
  bool complete() const { return complete_; }
  /// The token when only one may come next.
  std::optional<int32_t> forced();
  /// Whether an end token was accepted.
  bool ended() const { return ended_; }

  bool operator==(const GrammarState& other) const {
    return grammar_ == other.grammar_ && threads_ == other.threads_ && complete_ == other.complete_ &&
           ended_ == other.ended_;
  }

 private:
  friend class Grammar;
  std::shared_ptr<const Grammar> grammar_;
  std::vector<uint32_t> threads_;  ///< for each: automaton's state, height of the stack, its positions from the top
  bool complete_ = false, ended_ = false;
  std::shared_ptr<const std::vector<uint64_t>> mask_;
};

/// Compiles for one tokenizer and remembers what was compiled last. Any number of threads may use one.
class GrammarCompiler {
 public:
  /// The tokenizer is not kept. Control tokens are no text, but for those of `spoken`.
  explicit GrammarCompiler(const Tokenizer& tokenizer, std::span<const int32_t> spoken = {}, size_t remembered = 64);
  Result<std::shared_ptr<const Grammar>> compile(const GrammarSource& source);

 private:
  struct Entry {
    GrammarSource source;
    std::shared_ptr<const Grammar> grammar;
  };
  std::shared_ptr<const TokenTrie> trie_;
  size_t remembered_;
  std::mutex mutex_;
  std::list<Entry> recent_;  ///< the last used first
};

}  // namespace vibee
