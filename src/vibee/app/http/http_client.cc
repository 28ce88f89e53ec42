// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/http_client.h"

#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <map>

#include "vibee/app/http/beast.h"

namespace vibee {
namespace {

using namespace net;
using Endpoints = tcp::resolver::results_type;

class Connection;

struct Call {
  Url to;
  HttpCall call;
  HttpEvents events;
  Connection* on = nullptr;  ///< the connection that works for it
  bool cancelled = false;
  bool heard = false;  ///< the answer has begun
};

class Connection {
 public:
  virtual ~Connection() = default;
  virtual awaitable<Status> open(const Endpoints& to, const Url& url) = 0;
  /// The call's request and answer. `keep` tells whether another may follow.
  virtual awaitable<Status> exchange(Call& call, bool* keep) = 0;
  /// Whether an idle connection still stands, as far as this side has heard.
  virtual bool stands() = 0;
  /// Ends what is under way with an error.
  virtual void close() = 0;
};

/// `Stream` is a beast::tcp_stream or an ssl_stream over one.
template <class Stream>
class StreamConnection final : public Connection {
  static constexpr bool kTls = !std::is_same_v<Stream, beast::tcp_stream>;

 public:
  template <class... Args>
  explicit StreamConnection(const HttpClientOptions& options, Args&&... args)
      : options_(options), stream_(std::forward<Args>(args)...) {}

  awaitable<Status> open(const Endpoints& to, const Url& url) override {
    socket().expires_after(seconds(options_.connect_s));
    auto [e, endpoint] = co_await socket().async_connect(to, kTuple);
    if (e) co_return error(Code::io, "{}: cannot connect: {}", url.origin(), e.message());
    ErrorCode ignored;
    socket().socket().set_option(tcp::no_delay(true), ignored);
    if constexpr (kTls) {
      SSL_set_tlsext_host_name(stream_.native_handle(), url.host.c_str());
      if (!options_.insecure) {
        stream_.set_verify_mode(asio::ssl::verify_peer);
        stream_.set_verify_callback(asio::ssl::host_name_verification(url.host));
      }
      auto [failed] = co_await stream_.async_handshake(asio::ssl::stream_base::client, kTuple);
      if (failed) co_return error(Code::io, "{}: no TLS: {}", url.origin(), failed.message());
    }
    co_return Status();
  }

  awaitable<Status> exchange(Call& call, bool* keep) override {
    *keep = false;
    http::request<http::string_body> request;
    request.version(11);
    request.method_string(call.call.method);
    request.target(call.to.path + call.call.target);
    request.set(http::field::host, call.to.authority());
    for (const auto& [name, value] : call.call.headers) request.set(name, value);
    request.body() = std::move(call.call.body);
    request.prepare_payload();
    socket().expires_after(seconds(options_.silent_s));
    auto [e, sent] = co_await http::async_write(stream_, request, kTuple);
    call.call.body = std::move(request.body());  // for another try
    if (e) co_return failed("the request could not be sent", call, e);

    http::response_parser<http::buffer_body> parser;
    parser.header_limit(options_.header);
    parser.body_limit(boost::none);
    if (call.call.method == "HEAD") parser.skip(true);
    auto [head_error, n] = co_await http::async_read_header(stream_, buffer_, parser, kTuple);
    if (head_error) co_return failed("no answer", call, head_error);
    call.heard = true;
    if (call.events.on_head) {
      HttpHeaders headers;
      for (const auto& field : parser.get()) {
        std::string name(field.name_string());
        for (char& c : name) c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
        headers.emplace_back(std::move(name), std::string(field.value()));
      }
      call.events.on_head(int(parser.get().result_int()), headers);
    }
    char piece[8192];
    while (!parser.is_done()) {
      auto& body = parser.get().body();
      body.data = piece;
      body.size = sizeof piece;
      body.more = true;
      socket().expires_after(seconds(options_.silent_s));
      auto [body_error, m] = co_await http::async_read_some(stream_, buffer_, parser, kTuple);
      const size_t got = sizeof piece - body.size;
      if (got > 0 && !call.cancelled && call.events.on_body) call.events.on_body({piece, got});
      if (body_error && body_error != http::error::need_buffer)
        co_return failed("the answer broke off", call, body_error);
    }
    socket().expires_never();
    *keep = parser.keep_alive();
    co_return Status();
  }

  bool stands() override {
    char byte;
    const ssize_t n = ::recv(socket().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // Bytes that nobody asked for are no good sign, but over TLS they may be tickets for later sessions.
    return n < 0 ? errno == EAGAIN || errno == EWOULDBLOCK : n > 0 && kTls;
  }

  void close() override { socket().close(); }

 private:
  beast::tcp_stream& socket() { return beast::get_lowest_layer(stream_); }
  static Status failed(std::string_view what, const Call& call, const ErrorCode& e) {
    return error(Code::io, "{}{}: {}: {}", call.to.origin(), call.to.path + call.call.target, what, e.message());
  }

  const HttpClientOptions& options_;
  Stream stream_;
  beast::flat_buffer buffer_;
};

class Client final : public HttpClient {
 public:
  explicit Client(const HttpClientOptions& options) : options_(options), tls_(asio::ssl::context::tls_client) {}

