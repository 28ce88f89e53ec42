// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/schedule_log.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "vibee/serve/batch/engine.h"

namespace vibee {
namespace {

template <typename... T>
void put(std::string* out, fmt::format_string<T...> format, T&&... values) {
  fmt::format_to(std::back_inserter(*out), format, std::forward<T>(values)...);
}

/// "1,2,3"; "-" for none.
std::string list(const std::vector<int32_t>& tokens) {
  std::string out;
  for (const int32_t token : tokens) put(&out, "{}{}", out.empty() ? "" : ",", token);
  return out.empty() ? "-" : out;
}

}  // namespace

std::string curve_text(const std::vector<StepCurves::Point>& curve) {
  std::string out;
  for (const StepCurves::Point& p : curve) put(&out, "{}{}:{}", out.empty() ? "" : ",", p.n, p.seconds);
  return out.empty() ? "-" : out;
}

void ScheduleLog::begin(const SessionOptions& o, uint32_t pages, std::string_view prefix) {
  sink_(fmt::format("vibee-schedule 1 context={} sequences={} rows={} logits={} pages={} prefix={}", o.context,
                    o.sequences, o.max_rows, o.max_logits, pages, prefix));
}

void ScheduleLog::options(const EngineOptions& o) {
  std::string line = fmt::format("options policy={} order={} chunk={} aging={} preempt={}", o.policy->id, o.order->id,
                                 o.chunk, o.aging_s, int(o.preempt));
  if (o.time) {  // numbers are as short as they can be read back exactly
    const StepCurves& c = o.time->curves();
    put(&line, " promise={} ratio={} late={} row_key={} key={} rows={} logits={}", o.time->promise_s,
        o.time->correction().ratio, o.time->correction().late, c.per_row_key, c.per_key, curve_text(c.rows),
        curve_text(c.logits));
  }
  sink_(line);
}

void ScheduleLog::request(uint32_t id, double at_s, const GenerateRequest& r) {
  sink_(fmt::format("request {} t={} max={} priority={} key={} space={} scores={} tokens={} given={}", id, at_s,
                    r.max_tokens, r.priority, r.key, r.space,
                    r.prompt_logprobs ? std::to_string(*r.prompt_logprobs) : "-", list(r.prompt), list(r.generated)));
}

void ScheduleLog::abandoned() {
  details();  // the step in which it happened, if any, is not written
  sink_("abandon");
}

void ScheduleLog::told(std::string_view what, uint64_t number) { sink_(fmt::format("{} {}", what, number)); }

void ScheduleLog::rows(uint32_t id, uint32_t n, bool prompt) {
  put(&rows_, " {}:{}{}", id, n, prompt ? "p" : "");
  row_count_ += n;
}
void ScheduleLog::starts(uint32_t id, uint32_t reused) { put(&starts_, " {}+{}", id, reused); }
void ScheduleLog::puts_back(uint32_t id) { put(&put_back_, " {}", id); }
void ScheduleLog::holds(uint32_t id, uint32_t leader) { put(&holds_, " {}<{}", id, leader); }
void ScheduleLog::drew(uint32_t id, int32_t token, Finish finish) {
  put(&drawn_, " {}={}", id, token);
  if (finish != Finish::none) put(&drawn_, "/{}", name(finish));
}

std::string ScheduleLog::details() {
  std::string out = fmt::format(" rows={}{}", std::exchange(row_count_, 0), rows_);
  rows_.clear();
  for (auto [what, text] : {std::pair("start", &starts_), std::pair("preempt", &put_back_), std::pair("hold", &holds_),
                            std::pair("drew", &drawn_)}) {
    if (!text->empty()) put(&out, " | {}{}", what, *text);
    text->clear();
  }
  return out;
}

void ScheduleLog::step(uint64_t number, double at_s, double seconds, double end_s) {
  sink_(fmt::format("#{} t={} s={} e={}{}", number, at_s, seconds, end_s, details()));
}

void ScheduleLog::failed(uint64_t number, double at_s) {
  sink_(fmt::format("#{} t={} failed{}", number, at_s, details()));
}

}  // namespace vibee
