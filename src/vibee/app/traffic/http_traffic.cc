// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/http_traffic.h"

#include <charconv>

#include "vibee/app/traffic/openai_stream.h"

namespace vibee {
namespace {

/// The answer that is being read.
struct Answer {
  std::shared_ptr<TrafficRequest> request;
  OpenAiStream stream = {};
  std::string refusal = {};  ///< the body of an answer whose status is not 200
};

class HttpTraffic final : public TrafficServer {
 public:
  explicit HttpTraffic(const Target& target) : target_(target) {}

  double now() const override { return std::chrono::duration<double>(HttpClient::Clock::now() - begin_).count(); }
  void at(double s, std::function<void()> call) override {
    const std::chrono::duration<double> after(s < 1e9 ? s : 1e9);  // a trace may say anything
    client_->at(begin_ + std::chrono::duration_cast<HttpClient::Clock::duration>(after), std::move(call));
  }
  Result<uint64_t> send(std::shared_ptr<TrafficRequest> request) override {
    VIBEE_ASSIGN(HttpCall call,
                 make_call(target_, *request->conversation, request->turn, request->answers, request->number));
    request->record.sent_s = now();
    const auto answer = std::make_shared<Answer>(Answer{std::move(request)});
    HttpEvents events;
    events.on_head = [answer](int status, const HttpHeaders& headers) { head(*answer, status, headers); };
    events.on_body = [this, answer](std::string_view bytes) { body(*answer, bytes); };
    events.on_end = [answer](Status status) { end(*answer, std::move(status)); };
    return client_->send(target_.url, std::move(call), std::move(events));
  }
  void cancel(uint64_t request) override { client_->cancel(request); }
  Status run(std::function<void()> begin) override {
    VIBEE_ASSIGN(client_, HttpClient::create(target_.http));
    begin_ = HttpClient::Clock::now();
    begin();
    client_->run();
    return {};
  }
  void stop() override { client_->stop(); }

 private:
  static void head(Answer& answer, int status, const HttpHeaders& headers) {
    RequestRecord& r = answer.request->record;
    r.status = status;
    for (const auto& [name, value] : headers) {
      double ms = 0;
      if (name == "x-vibee-queue-ms" &&
          std::from_chars(value.data(), value.data() + value.size(), ms).ec == std::errc() && ms >= 0)
        r.queue_s = ms / 1e3;
    }
  }

  void body(Answer& answer, std::string_view bytes) const {
    RequestRecord& r = answer.request->record;
    if (r.status != 200)
      answer.refusal += bytes.substr(0, 4096 - std::min<size_t>(4096, answer.refusal.size()));
    else
      answer.stream.feed(bytes, now(), &r);
  }

  static void end(Answer& answer, Status status) {
    RequestRecord& r = answer.request->record;
    if (status.ok() && r.status != 200)
      r.error = fmt::format("HTTP {}: {}", r.status, OpenAiStream::error_text(answer.refusal));
    answer.request->ended(std::move(status));
  }

  const Target& target_;
  std::unique_ptr<HttpClient> client_;
  HttpClient::Clock::time_point begin_ = HttpClient::Clock::now();
};

}  // namespace

std::unique_ptr<TrafficServer> http_traffic(const Target& target) { return std::make_unique<HttpTraffic>(target); }

}  // namespace vibee
