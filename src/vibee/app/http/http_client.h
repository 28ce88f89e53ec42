// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 client: many calls at once on the one thread that runs it, connections kept for the next call, bodies
// handed over as their bytes come. Boost.Asio and Beast do the protocol, OpenSSL the encryption.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "vibee/app/http/http_message.h"
#include "vibee/app/http/url.h"

namespace vibee {

struct HttpClientOptions {
  double connect_s = 10;       ///< until a connection stands, encryption included
  double silent_s = 600;       ///< without a byte from the server a call has failed
  std::string ca_file;         ///< certificates to trust, in PEM; empty: those of the system
  bool insecure = false;       ///< do not verify the server's certificate
  uint32_t header = 64 << 10;  ///< bytes of an answer's headers
};

struct HttpCall {
  std::string method = "GET", target = "/";
  HttpHeaders headers;  ///< without Host, Content-Length and Connection
  std::string body;
};

/// What is heard of a call, on the client's thread. Exceptions must not leave these.
struct HttpEvents {
  std::function<void(int status, const HttpHeaders&)> on_head;  ///< names of headers in lower case
  std::function<void(std::string_view)> on_body;
  /// Once, last: ok when the answer was whole, whatever its status; Code::cancelled after cancel().
  std::function<void(Status)> on_end;
};

class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;
  static Result<std::unique_ptr<HttpClient>> create(const HttpClientOptions& options = {});
  virtual ~HttpClient() = default;
  /// Starts a call; nothing is heard of it before this returns. The result names it for cancel().
  virtual uint64_t send(const Url& to, HttpCall call, HttpEvents events) = 0;
  virtual void cancel(uint64_t call) = 0;
  /// Runs `call` on the client's thread once, at that time.
  virtual void at(Clock::time_point time, std::function<void()> call) = 0;
  /// Works until no call is under way and nothing waits for its time.
  virtual void run() = 0;
  /// Ends run() and drops what is under way without a word.
  virtual void stop() = 0;
};

/// A whole answer at once, for small ones: an error when the call failed or its body is larger than `limit` bytes.
Result<HttpResponse> http_fetch(HttpClient& client, const Url& to, HttpCall call, size_t limit = 1 << 20);

}  // namespace vibee
