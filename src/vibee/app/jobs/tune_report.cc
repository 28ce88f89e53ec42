// SPDX-License-Identifier: Apache-2.0
// What `vibee tune` found, as a table, as JSON and as a page.
#include <algorithm>
#include <cmath>

#include "vibee/app/jobs/tune.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/xml_escape.h"

namespace vibee {
namespace {

std::string quality_text(const TuneRow& row) {
  if (!row.quality) return "";
  const TuneQuality& q = *row.quality;
  if (q.kl == 0) return "same bytes";
  return fmt::format("{:.5f} +- {:.5f}, {:.1f} %", q.kl, q.kl_error, 100 * q.top1);
}

std::string row_text(const TuneRow& r) {
  std::string out = fmt::format("{:<34}", settings_text(r.settings));
  if (r.pairs == 0) return out + r.verdict + "\n";
  const bool bounded = r.request.low > 0;  // few pairs have no interval
  const std::string interval =
      bounded ? fmt::format("({:.3f} to {:.3f})", r.request.low, r.request.high) : fmt::format("({} pairs)", r.pairs);
  return out + fmt::format("{:>6.3f}x {:<16} {:>7.3f}x {:>7.3f}x {:>7.3f}x {:>7.3f}x  {:<28} {}\n", r.request.ratio,
                           interval, r.prompt.ratio, r.generate.ratio, r.first_token.ratio, r.memory.ratio,
                           quality_text(r), r.verdict);
}

std::string ratio_json(const PairedRatio& r) {
  return JsonObject().number("ratio", r.ratio).number("low", r.low).number("high", r.high).str();
}

std::string settings_json(const std::vector<Setting>& settings) {
  std::vector<std::string> items;
  items.reserve(settings.size());
  for (const Setting& s : settings) items.push_back(JsonObject().text("option", s.option).text("value", s.value).str());
  return json_array(items);
}

JsonObject figures_json(const BenchFigures& f) {
  JsonObject out;
  out.number("prompt_tokens_per_s", f.prompt).number("generate_tokens_per_s", f.generate);
  return std::move(out.number("first_token_s", f.first_token_s).number("peak_resident_bytes", f.peak_bytes));
}

std::string row_json(const TuneRow& r) {
  JsonObject out;
  out.raw("settings", settings_json(r.settings)).text("summary", r.summary).boolean("exact", r.exact);
  out.integer("pairs", r.pairs).text("verdict", r.verdict).boolean("pays", r.pays);
  if (r.pairs == 0) return out.str();
  out.raw("request", ratio_json(r.request)).raw("prompt", ratio_json(r.prompt));
  out.raw("generate", ratio_json(r.generate)).raw("first_token", ratio_json(r.first_token));
  out.raw("memory", ratio_json(r.memory)).raw("medians", figures_json(r.figures).str());
  if (r.quality)
    out.raw("quality", JsonObject()
                           .number("kl", r.quality->kl)
                           .number("kl_error", r.quality->kl_error)
                           .number("top1", r.quality->top1)
                           .number("top1_error", r.quality->top1_error)
                           .str());
  return out.str();
}

/// Speed over what it costs in quality; on the Pareto front is what nothing else beats in both.
std::string picture(const TuneReport& report) {
  std::vector<const TuneRow*> rows;
  for (const TuneRow& r : report.rows)
    if (r.pairs > 0) rows.push_back(&r);
  if (report.final) rows.push_back(&*report.final);
  constexpr double kWidth = 900, kHeight = 420, kLeft = 60, kBottom = 40;
  const auto kl = [](const TuneRow* r) { return r->quality ? r->quality->kl : 0; };
  double least = INFINITY, most = 0, slow = 1, fast = 1;
  for (const TuneRow* r : rows) {
    if (kl(r) > 0) least = std::min(least, kl(r)), most = std::max(most, kl(r));
    slow = std::min(slow, r->request.ratio);
    fast = std::max(fast, r->request.ratio);
  }
  const double span = most > least ? std::log10(most / least) : 1, height = std::max(0.02, fast - slow) * 1.1;
  // What is exact has a column of its own at the left; the logarithm has no place for zero.
  const auto x = [&](double value) {
    return value > 0 ? kLeft + 200 + std::log10(value / least) / span * (kWidth - kLeft - 320) : kLeft + 60;
  };
  const auto y = [&](double ratio) { return kHeight - kBottom - (ratio - slow) / height * (kHeight - kBottom - 20); };
  std::string out = fmt::format(
      "<svg width=\"{}\" height=\"{}\"><line class=\"axis\" x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\"/>"
      "<text x=\"0\" y=\"{:.1f}\">1.00x</text>",
      kWidth, kHeight, kLeft, y(1), kWidth, y(1), y(1) + 4);
  out += fmt::format(
      "<text x=\"0\" y=\"14\">request, times as fast</text><text x=\"{}\" y=\"{}\">same bytes</text>"
      "<text x=\"{}\" y=\"{}\">KL divergence from the plain run, log scale</text>",
      kLeft, kHeight - 8, kLeft + 260, kHeight - 8);
  for (const TuneRow* r : rows) {
    const bool beaten =
        std::any_of(rows.begin(), rows.end(),
                    [&](const TuneRow* o) { return o->request.ratio > r->request.ratio && kl(o) <= kl(r); }) ||
        r->request.ratio < 1;
    const double cx = x(kl(r)), cy = y(r->request.ratio);
    out += fmt::format("<line class=\"error\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>", cx,
                       y(std::max(r->request.low, slow)), y(std::min(r->request.high, fast)));
    out += fmt::format(
        "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {:.3f}x</title></circle>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        beaten ? "beaten" : "front", cx, cy, xml_escape(settings_text(r->settings)), r->request.ratio, cx + 7, cy + 4,
        xml_escape(settings_text(r->settings)));
  }
  return out + "</svg>";
}

}  // namespace

std::string tune_text(const TuneReport& r) {
  std::string out = fmt::format("{} on {}: a request of {} + {} tokens, {} pairs each at least, {:.0f} s in all\n",
                                r.model, r.cpu, r.config.prompt, r.config.generate, r.config.pairs, r.seconds);
  out += fmt::format("plain: prompt {:.1f} tokens/s, generation {:.1f} tokens/s, first token {:.4f} s, {:.1f} MB\n\n",
                     r.plain.prompt, r.plain.generate, r.plain.first_token_s, r.plain.peak_bytes / 1e6);
  out += fmt::format("{:<34}{:<25}{:>8} {:>8} {:>8} {:>8}  {:<28}\n", "times as good as the plain run",
                     "request (95 %)", "prompt", "generate", "first", "memory", "KL +- error, same top token");
  for (const TuneRow& row : r.rows) out += row_text(row);
  if (r.final) out += "\n" + row_text(*r.final);
  out += "\n";
  for (const std::string& step : r.steps) out += step + "\n";
  return out + fmt::format("chosen: {}\n", settings_text(r.chosen));
}

std::string tune_json(const TuneReport& r) {
  std::vector<std::string> rows, steps;
  for (const TuneRow& row : r.rows) rows.push_back(row_json(row));
  for (const std::string& step : r.steps) steps.push_back(json_quote(step));
  JsonObject out;
  out.text("model", r.model).integer("model_bytes", r.model_bytes).text("cpu", r.cpu);
  out.integer("prompt", r.config.prompt).integer("generate", r.config.generate).integer("pairs", r.config.pairs);
  out.number("seconds", r.seconds).raw("plain", figures_json(r.plain).str());
  if (r.config.lossy) out.number("lossy", *r.config.lossy);
  out.raw("rows", json_array(rows)).raw("steps", json_array(steps)).raw("chosen", settings_json(r.chosen));
  if (r.final) out.raw("final", row_json(*r.final));
  return out.str();
}

std::string tune_html(const TuneReport& r) {
  return fmt::format(
      "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>vibee tune</title><style>body{{font:15px "
      "sans-serif;"
      "max-width:1200px;margin:2em auto;color:#222;background:#fff}}pre{{background:#f4f4f4;padding:1em;overflow:auto}}"
      "text{{font-size:11px;fill:#555}}.front{{fill:#3b6ea5}}.beaten{{fill:#bbb}}.axis{{stroke:#999}}.error{{stroke:#"
      "bbb}}"
      "</style><h1>{}</h1>{}<pre>{}</pre></html>\n",
      xml_escape(r.model), picture(r), xml_escape(tune_text(r)));
}

}  // namespace vibee
