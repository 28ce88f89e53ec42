// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/recast.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// Floats that a thread works on at once: they stay in its cache between decoding and encoding.
constexpr uint64_t kPieceFloats = 1 << 15;

bool stays_float(std::string_view name) {
  return name.ends_with("ffn_gate_inp.weight") || name == "position_embd.weight" || name == "token_types.weight";
}

std::string written_formats() {
  std::string all;
  for (const std::string& name : writable_formats()) all += fmt::format("{}{}", all.empty() ? "" : ", ", name);
  return all;
}

}  // namespace

/// Rows of a tensor on their way from one format to another.
struct Recast::Rows {
  const TensorInfo& tensor;
  const NumericFormat &from, &to;
  uint64_t first;  ///< row of the tensor that `raw` and `out` begin with
  const uint8_t* raw;
  uint8_t* out;
  std::span<const float> importance;
  const RowEncoder* encoder;
  bool edited;
  std::span<const float> order;  ///< of its columns; empty: as they come
};

Result<Recast> Recast::create(const Checkpoint& file, RecastOptions options) {
  Recast out(file, std::move(options));
  for (TensorInfo t : file.tensors()) {
    if (t.name.ends_with(kOrderSuffix)) continue;
    const bool edited = out.options_.edit.touches(t.name);
    if (out.options_.format && t.shape.size() > 1) {
      const Format wanted = out.options_.format(t);
      const Format before = t.format;
      if (info(wanted).block_elems > 1 && stays_float(t.name)) {
        t.format = Format::f32;
      } else {
        t.format = fitting(wanted, t.row_length());
        out.indivisible_ += t.format != wanted;
      }
      if (!info(t.format).encode && t.format != before)
        return error(Code::unsupported, "format {} can be read, not written; writable: {}", info(t.format).name,
                     written_formats());
      t.bytes = info(t.format).row_bytes(t.row_length()) * t.rows();
    }
    if (!info(t.format).encode && edited)
      return error(Code::unsupported, "tensor {} is in {}, which can be read, not written; name another format: {}",
                   quote(t.name), info(t.format).name, written_formats());
    const std::string order = t.name.substr(0, t.name.rfind('.')) + std::string(kOrderSuffix);
    const TensorInfo* columns = file.find(order);
    const bool kept = !edited && t.format == file.find(t.name)->format;
    if (columns != nullptr && !kept) {
      if (columns->format != Format::f32 || columns->elements() != t.row_length())
        return error(Code::corrupt, "tensor {} is no order of {} columns", quote(order), t.row_length());
      std::vector<float>& at = out.orders_[t.name];
      at.resize(t.row_length());
      VIBEE_TRY(file.read(*columns, 0, {reinterpret_cast<uint8_t*>(at.data()), columns->bytes}));
      for (const float c : at)
        if (!(c >= 0 && c < float(at.size())))
          return error(Code::corrupt, "tensor {} has column {} of {}", quote(order), c, at.size());
    }
    out.tensors_.push_back(std::move(t));
    if (columns != nullptr && kept) out.tensors_.push_back(*columns);
  }
  return out;
}

