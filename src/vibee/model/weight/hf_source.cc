// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/hf_source.h"

#include <algorithm>
#include <cstring>

namespace vibee {

HfSource::HfSource(SafetensorsSet files, std::vector<HfTensor> tensors)
    : files_(std::move(files)), tensors_(std::move(tensors)) {
  for (HfTensor& t : tensors_) {
    t.info.offset = size_;
    size_ += t.info.bytes;
  }
}

Status HfSource::read(uint64_t offset, std::span<uint8_t> out) const {
  if (offset > size_ || out.size() > size_ - offset)
    return error(Code::io, "{} bytes wanted at offset {} of {}", out.size(), offset, size_);
  auto at = std::upper_bound(tensors_.begin(), tensors_.end(), offset,
                             [](uint64_t o, const HfTensor& t) { return o < t.info.offset; });
  for (--at; !out.empty(); ++at) {
    const uint64_t from = offset - at->info.offset, n = std::min<uint64_t>(out.size(), at->info.bytes - from);
    VIBEE_TRY(read_tensor(*at, from, out.first(n)));
    out = out.subspan(n);
    offset += n;
  }
  return {};
}

Status HfSource::read_tensor(const HfTensor& t, uint64_t offset, std::span<uint8_t> out) const {
  if (t.info.shape.size() == 1) {
    std::vector<uint8_t> whole;
    VIBEE_TRY(read_vector(t, &whole));
    std::memcpy(out.data(), whole.data() + offset, out.size());
    return {};
  }
  if (t.transform == HfTransform::none) {
    const uint64_t piece = t.info.bytes / t.pieces.size();
    while (!out.empty()) {
      const auto& [file, tensor] = t.pieces[offset / piece];
      const uint64_t n = std::min<uint64_t>(out.size(), piece - offset % piece);
      VIBEE_TRY(file->read(*tensor, offset % piece, out.first(n)));
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }
  const uint64_t row = info(t.info.format).row_bytes(t.info.row_length()), first = offset / row;
  const uint64_t rows = (offset + out.size() + row - 1) / row - first;
  if (offset % row == 0 && out.size() == rows * row) return read_rows(t, first, rows, out.data());
  std::vector<uint8_t> whole(rows * row);
  VIBEE_TRY(read_rows(t, first, rows, whole.data()));
  std::memcpy(out.data(), whole.data() + offset % row, out.size());
  return {};
}

/// A vector as float32, as GGUF files hold them.
Status HfSource::read_vector(const HfTensor& t, std::vector<uint8_t>* whole) const {
  std::vector<float> values = t.computed;
  if (values.empty()) {
    const auto& [file, tensor] = t.pieces[0];
    std::vector<uint8_t> raw(tensor->bytes);
    VIBEE_TRY(file->read(*tensor, 0, raw));
    values.resize(t.info.elements());
    info(*tensor->format).decode(raw.data(), values.size(), values.data());
  }
  if (t.transform == HfTransform::add_one)
    for (float& v : values) v += 1.0f;
  if (t.transform == HfTransform::permute_heads || t.transform == HfTransform::permute_kv_heads) {
    const std::vector<float> before = values;
    for (uint64_t i = 0; i < values.size(); ++i) values[i] = before[hf_row_of(i, t.head)];
  }
  whole->resize(t.info.bytes);
  info(Format::f32).encode(values.data(), values.size(), nullptr, whole->data());
  return {};
}

Status HfSource::read_rows(const HfTensor& t, uint64_t first, uint64_t rows, uint8_t* out) const {
  const auto& [file, tensor] = t.pieces[0];
  const uint64_t k = t.info.row_length(), row = info(t.info.format).row_bytes(k), size = row / k;
  if (t.transform != HfTransform::transpose) {
    for (uint64_t r = 0; r < rows; ++r)
      VIBEE_TRY(file->read(*tensor, hf_row_of(first + r, t.head) * row, {out + r * row, row}));
    return {};
  }
  std::vector<uint8_t> slab(rows * size);
  for (uint64_t i = 0; i < k; ++i) {
    VIBEE_TRY(file->read(*tensor, (i * t.info.shape[1] + first) * size, slab));
    for (uint64_t r = 0; r < rows; ++r) std::memcpy(out + r * row + i * size, slab.data() + r * size, size);
  }
  return {};
}

}  // namespace vibee
