// SPDX-License-Identifier: Apache-2.0
// The client against our own server, and against sockets that behave badly.
#include "vibee/app/http/http_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "vibee/app/http/http_server.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// Our server on a thread of its own: /echo answers with the body, /stream with pieces, /slow never.
class Served {
 public:
  Served() {
    HttpHandler handler;
    handler.before_body = [](const HttpRequest&) { return std::optional<HttpResponse>(); };
    handler.refuse = [](int status, std::string_view what) { return HttpResponse{status, {}, std::string(what)}; };
    handler.handle = [this](HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
      ++requests;
      if (request.path == "/stream") {
        exchange->begin(200, {{"X-Kind", "pieces"}});
        for (int i = 0; i < 3; ++i) exchange->write("piece " + std::to_string(i) + "\n");
        exchange->end(request.query != "broken");
      } else if (request.path == "/slow") {
        held.push_back(exchange);
      } else {
        exchange->respond({request.path == "/echo" ? 200 : 404, {{"X-Method", request.method}}, request.body});
      }
    };
    auto made = HttpServer::listen({}, std::move(handler));
    EXPECT_TRUE(made.ok());
    server = std::move(*made);
    url = {false, "127.0.0.1", server->port(), ""};
    thread = std::thread([this] { server->run(); });
  }
  ~Served() {
    server->stop();
    thread.join();
    held.clear();
  }
  std::atomic<int> requests = 0;
  std::vector<std::shared_ptr<HttpExchange>> held;
  std::unique_ptr<HttpServer> server;
  Url url;
  std::thread thread;
};

TEST(HttpClient, SendsBodiesAndReadsAnswers) {
  Served served;
  const auto client = std::move(*HttpClient::create());
  for (const size_t size : {size_t(0), size_t(5), size_t(3) << 20}) {
    const std::string body(size, 'x');
    const auto answer =
        http_fetch(*client, served.url, {"POST", "/echo", {{"Content-Type", "text/plain"}}, body}, 4 << 20);
    ASSERT_TRUE(answer.ok()) << answer.status().message();
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->body, body);
  }
  EXPECT_EQ(http_fetch(*client, served.url, {"GET", "/nowhere", {}, ""})->status, 404);
  EXPECT_EQ(served.server->connections(), 1u);  // kept for the next call
  const auto large = http_fetch(*client, served.url, {"POST", "/echo", {}, std::string(1000, 'x')}, 999);
  EXPECT_THAT(large.status().message(), HasSubstr("larger than 999"));
}

TEST(HttpClient, HandsOverPiecesAndKnowsABrokenEnd) {
  Served served;
  const auto client = std::move(*HttpClient::create());
  for (const bool broken : {false, true}) {
    std::string body, kind;
    Status end = error(Code::io, "not heard of");
    HttpEvents events;
    events.on_head = [&](int, const HttpHeaders& headers) {
      for (const auto& [name, value] : headers)
        if (name == "x-kind") kind = value;
    };
    events.on_body = [&](std::string_view bytes) { body += bytes; };
    events.on_end = [&](Status s) { end = std::move(s); };
    client->send(served.url, {"GET", broken ? "/stream?broken" : "/stream", {}, ""}, std::move(events));
    client->run();
    EXPECT_EQ(kind, "pieces");
    if (!broken) EXPECT_EQ(body, "piece 0\npiece 1\npiece 2\n");
    EXPECT_EQ(end.ok(), !broken) << end.message();
  }
}

TEST(HttpClient, RunsManyCallsAtOnceAndCancelsSome) {
  Served served;
  const auto client = std::move(*HttpClient::create());
  int good = 0, cancelled = 0;
  std::vector<uint64_t> slow;
  for (int i = 0; i < 50; ++i) {
    HttpEvents events;
    events.on_end = [&](Status s) {
      good += s.ok();
      cancelled += s.code() == Code::cancelled;
    };
    const uint64_t id = client->send(served.url, {"POST", i % 2 ? "/slow" : "/echo", {}, "x"}, std::move(events));
    if (i % 2) slow.push_back(id);
  }
  client->at(HttpClient::Clock::now() + std::chrono::milliseconds(200), [&] {
    for (const uint64_t id : slow) client->cancel(id);
  });
  client->run();
  EXPECT_EQ(good, 25);
  EXPECT_EQ(cancelled, 25);
}

TEST(HttpClient, GivesUpOnSilenceAndOnNobody) {
  Served served;
  HttpClientOptions options;
  options.silent_s = 0.1;
  const auto client = std::move(*HttpClient::create(options));
  EXPECT_FALSE(http_fetch(*client, served.url, {"GET", "/slow", {}, ""}).ok());
  const auto nobody = http_fetch(*client, {false, "127.0.0.1", 1, ""}, {});
  EXPECT_THAT(nobody.status().message(), HasSubstr("http://127.0.0.1:1: cannot connect"));
  const auto no_tls = http_fetch(*client, {true, "127.0.0.1", served.server->port(), ""}, {});
  EXPECT_THAT(no_tls.status().message(), HasSubstr("no TLS"));
}

/// Accepts, reads something, answers with `bytes` and closes; `times` connections.
struct Rude {
  Rude(std::string bytes, int times) {
    listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at);
    ::listen(listener, 8);
    socklen_t size = sizeof at;
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
    url = {false, "127.0.0.1", ntohs(at.sin_port), ""};
    thread = std::thread([this, bytes = std::move(bytes), times] {
      for (int i = 0; i < times; ++i) {
        const int s = ::accept(listener, nullptr, nullptr);
        char buffer[4096];
        if (::recv(s, buffer, sizeof buffer, 0) > 0) (void)::send(s, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        ::close(s);
      }
    });
  }
  ~Rude() {
    thread.join();
    ::close(listener);
  }
  int listener;
  Url url;
  std::thread thread;
};

TEST(HttpClient, RefusesHostileAnswers) {
  const auto client = std::move(*HttpClient::create());
  const std::string head = "HTTP/1.1 200 OK\r\n";
  for (const std::string& bytes :
       {std::string(), std::string("nonsense\r\n\r\n"), head, head + "Content-Length: 10\r\n\r\nshort",
        head + "Content-Length: -1\r\n\r\n", head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nx",
        head + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", head + "X: " + std::string(1 << 17, 'x') + "\r\n\r\n"}) {
    Rude rude(bytes, 1);
    EXPECT_FALSE(http_fetch(*client, rude.url, {}).ok()) << bytes.substr(0, 80);
  }
  Rude rude(head + "\r\nuntil the end", 1);  // no length: the end of the connection is that of the body
  EXPECT_EQ(http_fetch(*client, rude.url, {})->body, "until the end");
}

TEST(HttpClient, TriesAgainWhenAKeptConnectionWasClosed) {
  const auto client = std::move(*HttpClient::create());
  Rude rude("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 2);  // promises to keep the connection, and closes it
  for (int i = 0; i < 2; ++i) {
    const auto answer = http_fetch(*client, rude.url, {});
    ASSERT_TRUE(answer.ok()) << answer.status().message();
    EXPECT_EQ(answer->body, "ok");
  }
}

}  // namespace
}  // namespace vibee
