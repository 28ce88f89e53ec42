// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/http_server.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <list>
#include <set>
#include <thread>

#include "vibee/app/http/beast.h"

namespace vibee {
namespace {

using namespace net;

/// Wakes whoever waits; on one thread, so a condition that was looked at before waiting cannot be missed.
class Signal {
 public:
  explicit Signal(const asio::any_io_executor& executor) : timer_(executor, asio::steady_timer::time_point::max()) {}
  void notify() { timer_.cancel(); }
  awaitable<void> wait() { co_await timer_.async_wait(kTuple); }

 private:
  asio::steady_timer timer_;
};

class Server;

/// A connection and the answer that is under way on it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(Server& server, const asio::any_io_executor& executor)
      : server_(server), to_write_(executor), done_(executor) {}
  virtual ~Connection() = default;
  virtual void close() = 0;
  /// Closes a connection on which no request is under way.
  void close_if_idle() {
    if (idle_) close();
  }

 protected:
  friend class Exchange;
  void queue(std::string_view bytes) {
    if (gone_) return;
    out_ += bytes;
    to_write_.notify();
  }
  size_t unsent() const { return out_.size() + in_flight_; }
  void lost() {
    if (gone_) return;
    gone_ = true;
    out_.clear();
    done_.notify();
    to_write_.notify();
    if (!on_gone_) return;
    try {
      std::exchange(on_gone_, {})();
    } catch (const std::exception&) {  // its answer goes to nobody
    }
  }

  Server& server_;
  Signal to_write_, done_;
  std::string out_;       // bytes that the writer has not taken
  size_t in_flight_ = 0;  // those that it has
  bool gone_ = false, idle_ = true;
  bool answered_ = true;  // the present request
  bool keep_ = true;      // the connection, after the present answer
  uint64_t turn_ = 0;     // of the present request: an exchange of an earlier one no longer speaks
  std::function<void()> on_gone_;
};

class Exchange final : public HttpExchange {
 public:
  Exchange(std::shared_ptr<Connection> connection, bool keep, bool head, bool chunked)
      : connection_(std::move(connection)), turn_(connection_->turn_), keep_(keep), head_(head), chunked_(chunked) {}
  ~Exchange() override {
    if (!ended_) end(false);  // forgotten: the client must not wait for ever
  }

  void respond(HttpResponse r) override {
    if (ended_) return;  // an error was the answer, and this comes from what was under way then
    VIBEE_CHECK(!begun_);
    std::string head = start(r.status, r.headers);
    head += fmt::format("Content-Length: {}\r\n\r\n", r.body.size());
    if (!head_) head += r.body;
    say(head);
    begun_ = true;
    finish(keep_);
  }

  void begin(int status, HttpHeaders headers) override {
    if (ended_) return;
    VIBEE_CHECK(!begun_);
    if (!chunked_) keep_ = false;
    std::string head = start(status, headers);
    if (chunked_) head += "Transfer-Encoding: chunked\r\n";
    say(head + "\r\n");
    begun_ = true;
  }

  void write(std::string_view piece) override {
    if (piece.empty() || head_) return;
    if (!chunked_) return say(piece);
    std::string out = fmt::format("{:x}\r\n", piece.size());
    out += piece;
    out += "\r\n";
    say(out);
  }

  void end(bool clean) override {
    if (ended_) return;
    if (clean && begun_ && chunked_ && !head_) say("0\r\n\r\n");
    finish(clean && keep_);
  }

  bool begun() const override { return begun_; }
  size_t unsent() const override { return mine() ? connection_->unsent() : 0; }
  void on_gone(std::function<void()> call) override {
    if (!mine()) return;
    if (connection_->gone_) return call();
    connection_->on_gone_ = std::move(call);
  }

 private:
  bool mine() const { return connection_->turn_ == turn_ && !ended_; }
  void say(std::string_view bytes) {
    if (mine()) connection_->queue(bytes);
  }
  void finish(bool keep) {
    if (mine()) {
      connection_->answered_ = true;
      connection_->keep_ = keep;
      connection_->on_gone_ = {};
      connection_->done_.notify();
      connection_->to_write_.notify();
    }
    ended_ = true;
  }
  std::string start(int status, const HttpHeaders& headers) const {
    std::string out = fmt::format("HTTP/1.1 {} {}\r\n", status, http_reason(status));
    for (const auto& [name, value] : headers) out += fmt::format("{}: {}\r\n", name, value);
    if (!keep_) out += "Connection: close\r\n";
    return out;
  }

