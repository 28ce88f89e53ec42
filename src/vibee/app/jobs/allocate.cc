// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/allocate.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "vibee/app/jobs/bench_model.h"
#include "vibee/app/jobs/line_chart.h"
#include "vibee/app/jobs/load.h"
#include "vibee/base/text/byte_count.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/eval/quality.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr int64_t kVersion = 1;

struct Running {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
};

/// The model, read in another way where one is named.
Result<Running> start(const MeasureMatrices& how, std::optional<RecastOptions> changed) {
  LoadConfig config;
  config.model = how.source;
  config.context = how.context;
  config.threads = how.threads;
  config.logits = 64;
  VIBEE_ASSIGN(Resolved r, resolve(config));
  if (changed) {
    VIBEE_ASSIGN(r.file, recast_checkpoint(std::move(r.file), std::move(*changed)));
  }
  Running out;
  VIBEE_ASSIGN(out.model, Model::load(std::move(r.file), r.model));
  VIBEE_ASSIGN(out.session, Session::create(*out.model, r.session));
  return out;
}

std::string to_json(const Measured& measured, const std::string& key) {
  std::vector<std::string> rows;
  for (const MatrixChoices& m : measured.matrices) {
    std::vector<std::string> formats, errors;
    for (const std::string& choice : m.choices) formats.push_back(json_quote(choice));
    for (const double e : m.errors) errors.push_back(fmt::format("{:.17g}", e));
    JsonObject row;
    row.text("tensor", m.tensor).integer("elements", m.elements);
    row.raw("formats", json_array(formats)).raw("errors", json_array(errors));
    if (m.kl) row.raw("kl", fmt::format("{:.17g}", *m.kl));
    rows.push_back(row.str());
  }
  JsonObject out, rates;
  out.integer("version", kVersion).text("measured", key).raw("matrices", json_array(rows));
  for (const auto& [format, seconds] : measured.seconds)
    rates.raw(info(format).name, fmt::format("{:.17g}", 1 / seconds));
  if (!measured.seconds.empty()) out.text("machine", measured.machine).raw("tokens_per_s", rates.str());
  return out.str() + "\n";
}

/// Times of tokens, which a file may be without.
Status read_speeds(const JsonValue& all, Measured* out) {
  const JsonValue *machine = all.find("machine"), *rates = all.find("tokens_per_s");
  if (machine == nullptr || rates == nullptr) return {};
  out->machine = machine->text;
  for (size_t i = 0; i < rates->names.size(); ++i) {
    const JsonValue& rate = rates->items[i];
    const auto format = parse_format(rates->names[i]);
    if (!format.ok() || !rate.is_number() || !(rate.number > 0) || !std::isfinite(rate.number))
      return error(Code::invalid, "tokens_per_s of {} is {}; remove the file and it is made again",
                   quote(rates->names[i], 40), rate.describe());
    out->seconds[*format] = 1 / rate.number;
  }
  return {};
}

Result<Measured> from_json(const std::string& text, const std::string& key) {
  VIBEE_ASSIGN(const JsonValue all, parse_json(text));
  const JsonValue *version = all.find("version"), *measured = all.find("measured"), *rows = all.find("matrices");
  if (!version || version->integer != kVersion || !measured || !rows || !rows->is(JsonValue::Kind::array))
    return error(Code::invalid, "is no measurement of this version; remove it and it is made again");
  if (measured->text != key)
    return error(Code::invalid, "was measured on another model, text or choice of formats; name another file");
  Measured read;
  VIBEE_TRY(read_speeds(all, &read));
  std::vector<MatrixChoices>& out = read.matrices;
  for (const JsonValue& row : rows->items) {
    const JsonValue *tensor = row.find("tensor"), *elements = row.find("elements"), *formats = row.find("formats"),
                    *errors = row.find("errors"), *kl = row.find("kl");
    if (!tensor || !elements || !formats || !errors || formats->items.empty() ||
        formats->items.size() != errors->items.size() || elements->integer <= 0)
      return error(Code::invalid, "matrix {} is not whole; remove the file and it is made again", out.size());
    MatrixChoices m{tensor->text, uint64_t(elements->integer), {}, {}, {}};
    for (size_t i = 0; i < formats->items.size(); ++i) {
      const JsonValue& e = errors->items[i];
      if (!e.is_number() || !(e.number >= 0) || !std::isfinite(e.number))
        return error(Code::invalid, "matrix {}: error {} is no error; remove the file and it is made again", out.size(),
                     e.describe());
      m.choices.push_back(formats->items[i].text);
      m.errors.push_back(e.number);
    }
    if (kl != nullptr) m.kl = kl->is_number() ? kl->number : NAN;
    if (m.kl && (!(*m.kl >= 0) || !std::isfinite(*m.kl)))
      return error(Code::invalid, "matrix {}: kl is no divergence; remove the file and it is made again", out.size());
    out.push_back(std::move(m));
  }
  return read;
}

