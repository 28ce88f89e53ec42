// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/profile.h"

#include <algorithm>
#include <map>

#include "vibee/base/text/json_object.h"
#include "vibee/graph/device/device_plan.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {

namespace {

/// Nanoseconds of a call; of the CPU the mean over its threads.
struct CallTime {
  const CallParameters* call;
  double work, wait;
  uint64_t calls;
};

std::vector<CallTime> call_times(Session& session) {
  std::vector<CallTime> out;
  if (const DevicePlan* plan = session.device_plan()) {
    for (size_t c = 0; c < plan->calls().size(); ++c)
      out.push_back({&plan->calls()[c], double(plan->profile()[c].work), 0, plan->profile()[c].calls});
    return out;
  }
  const Plan& plan = session.plan();
  const uint32_t threads = plan.options().threads;
  for (size_t c = 0; c < plan.calls().size(); ++c) {
    CallTime row{&plan.calls()[c], 0, 0, plan.profile()[c * threads].calls};
    for (uint32_t t = 0; t < threads; ++t) {
      const Plan::CallTime& time = plan.profile()[c * threads + t];
      row.work += double(time.work) / threads;
      row.wait += double(time.wait) / threads;
    }
    out.push_back(row);
  }
  return out;
}

std::string event_json(const CallParameters& call, uint32_t tid, uint64_t begin, uint64_t end) {
  return JsonObject()
      .text("name", info(call.op).name)
      .text("cat", "call")
      .text("ph", "X")
      .number("ts", double(begin) / 1e3)
      .number("dur", double(end - begin) / 1e3)
      .integer("pid", 1)
      .integer("tid", tid)
      .raw("args", JsonObject().text("weight", call.label).integer("layer", call.layer).str())
      .str();
}

}  // namespace

Status enable_profile(Session& session) {
  if (DevicePlan* plan = session.device_plan()) return plan->enable_profile();
  session.plan().enable_profile();
  return {};
}

std::string profile_table(Session& session) {
  struct Row {
    double work = 0, wait = 0;
    uint64_t calls = 0;
  };
  std::map<std::string, Row> rows;
  double total = 0;
  for (const CallTime& time : call_times(session)) {
    Row& row = rows[std::string(info(time.call->op).name)];
    row.work += time.work;
    row.wait += time.wait;
    row.calls += time.calls;
    total += time.work + time.wait;
  }
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.work + a.second.wait > b.second.work + b.second.wait; });
  std::string out =
      fmt::format("{:<16} {:>10} {:>12} {:>12} {:>7}\n", "call", "calls", "work ms", "barrier ms", "share");
  for (const auto& [name, r] : sorted)
    out += fmt::format("{:<16} {:>10} {:>12.3f} {:>12.3f} {:>6.1f} %\n", name, r.calls, r.work / 1e6, r.wait / 1e6,
                       100 * (r.work + r.wait) / std::max(total, 1.0));
  const std::string of = session.device_plan()
                             ? "of the device, whose launches are timed one by one"
                             : fmt::format("mean over {} threads; {} regions a step of few rows",
                                           session.plan().options().threads, session.plan().regions_small());
  return out + fmt::format("{:<16} {:>10} {:>12.3f} ms; {}\n", "sum", "", total / 1e6, of);
}

Status write_trace(Session& session, const std::string& path) {
  std::string out = "[\n";
  if (const DevicePlan* plan = session.device_plan()) {
    for (const DevicePlan::Event& e : plan->trace())
      out += event_json(plan->calls()[e.call], 0, e.begin, e.end) + ",\n";
  } else {
    for (const Plan::Event& e : session.plan().trace())
      out += event_json(session.plan().calls()[e.call], e.tid, e.begin, e.end) + ",\n";
  }
  if (out.size() > 2) out.erase(out.size() - 2, 1);
  out += "]\n";
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(path + ".part"));
  VIBEE_TRY(file.append({reinterpret_cast<const uint8_t*>(out.data()), out.size()}));
  return file.commit(path);
}

}  // namespace vibee
