// SPDX-License-Identifier: Apache-2.0
// Any bytes on a connection, cut anywhere: whatever comes back is HTTP, and the connection ends.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "vibee/app/http/http_server.h"

namespace {

using namespace vibee;

HttpServer& server() {
  static HttpServer* const made = [] {
    HttpServerOptions options;
    options.limits.header = 2000;
    options.limits.body = 2000;
    options.limits.header_s = options.limits.body_s = options.limits.idle_s = 5;
    HttpHandler handler;
    handler.before_body = [](const HttpRequest& r) -> std::optional<HttpResponse> {
      if (r.path == "/no") return HttpResponse{403, {}, "no"};
      return {};
    };
    handler.handle = [](HttpRequest r, std::shared_ptr<HttpExchange> x) {
      if (r.path != "/stream") return x->respond({200, {}, r.body});
      x->begin(200, {});
      x->write(r.body);
      x->end();
    };
    handler.refuse = [](int status, std::string_view what) { return HttpResponse{status, {}, std::string(what)}; };
    auto s = HttpServer::listen(options, std::move(handler));
    if (!s.ok()) std::abort();
    HttpServer* const pointer = s->release();
    std::thread([pointer] { pointer->run(); }).detach();
    return pointer;
  }();
  return *made;
}

/// Whether it is within 8 seconds.
bool ready(int fd, short what) {
  pollfd p{fd, what, 0};
  int n = -1;
  do n = poll(&p, 1, 8000);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(server().port());
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // The fuzzer's clock interrupts calls; a connection that was begun goes on.
  if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0 && (errno != EINTR || !ready(fd, POLLOUT)))
    std::abort();
  const size_t half = 1 + (size - 1) * data[0] / 256;
  (void)!send(fd, data + 1, half - 1, MSG_NOSIGNAL);
  (void)!send(fd, data + half, size - half, MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 1; n > 0;) {
    if (!ready(fd, POLLIN)) std::abort();  // it neither answers nor ends
    n = recv(fd, buffer, sizeof(buffer), 0);
    if (n > 0 && answer.size() < 16) answer.append(buffer, size_t(n));
  }
  close(fd);
  if (!answer.empty() && !answer.starts_with("HTTP/1.1 ")) std::abort();
  return 0;
}