  std::shared_ptr<Connection> connection_;
  uint64_t turn_;
  bool keep_, head_, chunked_, begun_ = false, ended_ = false;
};

class Server final : public HttpServer {
 public:
  Server(const HttpServerOptions& options, HttpHandler handler) : options_(options), handler_(std::move(handler)) {}
  ~Server() override { closing_ = true; }
  Status open();
  Result<std::shared_ptr<asio::ssl::context>> read_tls() const;

  uint16_t port() const override { return acceptor_.local_endpoint().port(); }
  void run() override;
  void stop() override {
    asio::post(io_, [this] {
      ErrorCode ignored;
      closing_ = true;
      acceptor_.close(ignored);
      const auto all = connections_;
      for (Connection* c : all) c->close();
      io_.stop();
    });
  }
  void post(std::function<void()> call) override { asio::post(io_, std::move(call)); }
  void after(double s, std::function<void()> call) override {
    auto timer = std::make_shared<asio::steady_timer>(io_, seconds(s));
    timer->async_wait([timer, call = std::move(call)](ErrorCode e) {
      if (!e) call();
    });
  }
  void on_signal(int number, std::function<void()> call) override {
    auto set = std::make_shared<asio::signal_set>(io_, number);
    stand([this, set, call = std::move(call)](bool* stands) { wait_signal(*set, call, stands); });
  }
  void close_idle() override {
    ErrorCode ignored;
    closing_ = true;
    acceptor_.close(ignored);
    const auto all = connections_;
    for (Connection* c : all) c->close_if_idle();
  }
  Status reload_tls() override {
    VIBEE_ASSIGN(tls_, read_tls());
    return {};
  }
  uint32_t connections() const override { return uint32_t(connections_.size()); }
  uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  template <class Stream>
  friend class StreamConnection;
  /// Something that goes on for as long as the server: when what `start` has started ends, by an exception at that, it
  /// says so in what it was given, and run() starts it again.
  struct Standing {
    std::function<void(bool* stands)> start;
    bool stands = false;
    void begin() {
      if (std::exchange(stands, true)) return;
      try {
        start(&stands);
      } catch (const std::exception&) {
        stands = false;
        throw;
      }
    }
  };
  void stand(std::function<void(bool*)> start) {
    standing_.push_back({std::move(start)});
    standing_.back().begin();
  }
  awaitable<void> accept(bool* stands);
  void wait_signal(asio::signal_set& set, const std::function<void()>& call, bool* stands) {
    set.async_wait([this, &set, &call, stands](ErrorCode e, int) {
      if (e) return;
      *stands = false;
      call();
      wait_signal(set, call, stands);
      *stands = true;
    });
  }

  HttpServerOptions options_;
  HttpHandler handler_;
  // Before io_: what that still holds at the end takes itself off.
  std::set<Connection*> connections_;
  std::list<Standing> standing_;
  bool closing_ = false;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  std::shared_ptr<asio::ssl::context> tls_;
  uint64_t bytes_sent_ = 0;
};

/// What a line that ends before its time, or continues on the next, can hide from another reader of the same bytes
/// (RFC 9112 sections 2.2 and 5.2): a line feed without a carriage return, a fold.
bool is_smuggling(std::string_view headers) {
  for (size_t at = headers.find('\n'); at != headers.npos; at = headers.find('\n', at + 1)) {
    if (at == 0 || headers[at - 1] != '\r') return true;
    if (at + 1 < headers.size() && (headers[at + 1] == ' ' || headers[at + 1] == '\t')) return true;
  }
  return false;
}

template <class Stream>
class StreamConnection final : public Connection {
 public:
  template <class... A>
  StreamConnection(Server& server, const asio::any_io_executor& executor, std::string peer,
                   std::shared_ptr<asio::ssl::context> tls, A&&... a)
      : Connection(server, executor),
        tls_(std::move(tls)),
        stream_(std::forward<A>(a)...),
        deadline_(executor),
        peer_(std::move(peer)) {
    server_.connections_.insert(this);
  }
  ~StreamConnection() override { server_.connections_.erase(this); }

