// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/quanto_model.h"

#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

/// What the formats that such a directory is read in are made of.
constexpr uint64_t kUnit = 32;

/// Which modules have codes, and of which type.
std::string map_of(const QuantoType& type, std::span<const std::string> modules) {
  JsonObject out;
  for (const std::string& module : modules)
    out.raw(module, JsonObject().text("weights", type.name).text("activations", "none").str());
  return out.str();
}

std::vector<HfPart> parts(const QuantoType& type, const TensorInfo& t) {
  const uint64_t n = t.rows(), k = t.row_length();
  const std::string dtype(safetensors_dtype(t.format));
  const uint64_t size = info(t.format).block_bytes;
  std::vector<HfPart> out;
  if (type.bits == 8) {
    out.push_back({".weight._data", type.floats ? "F8_E4M3" : "I8", {n, k}, n * k});
    out.push_back({".weight._scale", dtype, {n, 1}, n * size});
  } else {
    const uint64_t group = quanto_group(k), groups = n * k / group, a_byte = 8 / type.bits,
                   rows = (groups + a_byte - 1) / a_byte;
    out.push_back({".weight._data._data", "U8", {rows, group}, rows * group});
    out.push_back({".weight._scale", dtype, {groups, 1}, groups * size});
    out.push_back({".weight._shift", dtype, {groups, 1}, groups * size});
  }
  for (const char* suffix : {".input_scale", ".output_scale"}) out.push_back({suffix, dtype, {}, size});
  return out;
}

std::vector<std::vector<uint8_t>> bytes_of(QuantoMatrix made, Format type) {
  std::vector<std::vector<uint8_t>> out = {std::move(made.codes), encoded_floats(type, made.scale)};
  if (!made.shift.empty()) out.push_back(encoded_floats(type, made.shift));
  out.insert(out.end(), 2, encoded_floats(type, {{1.0f}}));  // of activations, which are not quantised
  return out;
}

}  // namespace

Result<LinearReport> write_quanto(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                  const std::string& directory, const QuantoType& type, bool hqq,
                                  const LinearOptions& options) {
  if (hqq && type.bits == 8)
    return error(Code::invalid, "--optimizer hqq: searches shifts, which {} has not; of qint4 and qint2", type.scheme);
  const LinearScheme scheme{
      .name = std::string(type.name),
      .unit = kUnit,
      .key = "",
      .file = std::string(kQuantoMap),
      .is_linear =
          [](const TensorInfo& t) { return is_layer_linear(t) || (t.name == "output.weight" && t.shape.size() == 2); },
      .config = [&](const HfModules& modules) { return map_of(type, modules.written); },
      .parts = [&](const TensorInfo& t) { return parts(type, t); },
      .make =
          [&](const TensorInfo& t, std::span<const float> w) {
            return bytes_of(quanto_quantize(w, t.row_length(), type, t.format, hqq, options.team), t.format);
          }};
  return write_linears(file, tokenizer, directory, scheme, options);
}

}  // namespace vibee