/// The KL divergence of each matrix that has none yet, kept as soon as it is known.
Status measure_divergences(const MeasureMatrices& how, const MeasureProgress& progress, Measured* out) {
  std::optional<Running> base;
  for (size_t i = 0; i < out->matrices.size(); ++i) {
    MatrixChoices& m = out->matrices[i];
    if (m.kl) continue;
    if (!progress("measuring what matrices matter", "matrices", double(i), double(out->matrices.size())))
      return error(Code::cancelled, "stopped after {} of {} matrices{}", i, out->matrices.size(),
                   how.file.empty() ? "" : ", which are kept: the same command goes on from there");
    if (!base) {
      VIBEE_ASSIGN(base, start(how, {}));
    }
    VIBEE_ASSIGN(RecastOptions probe, how.scheme.changed(m, m.probe()));
    VIBEE_ASSIGN(Running changed, start(how, std::move(probe)));
    VIBEE_ASSIGN(const QualityReport q, measure_quality(*changed.session, base->session.get(), how.tokens, how.context,
                                                        how.bos, how.windows, nullptr));
    m.kl = std::max(q.kl, 0.0);
    if (!how.file.empty()) VIBEE_TRY(write_file(how.file, to_json(*out, how.key)));
  }
  return {};
}

/// Times tokens in formats, of which matrices whose rows one does not divide are in what takes its place.
Status measure_speeds(const MeasureMatrices& how, Measured* out) {
  out->machine = machine_of(how.threads);
  out->seconds.clear();
  for (size_t i = 0; i < how.timed.size(); ++i) {
    LoadConfig load;
    load.model = how.source;
    load.threads = how.threads;
    load.weights = info(how.timed[i]).name;
    const BenchConfig bench{.prompt = 32, .generate = 64, .sequences = 1, .runs = 5, .probe = false};
    VIBEE_ASSIGN(const BenchReport speed, bench_model(load, bench, [&](std::string_view, double fraction) {
                   return !how.progress ||
                          how.progress("measuring speed", "formats", double(i) + fraction, double(how.timed.size()));
                 }));
    out->seconds[how.timed[i]] = 1 / speed.generate_rate;
  }
  return {};
}

/// Whether a measurement is of matrices that the model has, once each.
Status check_matrices(const std::vector<MatrixChoices>& matrices, const Checkpoint& file, const ChoiceScheme& scheme) {
  std::set<std::string_view> seen;
  for (const MatrixChoices& m : matrices) {
    const TensorInfo* const t = file.find(m.tensor);
    if (t == nullptr || t->shape.size() < 2 || t->elements() != m.elements || !seen.insert(m.tensor).second)
      return error(Code::invalid, "tensor {} is no matrix of {} weights of this model, or there twice", quote(m.tensor),
                   m.elements);
    VIBEE_TRY(scheme.check(m, *t));
  }
  return {};
}

}  // namespace

ChoiceScheme format_scheme(const Checkpoint& file, std::vector<Format> formats, const Importance* importance,
                           Team* team) {
  ChoiceScheme out;
  out.errors = [=, &file](const MeasureProgress& progress) {
    return measure_errors(file, {formats, importance, team, [&](uint64_t done, uint64_t of) {
                                   return progress("measuring errors", "MB", double(done) / 1e6, double(of) / 1e6);
                                 }});
  };
  out.changed = [](const MatrixChoices& m, size_t choice) -> Result<RecastOptions> {
    return RecastOptions{.format = [tensor = m.tensor, format = m.format(choice)](const TensorInfo& t) {
      return t.name == tensor ? format : t.format;
    }};
  };
  out.check = [](const MatrixChoices& m, const TensorInfo& t) -> Status {
    for (const std::string& choice : m.choices) {
      VIBEE_ASSIGN(const Format f, parse_format(choice));
      if (t.row_length() % info(f).block_elems != 0 || !info(f).in_gguf() || !info(f).encode)
        return error(Code::invalid, "tensor {}: {} is no format for its rows of {}", quote(m.tensor), choice,
                     t.row_length());
    }
    return {};
  };
  return out;
}

