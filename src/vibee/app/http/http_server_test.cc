// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace vibee {
namespace {

/// A server that echoes bodies at /echo, streams at /stream, never answers at /wait and refuses /no before its body.
class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override { start({}); }
  void TearDown() override { stop(); }

  void start(const HttpLimits& limits) {
    HttpServerOptions options;
    options.limits = limits;
    HttpHandler handler;
    handler.before_body = [](const HttpRequest& r) -> std::optional<HttpResponse> {
      if (r.path == "/no") return HttpResponse{403, {}, "no"};
      return {};
    };
    handler.handle = [this](HttpRequest r, std::shared_ptr<HttpExchange> x) {
      if (r.path == "/echo") return x->respond({200, {{"X-Query", r.query}}, r.method + " " + r.body});
      if (r.path == "/stream") {
        x->begin(200, {});
        for (int i = 0; i < 3; ++i) x->write(fmt::format("piece {}\n", i));
        return x->end();
      }
      if (r.path == "/flood") {
        x->begin(200, {});
        x->on_gone([this] { ++gone_; });
        const std::string piece(1 << 20, 'x');
        for (int i = 0; i < 64; ++i) x->write(piece);
        flood_ = x;
        return;
      }
      if (r.path == "/forget") return;
      x->on_gone([this] { ++gone_; });
      kept_.push_back(std::move(x));
    };
    handler.refuse = [](int status, std::string_view what) { return HttpResponse{status, {}, std::string(what)}; };
    auto server = HttpServer::listen(options, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(*server);
    thread_ = std::thread([this] { server_->run(); });
  }
  void stop() {
    if (!server_) return;
    server_->stop();
    thread_.join();
    kept_.clear();
    flood_.reset();
    server_.reset();
  }

  int connect() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(server_->port());
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
    return fd;
  }
  static void send(int fd, std::string_view text) {
    ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size()));
  }
  /// Everything until `end` has been seen, or the connection ended, or for ten seconds.
  static std::string receive(int fd, std::string_view end) {
    std::string out;
    char buffer[65536];
    pollfd p{fd, POLLIN, 0};
    while (out.find(end) == out.npos && poll(&p, 1, 10000) == 1) {
      const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0) return out + "<end>";
      out.append(buffer, size_t(n));
    }
    return out;
  }
  /// The whole of what comes back for `text` on a connection of its own, until the server closes it.
  std::string whole(std::string_view text) {
    const int fd = connect();
    send(fd, text);
    std::string out = receive(fd, std::string(1, '\0') + "never");
    close(fd);
    return out;
  }

  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  std::vector<std::shared_ptr<HttpExchange>> kept_;
  std::shared_ptr<HttpExchange> flood_;
  std::atomic<int> gone_ = 0;
};

TEST_F(HttpServerTest, AnswersSeveralRequestsOfOneConnectionInOrder) {
  const int fd = connect();
  send(fd, "POST /echo?a=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none");
  const std::string first = receive(fd, "one");
  EXPECT_TRUE(first.starts_with("HTTP/1.1 200 OK\r\n")) << first;
  EXPECT_NE(first.find("X-Query: a=1"), first.npos);
  // Two at once: the second is read when the first has been answered.
  send(fd,
       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ntwoPOST /echo HTTP/1.1\r\nHost: "
       "x\r\nContent-Length: 5\r\n\r\nthree");
  const std::string both = receive(fd, "POST three");
  EXPECT_LT(both.find("POST two"), both.find("POST three")) << both;
  close(fd);
}

