// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/gguf_scale.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr std::string_view kScale = ".scale", kWeight = ".weight";
constexpr uint64_t kHead = 4;  // of a row of nvfp4s: the scale

/// A tensor of the file, whose rows get scales or stay as they are.
struct Scaled {
  TensorInfo from;
  std::vector<float> scales;  ///< one a matrix of a stack, or none
};

/// All tensors one behind the other, rows with their scales before them.
class ScaledSource final : public ByteSource {
 public:
  ScaledSource(std::unique_ptr<const Checkpoint> file, std::vector<Scaled> all)
      : file_(std::move(file)), all_(std::move(all)) {
    for (const Scaled& s : all_) {
      TensorInfo t = s.from;
      t.offset = size_;
      if (!s.scales.empty()) {
        t.format = Format::nvfp4s;
        t.bytes += kHead * t.rows();
      }
      size_ += t.bytes;
      tensors_.push_back(std::move(t));
    }
  }
  uint64_t size() const override { return size_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    while (!out.empty()) {
      auto at = std::upper_bound(tensors_.begin(), tensors_.end(), offset,
                                 [](uint64_t o, const TensorInfo& t) { return o < t.offset; });
      --at;
      const uint64_t from = offset - at->offset, n = std::min<uint64_t>(out.size(), at->bytes - from);
      VIBEE_TRY(read(all_[size_t(at - tensors_.begin())], *at, from, out.first(n)));
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  Status read(const Scaled& s, const TensorInfo& t, uint64_t from, std::span<uint8_t> out) const {
    if (s.scales.empty()) return file_->read(s.from, from, out);
    const uint64_t bytes = t.bytes / t.rows(), plain = bytes - kHead, first = from / bytes,
                   last = (from + out.size() + bytes - 1) / bytes, rows_a_matrix = t.rows() / s.scales.size();
    std::vector<uint8_t> codes((last - first) * plain), whole((last - first) * bytes);
    VIBEE_TRY(file_->read(s.from, first * plain, codes));
    for (uint64_t row = first; row < last; ++row) {
      uint8_t* const to = whole.data() + (row - first) * bytes;
      std::memcpy(to, &s.scales[row / rows_a_matrix], kHead);
      std::memcpy(to + kHead, codes.data() + (row - first) * plain, plain);
    }
    std::memcpy(out.data(), whole.data() + (from - first * bytes), out.size());
    return {};
  }

  std::unique_ptr<const Checkpoint> file_;
  std::vector<Scaled> all_;
  std::vector<TensorInfo> tensors_;
  uint64_t size_ = 0;
};

/// The numbers of NAME.scale, where there are as many as NAME.weight has matrices; none where it means something else.
Result<std::vector<float>> scales_of(const Checkpoint& file, const TensorInfo& scale, const TensorInfo& weight) {
  const uint64_t matrices = weight.shape.size() > 2 ? weight.rows() / weight.shape[1] : 1;
  if (scale.format != Format::f32 || scale.elements() != matrices) return std::vector<float>();
  std::vector<float> out(matrices);
  VIBEE_TRY(file.read(scale, 0, {reinterpret_cast<uint8_t*>(out.data()), 4 * out.size()}));
  for (const float x : out)
    if (!std::isfinite(x))
      return error(Code::invalid, "{}: tensor {} holds {}; a scale is a finite number", quote(file.path(), 400),
                   quote(scale.name), x);
  return out;
}

}  // namespace

Result<Checkpoint> with_matrix_scales(Checkpoint file) {
  std::vector<Scaled> all;
  bool any = false;
  for (const TensorInfo& t : file.tensors()) {
    Scaled s{t, {}};
    const bool weight = t.name.ends_with(kWeight) && t.shape.size() >= 2;
    const TensorInfo* const scale =
        weight ? file.find(t.name.substr(0, t.name.size() - kWeight.size()) + std::string(kScale)) : nullptr;
    if (scale != nullptr && info(t.format).block_elems > 1) {
      VIBEE_ASSIGN(s.scales, scales_of(file, *scale, t));
      if (std::all_of(s.scales.begin(), s.scales.end(), [](float x) { return x == 1; })) s.scales.clear();
      if (!s.scales.empty() && t.format != Format::nvfp4)
        return error(Code::unsupported,
                     "{}: tensor {} scales {}, which is in {}; scales of whole matrices are read of nvfp4",
                     quote(file.path(), 400), quote(scale->name), quote(t.name), info(t.format).name);
      any = any || !s.scales.empty();
    }
    all.push_back(std::move(s));
  }
  if (!any) return file;
  CheckpointParts parts{file.path(), "", nullptr, file.version(), file.metadata(), {}};
  file.forget_metadata();
  auto source =
      std::make_shared<const ScaledSource>(std::make_unique<const Checkpoint>(std::move(file)), std::move(all));
  parts.tensors = source->tensors();
  parts.source = std::move(source);
  return Checkpoint::assemble(std::move(parts));
}

}  // namespace vibee
