// SPDX-License-Identifier: Apache-2.0
#include "vibee/plan/simulate/replay.h"

#include <charconv>
#include <cmath>
#include <unordered_map>

#include "vibee/base/text/quote.h"
#include "vibee/plan/simulate/shared_load.h"

namespace vibee {
namespace {

// More than any server has; a file that says more is no log.
constexpr uint32_t kMostContext = 1 << 26, kMostPages = 1 << 26, kMostRows = 1 << 20;

/// Words of a line, one after the other.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}
  bool empty() const { return text_.empty(); }
  std::string_view next(char end = ' ') {
    const size_t at = std::min(text_.find(end), text_.size());
    const std::string_view word = text_.substr(0, at);
    text_.remove_prefix(std::min(at + 1, text_.size()));
    return word;
  }
  /// The value of the next word, which must be `key=value`.
  Result<std::string_view> value(std::string_view key) {
    const std::string_view word = next();
    if (word.size() <= key.size() || !word.starts_with(key) || word[key.size()] != '=')
      return error(Code::corrupt, "{} stands where {}=... was expected", quote(word), key);
    return word.substr(key.size() + 1);
  }

 private:
  std::string_view text_;
};

template <typename T>
Result<T> number(std::string_view text, T most = std::numeric_limits<T>::max()) {
  T value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool good = failed == std::errc() && end == text.data() + text.size() && value <= most;
  if constexpr (std::is_floating_point_v<T>) good = good && std::isfinite(value) && value >= 0;
  if (!good) return error(Code::corrupt, "{} is no number that can stand there", quote(text));
  return value;
}

template <typename T>
Status read(Words* words, std::string_view key, T* out, T most = std::numeric_limits<T>::max()) {
  VIBEE_ASSIGN(const std::string_view text, words->value(key));
  VIBEE_ASSIGN(*out, number<T>(text, most));
  return {};
}

Status read_curve(Words* words, std::string_view key, std::vector<StepCurves::Point>* out) {
  VIBEE_ASSIGN(const std::string_view text, words->value(key));
  for (Words points(text == "-" ? "" : text); !points.empty();) {
    Words point(points.next(','));
    StepCurves::Point p{};
    VIBEE_ASSIGN(p.n, number<uint32_t>(point.next(':')));
    VIBEE_ASSIGN(p.seconds, number<double>(point.next(':')));
    if (!out->empty() && out->back().n >= p.n) return error(Code::corrupt, "{}: its points are not in order", key);
    out->push_back(p);
  }
  return {};
}

Status read_tokens(Words* words, std::string_view key, std::vector<int32_t>* out) {
  VIBEE_ASSIGN(const std::string_view text, words->value(key));
  for (Words list(text == "-" ? "" : text); !list.empty();) {
    VIBEE_ASSIGN(const int32_t token, number<int32_t>(list.next(',')));
    out->push_back(token);
  }
  return {};
}

/// A step's line.
struct Logged {
  double at_s = 0, seconds = 0, end_s = 0;
  bool failed = false;
  struct Token {
    int32_t token;
    Finish finish;
  };
  std::unordered_map<uint32_t, Token> drawn;  ///< by request
};

Result<Logged> read_step(std::string_view line) {
  Words words(line);
  words.next();  // its number
  Logged out;
  VIBEE_TRY(read(&words, "t", &out.at_s));
  Words rest = words;
  if (rest.next() == "failed") {
    out.failed = true;
    return out;
  }
  VIBEE_TRY(read(&words, "s", &out.seconds));
  VIBEE_TRY(read(&words, "e", &out.end_s));
  while (!words.empty() && words.next() != "drew") {
  }
  while (!words.empty()) {
    Words word(words.next());
    VIBEE_ASSIGN(const uint32_t id, number<uint32_t>(word.next('=')));
    VIBEE_ASSIGN(const int32_t token, number<int32_t>(word.next('/')));
    Finish finish = Finish::none;
    if (const std::string_view how = word.next(); !how.empty()) {
      finish = how == name(Finish::end_token) ? Finish::end_token : Finish::stop_string;
      if (how != name(finish)) return error(Code::corrupt, "{} is no way in which a text ends", quote(how));
    }
    out.drawn[id] = {token, finish};
  }
  return out;
}

/// Says what the log says.
class ReplayExecutor final : public Executor {
 public:
  static Result<std::unique_ptr<ReplayExecutor>> create(const SessionOptions& options) {
    std::unique_ptr<ReplayExecutor> out(new ReplayExecutor(options));
    VIBEE_ASSIGN(out->pages_, PageStore::create({}, options.pages));
    return out;
  }
  const SessionOptions& options() const override { return options_; }
  PageStore& pages() override { return pages_; }
  double now() override { return now_; }
  Result<std::unique_ptr<AnswerWriter>> open(const GenerateRequest&) override {
    return std::unique_ptr<AnswerWriter>(new Writer(*this));
  }
  Result<StepResult> step(std::span<const StepRows> rows) override {
    if (step_.failed) return error(Code::io, "the step failed");
    load_ = counter_.of(rows);
    for (const StepRows& r : rows) VIBEE_TRY(r.state->reserve(uint32_t(r.tokens.size())));
    for (const StepRows& r : rows) r.state->commit(uint32_t(r.tokens.size()));
    now_ = step_.end_s;
    return StepResult{{}, 0, step_.seconds};
  }
  void set_now(double s) { now_ = s; }
  void set_step(Logged step) {
    step_ = std::move(step);
    now_ = step_.at_s;
    load_ = {};
  }
  const Logged& logged() const { return step_; }
  const StepLoad& load() const { return load_; }

