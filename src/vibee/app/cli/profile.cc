// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/profile.h"

#include <algorithm>
#include <map>

#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {

std::string profile_table(const Plan& plan) {
  struct Row {
    double work = 0, wait = 0;
    uint64_t calls = 0;
  };
  std::map<std::string, Row> rows;
  const uint32_t threads = plan.options().threads;
  double total = 0;
  for (size_t c = 0; c < plan.calls().size(); ++c) {
    Row& row = rows[std::string(info(plan.calls()[c].op).name)];
    double work = 0, wait = 0;
    for (uint32_t t = 0; t < threads; ++t) {
      const Plan::CallTime& time = plan.profile()[c * threads + t];
      work += double(time.work) / threads;
      wait += double(time.wait) / threads;
    }
    row.work += work;
    row.wait += wait;
    row.calls += plan.profile()[c * threads].calls;
    total += work + wait;
  }
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.work + a.second.wait > b.second.work + b.second.wait; });
  std::string out =
      fmt::format("{:<16} {:>10} {:>12} {:>12} {:>7}\n", "call", "calls", "work ms", "barrier ms", "share");
  for (const auto& [name, r] : sorted)
    out += fmt::format("{:<16} {:>10} {:>12.3f} {:>12.3f} {:>6.1f} %\n", name, r.calls, r.work / 1e6, r.wait / 1e6,
                       100 * (r.work + r.wait) / std::max(total, 1.0));
  return out + fmt::format("{:<16} {:>10} {:>12.3f} ms; mean over {} threads; {} regions a step of few rows\n", "sum",
                           "", total / 1e6, threads, plan.regions_small());
}

Status write_trace(const Plan& plan, const std::string& path) {
  std::string out = "[\n";
  for (const Plan::Event& e : plan.trace()) {
    const Call& call = plan.calls()[e.call];
    out += JsonObject()
               .text("name", info(call.op).name)
               .text("cat", "call")
               .text("ph", "X")
               .number("ts", double(e.begin) / 1e3)
               .number("dur", double(e.end - e.begin) / 1e3)
               .integer("pid", 1)
               .integer("tid", e.tid)
               .raw("args", JsonObject().text("weight", call.label).integer("layer", call.layer).str())
               .str() +
           ",\n";
  }
  if (out.size() > 2) out.erase(out.size() - 2, 1);
  out += "]\n";
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(path + ".part"));
  VIBEE_TRY(file.append({reinterpret_cast<const uint8_t*>(out.data()), out.size()}));
  return file.commit(path);
}

}  // namespace vibee