Status Recast::recast_rows(const Rows& r, uint64_t first, uint64_t count, Scratch* scratch) const {
  const uint64_t k = r.tensor.row_length();
  std::vector<float>& floats = scratch->floats;
  floats.resize(count * k);
  r.from.decode_rows(r.raw + (first - r.first) * r.from.row_bytes(k), count, k, floats.data());
  if (!r.order.empty()) {
    scratch->sorted = floats;
    for (uint64_t at = 0; at < floats.size(); at += k)
      for (uint64_t i = 0; i < k; ++i) floats[at + uint64_t(r.order[i])] = scratch->sorted[at + i];
  }
  if (r.edited) VIBEE_TRY(options_.edit.apply(r.tensor.name, first, floats));
  if (r.to.block_elems > 1) {
    for (uint64_t i = 0; i < floats.size(); ++i)
      if (!std::isfinite(floats[i]))
        return error(Code::invalid, "tensor {} holds {} in row {}, column {}; {} can only hold finite numbers",
                     quote(r.tensor.name), floats[i], first + i / k, i % k, r.to.name);
  }
  uint8_t* const out = r.out + (first - r.first) * r.to.row_bytes(k);
  if (r.encoder) {
    r.encoder->encode(floats, out);
    return {};
  }
  const float* importance = nullptr;
  if (!r.importance.empty()) {
    const uint64_t rows_a_matrix = r.importance.size() == k ? r.tensor.rows() : r.tensor.shape[1];
    scratch->importance.resize(count * k);
    for (uint64_t i = 0; i < count; ++i)
      std::copy_n(r.importance.begin() + std::ptrdiff_t((first + i) / rows_a_matrix * k), k,
                  scratch->importance.begin() + std::ptrdiff_t(i * k));
    importance = scratch->importance.data();
  }
  r.to.encode_rows(floats.data(), count, k, importance, out);
  return {};
}

std::function<Format(const TensorInfo&)> all_in(std::vector<Format> formats) {
  return [formats = std::move(formats)](const TensorInfo& t) {
    const auto divides = [&](Format f) { return t.row_length() % info(f).block_elems == 0; };
    const auto first = std::find_if(formats.begin(), formats.end(), divides);
    return first == formats.end() ? formats[0] : *first;
  };
}

Status Recast::read(const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) const {
  VIBEE_ASSIGN(const TensorInfo* from, file_->tensor(t.name));
  const bool edited = options_.edit.touches(t.name);
  if (from->format == t.format && !edited) return file_->read(*from, offset, out);
  const NumericFormat &a = info(from->format), &b = info(t.format);
  const uint64_t k = t.row_length(), first = offset / b.row_bytes(k), rows = out.size() / b.row_bytes(k);
  std::shared_ptr<const RowEncoder> encoder;
  if (options_.encoder) {
    VIBEE_ASSIGN(encoder, options_.encoder(t));
  }
  std::vector<uint8_t> raw(rows * a.row_bytes(k));
  const auto order = orders_.find(t.name);
  std::vector<Scratch> scratch(options_.team ? options_.team->size() : 1);
  VIBEE_TRY(file_->read(*from, first * a.row_bytes(k), raw));
  const Rows all{t,
                 a,
                 b,
                 first,
                 raw.data(),
                 out.data(),
                 options_.importance ? options_.importance(t) : std::span<const float>(),
                 encoder.get(),
                 edited,
                 order == orders_.end() ? std::span<const float>() : order->second};
  const uint64_t step = encoder ? encoder->rows : std::max<uint64_t>(1, kPieceFloats / k);
  std::atomic<uint64_t> next{0};
  std::vector<Status> failed(scratch.size());
  const auto work = [&](uint32_t tid) {
    for (uint64_t at; (at = next.fetch_add(step)) < rows;) {
      failed[tid] = recast_rows(all, first + at, std::min(step, rows - at), &scratch[tid]);
      if (!failed[tid].ok()) return;
    }
  };
  if (options_.team) {
    options_.team->run(work);
  } else {
    work(0);
  }
  for (Status& status : failed) VIBEE_TRY(std::move(status));
  return {};
}

