// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/recast.h"

#include <algorithm>
#include <map>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

std::string written_formats() {
  std::string all;
  for (const std::string& name : writable_formats()) all += fmt::format("{}{}", all.empty() ? "" : ", ", name);
  return all;
}

bool stays_float(std::string_view name) {
  return name.ends_with("ffn_gate_inp.weight") || name == "position_embd.weight";
}

}  // namespace

Result<Recast> Recast::create(const Checkpoint& file, std::optional<Format> format, RecastEdit edit) {
  return create(file, format ? std::vector<Format>{*format} : std::vector<Format>(), std::move(edit));
}

Result<Recast> Recast::create(const Checkpoint& file, const std::vector<Format>& formats, RecastEdit edit) {
  for (const Format format : formats)
    if (!info(format).encode)
      return error(Code::unsupported, "format {} can be read, not written; writable: {}", info(format).name,
                   written_formats());
  Recast out(file, std::move(edit));
  for (TensorInfo t : file.tensors()) {
    if (!formats.empty() && t.shape.size() > 1) {
      const auto divides = [&](Format f) { return t.row_length() % info(f).block_elems == 0; };
      const auto wanted = std::find_if(formats.begin(), formats.end(), divides);
      if (info(formats[0]).block_elems > 1 && stays_float(t.name)) {
        t.format = Format::f32;
      } else if (wanted == formats.end()) {
        t.format = Format::f16;
        ++out.indivisible_;
      } else {
        t.format = *wanted;
      }
      t.bytes = info(t.format).row_bytes(t.row_length()) * t.rows();
    }
    if (!info(t.format).encode && out.edit_.touches(t.name))
      return error(Code::unsupported, "tensor {} is in {}, which can be read, not written; name another format: {}",
                   quote(t.name), info(t.format).name, written_formats());
    out.tensors_.push_back(std::move(t));
  }
  return out;
}

Status Recast::read(const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) const {
  VIBEE_ASSIGN(const TensorInfo* from, file_->tensor(t.name));
  const bool edited = edit_.touches(t.name);
  if (from->format == t.format && !edited) return file_->read(*from, offset, out);
  const NumericFormat &a = info(from->format), &b = info(t.format);
  const uint64_t k = t.row_length(), first = offset / b.row_bytes(k), rows = out.size() / b.row_bytes(k);
  std::vector<uint8_t> raw(rows * a.row_bytes(k));
  std::vector<float> floats(rows * k);
  VIBEE_TRY(file_->read(*from, first * a.row_bytes(k), raw));
  a.decode(raw.data(), floats.size(), floats.data());
  if (edited) VIBEE_TRY(edit_.apply(t.name, first, floats));
  b.encode(floats.data(), floats.size(), out.data());
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

Result<Checkpoint> recast_checkpoint(Checkpoint file, const std::vector<Format>& formats) {
  CheckpointParts parts;
  parts.path = file.path();
  parts.directory = file.is_directory() ? file.path() : "";
  parts.version = file.version();
  parts.metadata = file.metadata();
  file.forget_metadata();
  auto whole = std::make_unique<const Checkpoint>(std::move(file));
  VIBEE_ASSIGN(Recast recast, Recast::create(*whole, formats));
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
  constexpr Row kRows[] = {{Format::f32, 0},   {Format::f16, 1},   {Format::q4_0, 2}, {Format::q4_1, 3},
                           {Format::q8_0, 7},  {Format::q5_0, 8},  {Format::q5_1, 9}, {Format::bf16, 32},
                           {Format::q4_k, 14}, {Format::q5_k, 16}, {Format::q6_k, 18}};
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
