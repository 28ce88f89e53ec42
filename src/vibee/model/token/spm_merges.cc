// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/spm_merges.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr uint64_t kMostWork = uint64_t(1) << 29;  // published vocabularies take 16 MB

using Ids = std::unordered_map<std::string_view, int32_t>;

Ids ids_of(std::span<const std::string> tokens, const std::vector<bool>& usable) {
  Ids ids;
  ids.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i)
    if (usable[i]) ids.try_emplace(tokens[i], int32_t(i));
  return ids;
}

}  // namespace

Result<std::vector<TokenMerge>> merges_of_scores(std::span<const std::string> tokens, std::span<const double> scores,
                                                 const std::vector<bool>& usable) {
  struct Split {
    double score;
    int32_t left_length, right_length;  // in characters
    int32_t whole;
    uint32_t left_bytes;
  };
  const Ids ids = ids_of(tokens, usable);
  uint64_t work = 0;
  for (const auto& [text, whole] : ids) work += uint64_t(text.size()) * text.size();
  if (work > kMostWork)
    return error(Code::unsupported, "tokens so long that their splits take {} bytes, more than {}", work, kMostWork);
  std::vector<Split> splits;
  for (const auto& [text, whole] : ids) {
    std::vector<size_t> ends;
    for (size_t at = 0; at < text.size(); ends.push_back(at)) at += utf8_step(text.substr(at)).length;
    for (size_t i = 0; i + 1 < ends.size(); ++i) {
      if (!ids.contains(text.substr(0, ends[i])) || !ids.contains(text.substr(ends[i]))) continue;
      splits.push_back({scores[size_t(whole)], int32_t(i + 1), int32_t(ends.size() - i - 1), whole, uint32_t(ends[i])});
    }
  }
  std::sort(splits.begin(), splits.end(), [](const Split& a, const Split& b) {
    return std::tie(b.score, b.left_length, b.right_length, a.whole) <
           std::tie(a.score, a.left_length, a.right_length, b.whole);
  });
  std::vector<TokenMerge> merges;
  merges.reserve(splits.size());
  for (const Split& s : splits) merges.push_back({tokens[size_t(s.whole)], s.left_bytes});
  return merges;
}

Result<std::vector<double>> scores_of_merges(std::span<const std::string> tokens, std::span<const TokenMerge> merges,
                                             const std::vector<bool>& usable) {
  const Ids ids = ids_of(tokens, usable);
  std::vector<int32_t> wholes;
  std::vector<size_t> last(tokens.size(), 0);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto at = ids.find(merges[rank].both);
    if (at == ids.end())
      return error(Code::unsupported, "merge {} makes {}, which is no plain token", rank, quote(merges[rank].both, 64));
    wholes.push_back(at->second);
    last[size_t(at->second)] = rank;
  }
  // Tokens whose merges interleave had one score; what is behind the last merge of all so far scores less.
  std::vector<double> scores(tokens.size(), 0);
  std::vector<bool> scored(tokens.size());
  double score = 0;
  for (size_t rank = 0, reach = 0; rank < wholes.size(); ++rank) {
    if (rank > reach) --score;
    const auto whole = size_t(wholes[rank]);
    reach = std::max({reach, rank, last[whole]});
    scores[whole] = score;
    scored[whole] = true;
  }
  for (size_t i = 0; i < tokens.size(); ++i)
    if (!scored[i]) scores[i] = --score;
  // Equal scores and equal lengths leave the order open, so those merges are compared as sets.
  const auto order = [&](std::vector<TokenMerge> list) {
    std::stable_sort(list.begin(), list.end(), [&](const TokenMerge& a, const TokenMerge& b) {
      const double x = scores[size_t(ids.at(a.both))], y = scores[size_t(ids.at(b.both))];
      return x != y ? x > y : std::tie(b.both, b.left_bytes) < std::tie(a.both, a.left_bytes);
    });
    return list;
  };
  VIBEE_ASSIGN(std::vector<TokenMerge> made, merges_of_scores(tokens, scores, usable));
  if (order(std::move(made)) != order({merges.begin(), merges.end()}))
    return error(Code::unsupported, "the merges are not those that scores of the tokens would give");
  return scores;
}

}  // namespace vibee