namespace {

/// The tensors of a recast one behind the other; parts of rows are read with the rows that they are of.
class RecastSource final : public ByteSource {
 public:
  RecastSource(std::unique_ptr<const Checkpoint> file, Recast recast)
      : file_(std::move(file)), recast_(std::move(recast)) {
    for (TensorInfo t : recast_.tensors()) {
      t.offset = size_;
      size_ += t.bytes;
      tensors_.push_back(std::move(t));
    }
  }
  uint64_t size() const override { return size_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    auto at = std::upper_bound(tensors_.begin(), tensors_.end(), offset,
                               [](uint64_t o, const TensorInfo& t) { return o < t.offset; });
    for (--at; !out.empty(); ++at) {
      const uint64_t from = offset - at->offset, n = std::min<uint64_t>(out.size(), at->bytes - from);
      const uint64_t row = at->bytes / at->rows(), first = from / row * row, last = (from + n + row - 1) / row * row;
      if (first == from && last == from + n) {
        VIBEE_TRY(recast_.read(*at, from, out.first(n)));
      } else {
        std::vector<uint8_t> whole(last - first);
        VIBEE_TRY(recast_.read(*at, first, whole));
        std::copy_n(whole.data() + (from - first), n, out.data());
      }
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  std::unique_ptr<const Checkpoint> file_;
  Recast recast_;
  std::vector<TensorInfo> tensors_;
  uint64_t size_ = 0;
};

}  // namespace

Result<std::vector<float>> finite_floats(const Recast& recast, std::string_view tensor, std::string_view holder) {
  const auto all = recast.tensors();
  const auto t = std::find_if(all.begin(), all.end(), [&](auto& other) { return other.name == tensor; });
  VIBEE_CHECK(t != all.end(), "{}", tensor);
  std::vector<uint8_t> raw(t->bytes);
  VIBEE_TRY(recast.read(*t, 0, raw));
  std::vector<float> out(t->elements());
  info(t->format).decode_rows(raw.data(), t->rows(), t->row_length(), out.data());
  for (size_t i = 0; i < out.size(); ++i)
    if (!std::isfinite(out[i]))
      return error(Code::invalid, "tensor {} holds {} in row {}; {} can only hold finite numbers", quote(tensor),
                   out[i], i / t->row_length(), holder);
  return out;
}

Result<Checkpoint> recast_checkpoint(Checkpoint file, std::function<Format(const TensorInfo&)> format,
                                     RecastEdit edit) {
  return recast_checkpoint(std::move(file), RecastOptions{.format = std::move(format), .edit = std::move(edit)});
}

Result<Checkpoint> recast_checkpoint(Checkpoint file, RecastOptions options) {
  CheckpointParts parts;
  parts.path = file.path();
  parts.directory = file.is_directory() ? file.path() : "";
  parts.version = file.version();
  parts.metadata = file.metadata();
  file.forget_metadata();
  auto whole = std::make_unique<const Checkpoint>(std::move(file));
  VIBEE_ASSIGN(Recast recast, Recast::create(*whole, std::move(options)));
  auto source = std::make_shared<const RecastSource>(std::move(whole), std::move(recast));
  parts.tensors = source->tensors();
  parts.source = std::move(source);
  return Checkpoint::assemble(std::move(parts));
}

void set_file_type(GgufMetadata* metadata, std::span<const TensorInfo> tensors) {
  struct Row {
    Format format;
    uint32_t file_type;
  };
  constexpr Row kRows[] = {{Format::f32, 0},   {Format::f16, 1},     {Format::q4_0, 2},    {Format::q4_1, 3},
                           {Format::q8_0, 7},  {Format::q5_0, 8},    {Format::q5_1, 9},    {Format::bf16, 32},
                           {Format::q2_k, 10}, {Format::q3_k, 12},   {Format::q4_k, 14},   {Format::q5_k, 16},
                           {Format::q6_k, 18}, {Format::iq4_nl, 25}, {Format::iq4_xs, 30}, {Format::tq1_0, 36},
                           {Format::tq2_0, 37}};
  std::map<Format, uint64_t> bytes;
  for (const TensorInfo& t : tensors)
    if (t.shape.size() > 1) bytes[t.format] += t.bytes;
  if (bytes.empty()) return;
  const Format most =
      std::max_element(bytes.begin(), bytes.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
  for (const Row& row : kRows)
    if (row.format == most) (*metadata)["general.file_type"] = gguf_u32(row.file_type);
  if (info(most).block_elems > 1) (*metadata)["general.quantization_version"] = gguf_u32(2);
}

}  // namespace vibee
