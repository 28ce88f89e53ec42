// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train_history.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "vibee/app/jobs/line_chart.h"
#include "vibee/base/text/quote.h"
#include "vibee/base/text/xml_escape.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

template <class T>
void drop_from(uint64_t step, std::vector<T>* list) {
  while (!list->empty() && list->back().step >= step) list->pop_back();
}

}  // namespace

Result<TrainHistory> read_history(const std::string& path) {
  std::ifstream in(path);
  if (!in) return error(Code::io, "{}: cannot be read", quote(path, 400));
  TrainHistory h;
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const auto json = parse_json(line);
    const JsonValue* step = json.ok() ? json->find("step") : nullptr;
    if (step == nullptr || step->kind != JsonValue::Kind::integer || step->integer < 0) {
      if (in.peek() == std::ifstream::traits_type::eof()) break;
      return error(Code::corrupt, "{}, line {}: {}", quote(path, 400), number,
                   json.ok() ? "no whole number 'step'" : json.status().message());
    }
    const auto at = uint64_t(step->integer);
    const auto number_of = [&](const char* key) {
      const JsonValue* v = json->find(key);
      return v != nullptr && v->is_number() ? v->number : std::numeric_limits<double>::quiet_NaN();
    };
    const auto text_of = [&](const char* key) {
      const JsonValue* v = json->find(key);
      return v != nullptr ? v->text : std::string();
    };
    if (json->find("loss") != nullptr || json->find("skipped") != nullptr) {
      // The line of a step; those before it are whole.
      drop_from(at, &h.steps), drop_from(at, &h.held_out), drop_from(at, &h.samples);
      drop_from(at + 1, &h.skipped);  // the same step may be tried several times
    }
    if (json->find("skipped") != nullptr) {
      h.skipped.push_back({at, text_of("skipped")});
    } else if (json->find("loss") != nullptr) {
      h.steps.push_back({at, number_of("loss"), number_of("norm"), number_of("rate"), number_of("tokens_per_second")});
    } else if (json->find("held_out_loss") != nullptr) {
      drop_from(at, &h.held_out);
      h.held_out.push_back({at, number_of("held_out_loss")});
    } else if (json->find("sample") != nullptr) {
      h.samples.push_back({at, text_of("prompt"), text_of("sample")});
    }
  }
  return h;
}

std::string train_html(const std::string& title, const std::string& facts, const TrainHistory& h) {
  ChartSeries loss{"training", {}}, held_out{"held out", {}}, norm{"norm", {}}, rate{"rate", {}}, speed{"speed", {}};
  for (const TrainHistory::Step& s : h.steps) {
    const auto x = double(s.step);
    loss.points.emplace_back(x, s.loss);
    norm.points.emplace_back(x, s.norm);
    rate.points.emplace_back(x, s.rate);
    speed.points.emplace_back(x, s.tokens_per_second);
  }
  for (const TrainHistory::HeldOut& e : h.held_out) held_out.points.emplace_back(double(e.step), e.loss);
  std::string out = fmt::format(
      "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>body{{font:15px sans-serif;"
      "max-width:980px;margin:2em auto;color:#222;background:#fff}}pre,blockquote{{background:#f4f4f4;padding:1em;"
      "margin:1em 0;white-space:pre-wrap}}{1}</style><h1>{0}</h1><pre>{2}</pre>",
      xml_escape(title), kChartStyle, xml_escape(facts));
  const std::vector<ChartSeries> losses = held_out.points.empty() ? std::vector{loss} : std::vector{loss, held_out};
  out += line_chart("loss a token, by step", losses);
  out += line_chart("norm of the gradients before clipping, log scale", std::vector{norm}, true);
  out += line_chart("learning rate", std::vector{rate});
  out += line_chart("tokens a second", std::vector{speed});
  if (!h.skipped.empty()) {
    out += fmt::format("<h2>{} steps without an update</h2><pre>", h.skipped.size());
    for (const TrainHistory::Skipped& s : h.skipped) out += fmt::format("step {}: {}\n", s.step, xml_escape(s.why));
    out += "</pre>";
  }
  if (!h.samples.empty()) out += "<h2>Samples</h2>";
  for (size_t i = 0; i < h.samples.size(); ++i) {
    const TrainHistory::Sample& s = h.samples[i];
    if (i == 0 || h.samples[i - 1].step != s.step) out += fmt::format("<h3>behind step {}</h3>", s.step);
    out += fmt::format("<blockquote><b>{}</b>{}</blockquote>", xml_escape(s.prompt), xml_escape(s.text));
  }
  return out + "</html>\n";
}

}  // namespace vibee
