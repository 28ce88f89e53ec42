// SPDX-License-Identifier: Apache-2.0
// v1745: a small model is quantised and written, its directory read back by the reader and by one that goes bit by bit;
// bits are counted in the file; the knapsack beside annealing.
#include <algorithm>
#include <cmath>
#include <optional>

#include "vibee/base/random/philox.h"
#include "vibee/compress/quantize/exl2_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/hf_source.h"
#include "vibee/model/weight/safetensors.h"

namespace vibee {
namespace {

constexpr uint32_t kContext = 64, kHeadDim = 64;

Result<std::vector<uint8_t>> bytes_of(const SafetensorsSet& files, const std::string& name) {
  const auto at = files.tensors().find(name);
  if (at == files.tensors().end()) return error(Code::corrupt, "tensor {} is missing", name);
  std::vector<uint8_t> out(at->second.tensor->bytes);
  VIBEE_TRY(at->second.file->read(*at->second.tensor, 0, out));
  return out;
}

/// A linear in the file, bit by bit: codes that differ from the matrix's, and its bits.
struct InFile {
  uint64_t wrong = 0, bits = 0;
};
Result<InFile> compare(const SafetensorsSet& files, const std::string& name, const Exl2Matrix& m, uint64_t head) {
  std::vector<std::vector<uint8_t>> t;
  for (const char* suffix : {".q_weight", ".q_scale", ".q_scale_max", ".q_groups", ".q_invperm"}) {
    VIBEE_ASSIGN(t.emplace_back(), bytes_of(files, name + suffix));
  }
  InFile out;
  for (const auto& part : t) out.bits += 8 * part.size();
  const uint64_t columns = (m.n + 31) / 32 * 32, groups = t[3].size() / 4, rows = t[0].size() / 4 / columns;
  const auto bit = [&](uint64_t packed_row, uint64_t column, uint64_t i) {
    const uint64_t word = (packed_row + i / 32) * columns + column;
    return uint32_t(t[0][4 * word + i % 32 / 8] >> (i % 8) & 1);
  };
  uint64_t place = 0;
  for (uint64_t g = 0; g < groups; ++g) {
    const uint64_t width = load_u16(&t[3][4 * g]), first = load_u16(&t[3][4 * g + 2]);
    const uint64_t end = g + 1 < groups ? load_u16(&t[3][4 * g + 6]) : rows;
    for (uint64_t i = 0; i < (end - first) * 32 / width; ++i, ++place)
      for (uint64_t r = 0; r < columns; ++r) {
        uint32_t code = 0;
        for (uint64_t b = 0; b < width; ++b) code |= bit(first, r, i * width + b) << b;
        const uint64_t from = head == 0 ? r : gguf_row_of(r, head);
        out.wrong += r < m.n ? code != m.codes[from * m.k + place] : code != 1u << (width - 1);
        if (i > 0 || r >= m.n) continue;
        const uint32_t scale = t[1][(g * columns + r) / 2] >> (4 * (r % 2)) & 15;
        out.wrong += scale != m.scales[g * m.n + from] || load_u16(&t[2][2 * g]) != m.most[g];
      }
  }
  out.wrong += place != m.k;
  for (uint32_t i = 0; i < m.k; ++i) out.wrong += m.order[load_u32(&t[4][4 * uint64_t(i)])] != i;
  return out;
}

/// The least sum of damages that annealing finds in a budget, from temperatures of the size of damages down.
double anneal(std::span<const MatrixChoices> items, const std::vector<std::vector<uint64_t>>& sizes, uint64_t budget,
              uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<size_t> at(items.size());
  uint64_t size = 0;
  double damage = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    at[i] = size_t(std::min_element(sizes[i].begin(), sizes[i].end()) - sizes[i].begin());
    size += sizes[i][at[i]];
    damage += items[i].damage(at[i]);
  }
  double best = damage;
  for (double t = damage / double(items.size()); t > 1e-6 * damage / double(items.size()); t *= 0.995)
    for (int step = 0; step < 100; ++step) {
      const size_t i = random.below(items.size()), to = random.below(sizes[i].size());
      const uint64_t after = size - sizes[i][at[i]] + sizes[i][to];
      if (after > budget) continue;
      const double more = items[i].damage(to) - items[i].damage(at[i]);
      if (more > 0 && double(random.below(1u << 30)) / (1u << 30) >= std::exp(-more / t)) continue;
      at[i] = to;
      size = after;
      damage += more;
      best = std::min(best, damage);
    }
  return best;
}

/// The largest change of W x by sorting the columns of both, relative to the sum of |w x|, in f32.
double order_error(const Exl2Matrix& m, RandomStream& random) {
  const std::vector<float> w = m.values();
  std::vector<float> x(m.k);
  for (float& v : x) v = random.normal();
  double worst = 0;
  for (uint32_t r = 0; r < m.n; ++r) {
    float plain = 0, sorted = 0, whole = 0;
    const float* const row = w.data() + uint64_t(r) * m.k;
    for (uint32_t j = 0; j < m.k; ++j) {
      plain += row[j] * x[j];
      sorted += row[m.order[j]] * x[m.order[j]];
      whole += std::fabs(row[j] * x[j]);
    }
    if (whole > 0) worst = std::max(worst, double(std::fabs(plain - sorted) / whole));
  }
  return worst;
}

}  // namespace

