// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/allocate.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/text/quote.h"
#include "vibee/core/allocate/knapsack.h"

namespace vibee {
namespace {

/// Floats of rows that are compared at once.
constexpr uint64_t kSliceFloats = 1 << 20;

struct Squares {
  double error = 0, weight = 0;
};

/// Adds rows of a matrix beside what a format makes of them.
void add_squares(std::span<const float> before, std::span<const float> after, std::span<const float> importance,
                 uint64_t row, uint64_t k, uint64_t rows_a_matrix, Squares* to) {
  for (uint64_t at = 0; at < before.size(); at += k, ++row) {
    const uint64_t matrix = importance.size() == k ? 0 : row / rows_a_matrix;
    const float* const v = importance.empty() ? nullptr : importance.data() + matrix * k;
    double error = 0, weight = 0;
    for (uint64_t i = 0; i < k; ++i) {
      const double w = before[at + i], d = w - double(after[at + i]), by = v ? double(v[i]) : 1.0;
      error += by * d * d;
      weight += by * w * w;
    }
    to->error += error;
    to->weight += weight;
  }
}

}  // namespace

size_t MatrixChoices::probe() const {
  size_t best = 0;
  const auto off = [&](size_t i) { return std::fabs(std::log(std::max(errors[i], 1e-30) / kProbeError)); };
  for (size_t i = 1; i < errors.size(); ++i)
    if (off(i) < off(best)) best = i;
  return best;
}

double MatrixChoices::damage(size_t i) const {
  const double measured = errors[probe()];
  return measured > 0 ? kl * errors[i] / measured : 0;
}

Result<std::vector<MatrixChoices>> measure_errors(const Checkpoint& file, const ErrorOptions& o) {
  std::vector<Recast> recasts;
  const auto recast_to = [&](Format format) -> Status {
    RecastOptions how{.format = all_in(std::vector<Format>{format}), .team = o.team};
    if (o.importance) how.importance = [v = o.importance](const TensorInfo& t) { return v->of(t); };
    VIBEE_ASSIGN(Recast recast, Recast::create(file, std::move(how)));
    recasts.push_back(std::move(recast));
    return {};
  };
  for (const Format format : o.formats) VIBEE_TRY(recast_to(format));
  VIBEE_TRY(recast_to(Format::f32));  // what all are compared with
  const Recast& exact = recasts.back();
  const auto as = [](const Recast& recast, const std::string& name) {
    const auto all = recast.tensors();
    return *std::find_if(all.begin(), all.end(), [&](const TensorInfo& t) { return t.name == name; });
  };
  uint64_t total = 0, done = 0;
  for (const TensorInfo& t : exact.tensors()) total += t.bytes;
  std::vector<MatrixChoices> out;
  std::vector<uint8_t> raw;
  std::vector<float> before, after;
  const auto read = [&](const Recast& recast, const TensorInfo& t, uint64_t row, std::vector<float>* to) -> Status {
    const NumericFormat& f = info(t.format);
    const uint64_t bytes = f.row_bytes(t.row_length());
    raw.resize(to->size() / t.row_length() * bytes);
    VIBEE_TRY(recast.read(t, row * bytes, raw));
    f.decode(raw.data(), to->size(), to->data());
    return {};
  };
  for (const TensorInfo& t : exact.tensors()) {
    done += t.bytes;
    if (t.shape.size() < 2) continue;
    MatrixChoices m{t.name, t.elements(), {}, {}};
    const uint64_t k = t.row_length(), step = std::max<uint64_t>(1, kSliceFloats / k);
    const uint64_t rows_a_matrix = t.shape.size() > 2 ? t.shape[1] : t.rows();
    bool floats = false;  // learned positions, routers: Recast keeps them out of blocks
    for (size_t f = 0; f < o.formats.size(); ++f) {
      const TensorInfo to = as(recasts[f], t.name);
      floats = floats || to.format == Format::f32;
      if (to.format != o.formats[f]) continue;
      Squares squares;
      for (uint64_t row = 0; row < t.rows(); row += step) {
        before.resize(std::min(step, t.rows() - row) * k);
        after.resize(before.size());
        VIBEE_TRY(read(exact, t, row, &before));
        VIBEE_TRY(read(recasts[f], to, row, &after));
        add_squares(before, after, o.importance ? o.importance->of(t) : std::span<const float>(), row, k, rows_a_matrix,
                    &squares);
      }
      m.formats.push_back(to.format);
      m.errors.push_back(squares.weight > 0 ? squares.error / squares.weight : 0);
    }
    if (o.progress && !o.progress(done, total)) return error(Code::cancelled, "stopped while errors were measured");
    if (floats) continue;
    if (m.formats.empty())
      return error(Code::invalid,
                   "tensor {}: no format to choose from divides its rows of {}; add one with blocks of 32",
                   quote(t.name), k);
    out.push_back(std::move(m));
  }
  return out;
}

uint64_t file_bytes(const Checkpoint& file, const GgufMetadata& metadata,
                    const std::function<Format(const TensorInfo&)>& format) {
  uint64_t bytes = 0;
  for (const TensorInfo& t : file.tensors())
    bytes += gguf_padded_bytes(metadata, info(format(t)).row_bytes(t.row_length()) * t.rows());
  GgufMetadata all = metadata;  // set_file_type adds both
  all.try_emplace("general.file_type", gguf_u32(0));
  all.try_emplace("general.quantization_version", gguf_u32(0));
  return bytes + gguf_header_bytes(all, file.tensors());
}

Result<Allocation> allocate_formats(const Checkpoint& file, const GgufMetadata& metadata,
                                    std::span<const MatrixChoices> matrices, uint64_t bytes) {
  std::map<std::string_view, const MatrixChoices*> known;
  std::vector<std::vector<KnapsackChoice>> items;
  for (const MatrixChoices& m : matrices) {
    known[m.tensor] = &m;
    items.emplace_back();
    for (size_t i = 0; i < m.formats.size(); ++i) {
      const NumericFormat& f = info(m.formats[i]);
      items.back().push_back({gguf_padded_bytes(metadata, m.elements / f.block_elems * f.block_bytes), m.damage(i)});
    }
  }
  // What is not chosen: the file with every matrix in its first format, less these.
  uint64_t fixed = file_bytes(file, metadata, [&](const TensorInfo& t) {
    const auto at = known.find(t.name);
    return at == known.end() ? t.format : at->second->formats[0];
  });
  for (const auto& choices : items) fixed -= choices[0].size;
  auto answer = solve_knapsack(items, bytes > fixed ? bytes - fixed : 0);
  if (!answer.ok()) {
    uint64_t least = fixed;
    for (const auto& choices : items)
      least += std::min_element(choices.begin(), choices.end(), [](const auto& a, const auto& b) {
                 return a.size < b.size;
               })->size;
    return error(Code::invalid, "a budget of {} bytes is below {}, the size with every matrix in its smallest format",
                 bytes, least);
  }
  Allocation out;
  for (size_t i = 0; i < matrices.size(); ++i) out.formats[matrices[i].tensor] = matrices[i].formats[answer->chosen[i]];
  out.bytes = fixed + answer->size;
  out.predicted = answer->damage;
  out.bound = answer->bound;
  return out;
}

}  // namespace vibee
