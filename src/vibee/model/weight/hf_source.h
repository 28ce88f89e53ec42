// SPDX-License-Identifier: Apache-2.0
// The tensors of a directory as bytes at offsets, as GGUF would hold them: transformed when they are read, so that
// nothing stands in memory twice.
#pragma once

#include <memory>
#include <vector>

#include "vibee/model/weight/checkpoint.h"
#include "vibee/model/weight/hf.h"
#include "vibee/model/weight/safetensors.h"

namespace vibee {

/// Row of the directory that stands as row `row` in GGUF: inside a head of `head` rows, pair (2i, 2i + 1) comes from
/// the halves (i, i + head/2).
constexpr uint64_t hf_row_of(uint64_t row, uint64_t head) {
  const uint64_t in = row % head;
  return row - in + in % 2 * (head / 2) + in / 2;
}
/// The inverse.
constexpr uint64_t gguf_row_of(uint64_t row, uint64_t head) {
  const uint64_t in = row % head;
  return row - in + in % (head / 2) * 2 + in / (head / 2);
}

/// One GGUF tensor of a directory.
struct HfTensor {
  TensorInfo info;  ///< offset in the HfSource
  HfTransform transform = HfTransform::none;
  uint64_t head = 1;                          ///< rows of a head, where heads are permuted
  std::vector<SafetensorsSet::Place> pieces;  ///< one, or one an expert
  std::vector<float> computed;                ///< instead of pieces
};

class HfSource final : public ByteSource {
 public:
  /// Tensors lie one behind the other; their offsets are set here.
  HfSource(SafetensorsSet files, std::vector<HfTensor> tensors);
  uint64_t size() const override { return size_; }
  Status read(uint64_t offset, std::span<uint8_t> out) const override;
  const std::vector<HfTensor>& tensors() const { return tensors_; }

 private:
  Status read_tensor(const HfTensor& tensor, uint64_t offset, std::span<uint8_t> out) const;
  Status read_vector(const HfTensor& tensor, std::vector<uint8_t>* whole) const;
  Status read_rows(const HfTensor& tensor, uint64_t first, uint64_t rows, uint8_t* out) const;

  SafetensorsSet files_;
  std::vector<HfTensor> tensors_;
  uint64_t size_ = 0;
};

}  // namespace vibee
