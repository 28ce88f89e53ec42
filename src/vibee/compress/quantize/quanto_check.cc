// SPDX-License-Identifier: Apache-2.0
// v1742: a directory that is written gives back the values that were quantised, and the logits of a model that was
// quantised in memory, to the bit; patterns choose the modules that Python's fnmatch would.
#include <cstring>
#include <set>

#include "vibee/base/text/glob.h"
#include "vibee/compress/quantize/hqq_search.h"
#include "vibee/compress/quantize/quanto_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

/// Rows of 192, which lie in groups of 96, of 320, in groups of 32, and of 128, in one.
TinyModel tiny() {
  TinyModel m;
  m.vocab = 320;
  m.tokenizer = true;
  m.dim = 192;
  m.ff = 320;
  m.heads = 2;
  m.head_dim = 64;
  return m;
}

Format held_in(const QuantoType& type, uint64_t k) {
  const bool of_128 = k % 128 == 0;
  if (type.floats) return of_128 ? Format::e4m3s128 : Format::e4m3s32;
  if (type.bits == 8) return of_128 ? Format::i8s128 : k % 64 == 0 ? Format::i8s64 : Format::i8s32;
  const uint64_t group = quanto_group(k);
  return group % 128 == 0 ? Format::i4m128 : group % 64 == 0 ? Format::i4m64 : Format::i4m32;
}

/// A row as it is held in memory, of codes that no file has seen.
void encode_row(const std::vector<float>& w, const QuantoType& type, Format format, bool hqq, uint8_t* out) {
  const uint64_t k = w.size(), group = type.bits == 8 ? k : quanto_group(k), unit = info(format).block_elems;
  const QuantoMatrix m = quanto_quantize(w, k, type, Format::f32, hqq, nullptr);
  const uint64_t rows = m.codes.size() / group;
  std::vector<uint8_t> codes(unit);
  for (uint64_t at = 0; at < k; at += unit, out += info(format).block_bytes) {
    const uint64_t g = at / group;
    const uint8_t* const from = m.codes.data() + g % rows * group + at % group;
    std::memcpy(out, &m.scale[g], 4);
    if (type.bits == 8) {
      std::memcpy(out + 4, from, unit);
      continue;
    }
    for (uint64_t i = 0; i < unit; ++i) codes[i] = uint8_t(from[i] >> (g / rows * type.bits) & ((1u << type.bits) - 1));
    const float offset = -m.shift[g];
    std::memcpy(out + 4, &offset, 4);
    info(format).put_codes(codes.data(), out);
  }
}

/// The model quantised in memory: what freezing is to the package.
Result<Checkpoint> frozen(const std::string& path, const QuantoType& type, bool hqq) {
  VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path));
  const auto taken = [](const TensorInfo& t) { return t.name.starts_with("blk.") || t.name == "output.weight"; };
  RecastOptions how;
  how.format = [type, taken](const TensorInfo& t) { return taken(t) ? held_in(type, t.row_length()) : t.format; };
  how.encoder = [type, taken, hqq](const TensorInfo& t) -> Result<std::shared_ptr<const RowEncoder>> {
    if (!taken(t) || t.shape.size() < 2) return std::shared_ptr<const RowEncoder>();
    RowEncoder encoder;
    encoder.encode = [type, hqq, format = t.format, k = t.row_length()](std::span<float> rows, uint8_t* out) {
      for (uint64_t r = 0; r < rows.size() / k; ++r)
        encode_row({rows.begin() + std::ptrdiff_t(r * k), rows.begin() + std::ptrdiff_t((r + 1) * k)}, type, format,
                   hqq, out + r * info(format).row_bytes(k));
    };
    return std::make_shared<const RowEncoder>(std::move(encoder));
  };
  return recast_checkpoint(std::move(file), std::move(how));
}

Result<std::vector<float>> values(const Checkpoint& file, const TensorInfo& t) {
  std::vector<uint8_t> raw(t.bytes);
  VIBEE_TRY(file.read(t, 0, raw));
  std::vector<float> out(t.elements());
  info(t.format).decode_rows(raw.data(), t.rows(), t.row_length(), out.data());
  return out;
}

