// SPDX-License-Identifier: Apache-2.0
// v1743: the forward product of a weight that is learnt for a format beside that of a model whose weight is stored in
// it, gradients beside their definition, and the bytes of whole steps.
#include "vibee/compress/quantize/torchao.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "vibee/compress/quantize/torchao_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/graph/exec/sample.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/graph/pass/pass.h"
#include "vibee/graph/pass/quantize_aware.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tensor_values.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/kit/trial_training.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

constexpr uint32_t kTokens = 37, kOut = 70, kIn = 256;

ValueId matrix(Graph* g, const char* name, Format format, uint32_t n, uint32_t k) {
  return g->source(Op::weight, {{Elem::stored, format}, {Dim{n}, Dim{k}}}, {{"name", std::string(name)}});
}
ValueId input(Graph* g, const char* name) {
  return g->source(Op::input, {kI32, {kRows}}, {{"name", std::string(name)}});
}

/// A linear and its gradients, of rows and a gradient that are looked up. Its weights in f32 are random.
Graph training_graph() {
  Graph g;
  const ValueId ids = input(&g, "ids");
  const ValueId x = g.add(Op::embed, {ids, matrix(&g, "x", Format::f32, kTokens, kIn)});
  const ValueId w = matrix(&g, "w", Format::f32, kOut, kIn);
  const ValueId dy = g.add(Op::embed, {ids, matrix(&g, "dy", Format::f32, kTokens, kOut)});
  g.outputs = {g.add(Op::linear, {x, w}), g.add(Op::linear_dx, {dy, w}), g.add(Op::linear_dw, {dy, x})};
  return g;
}
/// The same linear of a model whose weight is stored in a format.
Graph stored_graph(Format format) {
  Graph g;
  const ValueId x = g.add(Op::embed, {input(&g, "tokens"), matrix(&g, "x", Format::f32, kTokens, kIn)});
  const ValueId w = matrix(&g, "w", format, kOut, kIn);
  g.outputs = {g.add(Op::linear, {g.add(Op::take_rows, {x}), w}), g.source(Op::state, {kState, {}}, {})};
  return g;
}

std::vector<int32_t> all_rows() {
  std::vector<int32_t> rows(kTokens);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

struct Products {
  std::vector<float> y, dx, dw;
};
/// By a training plan, learnt for a format, or for none (f32).
Result<Products> learnt(Format format, const SampleWeights& weights, const RunSettings& settings) {
  Graph graph = training_graph();
  if (format != Format::f32) quantize_aware(&graph, {&format, 1}, {});
  std::map<std::string, std::vector<uint8_t>, std::less<>> own(weights.files().begin(), weights.files().end());
  const auto place = [&](std::string_view name) -> void* { return own.find(name)->second.data(); };
  VIBEE_ASSIGN(const auto plan, TrainPlan::compile(graph, place, {kTokens, settings.threads, settings.isa}));
  Team team(settings.threads);
  const std::vector<int32_t> rows = all_rows();
  const std::pair<std::string_view, std::span<const int32_t>> inputs[] = {{"ids", rows}};
  VIBEE_TRY(plan->run(team, {inputs, {}}));
  const auto copy = [&](size_t i) { return std::vector<float>(plan->output(i).begin(), plan->output(i).end()); };
  return Products{copy(0), copy(1), copy(2)};
}
/// y, by a plan of inference.
Result<std::vector<float>> inferred(Format format, const RunSettings& settings) {
  const Graph plain = stored_graph(format);
  VIBEE_ASSIGN(const SampleWeights weights, SampleWeights::make(plain, settings.isa, settings.seed));
  VIBEE_ASSIGN(const Graph graph, run_passes(plain));
  PlanOptions o;
  o.max_rows = o.max_logits = kTokens;
  o.threads = settings.threads;
  o.isa = settings.isa;
  VIBEE_ASSIGN(const auto plan, Plan::compile(graph, weights.table(), o));
  const std::vector<int32_t> rows = all_rows();
  const std::vector<uint32_t> wanted(rows.begin(), rows.end());
  const SequenceRows sequence{0, kTokens, 0, nullptr};
  Team team(settings.threads);
  plan->run(team, {rows, rows, {&sequence, 1}, wanted}, {});
  return std::vector<float>(plan->outputs(), plan->outputs() + kTokens * plan->output_width());
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), 4 * a.size()) == 0;
}

/// dx by the numbers that a weight's codes stand for, one fma chain an element.
std::vector<float> gradient_by(Format format, const FileWeights& weights) {
  const NumericFormat& f = info(format);
  const auto floats = [&](const char* name) {
    return reinterpret_cast<const float*>(weights.find(name)->second.data());
  };
  std::vector<uint8_t> bytes(kOut * f.row_bytes(kIn));
  std::vector<float> w(kOut * kIn), dx(kTokens * kIn, 0.0f);
  f.encode_rows(floats("w"), kOut, kIn, nullptr, bytes.data());
  f.decode_rows(bytes.data(), kOut, kIn, w.data());
  for (uint32_t r = 0; r < kTokens; ++r)
    for (uint32_t j = 0; j < kOut; ++j)
      for (uint32_t i = 0; i < kIn; ++i)
        dx[r * kIn + i] = std::fma(floats("dy")[r * kOut + j], w[j * kIn + i], dx[r * kIn + i]);
  return dx;
}

