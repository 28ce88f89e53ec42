// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/importance.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/weight/gguf.h"
#include "vibee/model/weight/gguf_write.h"

namespace vibee {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";

Result<std::vector<float>> numbers(const Checkpoint& file, const TensorInfo& tensor) {
  if (tensor.format != Format::f32)
    return error(Code::invalid, "{}: tensor {} is in {}; an importance matrix is in f32", quote(file.path(), 400),
                 quote(tensor.name), info(tensor.format).name);
  std::vector<uint8_t> raw(tensor.bytes);
  std::vector<float> out(tensor.elements());
  VIBEE_TRY(file.read(tensor, 0, raw));
  info(Format::f32).decode(raw.data(), out.size(), out.data());
  for (size_t i = 0; i < out.size(); ++i)
    if (!std::isfinite(out[i]) || out[i] < 0)
      return error(Code::invalid, "{}: tensor {} holds {} at {}; sums of squares and counts are 0 or more",
                   quote(file.path(), 400), quote(tensor.name), out[i], i);
  return out;
}

std::span<const uint8_t> bytes_of(const std::vector<float>& x) {
  return {reinterpret_cast<const uint8_t*>(x.data()), x.size() * 4};
}

}  // namespace

Result<Importance> Importance::read(const std::string& path) {
  VIBEE_ASSIGN(const Checkpoint file, open_gguf(path));
  VIBEE_ASSIGN(const std::string type, file.get_string_or("general.type", "model"));
  if (type != "imatrix")
    return error(Code::invalid, "{}: general.type is {}; an importance matrix says \"imatrix\"", quote(path, 400),
                 quote(type));
  Importance out;
  out.path_ = path;
  for (const TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    VIBEE_ASSIGN(const TensorInfo* counts, file.tensor(name + std::string(kCounts)));
    Sums sums;
    VIBEE_ASSIGN(sums.squares, numbers(file, tensor));
    VIBEE_ASSIGN(sums.counts, numbers(file, *counts));
    if (sums.squares.size() % sums.counts.size() != 0)
      return error(Code::invalid, "{}: tensor {} has {} numbers for {} counts", quote(path, 400), quote(tensor.name),
                   sums.squares.size(), sums.counts.size());
    out.add(name, std::move(sums));
  }
  if (out.empty())
    return error(Code::invalid,
                 "{}: holds no tensor NAME{}; make one with `vibee quantize --calib TEXT --save-imatrix`",
                 quote(path, 400), kSums);
  return out;
}

Status Importance::write(const std::string& path, const std::string& text, uint32_t chunks, uint32_t chunk) const {
  std::vector<TensorInfo> tensors;
  std::map<std::string, const std::vector<float>*, std::less<>> at;
  const auto put = [&](std::string name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    at[name] = &values;
    tensors.push_back({std::move(name), Format::f32, std::move(shape), 0, values.size() * 4});
  };
  for (const auto& [name, entry] : tensors_) {
    const uint64_t matrices = entry.sums.counts.size();
    put(name + std::string(kSums), {entry.sums.columns(), matrices}, entry.sums.squares);
    put(name + std::string(kCounts), {1, matrices}, entry.sums.counts);
  }
  const GgufMetadata metadata = {{"general.type", gguf_text("imatrix")},
                                 {"imatrix.datasets", gguf_texts(std::vector<std::string>{text})},
                                 {"imatrix.chunk_count", gguf_u32(chunks)},
                                 {"imatrix.chunk_size", gguf_u32(chunk)}};
  return write_gguf(path, metadata, tensors, [&](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) {
    std::vector<float> slice(out.size() / 4);
    std::copy_n(at.at(t.name)->begin() + std::ptrdiff_t(offset / 4), slice.size(), slice.begin());
    info(Format::f32).encode(slice.data(), slice.size(), nullptr, out.data());
    return Status();
  });
}

void Importance::add(std::string tensor, Sums sums) {
  Entry entry{std::move(sums), {}};
  const uint64_t k = entry.sums.columns();
  entry.means.assign(entry.sums.squares.size(), 1.0f);
  for (size_t m = 0; m < entry.sums.counts.size(); ++m)
    if (entry.sums.counts[m] > 0)
      for (uint64_t i = m * k; i < (m + 1) * k; ++i) entry.means[i] = entry.sums.squares[i] / entry.sums.counts[m];
  tensors_[std::move(tensor)] = std::move(entry);
}

std::span<const float> Importance::of(const TensorInfo& tensor) const {
  const auto at = tensors_.find(tensor.name);
  return at == tensors_.end() ? std::span<const float>() : at->second.means;
}

Status Importance::check(const Checkpoint& file) const {
  uint64_t known = 0;
  for (const TensorInfo& t : file.tensors()) {
    const auto at = tensors_.find(t.name);
    if (at == tensors_.end()) continue;
    ++known;
    const Sums& sums = at->second.sums;
    const uint64_t matrices = t.shape.size() > 2 ? t.shape[2] : 1;
    if (sums.columns() != t.row_length() || (sums.counts.size() != matrices && sums.counts.size() != 1))
      return error(Code::invalid, "{}: importance of tensor {} is {} x {}, the model's matrix has {} columns in {}",
                   quote(path_, 400), quote(t.name), sums.columns(), sums.counts.size(), t.row_length(), matrices);
  }
  if (known == 0)
    return error(Code::invalid, "{}: knows no tensor of {}; it is of another model", quote(path_, 400),
                 quote(file.path(), 400));
  return {};
}

std::string Importance::hash() const {
  Digest digest;
  for (const auto& [name, entry] : tensors_) {
    digest.update(name + '\n');
    digest.update(bytes_of(entry.sums.squares));
    digest.update(bytes_of(entry.sums.counts));
  }
  return digest.finish();
}

}  // namespace vibee
