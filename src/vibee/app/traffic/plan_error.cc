// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/plan_error.h"

#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr double kMedian = 0.1, kTail = 0.15;

/// Where a figure stands in the JSON of a report, and what it is in a plan.
struct Row {
  const char *object, *member;  ///< object: nullptr for a member of "measures" itself
  double bound;
  double (*of)(const Measures&);
};
constexpr Row kRows[] = {
    {"ttft_ms", "p50", kMedian, [](const Measures& m) { return 1e3 * m.ttft.p50; }},
    {"ttft_ms", "p95", kTail, [](const Measures& m) { return 1e3 * m.ttft.p95; }},
    {"tpot_ms", "p50", kMedian, [](const Measures& m) { return 1e3 * m.tpot.p50; }},
    {"tpot_ms", "p95", kTail, [](const Measures& m) { return 1e3 * m.tpot.p95; }},
    {"itl_ms", "p50", kMedian, [](const Measures& m) { return 1e3 * m.itl.p50; }},
    {"itl_ms", "p95", kTail, [](const Measures& m) { return 1e3 * m.itl.p95; }},
    {"e2el_ms", "p50", kMedian, [](const Measures& m) { return 1e3 * m.e2el.p50; }},
    {"e2el_ms", "p95", kTail, [](const Measures& m) { return 1e3 * m.e2el.p95; }},
    {nullptr, "output_throughput", kMedian, [](const Measures& m) { return m.output_rate(); }},
    {nullptr, "cached_tokens", kMedian, [](const Measures& m) { return double(m.cached_tokens); }},
};

std::string name(const Row& row) { return row.object ? fmt::format("{} {}", row.object, row.member) : row.member; }

}  // namespace

Result<PlanReference> parse_plan_reference(std::string_view text, const std::string& file) {
  const auto json = parse_json(text);
  if (!json.ok()) return error(Code::invalid, "{}: {}", file, json.status().message());
  const JsonValue* measures = json->find("measures");
  if (!measures)
    return error(Code::invalid, "{}: has no \"measures\"; give what `vibee bench serve --json-out` wrote of one run",
                 file);
  PlanReference out;
  for (const Row& row : kRows) {
    const JsonValue* object = row.object ? measures->find(row.object) : measures;
    const JsonValue* value = object ? object->find(row.member) : nullptr;
    if (value && value->is_number()) out.figures.emplace_back(name(row), value->number);
  }
  if (out.figures.empty()) return error(Code::invalid, "{}: \"measures\" has none of the figures of a run", file);
  return out;
}

PlanError plan_error(const PlanReference& measured, const Measures& planned) {
  PlanError out;
  for (const Row& row : kRows)
    for (const auto& [figure, value] : measured.figures)
      if (figure == name(row)) out.figures.push_back({figure, value, row.of(planned), row.bound});
  return out;
}

std::string plan_error_text(const PlanError& e) {
  std::string out = fmt::format("{:<20}{:>12}{:>12}{:>10}{:>10}\n", "", "measured", "planned", "error", "bound");
  for (const PlanError::Figure& f : e.figures)
    out += fmt::format("{:<20}{:>12.2f}{:>12.2f}{:>8.1f} %{:>8.0f} %{}\n", f.name, f.measured, f.planned,
                       100 * f.error(), 100 * f.bound, f.within() ? "" : "  beyond");
  return out;
}

std::string plan_error_json(const PlanError& e) {
  std::vector<std::string> out;
  for (const PlanError::Figure& f : e.figures)
    out.push_back(JsonObject()
                      .text("figure", f.name)
                      .number("measured", f.measured)
                      .number("planned", f.planned)
                      .number("error", f.error())
                      .number("bound", f.bound)
                      .boolean("within", f.within())
                      .str());
  return json_array(out);
}

}  // namespace vibee