/// Numbers of a directory in a recipe, read back, that are not scale * (code - zero).
Result<uint64_t> wrong_numbers(const Checkpoint& source, const std::string& directory, const TorchaoRecipe& recipe,
                               const TorchaoCodes& codes) {
  VIBEE_TRY(write_torchao(source, {}, directory, recipe, codes, {}).take_status());
  VIBEE_ASSIGN(const Checkpoint read, open_checkpoint(directory));
  uint64_t wrong = 0;
  for (const char* name : {"blk.0.ffn_down.weight", "blk.1.attn_v.weight"}) {
    VIBEE_ASSIGN(const TensorInfo* t, source.tensor(name));
    VIBEE_ASSIGN(const std::vector<float> w, tensor_values(source, name));
    VIBEE_ASSIGN(const std::vector<float> got, tensor_values(read, name));
    const TorchaoMatrix m = torchao_quantize(w, t->row_length(), recipe, codes, t->format, nullptr);
    const uint64_t group = w.size() / m.scale.size();
    for (size_t i = 0; i < w.size(); ++i) {
      const float code = recipe.of == TorchaoRecipe::Of::float8 ? E4m3::decode(m.codes[i])
                                                                : float(int8_t(m.codes[i]) - m.zero[i / group]);
      wrong += got[i] != m.scale[i / group] * code;
    }
  }
  return wrong;
}

}  // namespace

Status check_torchao(CheckContext& context) {
  context.not_built(
      "recipes of MX, NVFP4, Int4Tensor and blocks; learning by a recipe's name; rows in 8 bits with a zero point");
  context.not_built("2:4 sparse weights; moments of 4 bits; adapters beside weights that are learnt for a format");
  if (context.describe_only()) return {};
  VIBEE_ASSIGN(const SampleWeights weights,
               SampleWeights::make(training_graph(), context.settings().isa, context.settings().seed));
  VIBEE_ASSIGN(const Products plain, learnt(Format::f32, weights, context.settings()));
  for (const Format format : {Format::q4_0, Format::q8_0, Format::q4_k, Format::mxfp4, Format::i4z32, Format::i8s128,
                              Format::qoq128, Format::nf4s64, Format::e4m3s128, Format::lut4, Format::bf16}) {
    VIBEE_ASSIGN(const Products got, learnt(format, weights, context.settings()));
    VIBEE_ASSIGN(const std::vector<float> stored, inferred(format, context.settings()));
    const std::string of = std::string(info(format).name) + ": ";
    context.equal(of + "y has the bytes of a model in that format", same(got.y, stored), 1);
    context.equal(of + "and not those of floats", !same(got.y, plain.y), 1);
    context.equal(of + "dx has the bytes of a product by what is stored",
                  same(got.dx, gradient_by(format, weights.files())), 1);
    context.equal(of + "dw has those of floats", same(got.dw, plain.dw), 1);
  }
  TinyModel tiny;
  tiny.format = Format::f32;
  tiny.dim = 64;
  tiny.head_dim = 32;
  tiny.ff = 192;
  const TinyModelFile model(tiny);
  VIBEE_ASSIGN(const Checkpoint source, open_checkpoint(model.path()));
  const TempFolder folder;
  for (const std::string& scheme : torchao_recipes()) {
    VIBEE_ASSIGN(const TorchaoRecipe recipe, find_torchao_recipe(std::string_view(scheme).substr(8)));
    for (const TorchaoCodes& codes : {TorchaoCodes{4, 32, false}, {3, 64, true}}) {
      if (recipe.of != TorchaoRecipe::Of::intx && codes.asymmetric) continue;
      VIBEE_ASSIGN(
          const uint64_t wrong,
          wrong_numbers(source, fmt::format("{}/{}{}", folder.path(), recipe.name, codes.bits), recipe, codes));
      context.equal(fmt::format("{}{}: numbers of a directory that are not scale * (code - zero)", recipe.name,
                                codes.asymmetric ? " of 3 bits with zero points" : ""),
                    double(wrong), 0);
    }
  }
  if (!context.proceed("training", 0.5)) return error(Code::cancelled, "stopped");

  TrialTraining trial;
  trial.options.isa = context.settings().isa;
  trial.options.precision.stored = {Format::q4_0};
  trial.steps = 10;
  VIBEE_ASSIGN(const TrialTraining::Elsewhere runs, trial.elsewhere());
  for (const auto& [what, same] : runs.same) context.equal(fmt::format("10 steps {}: the same bytes", what), same, 1);
  trial.options.shares = 2;
  trial.options.precision.stored = {};
  VIBEE_ASSIGN(const TrialTraining::Run floats, trial.run(0));
  context.equal("and not those of products in floats", runs.state != floats.state, 1);
  return {};
}

}  // namespace vibee
