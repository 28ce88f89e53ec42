// SPDX-License-Identifier: Apache-2.0
// /v1/load_lora_adapter and /v1/unload_lora_adapter. Adapters are read on the thread beside that of HTTP, so that
// neither steps nor answers wait for a disk.
#include <algorithm>
#include <filesystem>

#include "vibee/app/server/api_server.h"

namespace vibee {
namespace {

/// The adapter below `root` that a client names; empty: it, or a file of it, lies elsewhere. Links are followed before
/// that is asked.
std::string below(const std::filesystem::path& root, const std::string& path) {
  std::error_code failed;
  const std::filesystem::path top = std::filesystem::canonical(root, failed);
  if (failed) return {};
  const auto resolve = [&](const std::filesystem::path& named) -> std::filesystem::path {
    const std::filesystem::path at = std::filesystem::canonical(named, failed);
    const auto [end, rest] = std::mismatch(top.begin(), top.end(), at.begin(), at.end());
    return !failed && end == top.end() && rest != at.end() ? at : std::filesystem::path();
  };
  const std::filesystem::path at = resolve(top / path);
  if (at.empty() || !std::filesystem::is_directory(at, failed)) return at.string();
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
    if (resolve(at / name).empty()) return {};
  return at.string();
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/';
  });
}

}  // namespace

void ApiServer::load_adapter(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("load_adapter", *body);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, Output::logits);
  if (!model) return;
  const std::string name = fields.text("lora_name"), path = fields.text("lora_path");
  const bool taken = models_->find(name) != nullptr;
  if (!is_name(name) || taken)
    fields.fail("lora_name", "'lora_name' must be letters, digits and -_./, and no model's name");
  LoraPool* pool = model->model().loras();
  if (config_.adapter_root.empty() || pool == nullptr)
    fields.fail("lora_path", "this server loads no adapters: serve with --adapter-root and --max-loras",
                "needs_restart");
  if (fields.failed) return refuse(call, *fields.failed);
  const std::string file = below(config_.adapter_root, path);
  if (file.empty())
    return refuse(call, {404, "adapter_not_found", "there is no such file below the folder of adapters", "lora_path"});
  const auto adapter = std::make_shared<Result<std::shared_ptr<const LoraAdapter>>>(
      error(Code::no_memory, "out of memory while an adapter was read"));
  aside(
      std::move(call), *model, 0, [adapter, pool, file] { *adapter = pool->load(file); },
      [this, adapter, name, file](Call mine, ServedModel& its) {
        if (!adapter->ok()) {
          ApiError e = api_error(adapter->status());
          e.param = "lora_path";
          return refuse(mine, e);
        }
        // Requests under way keep the adapter that had the name before.
        its.adapters[name] = {std::move(**adapter), std::time(nullptr)};
        PooledModel& pooled = *models_->find(its.id);
        pooled.keep_adapter(name, file);
        log(fmt::format("{}:{} was loaded from {}", its.id, name, file));
        answer(mine, adapter_json(pooled, name));
      });
}

void ApiServer::unload_adapter(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("unload_adapter", *body);
  const std::string name = fields.text("lora_name");
  const bool drain = fields.boolean("drain", false);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, Output::logits);
  if (!model) return;
  const auto at = model->adapters.find(name);
  if (at == model->adapters.end())
    return refuse(call, {404, "adapter_not_found", "there is no adapter of this name", "lora_name"});
  if (!drain && at->second.adapter.use_count() > 1)
    return refuse(call, {409, "adapter_in_use", "requests are under way with it; 'drain' lets them end", "lora_name"});
  model->adapters.erase(at);
  models_->find(model->id)->drop_adapter(name);
  log(fmt::format("{}:{} was unloaded", model->id, name));
  answer(call, "{\"status\": \"ok\"}");
}

}  // namespace vibee
