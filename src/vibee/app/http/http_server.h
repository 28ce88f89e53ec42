// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server: Boost.Asio and Beast do the protocol, OpenSSL the encryption. Everything runs on the one thread
// that calls run(); other threads hand it work with post(). What a client does wrong (sizes, times, smuggled or broken
// headers) is answered here and costs nobody else anything.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "vibee/app/http/http_message.h"
#include "vibee/base/status/status.h"

namespace vibee {

struct HttpLimits {
  uint64_t body = 8 << 20;     ///< bytes of a request's body
  uint32_t header = 32 << 10;  ///< bytes of a request's line and headers
  double header_s = 10;        ///< until the headers are whole, from their first byte
  double body_s = 60;          ///< until the body is whole
  double idle_s = 120;         ///< between two requests of a connection
  double stalled_s = 30;       ///< a client that takes nothing for so long is given up
  uint32_t connections = 4096;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";        ///< an address, or a name that has one
  uint16_t port = 0;                     ///< 0: any free one
  std::string tls_certificate, tls_key;  ///< files in PEM; both or none
  HttpLimits limits;
};

/// The answer to one request. All of it belongs to the server's thread; it may be kept for as long as the answer takes,
/// and outlive its connection.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  /// The whole answer. Once, instead of begin() to end().
  virtual void respond(HttpResponse response) = 0;
  /// A streamed answer: status and headers, pieces as they come, its end. With `clean` false the connection is cut
  /// instead, so that the client sees that something is missing.
  virtual void begin(int status, HttpHeaders headers) = 0;
  virtual void write(std::string_view piece) = 0;
  virtual void end(bool clean = true) = 0;
  virtual bool begun() const = 0;
  /// Bytes that wait because the client reads slowly.
  virtual size_t unsent() const = 0;
  /// Called once when the client has gone before the end.
  virtual void on_gone(std::function<void()> call) = 0;
};

struct HttpHandler {
  /// Asked when the headers are there and the body is not: an answer refuses the request unread.
  std::function<std::optional<HttpResponse>(const HttpRequest&)> before_body;
  std::function<void(HttpRequest, std::shared_ptr<HttpExchange>)> handle;
  /// The answer to a request that is no HTTP, or too large or slow (status, what).
  std::function<HttpResponse(int, std::string_view)> refuse;
};

class HttpServer {
 public:
  static Result<std::unique_ptr<HttpServer>> listen(const HttpServerOptions& options, HttpHandler handler);
  virtual ~HttpServer() = default;
  virtual uint16_t port() const = 0;
  /// Serves until stop().
  virtual void run() = 0;
  virtual void stop() = 0;  ///< from any thread
  /// Runs `call` on the server's thread; from any thread.
  virtual void post(std::function<void()> call) = 0;
  /// Runs `call` on the server's thread once, after so long.
  virtual void after(double seconds, std::function<void()> call) = 0;
  /// Runs `call` on the server's thread for each such signal of the process.
  virtual void on_signal(int signal, std::function<void()> call) = 0;
  /// No new connections; those that wait for a request are closed.
  virtual void close_idle() = 0;
  /// Reads the TLS files again; on an error the old ones stay.
  virtual Status reload_tls() = 0;
  virtual uint32_t connections() const = 0;
  virtual uint64_t bytes_sent() const = 0;
};

/// The words of a status, e.g. "Not Found".
std::string_view http_reason(int status);

}  // namespace vibee
