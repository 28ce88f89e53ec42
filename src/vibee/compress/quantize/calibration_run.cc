// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/calibration_run.h"

#include <algorithm>
#include <map>

#include "vibee/base/memory/checked.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

/// Windows that a step runs together.
constexpr uint32_t kStepRows = 1024;

std::vector<CalibrationProduct> products_of(const Graph& g, const Node& node) {
  std::vector<CalibrationProduct> out;
  if (node.in.empty()) return out;
  // What is measured is by inputs, whatever order a weight has its columns in.
  const Node& from = g.producer(node.in[0]);
  const auto order = from.op == Op::permute_columns ? std::optional(from.in[1]) : std::nullopt;
  const auto add = [&](size_t weight, uint32_t chosen, bool pairwise) {
    const WeightPart part = weight_part(g.producer(node.in[weight]).text("name"));
    if (part.first != 0) return;  // the parts of a tensor read the same rows
    const auto& dims = g.type(node.in[weight]).dims;
    const uint64_t matrices = dims.size() > 2 ? uint64_t(dims[0].n) : 1, columns = uint64_t(dims.back().n);
    out.push_back({part.tensor, node.in[0], columns, matrices, chosen, chosen ? node.in[1] : 0, pairwise, order});
  };
  if (node.op == Op::linear || node.op == Op::cross_entropy) add(1, 0, false);
  if (node.op == Op::moe_gated) {
    add(2, uint32_t(node.integer("k")), false);
    add(3, uint32_t(node.integer("k")), false);
  }
  if (node.op == Op::moe_down) add(2, uint32_t(node.integer("k")), true);
  return out;
}

}  // namespace

/// The weights of a graph as its products read them: in the file's formats, but for experts, which are floats.
class CalibrationRun::StoredWeights {
 public:
  static Format format_of(const Checkpoint& file, std::string_view name) {
    const TensorInfo* tensor = file.find(weight_part(name).tensor);
    const bool of_experts = name.find("_exps.") != name.npos || name.find("ffn_gate_inp.") != name.npos;
    return tensor == nullptr || of_experts ? Format::f32 : tensor->format;
  }

  static Result<StoredWeights> read(const Checkpoint& file, const Graph& graph) {
    StoredWeights out;
    uint64_t bytes = 64;
    for (const Node& node : graph.nodes) {
      if (node.op != Op::weight) continue;
      const Type& type = graph.type(node.out[0]);
      const Format format = type.dims.size() > 1 ? type.elem.format : Format::f32;
      out.at_[std::string(node.text("name"))] = bytes;
      const auto count = uint64_t(elements(type, {})),
                 row = type.dims.size() > 1 ? uint64_t(type.dims.back().n) : count;
      bytes += round_up(count / row * info(format).row_bytes(row), 64);
    }
    if (bytes > available_memory())
      return error(Code::no_memory, "{}: calibration holds {} MiB of weights, {} MiB are available", file.path(),
                   bytes >> 20, available_memory() >> 20);
    VIBEE_ASSIGN(out.memory_, HugeBuffer::allocate(bytes));
    for (const Node& node : graph.nodes)
      if (node.op == Op::weight) VIBEE_TRY(out.fill(file, graph.type(node.out[0]), std::string(node.text("name"))));
    return out;
  }

  uint8_t* place(std::string_view name) const {
    const auto at = at_.find(name);
    return at == at_.end() ? nullptr : memory_.data() + at->second;
  }

 private:
  Status fill(const Checkpoint& file, const Type& type, const std::string& name) {
    const WeightPart part = weight_part(name);
    VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
    const NumericFormat& from = info(tensor->format);
    const uint64_t count = uint64_t(elements(type, {})),
                   row = type.dims.size() > 1 ? uint64_t(type.dims.back().n) : count;
    uint8_t* const to = place(name);
    if (type.dims.size() > 1 && type.elem.format == tensor->format)
      return file.read(*tensor, uint64_t(part.first) * from.row_bytes(row), {to, count / row * from.row_bytes(row)});
    std::vector<uint8_t> raw(from.row_bytes(row));
    for (uint64_t at = 0; at < count; at += row) {
      const uint64_t offset = type.dims.size() > 1 ? (uint64_t(part.first) + at / row) * from.row_bytes(row)
                                                   : from.row_bytes(uint64_t(part.first));
      VIBEE_TRY(file.read(*tensor, offset, raw));
      from.decode(raw.data(), row, reinterpret_cast<float*>(to) + at);
    }
    return {};
  }
  HugeBuffer memory_;
  std::map<std::string, uint64_t, std::less<>> at_;
};

