// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/traffic.h"

#include <sys/resource.h>

#include <map>

#include "vibee/app/traffic/http_traffic.h"

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

size_t count_tokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  return tokenizer.encode(text, false, &ids).ok() ? ids.size() : 0;
}

class Runner {
 public:
  Runner(TrafficServer& server, std::span<const TrafficPart> parts, uint64_t seed,
         const std::function<bool(const TrafficProgress&)>& progress)
      : server_(server), parts_(parts), seed_(seed), progress_(progress), next_(parts.size()) {}

  Result<TrafficRun> run() {
    const double cpu = cpu_seconds();
    for (uint32_t p = 0; p < parts_.size(); ++p)
      if (!parts_[p].background) state_.of += parts_[p].conversations.size();
    VIBEE_TRY(server_.run([this] {
      for (uint32_t p = 0; p < parts_.size(); ++p) start_part(p);
      tick();
    }));
    out_.seconds = now();
    out_.client_cpu = out_.seconds > 0 ? (cpu_seconds() - cpu) / out_.seconds : 0;
    return std::move(out_);
  }

 private:
  double now() const { return server_.now(); }
  void at(double s, std::function<void()> call) { server_.at(s, std::move(call)); }

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
    const auto request = std::make_shared<TrafficRequest>();
    request->conversation = &conversation;
    request->turn = talk->turn;
    request->answers = talk->answers;
    request->number = talk->conversation;
    RequestRecord& record = request->record;
    record.part = talk->part;
    record.conversation = talk->conversation;
    record.turn = uint32_t(talk->turn);
    record.due_s = due;
    record.sent_s = now();
    const size_t index = out_.records.size();
    out_.records.emplace_back();  // in the order of sending
    const auto id = std::make_shared<uint64_t>(0);
    request->ended = [this, request = request.get(), talk, id, index](Status status) {
      const auto at = under_way_.find(*id);  // keeps it until here
      const std::shared_ptr<TrafficRequest> kept = at == under_way_.end() ? nullptr : at->second;
      if (kept) under_way_.erase(at);
      end(talk, request->record, index, std::move(status));
    };
    auto sent = server_.send(request);
    if (!sent.ok()) return end(talk, record, index, sent.take_status());
    *id = *sent;
    under_way_[*id] = request;
  }

  void end(const std::shared_ptr<Talk>& talk, RequestRecord& record, size_t index, Status status) {
    RequestRecord& r = out_.records[index] = std::move(record);
    r.end_s = now();
    r.cancelled = status.code() == Code::cancelled;
    if (!status.ok() && !r.cancelled) {
      r.error = status.message();
    } else if (r.error.empty() && !r.cancelled) {
      if (r.pieces.empty()) {
        r.error = "the answer had no event with choices";
      } else if (!r.finished) {
        r.error = "the stream ended without a finish_reason or [DONE]";
      }
    }
    pieces_ += r.pieces.size();
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
    for (const auto& [id, request] : std::map(under_way_)) server_.cancel(id);
    check_end();
  }

  void check_end() {
    if (stopping_ && under_way_.empty()) server_.stop();
  }

  void tick() {
    state_.seconds = now();
    state_.under_way = under_way_.size();
    state_.pieces = pieces_;
    for (const auto& [id, request] : under_way_) state_.pieces += request->record.pieces.size();
    if (!stopping_ && !progress_(state_)) {
      out_.interrupted = true;
      return stop();
    }
    if (!stopping_) at(now() + 0.25, [this] { tick(); });
  }

  TrafficServer& server_;
  const std::span<const TrafficPart> parts_;
  const uint64_t seed_;
  const std::function<bool(const TrafficProgress&)>& progress_;
  std::vector<uint64_t> next_;  // of each part: the conversation that comes next
  std::map<uint64_t, std::shared_ptr<TrafficRequest>> under_way_;
  uint64_t pieces_ = 0;  // of requests that have ended
  bool stopping_ = false;
  TrafficProgress state_;
  TrafficRun out_;
};

}  // namespace

Result<TrafficRun> run_traffic(TrafficServer& server, std::span<const TrafficPart> parts, uint64_t seed,
                               const Tokenizer* tokenizer,
                               const std::function<bool(const TrafficProgress&)>& progress) {
  size_t foreground = 0;
  for (const TrafficPart& part : parts) foreground += part.background ? 0 : part.conversations.size();
  if (foreground == 0) return error(Code::invalid, "the workload has no requests");
  VIBEE_ASSIGN(TrafficRun run, Runner(server, parts, seed, progress).run());
  for (RequestRecord& r : run.records) {
    if (r.counted || !r.completed()) continue;
    r.output_tokens = r.pieces.size();  // the server did not say how many tokens it made
    if (tokenizer) r.output_tokens = count_tokens(*tokenizer, r.text);
  }
  return run;
}

Result<TrafficRun> run_traffic(const Target& target, std::span<const TrafficPart> parts, uint64_t seed,
                               const std::function<bool(const TrafficProgress&)>& progress) {
  return run_traffic(*http_traffic(target), parts, seed, target.tokenizer, progress);
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
