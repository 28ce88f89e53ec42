// SPDX-License-Identifier: Apache-2.0
// The model that checks and benches of serving run on: the user's, or one made for the occasion.
#pragma once

#include <memory>
#include <optional>

#include "vibee/core/technique/context.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/serve/batch/trial.h"

namespace vibee {

class TrialModel {
 public:
  /// `wide`: large enough that a step's time is that of its kernels.
  static Result<TrialModel> make(const RunSettings& settings, bool wide) {
    TrialModel t;
    std::string path = settings.model;
    if (path.empty()) {
      TinyModel m;
      m.vocab = 320;
      m.tokenizer = true;
      if (wide) {
        m.format = Format::q8_0;
        m.dim = m.ff = 512;
        m.layers = 6;
        m.heads = 8;
        m.kv_heads = 4;
        m.head_dim = 64;
      }
      t.file_ = std::make_unique<TinyModelFile>(m);
      path = t.file_->path();
    }
    VIBEE_ASSIGN(t.model_, Model::load(path, {settings.threads, settings.isa, {}, true}));
    return t;
  }
  const Model& model() const { return *model_; }
  Result<std::unique_ptr<Session>> session(const SessionOptions& options) const {
    return Session::create(*model_, options);
  }
  /// Random tokens of text.
  std::vector<int32_t> prompt(uint32_t n, uint64_t stream) const {
    RandomStream random(stream, Purpose::workload);
    std::vector<int32_t> out(n);
    for (int32_t& id : out) id = int32_t(3 + random.below(model_->config().vocab - 3));
    return out;
  }

 private:
  std::unique_ptr<TinyModelFile> file_;
  std::unique_ptr<Model> model_;
};

}  // namespace vibee
