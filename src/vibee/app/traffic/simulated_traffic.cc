// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/simulated_traffic.h"

#include <unordered_map>

#include "vibee/app/jobs/generate.h"

namespace vibee {
namespace {

class SimulatedTraffic final : public TrafficServer {
 public:
  static Result<std::unique_ptr<TrafficServer>> create(const SimulatedTarget& target,
                                                       const ChatTemplate* chat_template) {
    VIBEE_ASSIGN(Prompts prompts, Prompts::create(target.tokenizer));
    std::unique_ptr<SimulatedTraffic> out(new SimulatedTraffic(target, chat_template, std::move(prompts)));
    ServeSimConfig config = target.server;
    config.token_of = [self = out.get()](uint64_t answer, size_t position) { return self->token(answer, position); };
    VIBEE_ASSIGN(out->sim_, ServeSim::create(std::move(config)));
    return std::unique_ptr<TrafficServer>(std::move(out));
  }

  double now() const override { return sim_->now() - begin_; }
  void at(double s, std::function<void()> call) override { sim_->at(begin_ + s, std::move(call)); }

  Result<uint64_t> send(std::shared_ptr<TrafficRequest> request) override {
    const Conversation& c = *request->conversation;
    const uint64_t number = asked_++;
    VIBEE_ASSIGN(std::vector<int32_t> prompt, encode(messages_of(c, request->turn, request->answers)));
    GenerateRequest r;
    // As the server does: who asks for more than there is room for gets what there is.
    const uint32_t context = target_.server.session.context;
    r.max_tokens = uint32_t(
        std::min<uint64_t>(c.turns[request->turn].max_tokens, context - std::min<uint64_t>(context, prompt.size())));
    r.prompt = std::move(prompt);
    r.sampling.seed = number;
    r.key = r.space = request->number % target_.keys;
    request->record.prompt_tokens = r.prompt.size();
    if (request->turn + 1 < c.turns.size()) {  // what is said next begins with this answer
      request->record.text = prompts_.text(r.max_tokens, true, part_seed(target_.server.seed, 51, number));
      VIBEE_TRY(target_.tokenizer->encode(request->record.text, false, &answers_[number]));
    }
    ServeSim::Events events;
    events.token = [this, request, number](const TokenEvent& e) {
      RequestRecord& record = request->record;
      record.pieces.push_back({now(), 0});
      if (e.finish == Finish::none) return;
      record.status = 200;
      record.finished = record.counted = true;
      record.first_text_s = record.pieces.front().at_s;
      record.cached_tokens = e.times.reused;
      record.output_tokens = record.pieces.size();
      over(*request, number, {});
    };
    events.refused = [this, request, number](const Status& status) { over(*request, number, status); };
    under_way_[number] = {request, sim_->send(std::move(r), std::move(events))};
    return number;
  }

  void cancel(uint64_t number) override {
    const auto at = under_way_.find(number);
    if (at == under_way_.end()) return;
    sim_->cancel(at->second.sent);
    over(*at->second.request, number, Status(Code::cancelled, "cancelled"));
  }

  Status run(std::function<void()> begin) override {
    begin_ = sim_->now();
    begin();
    return sim_->run();
  }
  void stop() override { sim_->stop(); }

 private:
  struct UnderWay {
    std::shared_ptr<TrafficRequest> request;
    uint64_t sent;  ///< its number at the server
  };
  SimulatedTraffic(const SimulatedTarget& target, const ChatTemplate* chat_template, Prompts prompts)
      : target_(target), chat_template_(chat_template), prompts_(std::move(prompts)) {}

  Result<std::vector<int32_t>> encode(const std::vector<ChatMessage>& messages) const {
    if (!chat_template_) return encode_prompt(*target_.tokenizer, text_of(messages));
    VIBEE_ASSIGN(const std::string text, apply_chat_template(*chat_template_, messages, true, *target_.tokenizer));
    return encode_rendered(*target_.tokenizer, text);
  }

  /// Of an answer that nobody continues any token will do, if no other answer has it there.
  int32_t token(uint64_t answer, size_t position) const {
    const auto at = answers_.find(answer);
    if (at != answers_.end() && position < at->second.size()) return at->second[position];
    return int32_t((answer * 0x9e3779b97f4a7c15ull + position) >> 33);
  }

  void over(TrafficRequest& request, uint64_t number, Status status) {
    answers_.erase(number);
    const auto at = under_way_.find(number);
    const std::shared_ptr<TrafficRequest> kept = std::move(at->second.request);
    under_way_.erase(at);
    request.ended(std::move(status));
  }

  const SimulatedTarget& target_;
  const ChatTemplate* chat_template_;  // null: completions
  Prompts prompts_;
  std::unordered_map<uint64_t, std::vector<int32_t>> answers_;  // by number of the request
  std::unordered_map<uint64_t, UnderWay> under_way_;
  std::unique_ptr<ServeSim> sim_;
  uint64_t asked_ = 0;
  double begin_ = 0;
};

class SimulatedBenchServer final : public BenchServer {
 public:
  SimulatedBenchServer(SimulatedTarget target, std::optional<ChatTemplate> chat_template)
      : target_(std::move(target)), chat_template_(std::move(chat_template)) {}
  const Tokenizer* tokenizer() const override { return target_.tokenizer; }
  void describe(TrafficReport* report) const override {
    report->url = "a simulated server";
    report->model = target_.model;
    report->endpoint = target_.chat ? "chat" : "completions";
    report->modelled = target_.times;
  }
  Result<std::unique_ptr<TrafficServer>> open() override {
    return SimulatedTraffic::create(target_, chat_template_ ? &*chat_template_ : nullptr);
  }

 private:
  SimulatedTarget target_;
  std::optional<ChatTemplate> chat_template_;
};

}  // namespace

Result<std::unique_ptr<BenchServer>> simulated_bench_server(SimulatedTarget target) {
  std::optional<ChatTemplate> chat_template;
  if (target.chat) {
    if (target.tokenizer->chat_template().empty())
      return error(Code::unsupported, "{} has no chat template; use --endpoint completions", target.model);
    auto parsed = ChatTemplate::parse(target.tokenizer->chat_template());
    if (!parsed.ok()) return parsed.take_status().within("chat template of " + target.model);
    chat_template = std::move(*parsed);
  }
  return std::unique_ptr<BenchServer>(new SimulatedBenchServer(std::move(target), std::move(chat_template)));
}

}  // namespace vibee
