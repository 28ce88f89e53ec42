// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/workload.h"

#include <algorithm>
#include <cmath>

#include "vibee/app/traffic/trace_file.h"

namespace vibee {
namespace {

// What part_seed() draws for.
enum Part : uint32_t { kLengthsPart = 1, kGroupPart, kSharedPart, kOwnPart };

constexpr uint64_t kMostTokens = 1 << 26;  // of a workload: about 350 MB of text

}  // namespace

Result<std::vector<Conversation>> make_workload(const WorkloadConfig& c, const Prompts& prompts, uint64_t seed) {
  if (!c.file.empty()) return read_workload_file(c, prompts, seed);
  std::vector<double> until(c.groups);  // cumulative weights
  double sum = 0;
  for (uint32_t g = 0; g < c.groups; ++g) until[g] = sum += std::pow(double(g + 1), -c.zipf);
  std::vector<std::string> shared(c.groups);
  RandomStream lengths(part_seed(seed, kLengthsPart, 0), Purpose::workload);
  RandomStream group(part_seed(seed, kGroupPart, 0), Purpose::workload);
  std::vector<Conversation> out(c.conversations);
  uint64_t tokens = 0, own = 0;
  for (Conversation& conversation : out) {
    const size_t g =
        size_t(std::lower_bound(until.begin(), until.end(), double(group.uniform()) * sum) - until.begin());
    if (c.prefix > 0) {
      std::string& text = shared[std::min(g, size_t(c.groups) - 1)];
      if (text.empty()) text = prompts.text(c.prefix, true, part_seed(seed, kSharedPart, g));
      conversation.shared = text;
    }
    for (uint32_t t = 0; t < c.turns; ++t) {
      const uint32_t n = c.prompt.draw(lengths, c.length_scale);
      tokens += n + c.prefix;
      if (tokens > kMostTokens)
        return error(Code::invalid,
                     "the prompts of the workload have more than {} tokens together; use fewer or shorter",
                     kMostTokens);
      conversation.turns.push_back({"user", prompts.text(n, true, part_seed(seed, kOwnPart, own++)),
                                    c.output.draw(lengths, c.length_scale), t > 0 ? c.think_s : 0});
    }
  }
  return out;
}

}  // namespace vibee