Result<uint64_t> different_values(const Checkpoint& a, const Checkpoint& b) {
  uint64_t different = 0;
  for (const TensorInfo& t : a.tensors()) {
    VIBEE_ASSIGN(const TensorInfo* other, b.tensor(t.name));
    VIBEE_ASSIGN(const std::vector<float> x, values(a, t));
    VIBEE_ASSIGN(const std::vector<float> y, values(b, *other));
    if (x.size() != y.size()) return x.size();
    for (size_t i = 0; i < x.size(); ++i) different += x[i] != y[i];
  }
  return different;
}

/// Names in the map of a directory.
Result<std::set<std::string>> modules_of(const Checkpoint& directory) {
  VIBEE_ASSIGN(const std::string text, directory.side_file("quanto_qmap.json"));
  VIBEE_ASSIGN(const JsonValue map, parse_json(text));
  return std::set<std::string>(map.names.begin(), map.names.end());
}

}  // namespace

Status check_quanto(CheckContext& context) {
  context.not_built(
      "static scales of activations (--activations, its calibration and streamlining): rows are quantised "
      "as they come");
  context.not_built("training through quanto's types by that name, and freezing what was trained so");
  context.not_built("qfloat8_e5m2; rows that 32 does not divide");
  context.not_built("CUDA kernels");
  if (context.describe_only()) return {};

  const TinyModelFile model(tiny());
  RunSettings settings = context.settings();
  settings.model = model.path();
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(settings, false));
  VIBEE_ASSIGN(const Checkpoint source, open_checkpoint(model.path()));
  const TempFolder folder;
  Team team(context.settings().threads);
  const struct {
    const char* scheme;
    bool hqq;
  } cases[] = {{"qint4", false}, {"qint4", true}, {"qint2", false}, {"qint8", false}, {"qfloat8", false}};
  for (const auto& c : cases) {
    const std::string name = fmt::format("{}{}", c.scheme, c.hqq ? " hqq" : "");
    const std::string directory = fmt::format("{}/{}", folder.path(), name);
    VIBEE_ASSIGN(const QuantoType type, find_quanto_type(c.scheme));
    VIBEE_ASSIGN(const LinearReport report, write_quanto(source, {}, directory, type, c.hqq, {.team = &team}));
    context.equal(name + ": linears written", double(report.matrices), 15);
    VIBEE_ASSIGN(Checkpoint read, open_checkpoint(directory));
    VIBEE_ASSIGN(Checkpoint memory, frozen(model.path(), type, c.hqq));
    VIBEE_ASSIGN(const uint64_t different, different_values(memory, read));
    context.equal(name + ": values that differ between file and memory", double(different), 0);
    VIBEE_ASSIGN(FormatTrial::Run a, trial.load_file(std::move(memory)));
    VIBEE_ASSIGN(FormatTrial::Run b, trial.load_file(std::move(read)));
    VIBEE_ASSIGN(const std::vector<float> want, FormatTrial::logits(a, 1));
    VIBEE_ASSIGN(const std::vector<float> got, FormatTrial::logits(b, 1));
    context.equal(name + ": logits that differ",
                  want.size() != got.size() || std::memcmp(want.data(), got.data(), want.size() * 4) != 0, 0);
  }

  VIBEE_ASSIGN(const QuantoType qint4, find_quanto_type("qint4"));
  const std::string some = folder.path() + "/some";
  VIBEE_ASSIGN(const LinearReport report,
               write_quanto(source, {}, some, qint4, false, {.modules = {{"*.mlp.*", "*.[kv]_proj"}, {"*.1.*down*"}}}));
  VIBEE_ASSIGN(const Checkpoint chosen, open_checkpoint(some));
  VIBEE_ASSIGN(const std::set<std::string> modules, modules_of(chosen));
  std::set<std::string> wanted;
  for (const char* layer : {"model.layers.0.", "model.layers.1."})
    for (const char* linear : {"self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
      wanted.insert(std::string(layer) + linear);
  wanted.erase("model.layers.1.mlp.down_proj");
  context.equal("modules that patterns choose and the map lacks, or the other way round", modules != wanted, 0);
  context.equal("linears that patterns leave", double(report.left), 6);
  VIBEE_ASSIGN(const TensorInfo* left, chosen.tensor("blk.1.ffn_down.weight"));
  context.equal("a linear that patterns leave is as it was", left->format == Format::f32, 1);
  return {};
}

}  // namespace vibee
