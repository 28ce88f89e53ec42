// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/fisher.h"

#include <algorithm>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

/// The weights of a graph as floats.
class FloatWeights {
 public:
  static Result<FloatWeights> read(const Checkpoint& file, const Graph& graph) {
    FloatWeights out;
    uint64_t count = 0;
    for (const Node& node : graph.nodes)
      if (node.op == Op::weight) count += uint64_t(elements(graph.type(node.out[0]), {}));
    if (12 * count > available_memory())
      return error(Code::no_memory, "{}: gradients of {} weights take {} MiB, {} MiB are available", file.path(), count,
                   12 * count >> 20, available_memory() >> 20);
    for (const Node& node : graph.nodes) {
      if (node.op != Op::weight) continue;
      const Type& type = graph.type(node.out[0]);
      const auto all = uint64_t(elements(type, {})), row = type.dims.size() > 1 ? uint64_t(type.dims.back().n) : all;
      const WeightPart part = weight_part(node.text("name"));
      VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
      const NumericFormat& format = info(tensor->format);
      const uint64_t first =
          type.dims.size() > 1 ? uint64_t(part.first) * format.row_bytes(row) : format.row_bytes(uint64_t(part.first));
      std::vector<uint8_t> raw(all / row * format.row_bytes(row));
      VIBEE_TRY(file.read(*tensor, first, raw));
      std::vector<float>& to = out.floats_[std::string(node.text("name"))];
      to.resize(all);
      format.decode_rows(raw.data(), all / row, row, to.data());
    }
    return out;
  }
  float* place(std::string_view name) {
    const auto at = floats_.find(name);
    return at == floats_.end() ? nullptr : at->second.data();
  }

 private:
  std::map<std::string, std::vector<float>, std::less<>> floats_;
};

/// One window as a step's inputs: every token's successor is to be told.
struct Window {
  std::vector<int32_t> ids, positions, documents, targets;
  std::vector<float> factors;
  void fill(std::span<const int32_t> tokens, int32_t bos) {
    ids.assign(tokens.begin(), tokens.end());
    targets.assign(tokens.begin() + 1, tokens.end());
    targets.push_back(-1);
    if (bos >= 0) ids[0] = bos;
    positions.resize(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) positions[i] = int32_t(i);
    documents.assign(ids.size(), 0);
    factors.assign(ids.size(), 1 / float(ids.size() - 1));
    factors.back() = 0;
  }
};

/// Columns of a weight that are sorted go back to the order of its inputs.
Status put_back(const Checkpoint& file, const std::string& name, std::vector<float>* squares) {
  const TensorInfo* order = file.find(name.substr(0, name.rfind('.')) + std::string(kOrderSuffix));
  if (order == nullptr) return {};
  const uint64_t k = order->elements();
  std::vector<float> columns(k), sorted(k);
  VIBEE_TRY(file.read(*order, 0, {reinterpret_cast<uint8_t*>(columns.data()), order->bytes}));
  for (uint64_t at = 0; at < squares->size(); at += k) {
    std::copy_n(squares->begin() + std::ptrdiff_t(at), k, sorted.begin());
    for (uint64_t i = 0; i < k; ++i) (*squares)[at + uint64_t(columns[i])] = sorted[i];
  }
  return {};
}

}  // namespace

Result<SquaredGradients> squared_gradients(const Checkpoint& file, const ModelConfig& config,
                                           std::span<const int32_t> tokens, const CalibrateOptions& options,
                                           const std::function<bool(const std::string&)>& wanted) {
  const uint64_t context = options.context, least = kLeastWindows * context;
  if (context < 2) return error(Code::invalid, "windows of {} tokens; gradients need 2 or more", context);
  if (tokens.size() < least)
    return error(Code::invalid,
                 "the calibration text has {} tokens, at least {} ({} windows of {}) are needed; use a longer text",
                 tokens.size(), least, kLeastWindows, context);
  VIBEE_ASSIGN(const Graph loss, DecoderBuilder(config, [](std::string_view) { return Format::f32; }).build_training());
  std::vector<std::string> names = trainable_weights(loss);
  std::erase_if(names, [&](const std::string& name) { return !wanted(weight_part(name).tensor); });
  VIBEE_ASSIGN(Graph joint, differentiate(loss, names));
  VIBEE_ASSIGN(FloatWeights weights, FloatWeights::read(file, joint));
  SquaredGradients out;
  std::vector<std::span<float>> sums;
  for (const std::string& name : names) {
    const WeightPart part = weight_part(name);
    VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
    std::vector<float>& all = out[part.tensor];
    all.resize(tensor->elements());
    sums.push_back(std::span(all).subspan(uint64_t(part.first) * tensor->row_length()));
  }
  const TrainOptions train{.max_rows = options.context, .threads = options.threads, .isa = options.isa};
  VIBEE_ASSIGN(const auto plan,
               TrainPlan::compile(
                   std::move(joint), [&](std::string_view name) { return weights.place(name); }, train));
  Team team(options.threads);
  const uint64_t all = tokens.size() / context,
                 windows = options.windows ? std::min<uint64_t>(options.windows, all) : all;
  Window window;
  for (uint64_t w = 0; w < windows; ++w) {
    window.fill(tokens.subspan(w * context, context), options.bos);
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {{"tokens", window.ids},
                                                                              {"positions", window.positions},
                                                                              {"documents", window.documents},
                                                                              {"targets", window.targets}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", window.factors}};
    VIBEE_TRY(plan->run(team, {.integers = integers, .floats = floats, .weights = 1}));
    team.run([&](uint32_t tid) {
      for (size_t i = 0; i < names.size(); ++i) {
        const std::span<const float> gradient = plan->output(i + 1);
        const Range mine = share(uint32_t(gradient.size()), tid, options.threads);
        for (uint32_t e = mine.begin; e < mine.end; ++e) sums[i][e] += gradient[e] * gradient[e];
      }
    });
    if (options.progress && !options.progress(w + 1, windows))
      return error(Code::cancelled, "calibration stopped after {} of {} windows", w + 1, windows);
  }
  for (auto& [name, squares] : out) VIBEE_TRY(put_back(file, name, &squares));
  return out;
}

}  // namespace vibee