TEST_F(HttpServerTest, ReadsChunkedBodiesAndBodiesThatComeInPieces) {
  const int fd = connect();
  send(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  usleep(20000);
  send(fd, "2\r\nde\r\n0\r\n\r\n");
  EXPECT_NE(receive(fd, "abcde").find("POST abcde"), std::string::npos);
  send(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Le");
  usleep(20000);
  send(fd, "ngth: 4\r\n\r\nfo");
  usleep(20000);
  send(fd, "ur");
  EXPECT_NE(receive(fd, "four").find("POST four"), std::string::npos);
  close(fd);
}

TEST_F(HttpServerTest, ContinuesWhenAskedTo) {
  const int fd = connect();
  send(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(receive(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  send(fd, "abc");
  EXPECT_NE(receive(fd, "abc").find("200 OK"), std::string::npos);
  close(fd);
}

TEST_F(HttpServerTest, StreamsInChunksAndToOldClientsUntilTheEnd) {
  const std::string chunked = whole("GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(chunked.find("Transfer-Encoding: chunked"), chunked.npos);
  EXPECT_NE(chunked.find("8\r\npiece 0\n\r\n8\r\npiece 1\n\r\n8\r\npiece 2\n\r\n0\r\n\r\n"), chunked.npos) << chunked;
  const std::string old = whole("GET /stream HTTP/1.0\r\nHost: x\r\n\r\n");
  EXPECT_NE(old.find("\r\n\r\npiece 0\npiece 1\npiece 2\n<end>"), old.npos) << old;
}

TEST_F(HttpServerTest, RefusesBeforeTheBodyAndDoesNotTakeItForARequest) {
  const std::string out =
      whole("POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nPOST /echo HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(out.starts_with("HTTP/1.1 403")) << out;
  EXPECT_EQ(out.find("200 OK"), out.npos) << out;
}

TEST_F(HttpServerTest, RefusesWhatHidesARequestInAnother) {
  const char* kHidden[] = {
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
      "GET /echo HTTP/1.1\nHost: x\n\n",
      "GET /echo HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
      "GET /echo HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n",
      "GET /echo HTTP/1.1\r\nHost : x\r\n\r\n",
      "nonsense\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
  };
  for (const char* text : kHidden) {
    const std::string out = whole(text);
    EXPECT_TRUE(out.starts_with("HTTP/1.1 400")) << text << "\n" << out;
    EXPECT_TRUE(out.ends_with("<end>")) << text;
  }
}

TEST_F(HttpServerTest, RefusesWhatIsTooLarge) {
  stop();
  HttpLimits limits;
  limits.body = 100;
  limits.header = 2000;
  start(limits);
  EXPECT_TRUE(whole("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n").starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(whole("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" +
                    std::string(101, 'a') + "\r\n0\r\n\r\n")
                  .starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(
      whole("GET /echo HTTP/1.1\r\nHost: x\r\nX: " + std::string(3000, 'a') + "\r\n\r\n").starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(whole("GET /" + std::string(5000, 'a')).starts_with("HTTP/1.1 431"));
}

TEST_F(HttpServerTest, GivesUpOnThoseWhoAreTooSlow) {
  stop();
  HttpLimits limits;
  limits.header_s = 0.2;
  limits.body_s = 0.2;
  limits.idle_s = 0.2;
  start(limits);
  EXPECT_TRUE(whole("GET /echo HT").starts_with("HTTP/1.1 408"));
  EXPECT_TRUE(whole("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na").starts_with("HTTP/1.1 408"));
  EXPECT_EQ(whole(""), "<end>");  // an idle connection is closed without a word
}

TEST_F(HttpServerTest, TellsThatAClientHasGone) {
  const int fd = connect();
  send(fd, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  usleep(50000);
  EXPECT_EQ(gone_, 0);
  close(fd);
  for (int i = 0; i < 200 && gone_ == 0; ++i) usleep(10000);
  EXPECT_EQ(gone_, 1);
}

TEST_F(HttpServerTest, HoldsBackForASlowReaderAndGivesItUp) {
  stop();
  HttpLimits limits;
  limits.stalled_s = 0.3;
  start(limits);
  const int fd = connect();
  send(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  usleep(100000);
  std::atomic<size_t> unsent = 0;
  std::atomic<bool> asked = false;
  server_->post([&] {
    unsent = flood_->unsent();
    asked = true;
  });
  for (int i = 0; i < 200 && !asked; ++i) usleep(10000);
  EXPECT_GT(unsent, size_t(1) << 20);
  for (int i = 0; i < 300 && gone_ == 0; ++i) usleep(10000);
  EXPECT_EQ(gone_, 1);
  close(fd);
}

TEST_F(HttpServerTest, AnAnswerThatIsForgottenEndsItsConnection) {
  EXPECT_EQ(whole("GET /forget HTTP/1.1\r\nHost: x\r\n\r\n"), "<end>");
}

TEST_F(HttpServerTest, KeepsManyIdleConnections) {
  std::vector<int> all;
  for (int i = 0; i < 300; ++i) all.push_back(connect());
  send(all[150], "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_NE(receive(all[150], "hi").find("200 OK"), std::string::npos);
  for (const int fd : all) close(fd);
}

TEST(HttpServer, RefusesToListenWhereItCannot) {
  HttpServerOptions options;
  options.host = "no.such.host.invalid";
  EXPECT_FALSE(HttpServer::listen(options, {}).ok());
  options = {};
  options.tls_certificate = "/nowhere.pem";
  EXPECT_FALSE(HttpServer::listen(options, {}).ok());
  options.tls_key = "/nowhere.key";
  const auto bad = HttpServer::listen(options, {});
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.status().message().find("/nowhere.pem"), std::string::npos);
}

}  // namespace
}  // namespace vibee
