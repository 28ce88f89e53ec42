// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/allocate.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

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

/// The model, with one matrix in another format where one is named.
Result<Running> start(const MeasureMatrices& how, const std::string& tensor, Format format) {
  LoadConfig config;
  config.model = how.source;
  config.context = how.context;
  config.threads = how.threads;
  config.logits = 64;
  VIBEE_ASSIGN(Resolved r, resolve(config));
  if (!tensor.empty()) {
    VIBEE_ASSIGN(r.file, recast_checkpoint(std::move(r.file), [tensor, format](const TensorInfo& t) {
                   return t.name == tensor ? format : t.format;
                 }));
  }
  Running out;
  VIBEE_ASSIGN(out.model, Model::load(std::move(r.file), r.model));
  VIBEE_ASSIGN(out.session, Session::create(*out.model, r.session));
  return out;
}

std::string to_json(const std::vector<MatrixChoices>& matrices, const std::string& key) {
  std::vector<std::string> rows;
  for (const MatrixChoices& m : matrices) {
    std::vector<std::string> formats, errors;
    for (const Format f : m.formats) formats.push_back(json_quote(info(f).name));
    for (const double e : m.errors) errors.push_back(fmt::format("{:.17g}", e));
    rows.push_back(JsonObject()
                       .text("tensor", m.tensor)
                       .integer("elements", m.elements)
                       .raw("formats", json_array(formats))
                       .raw("errors", json_array(errors))
                       .raw("kl", fmt::format("{:.17g}", m.kl))
                       .str());
  }
  return JsonObject().integer("version", kVersion).text("measured", key).raw("matrices", json_array(rows)).str() + "\n";
}

Result<std::vector<MatrixChoices>> from_json(const std::string& text, const std::string& key) {
  VIBEE_ASSIGN(const JsonValue all, parse_json(text));
  const JsonValue *version = all.find("version"), *measured = all.find("measured"), *rows = all.find("matrices");
  if (!version || version->integer != kVersion || !measured || !rows || !rows->is(JsonValue::Kind::array))
    return error(Code::invalid, "is no measurement of this version; remove it and it is made again");
  if (measured->text != key)
    return error(Code::invalid, "was measured on another model, text or choice of formats; name another file");
  std::vector<MatrixChoices> out;
  for (const JsonValue& row : rows->items) {
    const JsonValue *tensor = row.find("tensor"), *elements = row.find("elements"), *formats = row.find("formats"),
                    *errors = row.find("errors"), *kl = row.find("kl");
    if (!tensor || !elements || !formats || !errors || !kl || formats->items.empty() || !kl->is_number() ||
        formats->items.size() != errors->items.size() || elements->integer <= 0)
      return error(Code::invalid, "matrix {} is not whole; remove the file and it is made again", out.size());
    MatrixChoices m{tensor->text, uint64_t(elements->integer), {}, {}, kl->number};
    for (size_t i = 0; i < formats->items.size(); ++i) {
      VIBEE_ASSIGN(const Format f, parse_format(formats->items[i].text));
      const JsonValue& e = errors->items[i];
      if (!e.is_number() || !(e.number >= 0) || !std::isfinite(e.number))
        return error(Code::invalid, "matrix {}: error {} is no error; remove the file and it is made again", out.size(),
                     e.describe());
      m.formats.push_back(f);
      m.errors.push_back(e.number);
    }
    if (!(m.kl >= 0) || !std::isfinite(m.kl))
      return error(Code::invalid, "matrix {}: kl is no divergence; remove the file and it is made again", out.size());
    out.push_back(std::move(m));
  }
  return out;
}

/// Whether a measurement is of matrices that the model has, once each, in formats that divide their rows.
Status check_matrices(const std::vector<MatrixChoices>& matrices, const Checkpoint& file) {
  std::set<std::string_view> seen;
  for (const MatrixChoices& m : matrices) {
    const TensorInfo* const t = file.find(m.tensor);
    if (t == nullptr || t->shape.size() < 2 || t->elements() != m.elements || !seen.insert(m.tensor).second)
      return error(Code::invalid, "tensor {} is no matrix of {} weights of this model, or there twice", quote(m.tensor),
                   m.elements);
    for (const Format f : m.formats)
      if (t->row_length() % info(f).block_elems != 0 || !info(f).in_gguf() || !info(f).encode)
        return error(Code::invalid, "tensor {}: {} is no format for its rows of {}", quote(m.tensor), info(f).name,
                     t->row_length());
  }
  return {};
}

}  // namespace

Result<std::vector<MatrixChoices>> measure_matrices(const Checkpoint& file, const MeasureMatrices& how) {
  if (!how.file.empty() && std::filesystem::exists(how.file)) {
    std::ifstream in(how.file, std::ios::binary);
    auto read = from_json({std::istreambuf_iterator<char>(in), {}}, how.key);
    if (!read.ok()) return read.take_status().within(quote(how.file, 400));
    VIBEE_TRY(check_matrices(*read, file).within(quote(how.file, 400)));
    return read;
  }
  const auto progress = [&](std::string_view what, std::string_view unit, double done, double total) {
    return !how.progress || how.progress(what, unit, done, total);
  };
  const ErrorOptions errors{how.formats, how.importance, how.team, [&](uint64_t done, uint64_t of) {
                              return progress("measuring errors", "MB", double(done) / 1e6, double(of) / 1e6);
                            }};
  VIBEE_ASSIGN(std::vector<MatrixChoices> matrices, measure_errors(file, errors));
  VIBEE_ASSIGN(Running base, start(how, "", Format::f32));
  for (size_t i = 0; i < matrices.size(); ++i) {
    MatrixChoices& m = matrices[i];
    if (!progress("measuring what matrices matter", "matrices", double(i), double(matrices.size())))
      return error(Code::cancelled, "stopped after {} of {} matrices", i, matrices.size());
    VIBEE_ASSIGN(Running changed, start(how, m.tensor, m.formats[m.probe()]));
    VIBEE_ASSIGN(const QualityReport q, measure_quality(*changed.session, base.session.get(), how.tokens, how.context,
                                                        how.bos, how.windows, nullptr));
    m.kl = std::max(q.kl, 0.0);
  }
  if (!how.file.empty()) VIBEE_TRY(write_file(how.file, to_json(matrices, how.key)));
  return matrices;
}

Result<uint64_t> parse_budget(std::string_view text, uint64_t elements) {
  if (text.ends_with("bpw")) {
    double bits = 0;
    const char* const last = text.data() + text.size() - 3;
    const auto [end, wrong] = std::from_chars(text.data(), last, bits);
    if (wrong == std::errc() && end == last && bits > 0 && bits <= 64) return uint64_t(bits / 8 * double(elements));
  } else if (const auto bytes = parse_byte_count(text)) {
    return *bytes;
  }
  return error(Code::invalid, "--budget {}: as 4.25bpw (bits a weight), 90MiB or bytes", quote(text, 40));
}

Result<std::string> allocation_picture(const Checkpoint& file, const GgufMetadata& metadata,
                                       std::span<const MatrixChoices> matrices, const Allocation& chosen) {
  const auto size = [&](bool large) {
    std::map<std::string_view, Format> formats;
    for (const MatrixChoices& m : matrices) {
      const auto bits = [](Format a, Format b) { return info(a).bits_per_weight() < info(b).bits_per_weight(); };
      formats[m.tensor] = large ? *std::max_element(m.formats.begin(), m.formats.end(), bits)
                                : *std::min_element(m.formats.begin(), m.formats.end(), bits);
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
