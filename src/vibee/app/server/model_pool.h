// SPDX-License-Identifier: Apache-2.0
// The models of a server under one budget of memory: which are loaded, which are on their way, and which goes when
// another needs its place. Everything runs on the server's thread but loading and freeing, which have a thread of their
// own, so no model's steps wait for another's weights.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vibee/app/server/served_model.h"
#include "vibee/base/thread/background.h"

namespace vibee {

enum class ModelState : uint8_t { unloaded, loading, ready, unloading };
std::string_view name(ModelState state);

/// A model that a server may load, and what is known of it without its weights.
struct PooledModel {
  std::string id;
  LoadConfig config;     ///< `memory` is its share of the budget, `output` what it was made to give
  MemoryPlan plan;       ///< of that config
  bool at_start = true;  ///< whether it is loaded before the first request
  uint32_t context = 0, sequences = 0;
  bool chat = false;        ///< has a chat template
  std::string fingerprint;  ///< empty until it was loaded once

  /// Those of `config`, also of ones that were loaded later: they come with the model when it is loaded again.
  std::vector<std::string> adapter_names() const;
  bool has_adapter(std::string_view name) const;
  /// Adds one to `config`, in the place of one of its name.
  void keep_adapter(const std::string& name, const std::string& path);
  void drop_adapter(std::string_view name);

  ModelState state = ModelState::unloaded;
  std::unique_ptr<ServedModel> served;                      ///< null unless it can be used
  std::string failure;                                      ///< why its last load failed; empty: it did not
  uint64_t last_use = 0;                                    ///< larger: later
  std::vector<std::function<void(const Status&)>> waiting;  ///< for the end of loading or unloading
};

/// Divides `budget` bytes among models in their order: each takes what it asks for as long as those behind it get the
/// least that they can run with. Where even that is too much, each may take the whole, the first that fit are loaded at
/// the start, and the others take their places when they are asked for. Code::no_memory when one fits not even alone.
Status share_memory(std::span<PooledModel> models, uint64_t budget);

class ModelPool {
 public:
  /// `post` reaches the server's thread. `chat_template` stands in place of the models' own; empty: their own. At its
  /// end all models end; who waits is forgotten.
  ModelPool(uint64_t budget, std::string chat_template, EngineWorker::Post post);

  /// Adds a model that share_memory has planned, and loads it here and now if it is to be there from the start.
  Status add(PooledModel model);
  std::span<const std::unique_ptr<PooledModel>> models() const { return models_; }
  PooledModel* find(std::string_view id) const;
  uint64_t budget() const { return budget_; }

  /// Called once what was begun has ended, with an error where it failed. The model may be in any state by then: look
  /// again.
  using Then = std::function<void(const Status&)>;
  /// Unloads the least recently used models that nobody uses, as many as this one needs. Code::no_memory, with sizes,
  /// when those in use leave no room; nothing has happened then.
  Status make_room(const PooledModel& model);
  /// Begins to load a model that is not there and has room; waits for what is under way otherwise.
  void load(PooledModel& model, Then then);
  /// Gives back a model's memory, once those who use it have ended.
  void unload(PooledModel& model, Then then);

  /// Somebody needs the model, or no longer: it is not unloaded in between.
  void begin_use(ServedModel& model, uint32_t count = 1);
  void end_use(ServedModel& model, uint32_t count = 1);
  /// The same for what asks the engine how it is: that does not make the model one that is used.
  void begin_look(ServedModel& model);
  void end_look(ServedModel& model);

 private:
  uint64_t taken() const;
  void retire(PooledModel& model);
  void ready(PooledModel& model, std::unique_ptr<ServedModel> served);
  void settle(PooledModel& model, const Status& status);

  const uint64_t budget_;
  const std::string chat_template_;
  const EngineWorker::Post post_;
  std::vector<std::unique_ptr<PooledModel>> models_;
  uint64_t clock_ = 0;     ///< counts uses
  Background background_;  ///< loads and frees; the last member, so that it ends first
};

}  // namespace vibee
