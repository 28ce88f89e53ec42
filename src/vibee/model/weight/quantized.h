// SPDX-License-Identifier: Apache-2.0
// Linears that other projects have quantised, as their directories hold them: several tensors a linear (codes, scales,
// zero points, each packed in the project's way), and a quantization_config that says how. Each becomes one tensor
// NAME.weight [n, k] in a format of ours (formats/packed) with the values of the file, made when it is read; to
// everyone above, the directory looks as if it had been written so.
//
// A layout is a QuantizedLayout in a file of its own (quantized_gptq.cc, ...) and a row of the table in quantized.cc.
#pragma once

#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "vibee/model/weight/checkpoint.h"
#include "vibee/model/weight/json.h"
#include "vibee/model/weight/safetensors.h"

namespace vibee {

/// A linear y = x w^T as it will be read.
struct QuantizedLinear {
  uint64_t n = 0, k = 0;
  Format format = Format::f32;
  /// Column i of the weight multiplies input order[i], where columns are sorted; empty: input i. It becomes a tensor
  /// NAME.perm beside NAME.weight (kOrderSuffix), and the graph puts the inputs in that order.
  std::vector<uint32_t> order = {};
  /// Writes n rows of k elements in the format. Errors name the tensor.
  std::function<Status(std::span<uint8_t> out)> unpack = {};
};

/// The tensors of a linear by their suffixes: "model.layers.0.mlp.up_proj" has ".qweight", ".scales", ...
class LinearParts {
 public:
  LinearParts(const SafetensorsSet& files, std::string name) : files_(&files), name_(std::move(name)) {}
  const std::string& name() const { return name_; }
  /// Null where there is none.
  const SafetensorsTensor* find(std::string_view suffix) const;
  /// One that has to be there, with one of these dtypes and so many dimensions.
  Result<const SafetensorsTensor*> need(std::string_view suffix, std::initializer_list<std::string_view> dtypes,
                                        size_t rank) const;
  /// A tensor of the directory by its whole name; null where there is none.
  const SafetensorsTensor* beside(std::string_view tensor) const;
  /// What the header of the file that holds a part says under `key`; null where it says nothing.
  const std::string* header_says(std::string_view suffix, const std::string& key) const;
  /// An error at a part of this linear.
  Status bad(std::string_view suffix, std::string_view what) const;
  Result<std::vector<uint8_t>> bytes(std::string_view suffix) const;
  /// Some of them, which are there.
  Result<std::vector<uint8_t>> bytes(std::string_view suffix, uint64_t offset, uint64_t count) const;
  Result<std::vector<uint32_t>> words(std::string_view suffix) const;  ///< of an I32 or U32 tensor
  /// Of a tensor of floats; every one is finite.
  Result<std::vector<float>> floats(std::string_view suffix) const;

