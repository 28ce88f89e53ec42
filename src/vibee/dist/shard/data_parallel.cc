// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/shard/data_parallel.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace vibee {

uint32_t ranks_of_mesh(const std::string& mesh) {
  uint32_t ranks = 0;
  if (mesh.rfind("dp=", 0) != 0) return 0;
  const char *const begin = mesh.data() + 3, *const end = mesh.data() + mesh.size();
  const auto [stop, failed] = std::from_chars(begin, end, ranks);
  return failed == std::errc() && stop == end && ranks <= 65536 ? ranks : 0;
}

Result<bool> any_rank(CommThread& ranks, bool mine) {
  VIBEE_ASSIGN(const float sum, sum_over_ranks(ranks, mine ? 1 : 0));
  return sum > 0;
}

Status max_over_ranks(CommThread& ranks, std::span<float> mine) {
  // A place a rank, zeros but for one's own: sums are exact.
  std::vector<float> all(mine.size() * ranks.size());
  std::copy(mine.begin(), mine.end(), all.begin() + int64_t(mine.size() * ranks.rank()));
  const CommProgram program = direct_all_reduce(ranks.size(), ranks.size());
  Reduction reduction(program, ranks.rank(), all.size(), {all.data()});
  ranks.submit(&reduction);
  VIBEE_TRY(ranks.wait());
  for (size_t i = 0; i < all.size(); ++i) mine[i % mine.size()] = std::max(mine[i % mine.size()], all[i]);
  return {};
}

Status same_on_all_ranks(CommThread& ranks, const Hash128& mine, std::string_view what) {
  uint8_t words[sizeof mine];
  std::memcpy(words, &mine, sizeof mine);
  bool differs = false;
  for (const uint8_t word : words) {
    // Sums of small whole numbers are exact: where one is the number of ranks times every rank's own, all are alike.
    VIBEE_ASSIGN(const float sum, sum_over_ranks(ranks, word));
    differs |= sum != float(word) * float(ranks.size());
  }
  VIBEE_ASSIGN(differs, any_rank(ranks, differs));
  return differs ? error(Code::invalid, "ranks differ in {}; start them all alike", what) : Status();
}

}  // namespace vibee