CalibrationRun::CalibrationRun(CalibrateOptions options, std::span<const int32_t> tokens)
    : options_(std::move(options)), tokens_(tokens) {}
CalibrationRun::CalibrationRun(CalibrationRun&&) noexcept = default;
CalibrationRun::~CalibrationRun() = default;

const TrainPlan& CalibrationRun::plan() const { return *plan_; }
uint32_t CalibrationRun::most_rows() const { return plan_->options().max_rows; }

Result<CalibrationRun> CalibrationRun::open(const Checkpoint& file, const ModelConfig& config,
                                            std::span<const int32_t> tokens, CalibrateOptions o) {
  if (o.context < 2) return error(Code::invalid, "windows of {} tokens; calibration needs 2 or more", o.context);
  const uint64_t least = uint64_t(kLeastWindows) * o.context;
  if (tokens.size() < least)
    return error(Code::invalid,
                 "the calibration text has {} tokens, at least {} ({} windows of {}) are needed; use a longer text",
                 tokens.size(), least, kLeastWindows, o.context);
  CalibrationRun out(std::move(o), tokens);
  const CalibrateOptions& options = out.options_;
  const uint64_t all = tokens.size() / options.context;
  out.windows_ = options.windows ? std::min<uint64_t>(options.windows, all) : all;
  const auto format_of = [&](std::string_view name) { return StoredWeights::format_of(file, name); };
  VIBEE_ASSIGN(Graph graph, DecoderBuilder(config, format_of).build_training());
  VIBEE_ASSIGN(StoredWeights weights, StoredWeights::read(file, graph));
  out.weights_ = std::make_unique<StoredWeights>(std::move(weights));
  const uint32_t together = std::max(1u, kStepRows / options.context);
  const TrainOptions train{.max_rows = together * options.context, .threads = options.threads, .isa = options.isa};
  const StoredWeights& places = *out.weights_;
  VIBEE_ASSIGN(out.plan_, TrainPlan::compile(
                              std::move(graph), [&](std::string_view name) { return places.place(name); }, train));
  for (const Node& node : out.plan_->graph().nodes) out.products_.push_back(products_of(out.plan_->graph(), node));
  return out;
}

Status CalibrationRun::run(const OnRows& on_rows) {
  const uint32_t context = options_.context, together = most_rows() / context;
  Team team(options_.threads);
  std::vector<int32_t> ids, positions, documents, targets;
  std::vector<float> factors;
  for (uint64_t first = 0; first < windows_; first += together) {
    const auto count = uint32_t(std::min<uint64_t>(together, windows_ - first));
    ids.assign(tokens_.begin() + std::ptrdiff_t(first * context),
               tokens_.begin() + std::ptrdiff_t((first + count) * context));
    positions.clear();
    documents.clear();
    for (uint32_t w = 0; w < count; ++w) {
      if (options_.bos >= 0) ids[size_t(w) * context] = options_.bos;
      for (uint32_t i = 0; i < context; ++i) {
        positions.push_back(int32_t(i));
        documents.push_back(int32_t(w * context));
      }
    }
    targets.assign(ids.size(), -1);  // the rows that meet the head are of interest, its logits are not
    factors.assign(ids.size(), 0.0f);
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
        {"tokens", ids}, {"positions", positions}, {"documents", documents}, {"targets", targets}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors}};
    VIBEE_TRY(plan_->run_loss(team, {integers, floats}, [&](size_t node, uint32_t tid) {
      if (products_[node].empty() && plan_->graph().nodes[node].op != Op::self_attention) return;
      on_rows(node, uint32_t(ids.size()), tid, team);
      team.barrier();
    }));
    if (options_.progress && !options_.progress(first + count, windows_))
      return error(Code::cancelled, "calibration stopped after {} of {} windows", first + count, windows_);
  }
  return {};
}

}  // namespace vibee
