// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/session/model.h"

#include <atomic>
#include <mutex>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/cost/cost.h"
#include "vibee/graph/pass/pass.h"
#include "vibee/model/layer/decoder.h"
#include "vibee/model/session/device_matrices.h"
#include "vibee/model/session/graph_weights.h"

namespace vibee {
namespace {

constexpr uint64_t kAlign = 4096;  ///< matrices begin on pages

}  // namespace

Model::Model() = default;
Model::~Model() = default;

uint64_t Model::weight_memory() const {
  return panels_.size() + vectors_.size() + (on_device_ ? on_device_->bytes() : 0);
}
std::shared_ptr<DeviceRuntime> Model::device() const { return on_device_ ? on_device_->runtime() : nullptr; }

WeightBytes Model::weight_bytes(const Graph& graph, Isa isa) {
  WeightBytes sum;
  for (const GraphWeight& w : weights_of(graph, isa)) {
    if (w.matrix) {
      sum.panels += round_up(w.shape.bytes(), kAlign);
    } else {
      sum.vectors += round_up(w.length * 4, 64);
    }
  }
  return sum;
}

Result<Graph> Model::graph_of(const Checkpoint& file, const ModelConfig& config, const ModelOptions& options) {
  DecoderBuilder builder(
      config, [&](std::string_view name) { return file.find(name)->format; },
      options.lora.adapters ? options.lora.rank : 0);
  VIBEE_ASSIGN(Graph graph, builder.build());
  std::vector<std::string> disable = options.disable;
  if (options.device) disable.push_back("quantize_outputs");  // of the CPU's calls alone
  return run_passes(std::move(graph), disable);
}

Result<std::unique_ptr<Model>> Model::load(const std::string& path, const ModelOptions& options) {
  VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path));
  return load(std::move(file), options);
}

Result<std::unique_ptr<Model>> Model::load(Checkpoint file, const ModelOptions& options) {
  const std::string path = file.path();
  auto model = std::make_unique<Model>();
  model->path_ = path;
  model->isa_ = options.isa;
  VIBEE_ASSIGN(model->config_, read_config(file));
  if (options.output) VIBEE_TRY(set_output(path, *options.output, options.pooling, &model->config_));
  if (options.tokenizer) {
    VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer(file));
    auto tokenizer = make_tokenizer(std::move(spec));
    if (!tokenizer.ok()) return tokenizer.take_status().within(path);
    model->tokenizer_ = std::move(*tokenizer);
    if (uint32_t(model->tokenizer_->size()) > model->config_.vocab)
      return error(Code::corrupt, "{}: {} tokens, but the embedding has {} rows", path, model->tokenizer_->size(),
                   model->config_.vocab);
  }
  VIBEE_ASSIGN(model->graph_, graph_of(file, model->config_, options));
  file.forget_metadata();  // the vocabulary's text, before the weights take their place
  model->team_ = std::make_unique<Team>(options.threads);
  VIBEE_TRY(model->read_weights(file, options.device));
  if (options.lora.adapters) {
    VIBEE_ASSIGN(model->loras_, LoraPool::create(model->config_, adapted_products(model->graph_), options.lora,
                                                 options.device ? options.device->device : nullptr));
  }
  return model;
}