  void close() override {
    lost();
    socket().close();
  }

  /// However a coroutine of the connection ends, by an exception or by an operation that could not begin and took its
  /// frames with it: when it was not meant to end, the connection does.
  struct Ending {
    StreamConnection* connection;
    ~Ending() {
      if (connection == nullptr) return;
      connection->lost();
      connection->socket().close();
    }
  };

  /// `self` here and below: it lives until the coroutine is through.
  awaitable<void> run(std::shared_ptr<Connection> self) {
    const Ending ending{this};
    // Not `if (!co_await ...)`: g++ 12 makes a frame of that which cannot be resumed.
    const bool open = co_await greet(stream_);
    if (!open) co_return;
    spawn(write_all(self));
    while (!gone_ && keep_) {
      const bool answered = co_await one_request();
      if (!answered) break;
      while (!gone_ && unsent() > 0) co_await done_.wait();
      if (server_.closing_) break;
    }
    while (!gone_ && unsent() > 0) co_await done_.wait();
    if (!gone_) co_await part(stream_);
  }

 private:
  const HttpLimits& limits() const { return server_.options_.limits; }
  void spawn(awaitable<void> work) { asio::co_spawn(stream_.get_executor(), std::move(work), asio::detached); }
  beast::tcp_stream& socket() { return beast::get_lowest_layer(stream_); }

  awaitable<bool> greet(beast::tcp_stream&) { co_return true; }
  awaitable<bool> greet(TlsStream& stream) {
    socket().expires_after(seconds(limits().header_s));
    auto [e] = co_await stream.async_handshake(asio::ssl::stream_base::server, kTuple);
    socket().expires_never();
    co_return !e;
  }

  awaitable<void> part(TlsStream& stream) {
    socket().expires_after(seconds(5));
    co_await stream.async_shutdown(kTuple);
  }
  /// What the client still sends is read for a moment: closing on unread bytes would reset the connection and take the
  /// answer from the client.
  awaitable<void> part(beast::tcp_stream& stream) {
    ErrorCode ignored;
    stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream.expires_after(seconds(1));
    std::array<char, 4096> waste;
    for (int i = 0; i < 64; ++i) {
      auto [e, n] = co_await stream.async_read_some(asio::buffer(waste), kTuple);
      if (e) break;
    }
  }

  /// Sends what is queued, in pieces each of which must get away in time.
  awaitable<void> write_all(std::shared_ptr<Connection> self) {
    std::string piece;
    Ending ending{this};
    while (!gone_) {
      if (out_.empty()) {
        if (answered_ && !keep_) {
          ending.connection = nullptr;
          co_return;
        }
        co_await to_write_.wait();
        continue;
      }
      piece.swap(out_);
      out_.clear();
      in_flight_ = piece.size();
      for (size_t at = 0; at < piece.size() && !gone_;) {
        const size_t n = std::min<size_t>(piece.size() - at, 64 << 10);
        socket().expires_after(seconds(limits().stalled_s));
        auto [e, sent] = co_await asio::async_write(stream_, asio::buffer(piece.data() + at, n), kTuple);
        at += sent;
        in_flight_ -= sent;
        server_.bytes_sent_ += sent;
        if (e) co_return;
      }
      piece.clear();
      if (piece.capacity() > 64 << 10) std::string().swap(piece);
      in_flight_ = 0;
      socket().expires_never();
      done_.notify();
    }
  }

  /// Answers what never became a request; the connection ends.
  bool refuse(int status, std::string_view what) {
    ++turn_;
    answered_ = false;
    Exchange(shared_from_this(), false, false, true).respond(server_.handler_.refuse(status, what));
    return false;
  }

  /// Until when the present read must be through: then it is cancelled, and the client told why.
  void expect_within(double s) {
    late_ = false;
    deadline_.expires_after(seconds(s));
    deadline_.async_wait([self = weak_from_this(), this](ErrorCode e) {
      if (e || self.expired()) return;
      late_ = true;
      socket().cancel();
    });
  }

