// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/traffic.h"

#include <sys/resource.h>

#include <charconv>
#include <set>

#include "vibee/app/traffic/openai_stream.h"

namespace vibee {
namespace {

double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return double(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + double(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/// A conversation that is being held.
struct Talk {
  uint32_t part, conversation;
  size_t turn = 0;
  std::vector<std::string> answers;
};

/// The answer that is being read.
struct Answer {
  size_t record;
  OpenAiStream stream;
  std::string refusal;  ///< the body of an answer whose status is not 200
};

size_t count_tokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  return tokenizer.encode(text, false, &ids).ok() ? ids.size() : 0;
}

class Runner {
 public:
  Runner(const Target& target, std::span<const TrafficPart> parts, uint64_t seed, HttpClient& client,
         const std::function<bool(const TrafficProgress&)>& progress)
      : target_(target), parts_(parts), seed_(seed), client_(client), progress_(progress), next_(parts.size()) {}

  TrafficRun run() {
    const double cpu = cpu_seconds();
    begin_ = HttpClient::Clock::now();
    for (uint32_t p = 0; p < parts_.size(); ++p)
      if (!parts_[p].background) state_.of += parts_[p].conversations.size();
    for (uint32_t p = 0; p < parts_.size(); ++p) start_part(p);
    tick();
    client_.run();
    out_.seconds = now();
    out_.client_cpu = out_.seconds > 0 ? (cpu_seconds() - cpu) / out_.seconds : 0;
    return std::move(out_);
  }

 private:
  double now() const { return std::chrono::duration<double>(HttpClient::Clock::now() - begin_).count(); }
  void at(double s, std::function<void()> call) {
    const std::chrono::duration<double> after(s < 1e9 ? s : 1e9);  // a trace may say anything
    client_.at(begin_ + std::chrono::duration_cast<HttpClient::Clock::duration>(after), std::move(call));
  }

  void start_part(uint32_t p) {
    const TrafficPart& part = parts_[p];
    const Arrivals& a = part.arrivals;
    const size_t n = part.conversations.size();
    if (a.kind == Arrivals::Kind::closed) {
      for (size_t i = 0; i < std::min<size_t>(a.clients, n); ++i) start_next(p);
      return;
    }
    std::vector<double> times;
    if (a.kind == Arrivals::Kind::rate) times = arrival_times(a, n, part_seed(seed_, 21, p));
    for (uint32_t i = 0; i < n; ++i) {
      const double due = times.empty() ? part.conversations[i].at_s * a.stretch : times[i];
      at(due, [this, p, i, due] { send(std::make_shared<Talk>(Talk{p, i, 0, {}}), due); });
    }
  }

  /// Closed loops: the next conversation of a part, if there is one.
  void start_next(uint32_t p) {
    const TrafficPart& part = parts_[p];
    const size_t n = part.conversations.size();
    if (stopping_ || (next_[p] >= n && !part.background)) return;
    send(std::make_shared<Talk>(Talk{p, uint32_t(next_[p]++ % n), 0, {}}), now());
  }

  void send(const std::shared_ptr<Talk>& talk, double due) {
    if (stopping_) return;
    const TrafficPart& part = parts_[talk->part];
    const Conversation& conversation = part.conversations[talk->conversation];
    while (talk->turn < conversation.turns.size() && conversation.turns[talk->turn].max_tokens == 0) ++talk->turn;
    if (talk->turn == conversation.turns.size()) return finish(*talk);
    RequestRecord record;
    record.part = talk->part;
    record.conversation = talk->conversation;
    record.turn = uint32_t(talk->turn);
    record.due_s = due;
    auto call = make_call(target_, conversation, talk->turn, talk->answers, talk->conversation);
    record.sent_s = now();
    const size_t index = out_.records.size();
    out_.records.push_back(std::move(record));
    auto answer = std::make_shared<Answer>(Answer{index, {}, {}});
    if (!call.ok()) return end(talk, *answer, 0, call.take_status());
    HttpEvents events;
    events.on_head = [this, answer](int status, const HttpHeaders& headers) { head(*answer, status, headers); };
    events.on_body = [this, answer](std::string_view bytes) { body(*answer, bytes); };
    auto id = std::make_shared<uint64_t>(0);
    events.on_end = [this, answer, talk, id](Status status) { end(talk, *answer, *id, std::move(status)); };
    *id = client_.send(target_.url, std::move(*call), std::move(events));
    under_way_.insert(*id);
  }

  void head(Answer& answer, int status, const HttpHeaders& headers) {
    RequestRecord& r = out_.records[answer.record];
    r.status = status;
    for (const auto& [name, value] : headers) {
      double ms = 0;
      if (name == "x-vibee-queue-ms" &&
          std::from_chars(value.data(), value.data() + value.size(), ms).ec == std::errc() && ms >= 0)
        r.queue_s = ms / 1e3;
    }
  }

  void body(Answer& answer, std::string_view bytes) {
    RequestRecord& r = out_.records[answer.record];
    if (r.status != 200) {
      answer.refusal += bytes.substr(0, 4096 - std::min<size_t>(4096, answer.refusal.size()));
      return;
    }
    const size_t before = r.pieces.size();
    answer.stream.feed(bytes, now(), &r);
    state_.pieces += r.pieces.size() - before;
  }

  void end(const std::shared_ptr<Talk>& talk, Answer& answer, uint64_t id, Status status) {
    under_way_.erase(id);
    RequestRecord& r = out_.records[answer.record];
    r.end_s = now();
    r.cancelled = status.code() == Code::cancelled;
    if (!status.ok() && !r.cancelled) {
      r.error = status.message();
    } else if (r.status != 200 && !r.cancelled) {
      r.error = fmt::format("HTTP {}: {}", r.status, OpenAiStream::error_text(answer.refusal));
    } else if (r.error.empty() && !r.cancelled) {
      if (r.pieces.empty()) {
        r.error = "the answer had no event with choices";
      } else if (!r.finished) {
        r.error = "the stream ended without a finish_reason or [DONE]";
      }
    }
    if (r.completed() && talk->turn + 1 < parts_[talk->part].conversations[talk->conversation].turns.size()) {
      talk->answers.push_back(r.text);
      ++talk->turn;
      const double due = r.end_s + parts_[talk->part].conversations[talk->conversation].turns[talk->turn].think_s;
      at(due, [this, talk, due] { send(talk, due); });
      return check_end();
    }
    state_.failed += r.failed();
    finish(*talk);
  }

  void finish(const Talk& talk) {
    const TrafficPart& part = parts_[talk.part];
    if (!part.background && ++state_.done == state_.of) stop();
    // A server that refuses everything at once must not turn the background into a loop without an end.
    if (part.arrivals.kind == Arrivals::Kind::closed) at(now(), [this, p = talk.part] { start_next(p); });
    check_end();
  }

  /// Nothing more is sent, and what is under way is cancelled.
  void stop() {
    stopping_ = true;
    for (const uint64_t id : std::set<uint64_t>(under_way_)) client_.cancel(id);
    check_end();
  }

  void check_end() {
    if (stopping_ && under_way_.empty()) client_.stop();
  }

  void tick() {
    state_.seconds = now();
    state_.under_way = under_way_.size();
    if (!stopping_ && !progress_(state_)) {
      out_.interrupted = true;
      return stop();
    }
    if (!stopping_) at(now() + 0.25, [this] { tick(); });
  }

  const Target& target_;
  const std::span<const TrafficPart> parts_;
  const uint64_t seed_;
  HttpClient& client_;
  const std::function<bool(const TrafficProgress&)>& progress_;
  HttpClient::Clock::time_point begin_;
  std::vector<uint64_t> next_;  // of each part: the conversation that comes next
  std::set<uint64_t> under_way_;
  bool stopping_ = false;
  TrafficProgress state_;
  TrafficRun out_;
};

}  // namespace

Result<TrafficRun> run_traffic(const Target& target, std::span<const TrafficPart> parts, uint64_t seed,
                               const std::function<bool(const TrafficProgress&)>& progress) {
  size_t foreground = 0;
  for (const TrafficPart& part : parts) foreground += part.background ? 0 : part.conversations.size();
  if (foreground == 0) return error(Code::invalid, "the workload has no requests");
  VIBEE_ASSIGN(const auto client, HttpClient::create(target.http));
  TrafficRun run = Runner(target, parts, seed, *client, progress).run();
  for (RequestRecord& r : run.records) {
    if (r.counted || !r.completed()) continue;
    r.output_tokens = r.pieces.size();  // the server did not say how many tokens it made
    if (target.tokenizer) r.output_tokens = count_tokens(*target.tokenizer, r.text);
  }
  return run;
}

std::vector<std::vector<uint32_t>> tokens_of_pieces(std::span<const RequestRecord> records,
                                                    const Tokenizer& tokenizer) {
  std::vector<std::vector<uint32_t>> out;
  for (const RequestRecord& r : records) {
    std::vector<uint32_t>& counts = out.emplace_back();
    uint32_t begin = 0;
    for (const StreamedPiece& piece : r.pieces) {
      const std::string_view text = std::string_view(r.text).substr(begin, piece.text_end - begin);
      counts.push_back(std::max<uint32_t>(1, uint32_t(count_tokens(tokenizer, text))));
      begin = piece.text_end;
    }
  }
  return out;
}

}  // namespace vibee
