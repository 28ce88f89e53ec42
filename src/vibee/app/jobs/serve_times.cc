// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/serve_times.h"

#include <ctime>

#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr double kMostSeconds = 3600;
constexpr size_t kMostPoints = 10'000;

std::string curve_json(const std::vector<StepCurves::Point>& curve) {
  std::vector<std::string> out;
  out.reserve(curve.size());
  for (const StepCurves::Point& p : curve) out.push_back(fmt::format("[{}, {}]", p.n, p.seconds));
  return json_array(out);
}

std::string linear_json(const LinearCost& c) { return fmt::format("[{}, {}]", c.base, c.each); }

/// Reads members of an object; the first that is wrong is the error.
class Members {
 public:
  Members(const JsonValue& object, Status* wrong) : object_(object), wrong_(*wrong) {}
  std::string text(std::string_view name) {
    const JsonValue* v = object_.find(name);
    if (v && v->is(JsonValue::Kind::text)) return v->text;
    return fail(name, "is missing or no text"), std::string();
  }
  double number(std::string_view name) {
    const JsonValue* v = object_.find(name);
    return v ? of(name, *v) : (fail(name, "is missing"), 0);
  }
  LinearCost linear(std::string_view name) {
    const JsonValue* v = array(name);
    if (!v) return {};
    if (v->items.size() != 2) return fail(name, "is not [seconds, seconds each]"), LinearCost();
    return {of(name, v->items[0]), of(name, v->items[1])};
  }
  std::vector<double> numbers(std::string_view name) {
    std::vector<double> out;
    if (const JsonValue* v = array(name))
      for (const JsonValue& item : v->items) out.push_back(of(name, item));
    return out;
  }
  std::vector<StepCurves::Point> curve(std::string_view name) {
    std::vector<StepCurves::Point> out;
    const JsonValue* v = array(name);
    if (!v) return out;
    for (const JsonValue& p : v->items) {
      const bool pair = p.is(JsonValue::Kind::array) && p.items.size() == 2 && p.items[0].is(JsonValue::Kind::integer);
      if (!pair || p.items[0].integer < 1 || p.items[0].integer > UINT32_MAX ||
          (!out.empty() && out.back().n >= p.items[0].integer))
        return fail(name, "is not a list of [rows, seconds] by ascending rows"), out;
      out.push_back({uint32_t(p.items[0].integer), of(name, p.items[1])});
    }
    return out;
  }
  void fail(std::string_view name, std::string_view what) {
    if (wrong_.ok()) wrong_ = error(Code::invalid, "\"{}\" {}", name, what);
  }

 private:
  const JsonValue* array(std::string_view name) {
    const JsonValue* v = object_.find(name);
    if (v && v->is(JsonValue::Kind::array) && v->items.size() <= kMostPoints) return v;
    return fail(name, "is missing or no list"), nullptr;
  }
  double of(std::string_view name, const JsonValue& v) {
    if (v.is_number() && v.number >= 0 && v.number <= kMostSeconds) return v.number;
    return fail(name, "holds what is no number of seconds, 0 to 3600"), 0;
  }
  const JsonValue& object_;
  Status& wrong_;
};

}  // namespace

Result<ServeTimes> serve_times_for(const LoadConfig& c) {
  VIBEE_ASSIGN(const TunedFor what, tuned_for(c.model));
  ServeTimes out{what.model, what.cpu, {}, what.bytes, {}, {}};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
  out.date = date;
  out.options = fmt::format(
      "--threads {} --isa {} --ctx {} --batch {} --chunk {} --kv {} --act {} --attention-split {}", c.threads,
      c.isa.empty() ? "best" : c.isa, c.context, c.batch, c.chunk, c.kv, c.act, c.attention_split);
  if (c.outlier_threshold) out.options += fmt::format(" --outlier-threshold {}", *c.outlier_threshold);
  if (c.weights != "keep") out.options += " --weights " + c.weights;
  for (const std::string& id : c.disable) out.options += " --disable " + id;
  return out;
}

