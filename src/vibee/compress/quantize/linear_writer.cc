// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/linear_writer.h"

#include <cmath>

#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

std::string_view safetensors_dtype(Format format) {
  return format == Format::f32 ? "F32" : format == Format::f16 ? "F16" : "BF16";
}

std::vector<uint8_t> encoded_floats(Format format, std::span<const float> values) {
  std::vector<uint8_t> out(values.size() * info(format).block_bytes);
  info(format).encode(values.data(), values.size(), nullptr, out.data());
  return out;
}

Result<LinearReport> write_linears(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                   const std::string& directory, const LinearScheme& scheme,
                                   const LinearOptions& options) {
  const auto as_floats = [](const TensorInfo& t) { return info(t.format).block_elems == 1 ? t.format : Format::f16; };
  VIBEE_ASSIGN(const Recast recast, Recast::create(file, {.format = as_floats, .team = options.team}));
  LinearReport report;
  uint64_t replaced = 0;  // bytes as floats of what is quantised
  HfLinears linears;
  linears.key = scheme.key;
  linears.file = scheme.file;
  linears.config = [&](const HfModules& modules) -> Result<std::string> {
    if (modules.written.empty())
      return error(Code::invalid,
                   "no linear is quantised: none is of --include, all are of --exclude, or rows of {} are nowhere",
                   scheme.unit);
    return scheme.config(modules);
  };
  linears.parts = [&](const TensorInfo& t) -> std::vector<HfPart> {
    if (!scheme.is_linear(t)) return {};
    if (t.row_length() % scheme.unit == 0) return scheme.parts(t);
    ++report.indivisible;
    return {};
  };
  linears.make = [&](const TensorInfo& t,
                     const std::function<uint64_t(uint64_t)>& row_of) -> Result<std::vector<std::vector<uint8_t>>> {
    const uint64_t n = t.rows(), k = t.row_length();
    VIBEE_ASSIGN(const std::vector<float> rows, finite_floats(recast, t.name, scheme.name));
    std::vector<float> w(n * k);
    for (uint64_t r = 0; r < n; ++r) std::copy_n(rows.data() + row_of(r) * k, k, w.data() + r * k);
    std::vector<std::vector<uint8_t>> out = scheme.make(t, w);
    ++report.matrices;
    report.elements += n * k;
    replaced += t.bytes;
    for (const auto& part : out) report.bytes += part.size();
    return out;
  };
  linears.takes = [&](std::string_view module) { return options.modules.take(module); };
  linears.header = scheme.header;
  VIBEE_TRY(write_hf_linears(directory, hf_architectures(), file, recast.tensors(), recast.reader(), linears, tokenizer,
                             options.progress));
  for (const TensorInfo& t : recast.tensors()) {
    report.floats += t.bytes;
    report.left += scheme.is_linear(t);
  }
  report.floats -= replaced;
  report.left -= report.matrices + report.indivisible;
  return report;
}

}  // namespace vibee