Result<Measured> measure_matrices(const Checkpoint& file, const MeasureMatrices& how) {
  const auto progress = [&](std::string_view what, std::string_view unit, double done, double total) {
    return !how.progress || how.progress(what, unit, done, total);
  };
  Measured out;
  const bool there = !how.file.empty() && std::filesystem::exists(how.file);
  if (there) {
    std::ifstream in(how.file, std::ios::binary);
    auto read = from_json({std::istreambuf_iterator<char>(in), {}}, how.key);
    if (!read.ok()) return read.take_status().within(quote(how.file, 400));
    out = std::move(*read);
    VIBEE_TRY(check_matrices(out.matrices, file, how.scheme).within(quote(how.file, 400)));
  } else {
    VIBEE_ASSIGN(out.matrices, how.scheme.errors(progress));
    if (!how.file.empty()) VIBEE_TRY(write_file(how.file, to_json(out, how.key)));
  }
  VIBEE_TRY(measure_divergences(how, progress, &out));
  const auto is_timed = [&](Format f) { return out.seconds.contains(f); };
  const bool timed =
      std::all_of(how.timed.begin(), how.timed.end(), is_timed) && out.machine == machine_of(how.threads);
  if (how.timed.empty() || timed) return out;
  VIBEE_TRY(measure_speeds(how, &out));
  if (!how.file.empty()) VIBEE_TRY(write_file(how.file, to_json(out, how.key)));
  return out;
}

Result<Budget> parse_budget(std::string_view text, uint64_t elements) {
  const auto number = [&](std::string_view unit) -> std::optional<double> {
    if (!text.ends_with(unit)) return {};
    double x = 0;
    const char* const last = text.data() + text.size() - unit.size();
    const auto [end, wrong] = std::from_chars(text.data(), last, x);
    return wrong == std::errc() && end == last && x > 0 && std::isfinite(x) ? std::optional(x) : std::nullopt;
  };
  if (const auto bits = number("bpw"); bits && *bits <= 64)
    return Budget{Budget::Of::bytes, std::floor(*bits / 8 * double(elements))};
  if (const auto rate = number("tok/s")) return Budget{Budget::Of::speed, *rate};
  if (const auto nats = number("nats")) return Budget{Budget::Of::damage, *nats};
  if (const auto bytes = parse_byte_count(text)) return Budget{Budget::Of::bytes, double(*bytes)};
  return error(Code::invalid,
               "--budget {}: as 4.25bpw (bits a weight), 90MiB, bytes, 300tok/s (generated here) or 0.01nats (of KL "
               "divergence)",
               quote(text, 40));
}

Result<std::string> allocation_picture(const Checkpoint& file, const GgufMetadata& metadata,
                                       std::span<const MatrixChoices> matrices, const Allocation& chosen) {
  const auto size = [&](bool large) {
    std::map<std::string_view, Format> formats;
    for (const MatrixChoices& m : matrices) {
      const auto bits = [](Format a, Format b) { return info(a).bits_per_weight() < info(b).bits_per_weight(); };
      std::vector<Format> all;
      for (size_t i = 0; i < m.choices.size(); ++i) all.push_back(m.format(i));
      formats[m.tensor] =
          large ? *std::max_element(all.begin(), all.end(), bits) : *std::min_element(all.begin(), all.end(), bits);
    }
    return file_bytes(file, metadata, [&](const TensorInfo& t) {
      const auto at = formats.find(t.name);
      return at == formats.end() ? t.format : at->second;
    });
  };
  const uint64_t least = size(false), most = size(true);
  ChartSeries curve{"least KL divergence", {}}, point{"this file", {}};
  constexpr int kPoints = 40;
  for (int i = 0; i <= kPoints; ++i) {
    const uint64_t bytes = least + (most - least) * uint64_t(i) / kPoints;
    VIBEE_ASSIGN(const Allocation a, allocate_formats(file, metadata, matrices, bytes));
    // The axis is of logarithms: what costs nothing is not on it.
    curve.points.emplace_back(double(a.bytes) / 1e6, a.predicted > 0 ? a.predicted : NAN);
  }
  const double x = double(chosen.bytes) / 1e6;
  double lowest = chosen.predicted;
  for (const auto& [bytes, kl] : curve.points)
    if (kl < lowest) lowest = kl;
  point.points = {{x, lowest}, {x, chosen.predicted}};  // an upright line from the axis to the curve
  const ChartSeries all[] = {curve, point};
  return line_chart("KL divergence (predicted, nats) by size of the file (MB)", all, true);
}

}  // namespace vibee
