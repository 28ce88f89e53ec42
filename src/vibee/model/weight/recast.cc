// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/recast.h"

#include <algorithm>
#include <map>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

std::string writable_formats() {
  std::string all;
  for (const NumericFormat& f : all_formats())
    if (f.encode) all += fmt::format("{}{}", all.empty() ? "" : ", ", f.name);
  return all;
}

bool stays_float(std::string_view name) {
  return name.ends_with("ffn_gate_inp.weight") || name == "position_embd.weight";
}

}  // namespace

Result<Recast> Recast::create(const Checkpoint& file, std::optional<Format> format, RecastEdit edit) {
  if (format && !info(*format).encode)
    return error(Code::unsupported, "format {} can be read, not written; writable: {}", info(*format).name,
                 writable_formats());
  Recast out(file, std::move(edit));
  for (TensorInfo t : file.tensors()) {
    if (format && t.shape.size() > 1) {
      const NumericFormat& wanted = info(*format);
      t.format = *format;
      if (wanted.block_elems > 1 && stays_float(t.name)) {
        t.format = Format::f32;
      } else if (t.row_length() % wanted.block_elems != 0) {
        t.format = Format::f16;
        ++out.indivisible_;
      }
      t.bytes = info(t.format).row_bytes(t.row_length()) * t.rows();
    }
    if (!info(t.format).encode && out.edit_.touches(t.name))
      return error(Code::unsupported, "tensor {} is in {}, which can be read, not written; name another format: {}",
                   quote(t.name), info(t.format).name, writable_formats());
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
  raw_.resize(rows * a.row_bytes(k));
  floats_.resize(rows * k);
  VIBEE_TRY(file_->read(*from, first * a.row_bytes(k), raw_));
  a.decode(raw_.data(), floats_.size(), floats_.data());
  if (edited) VIBEE_TRY(edit_.apply(t.name, first, floats_));
  b.encode(floats_.data(), floats_.size(), out.data());
  return {};
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
