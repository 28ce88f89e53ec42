// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/gradient_bucket.h"

#include <algorithm>
#include <limits>

namespace vibee {

std::vector<std::vector<uint32_t>> final_outputs(const Graph& graph) {
  std::vector<size_t> producer(graph.values.size(), graph.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n)
    if (info(graph.nodes[n].op).level != OpLevel::source)
      for (const ValueId id : graph.nodes[n].out) producer[id] = n;
  std::vector<std::vector<uint32_t>> finished(graph.nodes.size() + 1);
  for (uint32_t i = 0; i < graph.outputs.size(); ++i) finished[producer[graph.outputs[i]]].push_back(i);
  return finished;
}

std::vector<uint32_t> ready_order(const Graph& graph) {
  std::vector<uint32_t> order;
  for (const auto& outputs : final_outputs(graph)) order.insert(order.end(), outputs.begin(), outputs.end());
  return order;
}

std::vector<size_t> bucket_ends(std::span<const uint64_t> bytes, const BucketRule& rule) {
  std::vector<size_t> ends;
  uint64_t held = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    held += bytes[i];
    if (held < (ends.empty() ? std::min(rule.first, rule.bytes) : rule.bytes) && i + 1 < bytes.size()) continue;
    ends.push_back(i + 1);
    held = 0;
  }
  return ends;
}

double bucket_finish(std::span<const double> ready, std::span<const uint64_t> bytes, std::span<const size_t> ends,
                     const LinkCost& link) {
  double finish = 0;
  size_t begin = 0;
  for (const size_t end : ends) {
    uint64_t sum = 0;
    for (size_t i = begin; i < end; ++i) sum += bytes[i];
    finish = std::max(finish, ready[end - 1]) + link.latency + link.seconds_per_byte * double(sum);
    begin = end;
  }
  return finish;
}

std::vector<size_t> best_bucket_ends(std::span<const double> ready, std::span<const uint64_t> bytes,
                                     const LinkCost& link) {
  const size_t n = bytes.size();
  std::vector<double> finish(n + 1, std::numeric_limits<double>::infinity());
  std::vector<size_t> from(n + 1);
  finish[0] = 0;
  for (size_t j = 1; j <= n; ++j) {
    uint64_t sum = 0;
    for (size_t i = j; i-- > 0;) {
      sum += bytes[i];
      const double f = std::max(finish[i], ready[j - 1]) + link.latency + link.seconds_per_byte * double(sum);
      if (f < finish[j]) {
        finish[j] = f;
        from[j] = i;
      }
    }
  }
  std::vector<size_t> ends;
  for (size_t j = n; j > 0; j = from[j]) ends.push_back(j);
  std::reverse(ends.begin(), ends.end());
  return ends;
}

}  // namespace vibee
