// SPDX-License-Identifier: Apache-2.0
// How other projects store a GroupMatrix in tensors of a directory, and what they say of it in quantization_config: the
// inverse of the layouts that model/weight reads (quantized.h). A layout is a GroupLayout in a file of its own
// (group_layout_gptq.cc, ...) and a row of the table in group_layout.cc.
#pragma once

#include <functional>

#include "vibee/compress/quantize/group_matrix.h"
#include "vibee/model/weight/hf_linears.h"
#include "vibee/model/weight/json.h"
#include "vibee/model/weight/safetensors.h"

namespace vibee {

class GroupLayout {
 public:
  /// Row r of the directory's matrix is row row_of(r) of the GroupMatrix.
  using RowOf = std::function<uint64_t(uint64_t)>;

  virtual ~GroupLayout() = default;
  virtual std::string_view method() const = 0;  ///< quant_method of a quantization_config
  /// What is written where nobody says otherwise, of a model whose floats are `type`; groups are left to choose.
  virtual GroupScheme scheme(Format type) const = 0;
  /// Refuses what the layout, or its reader, has no place for.
  virtual Status check(const GroupScheme& scheme) const = 0;
  /// Whether it has one for columns that are sorted (GroupMatrix::order).
  virtual bool sorts() const { return false; }
  /// The same for n rows of k.
  virtual bool fits(const GroupScheme& scheme, uint64_t n, uint64_t k) const = 0;
  virtual std::vector<HfPart> parts(const GroupScheme& scheme, uint64_t n, uint64_t k, bool sorted) const = 0;
  /// The bytes of those parts.
  virtual std::vector<std::vector<uint8_t>> pack(const GroupScheme& scheme, const GroupMatrix& matrix,
                                                 const RowOf& row_of) const = 0;
  struct Said {
    std::vector<std::string> skipped = {};  ///< modules that stay floats
    bool head = false;                      ///< one with weights of its own is written so
    bool sorted = false;                    ///< columns of some are
  };
  /// quantization_config.
  virtual std::string config(const GroupScheme& scheme, const Said& said) const = 0;
  /// The scheme of a directory of this layout, by its quantization_config and tensors, which are those that
  /// model/weight reads.
  virtual Result<GroupScheme> stated(const JsonValue& config, const SafetensorsSet& files) const = 0;
};

const GroupLayout* gptq_group_layout();
const GroupLayout* awq_group_layout();
const GroupLayout* compressed_tensors_group_layout();
const GroupLayout* bitsandbytes_group_layout(Format table);

/// The layout of `vibee quantize --scheme`; null for a scheme that is none.
const GroupLayout* find_group_layout(std::string_view scheme);
/// Those schemes.
std::vector<std::string> group_schemes();
struct StatedScheme {
  const GroupLayout* layout;
  GroupScheme scheme;
};
/// Of a directory in one of the layouts; nothing for others.
Result<std::optional<StatedScheme>> stated_scheme(const JsonValue& quantization_config, const SafetensorsSet& files);

/// The type of the first tensor with this suffix whose type is one of scales; f16 where there is none.
Format stated_type(const SafetensorsSet& files, std::string_view suffix);
/// The dtype of safetensors of f32, f16, bf16; its bytes an element.
std::string_view float_dtype(Format type);
uint64_t float_bytes(Format type);

/// Adds code `i` to a stream of codes, the lowest bits first, whose word j is word(j), a reference to zeros
/// (code_at of quantized.h is the inverse).
template <class Word>
void put_code(uint64_t i, uint64_t bits, uint32_t code, Word&& word) {
  const uint64_t at = i * bits / 32, shift = i * bits % 32;
  word(at) |= code << shift;
  if (shift + bits > 32) word(at + 1) |= code >> (32 - shift);
}
std::vector<uint8_t> bytes_of(std::span<const uint32_t> words);
/// Scales as their type: [k / group, n] or [n, k / group], rows as the directory has them.
std::vector<uint8_t> scales_of(const GroupMatrix& matrix, Format type, const GroupLayout::RowOf& row_of,
                               bool groups_first);
/// The group of each input, i32 [k].
std::vector<uint8_t> input_groups(const GroupMatrix& matrix);

}  // namespace vibee
