// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/model_pool.h"

#include <algorithm>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/memory/until_memory.h"

namespace vibee {
namespace {

/// What the config comes to with so much memory.
Status plan(PooledModel* m, uint64_t memory) {
  m->config.memory = memory;
  VIBEE_ASSIGN(const Resolved r, resolve(m->config));
  m->plan = r.plan;
  m->context = r.session.context;
  m->sequences = r.session.sequences;
  return check_memory(r, memory);
}

}  // namespace

std::string_view name(ModelState state) {
  constexpr std::string_view kNames[] = {"unloaded", "loading", "ready", "unloading"};
  return kNames[size_t(state)];
}

std::vector<std::string> PooledModel::adapter_names() const {
  std::vector<std::string> out;
  for (const std::string& text : config.loras) out.push_back(parse_lora(text).name);
  return out;
}

bool PooledModel::has_adapter(std::string_view name) const {
  return std::any_of(config.loras.begin(), config.loras.end(),
                     [&](const auto& t) { return parse_lora(t).name == name; });
}

void PooledModel::drop_adapter(std::string_view name) {
  std::erase_if(config.loras, [&](const std::string& text) { return parse_lora(text).name == name; });
}

void PooledModel::keep_adapter(const std::string& name, const std::string& path) {
  drop_adapter(name);
  config.loras.push_back(name + "=" + path + ":1");  // a path may end in what looks like a scale
}

Status share_memory(std::span<PooledModel> models, uint64_t budget) {
  std::vector<uint64_t> least;
  uint64_t behind = 0;  // the least of the models that are not planned yet
  for (PooledModel& m : models) {
    LoadConfig config = m.config;
    config.memory = 0;
    VIBEE_ASSIGN(const Resolved r, resolve(config));
    least.push_back(r.plan.total());
    behind += least.back();
  }
  const bool all_fit = behind <= budget;
  uint64_t left = budget;
  for (size_t i = 0; i < models.size(); ++i) {
    PooledModel& m = models[i];
    behind -= least[i];
    VIBEE_TRY(plan(&m, all_fit ? left - behind : budget));
    m.at_start &= m.plan.total() <= left;
    if (m.at_start || all_fit) left -= m.plan.total();
  }
  return {};
}

ModelPool::ModelPool(uint64_t budget, std::string chat_template, EngineWorker::Post post)
    : budget_(budget), chat_template_(std::move(chat_template)), post_(std::move(post)) {}

Status ModelPool::add(PooledModel model) {
  if (find(model.id))
    return error(Code::invalid, "two models are named '{}'; give one another name with NAME=MODEL", model.id);
  auto m = std::make_unique<PooledModel>(std::move(model));
  if (m->at_start) {
    VIBEE_ASSIGN(auto served, ServedModel::load(m->config, m->id, chat_template_, post_));
    ready(*m, std::move(served));
  } else if (m->config.output == Output::logits) {
    VIBEE_ASSIGN(const Resolved r, resolve(m->config));
    VIBEE_ASSIGN(const TokenizerSpec spec, read_tokenizer(r.file));
    m->chat = !chat_template_.empty() || !spec.chat_template.empty();
  }
  models_.push_back(std::move(m));
  return {};
}

PooledModel* ModelPool::find(std::string_view id) const {
  for (const auto& m : models_)
    if (m->id == id) return m.get();
  return nullptr;
}

/// Bytes of the models that have memory or are to get it. What is being freed counts as free: the thread frees it
/// before it loads another.
uint64_t ModelPool::taken() const {
  uint64_t sum = 0;
  for (const auto& m : models_)
    if (m->served || m->state == ModelState::loading) sum += m->plan.total();
  return sum;
}

Status ModelPool::make_room(const PooledModel& model) {
  std::vector<PooledModel*> idle;
  uint64_t kept = taken();
  std::string users;
  for (const auto& m : models_) {
    if (m->state == ModelState::ready && m->served->uses == 0) {
      idle.push_back(m.get());
      kept -= m->plan.total();
    } else if (m->served || m->state == ModelState::loading) {
      users += (users.empty() ? "" : ", ") + m->id;
    }
  }
  if (kept + model.plan.total() > budget_)
    return error(Code::no_memory, "{} needs {} MiB; of the {} MiB for all models {} are in use by {}; try again later",
                 model.id, model.plan.total() >> 20, budget_ >> 20, kept >> 20, users);
  std::sort(idle.begin(), idle.end(), [](auto* a, auto* b) { return a->last_use < b->last_use; });
  for (PooledModel* m : idle) {
    if (taken() + model.plan.total() <= budget_) break;
    retire(*m);
  }
  return {};
}

void ModelPool::load(PooledModel& model, Then then) {
  if (model.state == ModelState::ready) return then({});
  if (model.state == ModelState::unloaded) {
    background_.add([this, m = &model] {
      auto loaded = std::make_shared<Result<std::unique_ptr<ServedModel>>>(
          error(Code::no_memory, "out of memory while {} was loaded", m->id));
      try {
        *loaded = ServedModel::load(m->config, m->id, chat_template_, post_);
      } catch (const std::bad_alloc&) {
      }
      until_memory([&] {
        post_([this, m, loaded] {
          if (loaded->ok()) {
            ready(*m, std::move(**loaded));
          } else {
            m->state = ModelState::unloaded;
            m->failure = loaded->status().message();
          }
          settle(*m, loaded->status());
        });
      });
    });
    model.state = ModelState::loading;
  }
  model.waiting.push_back(std::move(then));
}

void ModelPool::unload(PooledModel& model, Then then) {
  if (model.state == ModelState::unloaded) return then({});
  model.waiting.push_back(std::move(then));
  if (model.state != ModelState::ready) return;
  model.state = ModelState::unloading;
  if (model.served->uses == 0) retire(model);
}

void ModelPool::begin_use(ServedModel& model, uint32_t count) {
  model.uses += count;
  find(model.id)->last_use = ++clock_;
}

void ModelPool::end_use(ServedModel& model, uint32_t count) {
  VIBEE_CHECK(model.uses >= count, "{}: {} of {} uses end", model.id, count, model.uses);
  model.uses -= count;
  PooledModel& m = *find(model.id);
  if (model.uses == 0 && m.state == ModelState::unloading) retire(m);
}

void ModelPool::begin_look(ServedModel& model) {
  ++model.uses;
  ++model.looks;
}

void ModelPool::end_look(ServedModel& model) {
  --model.looks;
  end_use(model);
}

/// Frees a model that nobody uses, on the thread for that: its worker may be in the middle of a step.
void ModelPool::retire(PooledModel& model) {
  model.state = ModelState::unloading;
  std::shared_ptr<std::unique_ptr<ServedModel>> owned;
  until_memory([&] { owned = std::make_shared<std::unique_ptr<ServedModel>>(); });
  *owned = std::move(model.served);
  until_memory([&] {
    background_.add([this, m = &model, owned] {
      owned->reset();
      return_free_memory();
      until_memory([&] {
        post_([this, m] {
          m->state = ModelState::unloaded;
          settle(*m, {});
        });
      });
    });
  });
}

void ModelPool::ready(PooledModel& model, std::unique_ptr<ServedModel> served) {
  model.served = std::move(served);
  model.state = ModelState::ready;
  model.failure.clear();
  model.chat = model.served->chat_template.has_value();
  model.fingerprint = model.served->fingerprint;
  model.last_use = ++clock_;
  // Measured once, while the others were quiet at the best: a model that comes back keeps its times.
  const auto& time = model.served->worker->loaded().step_time;
  if (time && !model.config.step_time) model.config.step_time = std::make_shared<StepTime>(*time);
}

void ModelPool::settle(PooledModel& model, const Status& status) {
  const auto waiting = std::exchange(model.waiting, {});
  for (const Then& then : waiting) {
    try {
      then(status);
    } catch (const std::bad_alloc&) {  // its exchange ends with it; the others are told
    }
  }
}

}  // namespace vibee