 private:
  class Writer final : public AnswerWriter {
   public:
    explicit Writer(const ReplayExecutor& executor) : executor_(executor) {}
    void next(std::span<float>, std::span<const int32_t>, TokenEvent* event) override {
      const auto at = executor_.step_.drawn.find(event->request);
      if (at == executor_.step_.drawn.end()) return;  // the line will differ
      event->sampled.token = at->second.token;
      event->finish = at->second.finish;
    }

   private:
    const ReplayExecutor& executor_;
  };
  explicit ReplayExecutor(const SessionOptions& options) : options_(options), counter_(options.pages) {}
  SessionOptions options_;
  PageStore pages_;
  Logged step_;
  SharedLoad counter_;
  StepLoad load_;
  double now_ = 0;
};

class Replay {
 public:
  Replay(ReplayReport* report, const std::function<void(const ReplayedStep&)>& on_step)
      : report_(report),
        on_step_(on_step),
        log_([this](std::string_view line) { decided_ += std::string(decided_.empty() ? "" : "\n") += line; }) {}

  /// Does what the line says; false when the engine decides otherwise.
  Result<bool> take(std::string_view line) {
    decided_.clear();
    Words words(line);
    const std::string_view what = words.next();
    if (!executor_) {
      VIBEE_TRY(begin(what, words));
    } else if (what == "options") {
      VIBEE_TRY(options(words));
    } else if (!engine_) {
      return error(Code::corrupt, "no line with options stands before it");
    } else if (what == "request") {
      VIBEE_TRY(request(words));
    } else if (what.starts_with('#')) {
      VIBEE_ASSIGN(Logged step, read_step(line));
      const bool failed = step.failed;
      executor_->set_step(std::move(step));
      ++report_->steps;
      const Status stepped = engine_->step({});
      if (!stepped.ok() && !failed) return error(Code::corrupt, "{}", stepped.message());
      if (on_step_) tell();
    } else if (what == "abandon") {
      engine_->abandon();
      if (prefix_) prefix_->clear();
    } else {
      VIBEE_TRY(told(what, words));
    }
    return decided_ == line;
  }
  std::string_view decided() const { return decided_; }
  EngineStats stats() const { return engine_ ? engine_->stats() : EngineStats(); }

 private:
  Status begin(std::string_view what, Words words) {
    if (what != "vibee-schedule" || words.next() != "1")
      return error(Code::corrupt, "is no schedule log of this version (it begins with \"vibee-schedule 1\")");
    SessionOptions o;
    VIBEE_TRY(read(&words, "context", &o.context, kMostContext));
    VIBEE_TRY(read(&words, "sequences", &o.sequences, kMostRows));
    VIBEE_TRY(read(&words, "rows", &o.max_rows, kMostRows));
    VIBEE_TRY(read(&words, "logits", &o.max_logits, kMostRows));
    VIBEE_TRY(read(&words, "pages", &o.pages, kMostPages));
    VIBEE_ASSIGN(const std::string_view prefix, words.value("prefix"));
    VIBEE_ASSIGN(executor_, ReplayExecutor::create(o));
    VIBEE_ASSIGN(prefix_, make_prefix_index(prefix, &executor_->pages()));
    log_.begin(o, executor_->pages().pages(), prefix);
    return {};
  }

