// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/gptq_solver.h"

#include <algorithm>

namespace vibee {
namespace {

/// "blk.N" of a layer's tensor; of one outside layers its name.
std::string_view layer_name(std::string_view tensor) {
  return tensor.starts_with("blk.") ? tensor.substr(0, tensor.find('.', 4)) : tensor;
}

}  // namespace

Result<Hessians> Hessians::open(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                                CalibrateOptions options, uint64_t bytes) {
  VIBEE_ASSIGN(CalibrationRun run, CalibrationRun::open(file, config, tokens, std::move(options)));
  Hessians out(std::move(run), bytes);
  for (size_t node = 0; node < out.run_.products().size(); ++node) {
    for (const CalibrationProduct& p : out.run_.products()[node]) {
      if (p.chosen > 0) continue;
      const auto same =
          std::find_if(out.inputs_.begin(), out.inputs_.end(), [&](const Input& in) { return in.rows == p.rows; });
      out.same_[p.tensor] = same == out.inputs_.end() ? p.tensor : same->tensor;
      if (same == out.inputs_.end()) out.inputs_.push_back({p.tensor, node, p.rows, uint32_t(p.columns), p.order});
    }
  }
  return out;
}

Status Hessians::gather(size_t asked) {
  held_.clear();
  std::map<size_t, std::pair<const Input*, float*>> wanted;  // by node
  size_t first = asked;
  while (first > 0 && layer_name(inputs_[first - 1].tensor) == layer_name(inputs_[asked].tensor)) --first;
  uint64_t sum = 0;
  for (size_t done = 0; done < inputs_.size();) {
    const size_t begin = (first + done) % inputs_.size();
    size_t end = begin;
    for (; end < inputs_.size() && layer_name(inputs_[end].tensor) == layer_name(inputs_[begin].tensor); ++end)
      sum += uint64_t(inputs_[end].k) * inputs_[end].k * sizeof(float);
    if (done > 0 && sum > bytes_) break;
    for (size_t i = begin; i < end; ++i) {
      const Input& in = inputs_[i];
      std::vector<float>& h = held_[in.tensor];
      h.assign(uint64_t(in.k) * in.k, 0.0f);
      wanted[in.node] = {&in, h.data()};
    }
    done += end - begin;
  }
  // The last step may have fewer rows than the others: a plan for each number of rows there is.
  const CalibrateOptions& o = run_.options();
  std::map<std::pair<uint32_t, uint32_t>, GemmPlan> plans;
  uint64_t workspace = 0;
  const uint64_t most = run_.most_rows(), all = run_.windows() * o.context;
  for (const auto& [node, want] : wanted) {
    for (const uint64_t rows : {std::min(most, all), all % most}) {
      if (rows == 0 || plans.contains({want.first->k, uint32_t(rows)})) continue;
      GemmProblem p;
      p.m = p.n = want.first->k, p.k = uint32_t(rows);
      p.goes_on = true;
      p.a.transposed = true;
      VIBEE_ASSIGN(GemmPlan plan, GemmPlan::make(p, o.threads, o.isa));
      workspace = std::max(workspace, plan.workspace());
      plans.emplace(std::pair{want.first->k, uint32_t(rows)}, std::move(plan));
    }
  }
  VIBEE_ASSIGN(const HugeBuffer memory, HugeBuffer::allocate(workspace + 64));
  VIBEE_TRY(run_.run([&](size_t node, uint32_t rows, uint32_t tid, Team& team) {
    const auto at = wanted.find(node);
    if (at == wanted.end()) return;
    const auto [in, h] = at->second;
    const std::span<const float> x(run_.plan().floats(in->rows), uint64_t(rows) * in->k);
    GemmData data;
    data.a = x;
    data.b = x;
    data.d = {h, uint64_t(in->k) * in->k};
    plans.at({in->k, rows}).run_thread(data, tid, team, {memory.data(), workspace});
  }));
  for (auto& [tensor, h] : held_)
    for (float& v : h) v /= float(all);
  for (const auto& [node, want] : wanted) {
    const Input& in = *want.first;
    if (!in.order) continue;
    std::vector<float>& h = held_.at(in.tensor);
    const std::vector<float> sorted = h;
    const float* const order = run_.plan().floats(*in.order);
    for (uint32_t i = 0; i < in.k; ++i)
      for (uint32_t j = 0; j < in.k; ++j)
        h[uint64_t(order[i]) * in.k + uint64_t(order[j])] = sorted[uint64_t(i) * in.k + j];
  }
  return {};
}

Result<std::span<const float>> Hessians::of(const std::string& tensor) {
  const auto same = same_.find(tensor);
  if (same == same_.end()) return std::span<const float>();
  if (!held_.contains(same->second)) {
    const auto at =
        std::find_if(inputs_.begin(), inputs_.end(), [&](const Input& in) { return in.tensor == same->second; });
    VIBEE_TRY(gather(size_t(at - inputs_.begin())));
  }
  return std::span<const float>(held_.at(same->second));
}

bool GptqSolver::solves(const TensorInfo& tensor) const {
  return tensor.shape.size() == 2 && info(tensor.format).levels > 0 && hessians_->knows(tensor.name);
}

Result<std::shared_ptr<const RowEncoder>> GptqSolver::encoder(const TensorInfo& tensor) {
  if (!solves(tensor)) return std::shared_ptr<const RowEncoder>();
  if (tensor.name == encoded_ && tensor.format == format_) return encoder_;
  if (const std::string& shared = hessians_->shared_by(tensor.name); shared != factored_) {
    encoder_ = nullptr;
    factor_ = nullptr;
    VIBEE_ASSIGN(const std::span<const float> h, hessians_->of(tensor.name));
    auto factor = GptqFactor::make({h.begin(), h.end()}, uint32_t(tensor.row_length()), kDamping, *team_, isa_);
    if (!factor.ok()) return factor.take_status().within("tensor " + tensor.name);
    factor_ = std::make_shared<const GptqFactor>(std::move(*factor));
    factored_ = shared;
  }
  struct Solved : RowEncoder {
    Solved(std::shared_ptr<const GptqFactor> f, Format format, Isa isa)
        : factor(std::move(f)), gptq(*factor, format, isa) {
      encode = [this](std::span<float> floats, uint8_t* out) { gptq.encode(floats, out); };
      rows = kGptqRows;
    }
    std::shared_ptr<const GptqFactor> factor;
    GptqEncoder gptq;
  };
  encoder_ = std::make_shared<const Solved>(factor_, tensor.format, isa_);
  encoded_ = tensor.name;
  format_ = tensor.format;
  return encoder_;
}

}  // namespace vibee
