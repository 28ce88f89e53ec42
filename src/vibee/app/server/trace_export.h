// SPDX-License-Identifier: Apache-2.0
// Traces of requests as OpenTelemetry's collectors take them: OTLP over HTTP in its JSON form (opentelemetry-proto 1.x,
// trace/v1), in batches, from a thread of its own. Requests never wait for it: what does not fit is dropped and
// counted.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "vibee/app/http/http_client.h"

namespace vibee {

/// Whose child a request is, from its header `traceparent` (W3C Trace Context): all empty when there is none, or it is
/// none.
struct TraceParent {
  std::string trace, span;  ///< 32 and 16 hexadecimal digits
  bool sampled = true;
};
TraceParent parse_traceparent(std::string_view header);

/// A request that ended, and where its time went.
struct RequestTrace {
  std::string route, model, id, outcome;
  TraceParent parent;
  std::chrono::system_clock::time_point end;
  double total_s = 0, queue_s = 0, prompt_s = 0, decode_s = 0;  ///< the last three one behind the other, from the begin
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
};

class TraceExporter {
 public:
  static constexpr size_t kMostWaiting = 2048, kBatch = 256;

  /// `url` of the collector; without a path /v1/traces is added, as OTEL_EXPORTER_OTLP_ENDPOINT has it.
  static Result<std::unique_ptr<TraceExporter>> start(const std::string& url);
  ~TraceExporter();

  /// From one thread. Requests whose parent is not sampled are left out.
  void add(RequestTrace trace) noexcept;
  /// Requests that a collector took, and those that were dropped: it was too slow, away, or refused them.
  uint64_t sent() const { return sent_; }
  uint64_t dropped() const { return dropped_; }

 private:
  TraceExporter() = default;
  void loop();
  bool send(const std::vector<RequestTrace>& batch);

  Url url_;
  std::string target_ = "/v1/traces";
  std::unique_ptr<HttpClient> client_;
  std::mt19937_64 random_{std::random_device{}()};  ///< of ids
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<RequestTrace> waiting_;
  bool stop_ = false;
  std::atomic<uint64_t> sent_ = 0, dropped_ = 0;
  std::thread thread_;
};

/// The body of an export: a span a request, and one each for its queue, prompt and decode. `random` gives ids.
std::string otlp_json(const std::vector<RequestTrace>& batch, std::mt19937_64& random);

}  // namespace vibee