  Status prepare() {
    ErrorCode e;
    if (options_.ca_file.empty()) {
      tls_.set_default_verify_paths(e);
    } else {
      tls_.load_verify_file(options_.ca_file, e);
      if (e) return error(Code::invalid, "{}: no certificates in PEM: {}", options_.ca_file, e.message());
    }
    return {};
  }

  uint64_t send(const Url& to, HttpCall call, HttpEvents events) override {
    const uint64_t id = next_++;
    auto state = std::make_shared<Call>(Call{to, std::move(call), std::move(events)});
    calls_.emplace(id, state);
    asio::post(io_, [this, id, state] { asio::co_spawn(io_, serve(id, state), asio::detached); });
    return id;
  }

  void cancel(uint64_t id) override {
    const auto it = calls_.find(id);
    if (it == calls_.end()) return;
    it->second->cancelled = true;
    if (it->second->on) it->second->on->close();
  }

  void at(Clock::time_point time, std::function<void()> call) override {
    auto timer = std::make_shared<asio::steady_timer>(io_, time);
    timer->async_wait([timer, call = std::move(call)](ErrorCode e) {
      if (!e) call();
    });
  }

  void run() override {
    io_.restart();
    io_.run();
  }
  void stop() override { io_.stop(); }

 private:
  awaitable<void> serve(uint64_t id, std::shared_ptr<Call> call) {
    Status end = co_await attempt(*call);
    if (call->cancelled) end = error(Code::cancelled, "cancelled");
    calls_.erase(id);
    if (call->events.on_end) call->events.on_end(std::move(end));
  }

  awaitable<Status> attempt(Call& call) {
    const std::string origin = call.to.origin();
    for (;;) {
      if (call.cancelled) co_return Status();
      std::unique_ptr<Connection> connection = take_idle(origin);
      const bool used = connection != nullptr;
      if (!used) {
        if (!names_.contains(origin)) {
          tcp::resolver resolver(io_);
          auto [e, found] = co_await resolver.async_resolve(call.to.host, std::to_string(call.to.port), kTuple);
          if (e) co_return error(Code::io, "{}: no such host: {}", origin, e.message());
          names_[origin] = found;
        }
        connection = make(call.to.tls);
        call.on = connection.get();
        Status opened = co_await connection->open(names_[origin], call.to);
        call.on = nullptr;
        if (!opened.ok() || call.cancelled) co_return opened;
      }
      bool keep = false;
      call.on = connection.get();
      Status done = co_await connection->exchange(call, &keep);
      call.on = nullptr;
      // A server may close an idle connection in the moment in which it is used again.
      if (!done.ok() && used && !call.heard && !call.cancelled) continue;
      if (keep && !call.cancelled) idle_.emplace(origin, std::move(connection));
      co_return done;
    }
  }

  std::unique_ptr<Connection> make(bool tls) {
    if (tls) return std::make_unique<StreamConnection<TlsStream>>(options_, beast::tcp_stream(io_), tls_);
    return std::make_unique<StreamConnection<beast::tcp_stream>>(options_, io_);
  }

  std::unique_ptr<Connection> take_idle(const std::string& origin) {
    for (auto it = idle_.find(origin); it != idle_.end(); it = idle_.find(origin)) {
      std::unique_ptr<Connection> connection = std::move(it->second);
      idle_.erase(it);
      if (connection->stands()) return connection;
    }
    return nullptr;
  }

  const HttpClientOptions options_;
  asio::ssl::context tls_;
  asio::io_context io_{1};
  uint64_t next_ = 1;
  std::map<uint64_t, std::shared_ptr<Call>> calls_;
  std::multimap<std::string, std::unique_ptr<Connection>> idle_;  // by origin
  std::map<std::string, Endpoints> names_;
};

}  // namespace

Result<std::unique_ptr<HttpClient>> HttpClient::create(const HttpClientOptions& options) {
  auto client = std::make_unique<Client>(options);
  VIBEE_TRY(client->prepare());
  return std::unique_ptr<HttpClient>(std::move(client));
}

Result<HttpResponse> http_fetch(HttpClient& client, const Url& to, HttpCall call, size_t limit) {
  HttpResponse out;
  Status end = error(Code::io, "{}: the call was dropped", to.origin());
  bool too_large = false;
  uint64_t id = 0;
  HttpEvents events;
  events.on_head = [&](int status, const HttpHeaders& headers) {
    out.status = status;
    out.headers = headers;
  };
  events.on_body = [&](std::string_view bytes) {
    too_large |= out.body.size() + bytes.size() > limit;
    if (too_large) return client.cancel(id);
    out.body += bytes;
  };
  events.on_end = [&](Status s) { end = std::move(s); };
  const std::string target = call.target;
  id = client.send(to, std::move(call), std::move(events));
  client.run();
  if (too_large) return error(Code::io, "{}{}: the answer is larger than {} bytes", to.origin(), target, limit);
  if (!end.ok()) return end;
  return out;
}

}  // namespace vibee
