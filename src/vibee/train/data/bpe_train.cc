// SPDX-License-Identifier: Apache-2.0
// Counts of pairs are kept exact while words change; the heap holds counts as they were when a pair was put in, and an
// entry that is out of date goes back with its count of now. A pair knows the words that it was seen in: only those are
// looked at when it is joined.
#include "vibee/train/data/bpe_train.h"

#include <queue>
#include <unordered_map>

#include "vibee/model/token/text_index.h"

namespace vibee {
namespace {

struct Pair {
  uint64_t key = 0;  // left << 32 | right
  int64_t count = 0;
  std::vector<uint32_t> words = {};  // that may hold it
  bool touched = false;              // by the merge that is being done
};

/// Pairs by their key, open addressing at most half full.
class PairTable {
 public:
  static uint64_t key(uint32_t left, uint32_t right) { return uint64_t(left) << 32 | right; }
  Pair& at(uint64_t key) {
    if (2 * (pairs_.size() + 1) > slots_.size()) grow();
    uint32_t& slot = slots_[slot_of(key)];
    if (slot == 0) {
      pairs_.push_back({.key = key});
      slot = uint32_t(pairs_.size());
    }
    return pairs_[slot - 1];
  }
  std::vector<Pair>& all() { return pairs_; }

 private:
  size_t slot_of(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_word(key) & mask;
    while (slots_[i] != 0 && pairs_[slots_[i] - 1].key != key) i = (i + 1) & mask;
    return i;
  }
  void grow() {
    slots_.assign(std::max<size_t>(1024, slots_.size() * 2), 0);
    for (size_t i = 0; i < pairs_.size(); ++i) slots_[slot_of(pairs_[i].key)] = uint32_t(i + 1);
  }
  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_;
};

struct Candidate {
  int64_t count;
  uint64_t key;
  bool operator<(const Candidate& b) const { return count != b.count ? count < b.count : key > b.key; }
};

/// All words in one array: word i has `length[i]` symbols from `begin[i]` on.
class Words {
 public:
  explicit Words(std::vector<CountedWord> words) {
    for (CountedWord& word : words) {
      begin_.push_back(symbols_.size());
      length_.push_back(uint32_t(word.symbols.size()));
      count_.push_back(int64_t(word.count));
      symbols_.insert(symbols_.end(), word.symbols.begin(), word.symbols.end());
    }
  }
  void count_pairs(PairTable* pairs) const {
    for (uint32_t w = 0; w < length_.size(); ++w) {
      const uint32_t* s = symbols_.data() + begin_[w];
      for (uint32_t i = 0; i + 1 < length_[w]; ++i) add(PairTable::key(s[i], s[i + 1]), count_[w], w, pairs);
    }
  }
  /// Joins left and right in word `w`; `made` gets the pairs that came to be.
  void join(uint32_t w, uint32_t left, uint32_t right, uint32_t both, PairTable* pairs, std::vector<uint64_t>* made) {
    uint32_t* s = symbols_.data() + begin_[w];
    const uint32_t n = length_[w];
    const auto come = [&](uint32_t a, uint32_t b) {
      Pair& pair = add(PairTable::key(a, b), count_[w], w, pairs);
      if (!pair.touched) made->push_back(pair.key);
      pair.touched = true;
    };
    const auto go = [&](uint32_t a, uint32_t b) { pairs->at(PairTable::key(a, b)).count -= count_[w]; };
    uint32_t out = 0;
    for (uint32_t i = 0; i < n;) {
      if (s[i] != left || i + 1 >= n || s[i + 1] != right) {
        s[out++] = s[i++];
        continue;
      }
      if (out > 0) {
        go(s[out - 1], left);
        come(s[out - 1], both);
      }
      if (i + 2 < n) {
        go(right, s[i + 2]);
        come(both, s[i + 2]);
      }
      s[out++] = both;
      i += 2;
    }
    length_[w] = out;
  }

 private:
  static Pair& add(uint64_t key, int64_t count, uint32_t word, PairTable* pairs) {
    Pair& pair = pairs->at(key);
    pair.count += count;
    if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
    return pair;
  }
  std::vector<uint32_t> symbols_, length_;
  std::vector<size_t> begin_;
  std::vector<int64_t> count_;
};

}  // namespace

Result<std::vector<LearntMerge>> learn_merges(std::vector<CountedWord> counted, std::vector<std::string>* texts,
                                              size_t vocabulary, uint64_t least,
                                              const std::function<bool(uint64_t)>& progress) {
  std::unordered_map<std::string, uint32_t> ids;
  for (size_t i = 0; i < texts->size(); ++i) ids.emplace((*texts)[i], uint32_t(i));
  Words words(std::move(counted));
  PairTable pairs;
  words.count_pairs(&pairs);
  std::priority_queue<Candidate> queue;
  for (const Pair& pair : pairs.all()) queue.push({pair.count, pair.key});
  std::vector<LearntMerge> merges;
  std::vector<uint64_t> made;
  while (texts->size() < vocabulary && !queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Pair& best = pairs.at(top.key);
    if (best.count != top.count) {
      if (best.count > 0) queue.push({best.count, best.key});
      continue;
    }
    if (best.count < int64_t(std::max<uint64_t>(least, 1))) break;
    const uint32_t left = uint32_t(top.key >> 32), right = uint32_t(top.key);
    const auto [at, fresh] = ids.try_emplace((*texts)[left] + (*texts)[right], uint32_t(texts->size()));
    if (fresh) texts->push_back(at->first);
    merges.push_back({left, right, at->second});
    const std::vector<uint32_t> where = std::move(best.words);
    made.clear();
    for (const uint32_t w : where) words.join(w, left, right, at->second, &pairs, &made);
    Pair& done = pairs.at(top.key);  // the table may have moved
    done.count = 0;
    done.words.clear();
    for (const uint64_t key : made) {
      Pair& pair = pairs.at(key);
      pair.touched = false;
      if (pair.count > 0) queue.push({pair.count, key});
    }
    if (progress && merges.size() % 64 == 0 && !progress(texts->size())) return error(Code::cancelled, "stopped");
  }
  return merges;
}

}  // namespace vibee