std::string serve_times_text(const ServeTimes& t) {
  const ServeCost& c = t.cost;
  std::vector<std::string> spread, stall;
  for (const double s : c.spread) spread.push_back(fmt::format("{}", s));
  for (const double s : c.stall) stall.push_back(fmt::format("{}", s));
  return JsonObject()
             .text("model", t.model)
             .integer("model_bytes", t.model_bytes)
             .text("cpu", t.cpu)
             .text("options", t.options)
             .text("date", t.date)
             .raw("step_rows", curve_json(c.step.rows))
             .raw("step_logits", curve_json(c.step.logits))
             .number("step_row_key", c.step.per_row_key)
             .number("step_key", c.step.per_key)
             .raw("start_rows", curve_json(c.start.rows))
             .raw("start_logits", curve_json(c.start.logits))
             .number("start_row_key", c.start.per_row_key)
             .number("start_key", c.start.per_key)
             .raw("spread", json_array(spread))
             .raw("stall", json_array(stall))
             .raw("loop", linear_json(c.loop))
             .raw("ask", linear_json(c.ask))
             .raw("answer", linear_json(c.answer))
             .raw("ask_delays", linear_json(c.ask_delays))
             .number("event_delays", c.event_delays)
             .str() +
         "\n";
}

Result<ServeTimes> parse_serve_times(std::string_view text, const std::string& name) {
  const auto json = parse_json(text);
  if (!json.ok()) return error(Code::invalid, "{}: {}", name, json.status().message());
  if (!json->is(JsonValue::Kind::object)) return error(Code::invalid, "{}: is no JSON object", name);
  Status wrong;
  Members m(*json, &wrong);
  ServeTimes out;
  out.model = m.text("model");
  out.cpu = m.text("cpu");
  out.options = m.text("options");
  out.date = m.text("date");
  if (const JsonValue* bytes = json->find("model_bytes"); bytes && bytes->is(JsonValue::Kind::integer))
    out.model_bytes = uint64_t(bytes->integer);
  ServeCost& c = out.cost;
  c.step.rows = m.curve("step_rows");
  if (c.step.rows.empty()) m.fail("step_rows", "has no points");
  c.step.logits = m.curve("step_logits");
  c.step.per_row_key = m.number("step_row_key");
  c.step.per_key = m.number("step_key");
  c.start.rows = m.curve("start_rows");
  c.start.logits = m.curve("start_logits");
  c.start.per_row_key = m.number("start_row_key");
  c.start.per_key = m.number("start_key");
  c.spread = m.numbers("spread");
  c.stall = m.numbers("stall");
  c.loop = m.linear("loop");
  c.ask = m.linear("ask");
  c.answer = m.linear("answer");
  c.ask_delays = m.linear("ask_delays");
  c.event_delays = m.number("event_delays");
  if (!wrong.ok()) return std::move(wrong).within(name);
  return out;
}

Result<std::string> save_serve_times(const ServeTimes& times) {
  VIBEE_ASSIGN(const std::string path, tuned_path({times.model, times.model_bytes, times.cpu}, "serve.json"));
  VIBEE_TRY(write_tuned(path, serve_times_text(times)));
  return path;
}

Result<ServeTimes> load_serve_times(const ServeTimes& wanted) {
  VIBEE_ASSIGN(const std::string path, tuned_path({wanted.model, wanted.model_bytes, wanted.cpu}, "serve.json"));
  VIBEE_ASSIGN(const std::string text, read_tuned(path));
  VIBEE_ASSIGN(ServeTimes found, parse_serve_times(text, path));
  if (found.model != wanted.model || found.model_bytes != wanted.model_bytes || found.cpu != wanted.cpu ||
      found.options != wanted.options)
    return error(Code::not_found, "{}: is of another model, machine or other options", path);
  return found;
}

}  // namespace vibee
