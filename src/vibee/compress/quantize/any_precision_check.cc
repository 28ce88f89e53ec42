// SPDX-License-Identifier: Apache-2.0
// v1772: a model written once and read at every width: codes are nested, no row loses more at a wider width, and what a
// width does not read changes nothing; products of table formats against doubles.
#include <bit>
#include <cmath>
#include <fstream>
#include <tuple>

#include "vibee/base/random/philox.h"
#include "vibee/compress/quantize/any_precision_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/safetensors.h"

namespace vibee {
namespace {

constexpr NestedWidths kWidths{3, 8};

Result<std::vector<uint8_t>> bytes_of(const Checkpoint& file, const TensorInfo& t) {
  std::vector<uint8_t> raw(t.bytes);
  VIBEE_TRY(file.read(t, 0, raw));
  return raw;
}

/// Words of a width that are not those of the widest: planes, of which a width has the first.
Result<uint64_t> strange_words(const Checkpoint& narrow, const Checkpoint& wide, uint32_t bits) {
  uint64_t strange = 0;
  for (const TensorInfo& t : wide.tensors()) {
    if (!is_nested(t, false)) continue;
    VIBEE_ASSIGN(const TensorInfo* other, narrow.tensor(t.name));
    VIBEE_ASSIGN(const std::vector<uint8_t> a, bytes_of(narrow, *other));
    VIBEE_ASSIGN(const std::vector<uint8_t> b, bytes_of(wide, t));
    const NumericFormat &from = info(other->format), &to = info(t.format);
    for (uint64_t r = 0; r < t.rows(); ++r)
      for (uint64_t block = 0; block < t.row_length() / 32; ++block)
        strange += std::memcmp(a.data() + r * from.row_bytes(t.row_length()) + from.head_bytes + block * 4 * bits,
                               b.data() + r * to.row_bytes(t.row_length()) + to.head_bytes + block * 32, 4 * bits) != 0;
  }
  return strange;
}

/// Weighted errors of the rows of all nested matrices.
Result<std::vector<double>> row_errors(const Checkpoint& source, const Checkpoint& file,
                                       const SquaredGradients& gradients) {
  std::vector<double> out;
  for (const TensorInfo& t : file.tensors()) {
    if (!is_nested(t, false)) continue;
    VIBEE_ASSIGN(const TensorInfo* from, source.tensor(t.name));
    std::vector<float> want(t.elements()), got(t.elements());
    for (const auto& [c, info_of, to] : {std::tuple{&source, from, &want}, std::tuple{&file, &t, &got}}) {
      VIBEE_ASSIGN(const std::vector<uint8_t> raw, bytes_of(*c, *info_of));
      info(info_of->format).decode_rows(raw.data(), t.rows(), t.row_length(), to->data());
    }
    const std::vector<float>& weights = gradients.at(t.name);
    for (uint64_t r = 0; r < t.rows(); ++r) {
      double sum = 0, all = 0;
      for (uint64_t i = r * t.row_length(); i < (r + 1) * t.row_length(); ++i) all += weights[i];
      for (uint64_t i = r * t.row_length(); i < (r + 1) * t.row_length(); ++i) {
        const double off = double(got[i]) - want[i], weight = all > 0 ? weights[i] : 1.0;
        sum += weight * off * off;
      }
      out.push_back(sum);
    }
  }
  return out;
}

/// Overwrites the planes behind the first `bits` of every matrix.
Status poison(const std::string& directory, uint32_t bits) {
  const std::string path = directory + "/model.safetensors";
  VIBEE_ASSIGN(const Safetensors file, open_safetensors(path));
  std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
  for (const SafetensorsTensor& t : file.tensors()) {
    if (!t.name.ends_with(".qweight")) continue;
    const uint64_t first = t.bytes / t.shape[0] * bits;
    out.seekp(std::streamoff(t.offset + first));
    out << std::string(t.bytes - first, '\xa5');
  }
  out.flush();
  return out ? Status() : error(Code::io, "{}: cannot be written", path);
}

Result<std::vector<float>> logits_at(const FormatTrial& trial, const std::string& directory, uint32_t bits) {
  VIBEE_ASSIGN(Checkpoint file, open_checkpoint(directory, bits));
  VIBEE_ASSIGN(FormatTrial::Run run, trial.load_file(std::move(file)));
  return FormatTrial::logits(run, 1);
}

/// The largest error of products of a format of tables over what their roundings allow.
double worst_product(Format format, Isa isa, uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  double worst = 0;
  for (const uint32_t k : {96u, 1024u + 96u}) {
    const uint32_t n = 21, rows = 7;
    const std::vector<uint8_t> bytes = random_rows(format, n, k, random);
    std::vector<float> x(uint64_t(rows) * k);
    for (float& v : x) v = random.normal();
    std::vector<double> exact, terms;
    reference(format, bytes, n, k, x, rows, &exact, &terms);
    const std::vector<uint8_t> panels = pack(format, 16, n, k, bytes);
    const std::vector<float> got = multiply(gemm_kernel(format, isa), {format, n, k, 16, panels.data()}, {}, x, rows);
    for (size_t i = 0; i < got.size(); ++i)  // a rounding a term of a chain, and four of their sum
      worst = std::max(worst, std::fabs(got[i] - exact[i]) / ((k / 16.0 + 4) * 0x1p-24 * terms[i] + 1e-30));
  }
  return worst;
}

}  // namespace

Status check_any_precision(CheckContext& context) {
  context.not_built("a width a request (\"bits\" of serve), and a model as its own draft: a process has one width");
  context.not_built("widths a matrix by the allocator; tables of int8 for integer products");
  context.not_built("CUDA kernels (GEMV on bit-planes)");
  if (context.describe_only()) return {};

  for (uint32_t bits = 3; bits <= 8; ++bits) {
    const Format format = Format(size_t(Format::lut3) + bits - 3);
    context.at_most(fmt::format("{} bits: error of products against double over its bound", bits),
                    worst_product(format, context.settings().isa, context.settings().seed), 1);
  }

  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  VIBEE_ASSIGN(const Checkpoint source, open_checkpoint(trial.path()));
  VIBEE_ASSIGN(const ModelConfig config, read_config(source));
  RandomStream random(context.settings().seed, Purpose::workload);
  VIBEE_ASSIGN(const TensorInfo* embedding, source.tensor("token_embd.weight"));
  std::vector<int32_t> tokens(8 * 16);
  for (int32_t& t : tokens) t = int32_t(random.below(uint32_t(embedding->rows())));
  const CalibrateOptions calibration{
      .context = 16, .threads = context.settings().threads, .isa = context.settings().isa};
  VIBEE_ASSIGN(const SquaredGradients gradients,
               squared_gradients(source, config, tokens, calibration, [&](const std::string& name) {
                 const TensorInfo* t = source.find(name);
                 return t != nullptr && is_nested(*t, false);
               }));
  const TempFolder folder;
  const std::string directory = folder.path() + "/any";
  Team team(context.settings().threads);
  VIBEE_TRY(write_any_precision(source, {}, directory, {.widths = kWidths, .gradients = &gradients, .team = &team})
                .take_status());

  VIBEE_ASSIGN(const Checkpoint widest, open_checkpoint(directory));
  uint64_t strange = 0, worse = 0, rows = 0;
  std::vector<double> before;
  for (uint32_t bits = kWidths.seed; bits <= kWidths.parent; ++bits) {
    VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(directory, bits));
    VIBEE_ASSIGN(const uint64_t words, strange_words(file, widest, bits));
    strange += words;
    VIBEE_ASSIGN(const std::vector<double> errors, row_errors(source, file, gradients));
    for (size_t r = 0; r < before.size(); ++r)  // a weight of zero counts as a millionth of the mean
      worse += errors[r] > before[r] * (1 + 1e-5) + 1e-30;
    before = errors;
    rows += errors.size();
  }
  context.equal("words of codes that do not begin those of 8 bits", double(strange), 0);
  context.equal("rows that lose more at a wider width", double(worse), 0, "", fmt::format("{} compared", rows));

  VIBEE_ASSIGN(const std::vector<float> whole, logits_at(trial, directory, 8));
  for (const uint32_t bits : {6u, 3u}) {
    VIBEE_ASSIGN(const std::vector<float> clean, logits_at(trial, directory, bits));
    VIBEE_TRY(poison(directory, bits));
    VIBEE_ASSIGN(const std::vector<float> poisoned, logits_at(trial, directory, bits));
    context.equal(fmt::format("{} bits: logits that planes behind change", bits),
                  clean.size() != poisoned.size() || std::memcmp(clean.data(), poisoned.data(), clean.size() * 4) != 0,
                  0);
  }
  VIBEE_ASSIGN(const std::vector<float> broken, logits_at(trial, directory, 8));
  context.equal("8 bits: logits that those planes change", broken != whole, 1);
  return {};
}

}  // namespace vibee