  Status options(Words words) {
    EngineOptions o;
    VIBEE_ASSIGN(const std::string_view policy, words.value("policy"));
    VIBEE_ASSIGN(o.policy, find_policy(policy));
    VIBEE_ASSIGN(const std::string_view order, words.value("order"));
    VIBEE_ASSIGN(o.order, find_order(order));
    VIBEE_TRY(read(&words, "chunk", &o.chunk));
    VIBEE_TRY(read(&words, "aging", &o.aging_s));
    uint32_t preempt = 0;
    VIBEE_TRY(read(&words, "preempt", &preempt, 1u));
    o.preempt = preempt != 0;
    std::unique_ptr<StepTime> time;
    if (!words.empty()) {
      double promise = 0;
      StepCorrection correction;
      StepCurves curves;
      VIBEE_TRY(read(&words, "promise", &promise));
      VIBEE_TRY(read(&words, "ratio", &correction.ratio));
      VIBEE_TRY(read(&words, "late", &correction.late));
      VIBEE_TRY(read(&words, "row_key", &curves.per_row_key));
      VIBEE_TRY(read(&words, "key", &curves.per_key));
      VIBEE_TRY(read_curve(&words, "rows", &curves.rows));
      VIBEE_TRY(read_curve(&words, "logits", &curves.logits));
      if (curves.rows.empty()) return error(Code::corrupt, "the times of steps have no points");
      time = std::make_unique<StepTime>(std::move(curves));
      time->promise_s = promise;
      time->set_correction(correction);
    }
    o.time = time.get();
    o.prefix = prefix_.get();
    o.log = &log_;
    if (engine_)
      engine_->set_options(o);
    else
      engine_.emplace(*executor_, o);
    time_ = std::move(time);
    return {};
  }

  Status request(Words words) {
    ++report_->requests;
    VIBEE_TRY(number<uint32_t>(words.next()).take_status());
    double at = 0;
    GenerateRequest r;
    VIBEE_TRY(read(&words, "t", &at));
    VIBEE_TRY(read(&words, "max", &r.max_tokens));
    VIBEE_TRY(read(&words, "priority", &r.priority));
    VIBEE_TRY(read(&words, "key", &r.key));
    VIBEE_TRY(read(&words, "space", &r.space));
    VIBEE_ASSIGN(const std::string_view scores, words.value("scores"));
    if (scores != "-") {
      VIBEE_ASSIGN(r.prompt_logprobs, number<uint32_t>(scores));
    }
    VIBEE_TRY(read_tokens(&words, "tokens", &r.prompt));
    VIBEE_TRY(read_tokens(&words, "given", &r.generated));
    executor_->set_now(at);
    ++next_.asked;
    next_.asked_tokens += r.prompt.size();
    return engine_->submit(std::move(r)).take_status();
  }

  void tell() {
    const Logged& l = executor_->logged();
    next_.load = executor_->load();
    next_.at_s = l.at_s;
    next_.seconds = l.seconds;
    next_.end_s = l.end_s;
    next_.drawn = uint32_t(l.drawn.size());
    on_step_(next_);
    next_ = {};
    next_.follows = !engine_->idle() && !engine_->stalled();
  }

  Status told(std::string_view what, Words words) {
    VIBEE_ASSIGN(const uint64_t n, number<uint64_t>(words.next()));
    const auto id = uint32_t(n);
    if (what == "cancel")
      engine_->cancel(id);
    else if (what == "pause" || what == "resume")
      engine_->pause(id, what == "pause");
    else if (what == "preempt")
      engine_->preempt(id);
    else if (what == "room")
      return engine_->make_room(n);
    else
      return error(Code::corrupt, "{} is no word that a line begins with", quote(what));
    return {};
  }

  ReplayReport* report_;
  const std::function<void(const ReplayedStep&)>& on_step_;
  ReplayedStep next_;
  std::string decided_;  // the lines that the engine wrote
  ScheduleLog log_;
  std::unique_ptr<ReplayExecutor> executor_;
  std::unique_ptr<PrefixIndex> prefix_;
  std::unique_ptr<StepTime> time_;
  std::optional<Engine> engine_;
};

}  // namespace

Result<ReplayReport> replay_schedule(std::string_view log, std::string_view name,
                                     const std::function<void(const ReplayedStep&)>& on_step) {
  ReplayReport out;
  Replay replay(&out, on_step);
  uint64_t line = 0;
  for (size_t at = 0; at < log.size(); ++line) {
    const size_t end = log.find('\n', at);
    if (end == log.npos) break;
    const std::string_view text = log.substr(at, end - at);
    at = end + 1;
    auto same = replay.take(text);
    if (!same.ok()) return same.take_status().within(fmt::format("{}:{}", name, line + 1));
    if (!*same) {
      out.difference = {line + 1, std::string(text), std::string(replay.decided())};
      break;
    }
  }
  if (line == 0 && !out.difference) return error(Code::corrupt, "{}: has no line of a schedule log", name);
  out.stats = replay.stats();
  return out;
}

}  // namespace vibee