 private:
  const SafetensorsSet* files_;
  std::string name_;
};

class QuantizedLayout {
 public:
  virtual ~QuantizedLayout() = default;
  /// Every linear has a tensor with this suffix, and no other module has.
  virtual std::string_view key() const = 0;
  /// The suffixes that are taken away with it.
  virtual std::span<const std::string_view> parts() const = 0;
  /// Suffixes of tensors that say nothing about weights and are left out wherever they stand.
  virtual std::span<const std::string_view> unread() const { return {}; }
  /// What can be wrong with the directory as a whole; looked at before any linear is.
  virtual Status check(const SafetensorsSet&) const { return {}; }
  /// The parts have been read from headers alone; shapes and dtypes are checked here.
  virtual Result<QuantizedLinear> linear(const LinearParts& parts) const = 0;
};

Result<std::unique_ptr<QuantizedLayout>> gptq_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> marlin_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> awq_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> compressed_tensors_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> bitsandbytes_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> fp8_layout(const JsonValue& config);
/// `config`: anyprec of config.json; `bits`: how many of the planes are read, 0 for all.
Result<std::unique_ptr<QuantizedLayout>> any_precision_layout(const JsonValue& config, uint32_t bits);
Result<std::unique_ptr<QuantizedLayout>> exl2_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> atom_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> hqq_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> qserve_layout(const JsonValue& config);
Result<std::unique_ptr<QuantizedLayout>> torchao_layout(const JsonValue& config);
/// How many inputs the linear of a module has by config.json, 0 where it does not say: for layouts without shapes.
using LinearInputs = std::function<uint64_t(std::string_view module)>;
/// `map`: the file kQuantoMap of the directory.
Result<std::unique_ptr<QuantizedLayout>> quanto_layout(const JsonValue& map, LinearInputs inputs);
inline constexpr std::string_view kQuantoMap = "quanto_qmap.json";
/// FP8 with a weight_scale a row or a matrix, as compressed-tensors calls it too.
std::unique_ptr<QuantizedLayout> fp8_rows_layout();
/// A linear of codes E4M3 [n, k] and scales of blocks of so many rows and columns; rows of 0: of each row, or of the
/// matrix, as many as there are.
Result<QuantizedLinear> fp8_linear(const LinearParts& parts, std::string_view codes, std::string_view scales,
                                   uint64_t rows, uint64_t columns);
/// Codes of E2M1 in blocks of 32 behind a power of two, as compressed-tensors packs them.
std::unique_ptr<QuantizedLayout> mxfp4_layout();
/// Codes of E2M1 behind scales in E4M3 behind one of the matrix, as compressed-tensors packs them.
std::unique_ptr<QuantizedLayout> nvfp4_layout();
/// The parts of such a linear by their suffixes.
struct Nvfp4Parts {
  std::string_view codes, scales;
  std::string_view matrix = {};  ///< the scale of the matrix; empty: 1
  bool divides = false;          ///< values are divided by it
  /// Where the scale of sixteen inputs of a row stands; nothing: row by row. The caller has looked at their shape.
  std::function<uint64_t(uint64_t row, uint64_t group)> place = {};
};
Result<QuantizedLinear> nvfp4_linear(const LinearParts& parts, Nvfp4Parts at);
/// NVIDIA's ModelOpt: `config` has quant_algo.
Result<std::unique_ptr<QuantizedLayout>> modelopt_layout(const JsonValue& config);
/// The file in which ModelOpt says it, where config.json does not.
inline constexpr std::string_view kModelOptFile = "hf_quant_config.json";
/// Scales of keys and values, which are stored here as `--kv` says.
inline constexpr std::string_view kCacheScales[] = {".k_scale", ".v_scale"};
/// 32 codes of 4 bits, the first of two in the low nibble of a byte, as a block of GGUF's mxfp4 has them behind its
/// exponent: elements j and j + 16 in byte j.
void mxfp4_nibbles(const uint8_t* pairs, uint8_t* out);

/// The set with its quantised linears as tensors of ours.
Result<SafetensorsSet> unpack_quantized(SafetensorsSet files, const QuantizedLayout& layout);
/// `config`: quantization_config of config.json.
Result<std::unique_ptr<QuantizedLayout>> quantized_layout(const JsonValue& config);
/// The layout that config.json speaks of, null where it speaks of none. `bits`: of a model that stores several widths,
/// 0: its widest; refused for others.
Result<std::unique_ptr<QuantizedLayout>> find_quantized_layout(const JsonValue& config, uint32_t bits);

/// A whole number of a quantization_config, or what stands there instead.
Result<int64_t> quantization_integer(const JsonValue& config, std::string_view key, std::optional<int64_t> otherwise);
/// group_size: the length of a group along the inputs, 0 for a row.
Result<uint64_t> quantization_group(const JsonValue& config);
/// That codes of k inputs in such groups, with scales [groups, n] and zero points [groups, n * bits / 32], are as they
/// say; the group's length then.
Result<uint64_t> check_groups(const LinearParts& parts, uint64_t n, uint64_t k, uint64_t group, uint64_t bits);
/// Inputs sorted by their groups as a tensor [k] says (QuantizedLinear::order); empty where there is none or they lie
/// so.
Result<std::vector<uint32_t>> sorted_inputs(const LinearParts& parts, std::string_view suffix, uint64_t k,
                                            uint64_t group);
Result<bool> quantization_flag(const JsonValue& config, std::string_view key, bool otherwise);

/// Code `i` of a stream of codes, the lowest bits first, whose word j is word(j); codes may straddle two words.
template <class Word>
uint32_t code_at(uint64_t i, uint64_t bits, Word&& word) {
  const uint64_t at = i * bits / 32, shift = i * bits % 32;
  uint64_t both = word(at);
  if (shift + bits > 32) both |= uint64_t(word(at + 1)) << 32;
  return uint32_t(both >> shift & ((1u << bits) - 1));
}

/// Kinds of groups (formats.inc): an integer zero point, an offset, or neither.
enum class GroupKind : uint8_t { i4z, i4m, i8s };
/// The format whose groups are the largest of 128, 64 and 32 that divide a layout's groups; `group` is a multiple
/// of 32.
Format group_format(GroupKind kind, uint64_t group);

/// Writes a matrix in a format of groups from code(row, k, 32 of them), scale(row, group) and zero(row, group), `group`
/// of the layout's own length. Codes of bytes are written as they are; only i4z has zero points, whole numbers, and i4m
/// and i8m offsets, floats.
template <class Code, class Scale, class Zero>
void write_groups(Format format, uint64_t n, uint64_t k, uint64_t group, Code&& code, Scale&& scale, Zero&& zero,
                  uint8_t* out) {
  const uint32_t unit = info(format).block_elems;
  const bool bytes = info(format).block_bytes >= 4 + unit, zeros = info(format).block_bytes == 5 + unit / 2;
  for (uint64_t row = 0; row < n; ++row)
    for (uint64_t at = 0; at < k; at += unit) {
      const float s = scale(row, at / group);
      std::memcpy(out, &s, 4);
      out += 4;
      if constexpr (std::is_floating_point_v<decltype(zero(row, at))>) {
        const float offset = zero(row, at / group);
        std::memcpy(out, &offset, 4);
        out += 4;
      } else if (zeros) {
        *out++ = uint8_t(zero(row, at / group));
      }
      for (uint64_t i = at; i < at + unit; i += 32) {
        uint8_t codes[32];
        code(row, i, codes);
        if (bytes) {
          std::memcpy(out, codes, 32);
          out += 32;
          continue;
        }
        for (int j = 0; j < 16; ++j) *out++ = uint8_t(codes[j] | codes[j + 16] << 4);
      }
    }
}

}  // namespace vibee
