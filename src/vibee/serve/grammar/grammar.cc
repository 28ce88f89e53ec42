// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/grammar.h"

#include <bit>
#include <unordered_map>

#include "vibee/serve/grammar/gbnf.h"
#include "vibee/serve/grammar/json_schema.h"
#include "vibee/serve/grammar/matcher.h"
#include "vibee/serve/grammar/regex_syntax.h"
#include "vibee/serve/grammar/tagged.h"

namespace vibee {
namespace {

constexpr size_t kCacheBytes = 32u << 20;  // of masks, a grammar

using StateWords = std::vector<uint32_t>;
using Bits = std::vector<uint64_t>;

struct HashWords {
  size_t operator()(const StateWords& words) const {
    uint64_t hash = words.size();
    for (const uint32_t word : words) hash = hash_word(hash ^ word);
    return hash;
  }
};

/// Values by keys, all forgotten when they have grown too large: what is in use is made again.
template <class Key, class Value, class Hash = std::hash<Key>>
class Cache {
 public:
  std::shared_ptr<const Value> find(const Key& key) const {
    const std::lock_guard lock(mutex_);
    const auto at = map_.find(key);
    return at == map_.end() ? nullptr : at->second;
  }
  std::shared_ptr<const Value> add(const Key& key, Value value, size_t bytes) {
    auto shared = std::make_shared<const Value>(std::move(value));
    const std::lock_guard lock(mutex_);
    if ((bytes_ += bytes + 64) > kCacheBytes / 2) {
      map_.clear();
      bytes_ = bytes;
    }
    map_.insert_or_assign(key, shared);
    return shared;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<const Value>, Hash> map_;
  size_t bytes_ = 0;
};

Result<Symbol> translate(const GrammarSource& source, Rules& rules) {
  switch (source.kind) {
    case GrammarSource::json_schema: return rules_of_json_schema(source.text, rules);
    case GrammarSource::json_object: return rules_of_json_schema(R"({"type": "object"})", rules);
    case GrammarSource::gbnf: return rules_of_gbnf(source.text, rules);
    case GrammarSource::tagged: return rules_of_tagged(source.text, rules);
    case GrammarSource::regex: break;
  }
  VIBEE_ASSIGN(const Re expression, parse_regex(rules.regular, source.text, utf8_char, false));
  auto terminal = rules.terminal(expression);
  return terminal.ok() ? std::move(terminal) : terminal.take_status().within("the pattern");
}

std::string_view name(GrammarSource::Kind kind) {
  switch (kind) {
    case GrammarSource::json_schema: return "JSON schema";
    case GrammarSource::json_object: return "JSON object";
    case GrammarSource::regex: return "regular expression";
    case GrammarSource::gbnf: return "grammar";
    case GrammarSource::tagged: return "schema of a tagged part";
  }
  return "?";
}

}  // namespace

struct Grammar::Impl {
  Automata automata;
  RuleTable rules;
  Cache<StateWords, Bits, HashWords> masks;
  Cache<uint32_t, LocalMask> local_masks;

  std::shared_ptr<const LocalMask> local(const TokenTrie& trie, uint32_t state) {
    if (auto known = local_masks.find(state)) return known;
    LocalMask made = local_mask(automata, trie, state);
    const size_t bytes = bytes_of(made);
    return local_masks.add(state, std::move(made), bytes);
  }
};

Grammar::Grammar() = default;
Grammar::~Grammar() = default;

size_t Grammar::bytes() const { return impl_->automata.bytes() + impl_->rules.bytes(); }

Result<std::shared_ptr<const Grammar>> Grammar::compile(const GrammarSource& source,
                                                        std::shared_ptr<const TokenTrie> trie) {
  if (trie->ends().empty())
    return error(Code::unsupported, "the tokenizer has no end token, without which no text can be finished");
  ByteSet spelled;
  for (uint32_t b = 0; b < 256; ++b) spelled[b] = trie->spells(uint8_t(b));
  Rules rules(spelled);
  auto root = translate(source, rules);
  if (!root.ok()) return root.take_status().within(name(source.kind));
  auto table = RuleTable::make(rules, *root);
  if (!table.ok()) return table.take_status().within(name(source.kind));
  std::shared_ptr<Grammar> out(new Grammar);
  out->trie_ = std::move(trie);
  out->impl_.reset(new Impl{std::move(rules.automata), std::move(*table), {}, {}});
  return std::shared_ptr<const Grammar>(std::move(out));
}

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  Matcher matcher(grammar_->impl_->automata, grammar_->impl_->rules);
  const Matcher::Threads threads = matcher.start();
  threads_ = matcher.write(threads);
  complete_ = threads.complete;
}

std::span<const uint64_t> GrammarState::mask() {
  if (mask_) return *mask_;
  Grammar::Impl& impl = *grammar_->impl_;
  const TokenTrie& trie = grammar_->trie();
  StateWords key = threads_;
  key.push_back(complete_);
  key.push_back(ended_);
  mask_ = impl.masks.find(key);
  if (mask_) return *mask_;
  Bits bits((trie.size() + 63) / 64);
  Matcher matcher(impl.automata, impl.rules);
  matcher.mask(
      matcher.read(threads_), trie, [&](uint32_t state) { return impl.local(trie, state); }, bits);
  if (complete_ && !ended_)
    for (const int32_t end : trie.ends()) bits[size_t(end) / 64] |= uint64_t(1) << (end % 64);
  const size_t bytes = bits.size() * 8 + key.size() * 4;
  mask_ = impl.masks.add(key, std::move(bits), bytes);
  return *mask_;
}

bool GrammarState::accept(int32_t token) {
  const TokenTrie& trie = grammar_->trie();
  if (token < 0 || uint32_t(token) >= trie.size() || !(mask()[size_t(token) / 64] >> (token % 64) & 1)) return false;
  mask_.reset();
  const std::string_view bytes = trie.bytes(token);
  if (bytes.empty()) {
    ended_ = true;
    threads_.clear();
    return true;
  }
  Matcher matcher(grammar_->impl_->automata, grammar_->impl_->rules);
  const Matcher::Threads threads = matcher.advance(matcher.read(threads_), bytes);
  threads_ = matcher.write(threads);
  complete_ = threads.complete;
  return true;
}

std::optional<int32_t> GrammarState::forced() {
  std::optional<int32_t> only;
  const std::span<const uint64_t> bits = mask();
  for (size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == 0) continue;
    if (only || !std::has_single_bit(bits[i])) return {};
    only = int32_t(i * 64 + size_t(std::countr_zero(bits[i])));
  }
  return only;
}

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer, std::span<const int32_t> spoken, size_t remembered)
    : trie_(std::make_shared<TokenTrie>(tokenizer, spoken)), remembered_(remembered) {}

Result<std::shared_ptr<const Grammar>> GrammarCompiler::compile(const GrammarSource& source) {
  {
    const std::lock_guard lock(mutex_);
    for (auto at = recent_.begin(); at != recent_.end(); ++at) {
      if (!(at->source == source)) continue;
      recent_.splice(recent_.begin(), recent_, at);
      return at->grammar;
    }
  }
  VIBEE_ASSIGN(auto grammar, Grammar::compile(source, trie_));
  const std::lock_guard lock(mutex_);
  recent_.push_front({source, grammar});
  if (recent_.size() > remembered_) recent_.pop_back();
  return grammar;
}

}  // namespace vibee
