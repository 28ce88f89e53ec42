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

Format MatrixChoices::format(size_t i) const {
  const auto format = parse_format(choices[i]);
  VIBEE_CHECK(format.ok(), "{}", choices[i]);
  return *format;
}

size_t MatrixChoices::probe() const {
  size_t best = 0;
  const auto off = [&](size_t i) { return std::fabs(std::log(std::max(errors[i], 1e-30) / kProbeError)); };
  for (size_t i = 1; i < errors.size(); ++i)
    if (off(i) < off(best)) best = i;
  return best;
}

double MatrixChoices::damage(size_t i) const {
  const double measured = errors[probe()];
  return measured > 0 ? *kl * errors[i] / measured : 0;
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
    f.decode_rows(raw.data(), to->size() / t.row_length(), t.row_length(), to->data());
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
      m.choices.emplace_back(info(to.format).name);
      m.errors.push_back(squares.weight > 0 ? squares.error / squares.weight : 0);
    }
    if (o.progress && !o.progress(done, total)) return error(Code::cancelled, "stopped while errors were measured");
    if (floats) continue;
    if (m.choices.empty())
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

namespace {

Allocation allocation_of(const Checkpoint& file, const GgufMetadata& metadata, std::span<const MatrixChoices> matrices,
                         const KnapsackAnswer& answer) {
  Allocation out;
  for (size_t i = 0; i < matrices.size(); ++i) out.formats[matrices[i].tensor] = matrices[i].format(answer.chosen[i]);
  out.bytes = file_bytes(file, metadata, [&](const TensorInfo& t) {
    const auto at = out.formats.find(t.name);
    return at == out.formats.end() ? t.format : at->second;
  });
  out.predicted = answer.damage;
  out.bound = answer.bound;
  return out;
}

/// The smallest sum of sizes.
uint64_t least_size(std::span<const std::vector<KnapsackChoice>> items) {
  uint64_t sum = 0;
  for (const auto& choices : items)
    sum += std::min_element(choices.begin(), choices.end(), [](const auto& a, const auto& b) {
             return a.size < b.size;
           })->size;
  return sum;
}

}  // namespace

Result<Allocation> allocate_formats(const Checkpoint& file, const GgufMetadata& metadata,
                                    std::span<const MatrixChoices> matrices, uint64_t bytes) {
  std::map<std::string_view, const MatrixChoices*> known;
  std::vector<std::vector<KnapsackChoice>> items;
  for (const MatrixChoices& m : matrices) {
    known[m.tensor] = &m;
    items.emplace_back();
    for (size_t i = 0; i < m.choices.size(); ++i) {
      const NumericFormat& f = info(m.format(i));
      items.back().push_back({gguf_padded_bytes(metadata, m.elements / f.block_elems * f.block_bytes), m.damage(i)});
    }
  }
  // What is not chosen: the file with every matrix in its first format, less these.
  uint64_t fixed = file_bytes(file, metadata, [&](const TensorInfo& t) {
    const auto at = known.find(t.name);
    return at == known.end() ? t.format : at->second->format(0);
  });
  for (const auto& choices : items) fixed -= choices[0].size;
  const auto answer = solve_knapsack(items, bytes > fixed ? bytes - fixed : 0);
  if (!answer.ok())
    return error(Code::invalid, "a budget of {} bytes is below {}, the size with every matrix in its smallest format",
                 bytes, fixed + least_size(items));
  return allocation_of(file, metadata, matrices, *answer);
}

uint64_t read_weights(const Checkpoint& file, const ModelConfig& config, const TensorInfo& t) {
  const bool table = t.name == "token_embd.weight" ? file.find("output.weight") != nullptr
                                                   : t.name == "position_embd.weight" || t.name == "token_types.weight";
  if (table) return 0;
  return t.shape.size() > 2 ? t.elements() / t.shape[2] * config.experts_used : t.elements();
}

Result<Allocation> allocate_seconds(const Checkpoint& file, const GgufMetadata& metadata, const ModelConfig& config,
                                    std::span<const MatrixChoices> matrices, const FormatSeconds& in, double seconds) {
  constexpr double kTick = 1e-10;  // what sizes are counted in
  std::vector<double> reads;
  double all = 0;
  for (const MatrixChoices& m : matrices) {
    VIBEE_ASSIGN(const TensorInfo* t, file.tensor(m.tensor));
    reads.push_back(double(read_weights(file, config, *t)));
    all += reads.back();
  }
  std::vector<std::vector<KnapsackChoice>> items;
  for (size_t at = 0; at < matrices.size(); ++at) {
    items.emplace_back();
    for (size_t i = 0; i < matrices[at].choices.size(); ++i) {
      const auto measured = in.find(matrices[at].format(i));
      VIBEE_CHECK(measured != in.end(), "{}", matrices[at].choices[i]);
      items.back().push_back({uint64_t(std::ceil(measured->second * reads[at] / all / kTick)), matrices[at].damage(i)});
    }
  }
  const auto answer = solve_knapsack(items, uint64_t(seconds / kTick));
  if (!answer.ok())
    return error(Code::invalid,
                 "a budget of {:.1f} tokens/s is above {:.1f}, what was measured here with every matrix in its fastest "
                 "format",
                 1 / seconds, 1 / (kTick * double(least_size(items))));
  Allocation out = allocation_of(file, metadata, matrices, *answer);
  out.seconds = kTick * double(answer->size);
  return out;
}

Result<Allocation> allocate_damage(const Checkpoint& file, const GgufMetadata& metadata,
                                   std::span<const MatrixChoices> matrices, double damage) {
  // Sizes between the smallest and the largest: more bytes never have more damage.
  uint64_t low = 0, high = 0;
  const auto most = [&](bool large) {
    return [&, large](const TensorInfo& t) {
      const auto m = std::find_if(matrices.begin(), matrices.end(), [&](auto& c) { return c.tensor == t.name; });
      if (m == matrices.end()) return t.format;
      Format best = m->format(0);
      for (size_t i = 1; i < m->choices.size(); ++i)
        if ((info(m->format(i)).bits_per_weight() > info(best).bits_per_weight()) == large) best = m->format(i);
      return best;
    };
  };
  low = file_bytes(file, metadata, most(false)), high = file_bytes(file, metadata, most(true));
  VIBEE_ASSIGN(Allocation best, allocate_formats(file, metadata, matrices, high));
  if (best.predicted > damage)
    return error(Code::invalid,
                 "a budget of {:.6f} nats is below {:.6f}, what is predicted with every matrix in its best format; add "
                 "--choices with more bits",
                 damage, best.predicted);
  VIBEE_ASSIGN(Allocation least, allocate_formats(file, metadata, matrices, low));
  if (least.predicted <= damage) return least;
  while (high - low > high / 1000) {
    const uint64_t middle = low + (high - low) / 2;
    VIBEE_ASSIGN(Allocation a, allocate_formats(file, metadata, matrices, middle));
    if (a.predicted <= damage) {
      high = middle;
      best = std::move(a);
    } else {
      low = middle;
    }
  }
  return best;
}

}  // namespace vibee