  awaitable<bool> one_request() {
    std::string_view seen;
    size_t end = 0;
    idle_ = buffer_.size() == 0;
    expect_within(idle_ ? limits().idle_s : limits().header_s);
    for (;;) {
      seen = {static_cast<const char*>(buffer_.data().data()), buffer_.size()};
      end = seen.find("\r\n\r\n");
      if (is_smuggling(seen.substr(0, end == seen.npos ? end : end + 2)))
        co_return refuse(400, "a header line ends without a carriage return, or is folded");
      if (end != seen.npos) break;
      if (seen.size() > limits().header) co_return refuse(431, "the headers are too large");
      auto [e, n] = co_await stream_.async_read_some(buffer_.prepare(4096), kTuple);
      if (e && late_ && !idle_) co_return refuse(408, "the headers did not come in time");
      if (e) co_return false;
      buffer_.commit(n);
      if (std::exchange(idle_, false)) expect_within(limits().header_s);
    }
    deadline_.cancel();
    if (end > limits().header) co_return refuse(431, "the headers are too large");
    http::request_parser<http::string_body> parser;
    parser.header_limit(limits().header + 1024);
    parser.body_limit(limits().body);
    ErrorCode e;
    buffer_.consume(parser.put(buffer_.data(), e));
    if (e == http::error::need_more) e = {};
    if (!e && !parser.is_header_done()) e = http::error::bad_value;
    if (e == http::error::body_limit)
      co_return refuse(413, fmt::format("the body is larger than {} bytes", limits().body));
    if (e) co_return refuse(400, "not an HTTP request: " + e.message());

    HttpRequest request;
    bool expects = false, chunked_answer = true;
    {
      const auto& m = parser.get();
      request.method = std::string(m.method_string());
      const std::string target(m.target());
      const size_t mark = target.find('?');
      request.path = target.substr(0, mark);
      if (mark != target.npos) request.query = target.substr(mark + 1);
      for (const auto& field : m) {
        std::string name(field.name_string());
        for (char& c : name) c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
        request.headers.emplace_back(std::move(name), std::string(field.value()));
      }
      request.peer = peer_;
      keep_ = m.keep_alive();
      chunked_answer = m.version() >= 11;
      expects = request.header("expect") == "100-continue";
    }
    const bool head = request.method == "HEAD";
    ++turn_;
    answered_ = false;
    const auto exchange = [&](bool keep) {
      return std::make_shared<Exchange>(shared_from_this(), keep && !server_.closing_, head, chunked_answer);
    };
    if (auto refused = server_.handler_.before_body(request)) {
      // An unread body would be taken for the next request.
      exchange(keep_ && parser.is_done())->respond(std::move(*refused));
      co_return true;
    }
    if (!parser.is_done()) {
      if (expects) queue("HTTP/1.1 100 Continue\r\n\r\n");
      while (!gone_ && unsent() > 0) co_await done_.wait();  // the writer's time limit is over
      expect_within(limits().body_s);
      parser.eager(true);
      auto [error, n] = co_await http::async_read(stream_, buffer_, parser, kTuple);
      deadline_.cancel();
      if (error == http::error::body_limit)
        co_return refuse(413, fmt::format("the body is larger than {} bytes", limits().body));
      if (error && late_) co_return refuse(408, "the body did not come in time");
      if (error && error != http::error::partial_message && error != http::error::end_of_stream &&
          error.category() == http::make_error_code(http::error::bad_chunk).category())
        co_return refuse(400, "not an HTTP request: " + error.message());
      if (error) co_return false;
    }
    request.body = std::move(parser.get().body());
    server_.handler_.handle(std::move(request), exchange(keep_));
    spawn(watch(shared_from_this(), turn_));
    while (!answered_ && !gone_) co_await done_.wait();
    co_return !gone_;
  }