Status Model::read_weights(const Checkpoint& file, const std::shared_ptr<DeviceRuntime>& device) {
  WeightBytes sum = weight_bytes(graph_, isa_);
  if (device) {
    sum.panels = 0;
    VIBEE_ASSIGN(on_device_, DeviceMatrices::load(file, wanted_matrices(graph_), device));
  }
  if (sum.panels + sum.vectors > available_memory())
    return error(Code::no_memory, "{}: its weights take {} MiB, {} MiB are available; use a smaller model or format",
                 file.path(), (sum.panels + sum.vectors) >> 20, available_memory() >> 20);
  VIBEE_ASSIGN(panels_, HugeBuffer::allocate(sum.panels));
  VIBEE_ASSIGN(vectors_, HugeBuffer::allocate(sum.vectors));
  uint64_t panel_at = 0, vector_at = 0;
  struct Job {
    const TensorInfo* tensor;
    uint64_t first_row;  // in the tensor
    PackedWeight weight;
    uint8_t* to;
  };
  std::vector<Job> jobs;
  for (GraphWeight& w : weights_of(graph_, isa_)) {
    if (w.matrix && device) continue;
    const WeightPart part = weight_part(w.name);
    VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
    if (w.matrix) {
      w.shape.data = panels_.data() + panel_at;
      for (uint32_t e = 0; e < w.shape.experts; ++e) {
        const PackedWeight one = w.shape.expert(e);
        jobs.push_back(
            {tensor, uint64_t(part.first) + uint64_t(e) * one.n, one, panels_.data() + (one.data - panels_.data())});
      }
      panel_at += round_up(w.shape.bytes(), kAlign);
      matrices_[w.name] = w.shape;
      continue;
    }
    auto* to = vectors_.as<float>(vector_at);
    const NumericFormat& format = info(tensor->format);
    if (format.block_elems != 1)
      return error(Code::unsupported, "{}: tensor '{}' is a vector in {}; f32, f16 and bf16 are built", file.path(),
                   tensor->name, format.name);
    std::vector<uint8_t> raw(w.length * format.block_bytes);
    VIBEE_TRY(file.read(*tensor, uint64_t(part.first) * format.block_bytes, raw));
    format.decode(raw.data(), w.length, to);
    vector_at += round_up(w.length * 4, 64);
    vector_at_[w.name] = to;
  }
  // Panels are packed by all threads from rows that each reads for itself; runs of about 1 MiB keep the reads long.
  std::atomic<size_t> next{0};
  struct Run {
    uint32_t job, first, last;
  };
  std::vector<Run> runs;
  uint64_t most = 0;  // bytes of a run
  for (uint32_t j = 0; j < jobs.size(); ++j) {
    const PackedWeight& w = jobs[j].weight;
    const auto step = uint32_t(std::max<uint64_t>(1, (1u << 20) / (info(w.format).row_bytes(w.k) * w.nr)));
    for (uint32_t p = 0; p < w.panels(); p += step) {
      runs.push_back({j, p, std::min(p + step, w.panels())});
      most = std::max(most, uint64_t(std::min(step, w.panels() - p)) * w.nr * info(w.format).row_bytes(w.k));
    }
  }
  std::mutex mutex;
  Status failed;
  team_->run([&](uint32_t) {
    auto buffer = HugeBuffer::allocate(most);
    if (!buffer.ok()) {
      const std::lock_guard lock(mutex);
      failed = buffer.take_status();
      return;
    }
    for (size_t i = next++; i < runs.size(); i = next++) {
      const Run& run = runs[i];
      const Job& job = jobs[run.job];
      const PackedWeight& w = job.weight;
      const uint64_t row_bytes = info(w.format).row_bytes(w.k);
      const uint32_t first = run.first * w.nr, last = std::min(run.last * w.nr, w.n);
      const std::span<uint8_t> rows(buffer->data(), (last - first) * row_bytes);
      Status status = file.read(*job.tensor, (job.first_row + first) * row_bytes, rows);
      if (!status.ok()) {
        const std::lock_guard lock(mutex);
        failed = std::move(status);
        return;
      }
      for (uint32_t p = run.first; p < run.last; ++p) {
        const uint32_t row = p * w.nr;
        pack_panel(w.format, w.nr, w.k, std::min(w.nr, w.n - row), rows.data() + (row - first) * row_bytes,
                   job.to + p * w.stride());
      }
    }
  });
  return_free_memory();  // the buffers that rows were read through
  return failed;
}

WeightTable Model::weights() const {
  return {[this](std::string_view name) {
            const auto at = matrices_.find(std::string(name));
            return at == matrices_.end() ? nullptr : &at->second;
          },
          [this](std::string_view name) {
            const auto at = vector_at_.find(std::string(name));
            return at == vector_at_.end() ? nullptr : at->second;
          }};
}

DeviceWeightTable Model::device_weights() const {
  return {[this](std::string_view name) { return on_device_->find(name); }, weights().vector};
}

uint64_t Model::bytes_per_token() const { return uint64_t(step_cost(graph_, {1, 1}, {}).weight_bytes); }

}  // namespace vibee
