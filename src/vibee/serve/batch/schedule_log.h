// SPDX-License-Identifier: Apache-2.0
// Everything that an engine decides and everything it was told, as lines of text: enough to decide it again without the
// model (plan/simulate/replay.h). It holds the token ids of prompts and answers, because what is reused depends on
// them: it is to be kept as the texts are.
//
//   vibee-schedule 1 context=4096 sequences=32 rows=256 logits=32 pages=8192 prefix=radix
//   options policy=sarathi order=vtc chunk=0 aging=10 preempt=1 promise=0.05 ratio=1 late=1.05 row_key=.. key=..
//   rows=1:0.004,.. logits=.. request 17 t=31.4 max=64 priority=0 key=0 space=0 scores=- tokens=1,2,3 given=- cancel 9
//   pause 9 resume 9 preempt 9        room 4 #812 t=31.402 s=0.0231 e=31.4255 rows=75 12:1 13:1 17:64p | start 17+150 |
//   preempt 9 | hold 18<17 | drew 12=533 13=2/stop
//
// t: when the step was decided, s: how long its rows took, e: when they were there; seconds. 12:1 is one row of request
// 12, 17:64p are 64 rows of a prompt; 17 started with 150 tokens reused, 9 was put back, 18 waits for what 17 computes,
// 12 drew token 533, and the text of 13 ended by itself.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "vibee/model/session/session.h"
#include "vibee/serve/batch/request.h"
#include "vibee/serve/batch/step_time.h"

namespace vibee {

struct EngineOptions;

class ScheduleLog {
 public:
  using Sink = std::function<void(std::string_view line)>;  ///< a line, without its end
  explicit ScheduleLog(Sink sink) : sink_(std::move(sink)) {}

  void begin(const SessionOptions& options, uint32_t pages, std::string_view prefix);
  void options(const EngineOptions& options);
  void request(uint32_t id, double at_s, const GenerateRequest& request);
  /// The engine forgot everybody, and its index everything.
  void abandoned();
  /// Something from outside about a request (or a number of pages): a word of the list above.
  void told(std::string_view what, uint64_t number);

  // Of the step that is under way, until step() or failed().
  void rows(uint32_t id, uint32_t n, bool prompt);
  void starts(uint32_t id, uint32_t reused);
  void puts_back(uint32_t id);
  void holds(uint32_t id, uint32_t leader);
  void drew(uint32_t id, int32_t token, Finish finish);
  void step(uint64_t number, double at_s, double seconds, double end_s);
  void failed(uint64_t number, double at_s);

 private:
  std::string details();
  Sink sink_;
  uint32_t row_count_ = 0;
  std::string rows_, starts_, put_back_, holds_, drawn_;
};

/// "1:0.004,2:0.0041"
std::string curve_text(const std::vector<StepCurves::Point>& curve);

}  // namespace vibee
