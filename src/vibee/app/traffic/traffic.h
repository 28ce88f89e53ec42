// SPDX-License-Identifier: Apache-2.0
// A run: conversations are sent when they are due, and what comes back is recorded with its times. One thread; requests
// of an open loop never wait for answers to others.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vibee/app/traffic/arrivals.h"
#include "vibee/app/traffic/record.h"
#include "vibee/app/traffic/target.h"
#include "vibee/app/traffic/traffic_server.h"

namespace vibee {

/// One kind of traffic among those of a run.
struct TrafficPart {
  std::string name;
  std::vector<Conversation> conversations;
  Arrivals arrivals;
  bool background = false;  ///< again and again until the others are through, then cancelled
};

struct TrafficProgress {
  double seconds = 0;
  uint64_t done = 0, of = 0, under_way = 0, failed = 0;  ///< conversations (of: without the background), requests
  uint64_t pieces = 0;                                   ///< events with choices
};

struct TrafficRun {
  std::vector<RequestRecord> records;
  double seconds = 0;
  double client_cpu = 0;  ///< cores that this process kept busy meanwhile
  bool interrupted = false;
};

/// `progress` is asked four times a second; false ends the run, what is under way is cancelled. Requests that fail are
/// records; an error is only what keeps the run from beginning, or a simulated server from going on. Where the server
/// does not count the tokens of an answer, `tokenizer` does, or they are taken to be its events.
Result<TrafficRun> run_traffic(TrafficServer& server, std::span<const TrafficPart> parts, uint64_t seed,
                               const Tokenizer* tokenizer, const std::function<bool(const TrafficProgress&)>& progress);
Result<TrafficRun> run_traffic(const Target& target, std::span<const TrafficPart> parts, uint64_t seed,
                               const std::function<bool(const TrafficProgress&)>& progress);

/// About how many tokens each piece of each answer holds: of its text by itself, at least 1.
std::vector<std::vector<uint32_t>> tokens_of_pieces(std::span<const RequestRecord> records, const Tokenizer& tokenizer);

}  // namespace vibee
