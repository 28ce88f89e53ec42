// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/gptq.h"

#include <algorithm>
#include <cmath>

namespace vibee {
namespace {

constexpr uint32_t kLazyColumns = 128;
/// Formats with more levels have them at equal distances (codes.inc).
constexpr uint32_t kMostListed = 16;

/// The values that each element of a block can take while its scales stay.
class BlockValues {
 public:
  explicit BlockValues(const NumericFormat& format)
      : format_(format),
        listed_(format.levels <= kMostListed),
        count_(listed_ ? format.levels : 2),
        block_(format.block_bytes),
        codes_(format.block_elems),
        decoded_(format.block_elems),
        values_(uint64_t(count_) * format.block_elems) {}

  void read(const uint8_t* block) {
    std::copy_n(block, format_.block_bytes, block_.begin());
    for (uint32_t c = 0; c < count_; ++c) {
      std::fill(codes_.begin(), codes_.end(), uint8_t(listed_ || c == 0 ? c : format_.levels - 1));
      format_.put_codes(codes_.data(), block_.data());
      format_.decode(block_.data(), format_.block_elems, decoded_.data());
      for (uint32_t i = 0; i < format_.block_elems; ++i) values_[uint64_t(i) * count_ + c] = decoded_[i];
    }
  }

  /// The code of the nearest value of element i; the lowest of equals.
  uint8_t nearest(uint32_t i, float w, float* value) const {
    const float* const v = values_.data() + uint64_t(i) * count_;
    if (!listed_) {
      const float top = float(format_.levels - 1), step = (v[1] - v[0]) / top;
      const float u = step != 0 ? std::min(std::max(std::nearbyint((w - v[0]) / step), 0.0f), top) : 0.0f;
      *value = u == top ? v[1] : v[0] + u * step;
      return uint8_t(u);
    }
    uint32_t best = 0;
    float least = std::fabs(w - v[0]);
    for (uint32_t c = 1; c < count_; ++c) {
      const float off = std::fabs(w - v[c]);
      best = off < least ? c : best;
      least = std::min(off, least);
    }
    *value = v[best];
    return uint8_t(best);
  }

 private:
  const NumericFormat& format_;
  bool listed_;
  uint32_t count_;
  std::vector<uint8_t> block_, codes_;
  std::vector<float> decoded_, values_;
};

}  // namespace

struct GptqEncoder::Scratch {
  std::span<float> rows;
  std::vector<float> errors;             ///< [kGptqRows, lazy_]
  std::vector<float> block, importance;  ///< of a block of every row
  std::vector<uint8_t> encoded, codes;
  BlockValues values;
};

GptqBehind::GptqBehind(const GptqFactor& factor, uint32_t first, uint32_t last, Isa isa)
    : factor_(&factor), first_(first), last_(last) {
  const uint32_t k = factor.k();
  if (last == k) return;
  GemmProblem p;
  p.m = kGptqRows, p.n = k - last, p.k = last - first;
  p.alpha = -1, p.beta = 1;
  p.a.ld = last - first;
  p.b.ld = p.d.ld = k;
  auto plan = GemmPlan::make(p, 1, isa);
  VIBEE_CHECK(plan.ok(), "{}", plan.status().message());
  plan_ = std::move(*plan);
}

void GptqBehind::apply(std::span<float> rows, std::span<const float> errors, std::vector<uint8_t>* memory) const {
  if (!plan_) return;
  const uint32_t k = factor_->k(), count = uint32_t(rows.size() / k), behind = k - last_;
  memory->resize(std::max<uint64_t>(memory->size(), plan_->workspace() + 64));
  uint8_t* const aligned = memory->data() + (64 - uintptr_t(memory->data()) % 64) % 64;
  GemmData data;
  data.a = errors;
  data.b = GemmInput(factor_->row(first_) + last_, uint64_t(last_ - first_ - 1) * k + behind, Format::f32);
  data.d = rows.subspan(last_);
  data.c = data.d;
  plan_->run_part(data, {0, count}, {0, behind}, {aligned, plan_->workspace()});
}

GptqEncoder::GptqEncoder(const GptqFactor& factor, Format format, Isa isa)
    : factor_(&factor), format_(&info(format)), lazy_(std::max(kLazyColumns, format_->block_elems)) {
  const uint32_t k = factor.k();
  VIBEE_CHECK(format_->levels > 0 && k % format_->block_elems == 0, "{} of {}", format_->name, k);
  double mean = 0;
  for (uint32_t j = 0; j < k; ++j) {
    const float u = factor.row(j)[j];
    weights_.push_back(factor.dead(j) ? 0.0f : 1 / (u * u));
    mean += double(weights_.back()) / k;
  }
  for (float& w : weights_) w = mean > 0 ? float(w / mean) : 1.0f;
  for (uint32_t at = 0; at < k; at += lazy_) behind_.emplace_back(factor, at, std::min(k, at + lazy_), isa);
}

void GptqEncoder::encode_block(Scratch* s, uint32_t first, uint32_t last, uint32_t count, uint8_t* out) const {
  const uint32_t k = factor_->k(), n = format_->block_elems, lazy_end = std::min(k, last);
  const uint64_t row_bytes = format_->row_bytes(k);
  for (uint32_t at = first; at < lazy_end; at += n) {
    for (uint32_t r = 0; r < count; ++r) {
      std::copy_n(s->rows.begin() + std::ptrdiff_t(uint64_t(r) * k + at), n, s->block.begin() + std::ptrdiff_t(r * n));
      std::copy_n(weights_.begin() + at, n, s->importance.begin() + std::ptrdiff_t(r * n));
    }
    format_->encode(s->block.data(), uint64_t(count) * n, s->importance.data(), s->encoded.data());
    for (uint32_t r = 0; r < count; ++r) {
      uint8_t* const block = out + r * row_bytes + uint64_t(at / n) * format_->block_bytes;
      std::copy_n(s->encoded.data() + uint64_t(r) * format_->block_bytes, format_->block_bytes, block);
      s->values.read(block);
      float* const w = s->rows.data() + uint64_t(r) * k;
      float* const errors = s->errors.data() + uint64_t(r) * (lazy_end - first);
      for (uint32_t j = at; j < at + n; ++j) {
        float value;
        s->codes[j - at] = s->values.nearest(j - at, factor_->dead(j) ? 0.0f : w[j], &value);
        errors[j - first] = gptq_column(*factor_, j, lazy_end, value, w);
      }
      format_->put_codes(s->codes.data(), block);
    }
  }
}

void GptqEncoder::encode(std::span<float> rows, uint8_t* out) const {
  const uint32_t k = factor_->k(), n = format_->block_elems, count = uint32_t(rows.size() / k);
  VIBEE_CHECK(count <= kGptqRows && rows.size() % k == 0, "{} of {}", rows.size(), k);
  Scratch s{rows,
            std::vector<float>(uint64_t(kGptqRows) * lazy_),
            std::vector<float>(uint64_t(kGptqRows) * n),
            std::vector<float>(uint64_t(kGptqRows) * n),
            std::vector<uint8_t>(uint64_t(kGptqRows) * format_->block_bytes),
            std::vector<uint8_t>(n),
            BlockValues(*format_)};
  std::vector<uint8_t> memory;
  for (uint32_t at = 0; at < k; at += lazy_) {
    encode_block(&s, at, at + lazy_, count, out);
    behind_[at / lazy_].apply(rows, s.errors, &memory);
  }
}

}  // namespace vibee
