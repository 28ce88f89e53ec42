// SPDX-License-Identifier: Apache-2.0
// Who answers the requests of a run: a server behind HTTP (http_traffic.h), or one that is simulated
// (simulated_traffic.h). Everything happens on the thread of run().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vibee/app/traffic/record.h"
#include "vibee/app/traffic/workload.h"

namespace vibee {

/// A request and what was seen of it so far; a conversation's turn, with the answers to the turns before it that asked
/// for one.
struct TrafficRequest {
  const Conversation* conversation = nullptr;
  size_t turn = 0;
  std::vector<std::string> answers = {};
  uint64_t number = 0;                     ///< of the conversation
  RequestRecord record = {};               ///< filled by whoever answers; `due_s`, `sent_s` and `end_s` by whoever asks
  std::function<void(Status)> ended = {};  ///< once, last; Code::cancelled after cancel()
};

class TrafficServer {
 public:
  virtual ~TrafficServer() = default;
  /// Seconds since run() began.
  virtual double now() const = 0;
  virtual void at(double s, std::function<void()> call) = 0;
  /// Sends a request. Its number for cancel(); nothing is heard of it before this returns.
  virtual Result<uint64_t> send(std::shared_ptr<TrafficRequest> request) = 0;
  virtual void cancel(uint64_t request) = 0;
  /// `begin` is called first; until nothing is left to happen, or stop(), which drops the rest. May be called again.
  virtual Status run(std::function<void()> begin) = 0;
  virtual void stop() = 0;
};

}  // namespace vibee