Status check_exl2(CheckContext& context) {
  context.not_built("a width each in memory (codes of up to 4 bits take 4; where a matrix has wider ones, all take 8)");
  context.not_built("scales by products of halves as ExLlamaV2's kernels round them; CUDA kernels");
  context.not_built(
      "heads that are the embedding, experts, rows and outputs of no multiple of 32 (all stay in float16)");
  context.not_built("groups of 16 inputs at 2 bits");
  if (context.describe_only()) return {};
  const RunSettings& settings = context.settings();

  // Heads of 300 outputs are padded, rows of queries and keys stand in another order in the directory.
  TinyModelFile made({.format = Format::f32,
                      .vocab = 300,
                      .dim = 192,
                      .layers = 3,
                      .heads = 3,
                      .head_dim = kHeadDim,
                      .ff = 512,
                      .tokenizer = true});
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(made.path()));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  RandomStream random(settings.seed, Purpose::test);
  std::vector<int32_t> tokens(uint64_t(16) * kContext);
  for (int32_t& id : tokens) id = int32_t(random.below(config.vocab));
  Team team(settings.threads);
  CalibrateOptions calibrate{.context = kContext, .threads = settings.threads, .isa = settings.isa};
  VIBEE_ASSIGN(Hessians hessians, Hessians::open(file, config, tokens, calibrate, 1 << 26));
  VIBEE_ASSIGN(Exl2Model model, Exl2Model::open(file, hessians, team, settings.isa));
  VIBEE_ASSIGN(std::vector<MatrixChoices> choices, model.measure(nullptr));
  for (MatrixChoices& m : choices) m.kl = 1e-3 * double(1 + random.below(100));

  constexpr double kTarget = 3.75;
  uint64_t elements = 0;
  for (const TensorInfo& t : model.linears()) elements += t.elements();
  const auto budget = uint64_t(kTarget * double(elements));
  VIBEE_ASSIGN(const Exl2Allocation chosen, model.allocate(choices, budget));
  const double bpw = double(chosen.bits) / double(elements);
  context.at_most("bits a weight", bpw, kTarget);
  context.at_least("bits a weight", bpw, kTarget - 0.02);
  std::vector<std::vector<uint64_t>> sizes;
  for (const MatrixChoices& m : choices) {
    sizes.emplace_back();
    const TensorInfo& t = *file.find(m.tensor);
    const auto k = uint32_t(t.row_length());
    for (const std::string& name : m.choices) {
      VIBEE_ASSIGN(const Exl2Option* option, find_exl2_option(name));
      sizes.back().push_back(exl2_bits(exl2_groups(*option, k), uint32_t(t.rows()), k));
    }
  }
  double annealed = 1e9;
  for (uint64_t run = 0; run < 3; ++run)
    annealed = std::min(annealed, anneal(choices, sizes, budget, settings.seed + run));
  context.at_most("damage over that of annealing, best of 3", chosen.predicted / annealed, 1 + 1e-12);

  const TempFolder folder;
  const std::string directory = folder.path() + "/exl2";
  VIBEE_TRY(model.write(chosen, {directory, 6}));
  VIBEE_ASSIGN(const SafetensorsSet files, open_safetensors_directory(directory));
  VIBEE_ASSIGN(const Checkpoint written, open_checkpoint(directory));
  struct Name {
    const char *gguf, *hf;
    uint64_t head;
  };
  constexpr Name kNames[] = {{"attn_q", "self_attn.q_proj", kHeadDim}, {"attn_k", "self_attn.k_proj", kHeadDim},
                             {"attn_v", "self_attn.v_proj", 0},        {"attn_output", "self_attn.o_proj", 0},
                             {"ffn_gate", "mlp.gate_proj", 0},         {"ffn_up", "mlp.up_proj", 0},
                             {"ffn_down", "mlp.down_proj", 0}};
  uint64_t wrong = 0, bits = 0, other = 0;
  double order = 0;
  const auto one = [&](const TensorInfo& t, const Exl2Option& option, const std::string& hf, uint64_t head) -> Status {
    VIBEE_ASSIGN(const Exl2Matrix m, model.quantize(t, option));
    VIBEE_ASSIGN(const InFile in, compare(files, hf, m, head));
    wrong += in.wrong;
    if (hf != "lm_head") bits += in.bits;
    order = std::max(order, order_error(m, random));
    // As it is read, in the inputs' order again.
    VIBEE_ASSIGN(const Recast floats, Recast::create(written, {.format = all_in(Format::f32)}));
    std::vector<float> values(t.elements());
    VIBEE_TRY(floats.read(t, 0, {reinterpret_cast<uint8_t*>(values.data()), 4 * values.size()}));
    const std::vector<float> wanted = m.values();
    for (size_t i = 0; i < values.size(); ++i) other += values[i] != wanted[i];
    return {};
  };
  for (const TensorInfo& t : model.linears())
    for (const Name& name : kNames) {
      const std::string layer = t.name.substr(4, t.name.find('.', 4) - 4);
      if (t.name != fmt::format("blk.{}.{}.weight", layer, name.gguf)) continue;
      VIBEE_TRY(one(t, chosen.options.at(t.name), fmt::format("model.layers.{}.{}", layer, name.hf), name.head));
    }
  VIBEE_CHECK(model.head().has_value());
  VIBEE_ASSIGN(const Exl2Option head, exl2_head(6));
  VIBEE_TRY(one(*model.head(), head, "lm_head", 0));
  context.equal("codes and scales that a reader of bits finds otherwise", double(wrong), 0);
  context.equal("weights that are read back as another number", double(other), 0);
  context.equal("bits in the file over bits that were counted", double(bits) / double(chosen.bits), 1);
  context.at_most("change of f32 products by the order of inputs", order, 1e-6);
  return {};
}

}  // namespace vibee