  /// Finds out that the client left while its answer is being made.
  awaitable<void> watch(std::shared_ptr<Connection> self, uint64_t turn) {
    const auto under_way = [&] { return !gone_ && !answered_ && turn_ == turn; };
    Ending ending{this};
    while (under_way()) {
      auto [e] = co_await socket().socket().async_wait(tcp::socket::wait_read, kTuple);
      if (!under_way()) break;
      char byte;
      const ssize_t n = e ? 0 : ::recv(socket().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (n > 0) break;  // the next request is here already: it says nothing about this one
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      co_return;
    }
    ending.connection = nullptr;
  }

  std::shared_ptr<asio::ssl::context> tls_;  // of the time of the handshake
  Stream stream_;
  asio::steady_timer deadline_;
  bool late_ = false;
  std::string peer_;
  beast::flat_buffer buffer_;
};

Result<std::shared_ptr<asio::ssl::context>> Server::read_tls() const {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  ErrorCode e;
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1 | asio::ssl::context::no_compression);
  context->use_certificate_chain_file(options_.tls_certificate, e);
  if (e) return error(Code::invalid, "{}: no certificate in PEM: {}", options_.tls_certificate, e.message());
  context->use_private_key_file(options_.tls_key, asio::ssl::context::pem, e);
  if (e)
    return error(Code::invalid, "{}: no private key in PEM of that certificate: {}", options_.tls_key, e.message());
  return context;
}

Status Server::open() {
  if (options_.tls_certificate.empty() != options_.tls_key.empty())
    return error(Code::invalid, "TLS needs a certificate and its key; one of the two is missing");
  if (!options_.tls_certificate.empty()) VIBEE_TRY(reload_tls());
  ErrorCode e;
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(options_.host, std::to_string(options_.port), tcp::resolver::passive, e);
  if (e || found.empty()) return error(Code::invalid, "{}: no such address: {}", options_.host, e.message());
  const tcp::endpoint at = found.begin()->endpoint();
  acceptor_.open(at.protocol(), e);
  if (!e) acceptor_.set_option(tcp::acceptor::reuse_address(true), e);
  if (!e) acceptor_.bind(at, e);
  if (!e) acceptor_.listen(asio::socket_base::max_listen_connections, e);
  if (e)
    return error(Code::io, "{}:{}: cannot listen: {}; use another --port", options_.host, options_.port, e.message());
  stand([this](bool* stands) { asio::co_spawn(io_, accept(stands), asio::detached); });
  return {};
}

void Server::run() {
  for (;;) {
    try {
      for (Standing& s : standing_) s.begin();
      io_.run();
      if (closing_) return;
      io_.restart();
    } catch (const std::exception&) {  // what it was for has been freed on the way, and its client sees that
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

awaitable<void> Server::accept(bool* stands) {
  struct Ending {
    Server* server;
    bool* stands;
    ~Ending() {
      *stands = false;
      if (!server->closing_) server->io_.stop();  // run() starts it again
    }
  } const ending{this, stands};
  while (acceptor_.is_open()) {
    auto [e, socket] = co_await acceptor_.async_accept(kTuple);
    if (e == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
    if (e) {  // no more descriptors, say: those that are served give theirs back
      asio::steady_timer pause(io_, std::chrono::milliseconds(50));
      co_await pause.async_wait(kTuple);
      continue;
    }
    if (connections_.size() >= options_.limits.connections) continue;  // closes it
    ErrorCode ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const std::string peer = socket.remote_endpoint(ignored).address().to_string();
    const auto start = [&](const auto& c) { asio::co_spawn(io_, c->run(c), asio::detached); };
    const asio::any_io_executor executor = io_.get_executor();
    if (tls_)
      start(std::make_shared<StreamConnection<TlsStream>>(*this, executor, peer, tls_,
                                                          beast::tcp_stream(std::move(socket)), *tls_));
    else
      start(std::make_shared<StreamConnection<beast::tcp_stream>>(*this, executor, peer, nullptr, std::move(socket)));
  }
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpServerOptions& options, HttpHandler handler) {
  auto server = std::make_unique<Server>(options, std::move(handler));
  VIBEE_TRY(server->open());
  return std::unique_ptr<HttpServer>(std::move(server));
}

std::string_view http_reason(int status) {
  const auto reason = http::obsolete_reason(http::int_to_status(unsigned(status)));
  return {reason.data(), reason.size()};
}

}  // namespace vibee
