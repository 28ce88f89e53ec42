// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/quanto_model.h"

#include <cmath>

#include "vibee/base/text/glob.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/hf_linears.h"
#include "vibee/model/weight/quantized.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

/// What the formats that such a directory is read in are made of.
constexpr uint64_t kUnit = 32;

bool is_linear(const TensorInfo& t) { return is_layer_linear(t) || (t.name == "output.weight" && t.shape.size() == 2); }

std::string_view dtype_of(Format format) {
  return format == Format::f32 ? "F32" : format == Format::f16 ? "F16" : "BF16";
}

class QuantoWriter {
 public:
  QuantoWriter(const Checkpoint& file, const QuantoOptions& options) : file_(file), options_(options) {}

  Result<QuantoReport> run(std::span<const TokenizerFile> tokenizer, const std::string& directory) {
    const auto as_floats = [](const TensorInfo& t) { return info(t.format).block_elems == 1 ? t.format : Format::f16; };
    VIBEE_ASSIGN(const Recast recast, Recast::create(file_, {.format = as_floats, .team = options_.team}));
    recast_ = &recast;
    const HfLinears linears{"",
                            std::string(kQuantoMap),
                            [&](const HfModules& modules) { return map_of(modules.written); },
                            [&](const TensorInfo& t) { return parts(t); },
                            [&](const TensorInfo& t, const auto& row_of) { return make(t, row_of); },
                            [&](std::string_view module) { return takes(module); }};
    VIBEE_TRY(write_hf_linears(directory, hf_architectures(), file_, recast.tensors(), recast.reader(), linears,
                               tokenizer, options_.progress));
    for (const TensorInfo& t : recast.tensors()) {
      report_.floats += t.bytes;
      report_.left += is_linear(t);
    }
    report_.floats -= taken_;
    report_.left -= report_.matrices + report_.indivisible;
    return report_;
  }

 private:
  bool takes(std::string_view module) const {
    return (options_.include.empty() || any_glob_matches(options_.include, module)) &&
           !any_glob_matches(options_.exclude, module);
  }

  Result<std::string> map_of(std::span<const std::string> modules) const {
    if (modules.empty())
      return error(Code::invalid,
                   "no linear is quantised: none is of --include, all are of --exclude, or rows of {} "
                   "are nowhere",
                   kUnit);
    JsonObject out;
    for (const std::string& module : modules)
      out.raw(module, JsonObject().text("weights", options_.type.name).text("activations", "none").str());
    return out.str();
  }

  std::vector<HfPart> parts(const TensorInfo& t) {
    if (!is_linear(t)) return {};
    const uint64_t n = t.rows(), k = t.row_length();
    if (k % kUnit != 0) {
      ++report_.indivisible;
      return {};
    }
    const std::string dtype(dtype_of(t.format));
    const uint64_t unit = info(t.format).block_bytes;
    std::vector<HfPart> out;
    if (options_.type.bits == 8) {
      out.push_back({".weight._data", options_.type.floats ? "F8_E4M3" : "I8", {n, k}, n * k});
      out.push_back({".weight._scale", dtype, {n, 1}, n * unit});
    } else {
      const uint64_t group = quanto_group(k), groups = n * k / group, a_byte = 8 / options_.type.bits,
                     rows = (groups + a_byte - 1) / a_byte;
      out.push_back({".weight._data._data", "U8", {rows, group}, rows * group});
      out.push_back({".weight._scale", dtype, {groups, 1}, groups * unit});
      out.push_back({".weight._shift", dtype, {groups, 1}, groups * unit});
    }
    for (const char* suffix : {".input_scale", ".output_scale"}) out.push_back({suffix, dtype, {}, unit});
    return out;
  }

  Result<std::vector<std::vector<uint8_t>>> make(const TensorInfo& t, const std::function<uint64_t(uint64_t)>& row_of) {
    const uint64_t n = t.rows(), k = t.row_length();
    const NumericFormat& format = info(t.format);
    std::vector<uint8_t> raw(t.bytes);
    VIBEE_TRY(recast_->read(t, 0, raw));
    std::vector<float> w(n * k);
    for (uint64_t r = 0; r < n; ++r) format.decode(raw.data() + row_of(r) * format.row_bytes(k), k, w.data() + r * k);
    for (uint64_t i = 0; i < w.size(); ++i)
      if (!std::isfinite(w[i]))
        return error(Code::invalid, "tensor {} holds {} in row {}; {} can only hold finite numbers", quote(t.name),
                     w[i], row_of(i / k), options_.type.name);
    QuantoMatrix made = quanto_quantize(w, k, options_.type, t.format, options_.hqq, options_.team);
    const auto encoded = [&](const std::vector<float>& values) {
      std::vector<uint8_t> out(values.size() * format.block_bytes);
      format.encode(values.data(), values.size(), nullptr, out.data());
      return out;
    };
    std::vector<std::vector<uint8_t>> out = {std::move(made.codes), encoded(made.scale)};
    if (!made.shift.empty()) out.push_back(encoded(made.shift));
    ++report_.matrices;
    report_.elements += n * k;
    taken_ += t.bytes;
    for (const auto& part : out) report_.bytes += part.size();
    out.insert(out.end(), 2, encoded({1.0f}));  // of activations, which are not quantised
    return out;
  }

  const Checkpoint& file_;
  const QuantoOptions& options_;
  const Recast* recast_ = nullptr;
  QuantoReport report_;
  uint64_t taken_ = 0;  // bytes as floats of what is quantised
};

}  // namespace

Result<QuantoReport> write_quanto(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                  const std::string& directory, const QuantoOptions& options) {
  if (options.hqq && options.type.bits == 8)
    return error(Code::invalid, "--optimizer hqq: searches shifts, which {} has not; of qint4 and qint2",
                 options.type.scheme);
  return QuantoWriter(file, options).run(tokenizer, directory);
}

}  // namespace vibee
