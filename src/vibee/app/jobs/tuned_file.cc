// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/tuned_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "vibee/hw/device/probe.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

namespace fs = std::filesystem;

}  // namespace

Result<std::string> tuned_path(const TunedFor& what, std::string_view kind) {
  VIBEE_ASSIGN(const ModelCache cache, ModelCache::open());
  uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const char c : what.model) hash = (hash ^ uint8_t(c)) * 1099511628211ull;
  const std::string name = fs::path(what.model).filename().string();
  return (fs::path(cache.directory()) / "tuned" / fmt::format("{}-{:016x}.{}", name, hash, kind)).string();
}

Result<std::string> read_tuned(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error(Code::not_found, "{}: cannot be read", path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Status write_tuned(const std::string& path, const std::string& text) {
  std::error_code failed;
  fs::create_directories(fs::path(path).parent_path(), failed);
  if (failed) return error(Code::io, "{}: {}", fs::path(path).parent_path().string(), failed.message());
  return write_file(path, text);
}

Result<TunedFor> tuned_for(const std::string& model) {
  TunedFor out;
  VIBEE_ASSIGN(const std::string path, resolve_model(model));
  std::error_code failed;
  out.model = fs::canonical(path, failed).string();
  if (failed) return error(Code::io, "{}: {}", path, failed.message());
  if (fs::is_directory(out.model, failed)) {
    for (const fs::directory_entry& e : fs::directory_iterator(out.model, failed))
      if (e.is_regular_file(failed)) out.bytes += e.file_size(failed);
  } else {
    out.bytes = fs::file_size(out.model, failed);
  }
  if (failed) return error(Code::io, "{}: {}", path, failed.message());
  out.cpu = cpu_name();
  return out;
}

std::string tuned_text(const TuneReport& report) { return tune_json(report) + "\n"; }

Result<std::vector<Setting>> parse_tuned(std::string_view text, const std::string& name, const TunedFor& now) {
  const auto wrong = [&](std::string_view what) {
    return error(Code::invalid, "{}: {}; run `vibee tune {}` again", name, what, now.model);
  };
  const auto json = parse_json(text);
  if (!json.ok()) return wrong(json.status().message());
  const auto is = [](const JsonValue* v, JsonValue::Kind kind) { return v && v->is(kind); };
  const JsonValue *model = json->find("model"), *bytes = json->find("model_bytes"), *cpu = json->find("cpu");
  const JsonValue* chosen = json->find("chosen");
  if (!is(model, JsonValue::Kind::text) || !is(bytes, JsonValue::Kind::integer) || !is(cpu, JsonValue::Kind::text) ||
      !is(chosen, JsonValue::Kind::array))
    return wrong("is not what `vibee tune` writes");
  if (model->text != now.model || uint64_t(bytes->integer) != now.bytes)
    return wrong("is of another file of the model");
  if (cpu->text != now.cpu) return wrong(fmt::format("was measured on another machine ({})", cpu->text));
  std::vector<Setting> out;
  for (const JsonValue& item : chosen->items) {
    const JsonValue *option = item.find("option"), *value = item.find("value");
    if (!is(option, JsonValue::Kind::text) || !is(value, JsonValue::Kind::text))
      return wrong("is not what `vibee tune` writes");
    out.push_back({option->text, value->text});
  }
  return out;
}

Result<std::string> save_tuned(const TuneReport& report) {
  VIBEE_ASSIGN(const std::string path, tuned_path({report.model, report.model_bytes, report.cpu}, "json"));
  VIBEE_TRY(write_tuned(path, tuned_text(report)));
  return path;
}

Result<std::vector<Setting>> load_tuned(const std::string& model) {
  VIBEE_ASSIGN(const TunedFor now, tuned_for(model));
  VIBEE_ASSIGN(const std::string path, tuned_path(now, "json"));
  const auto text = read_tuned(path);
  if (!text.ok())
    return error(Code::not_found, "--tuned: nothing was tuned for {}; run `vibee tune {}` first", now.model, model);
  return parse_tuned(*text, path, now);
}

Status apply_tuned(LoadConfig* config) {
  VIBEE_ASSIGN(const std::vector<Setting> settings, load_tuned(config->model));
  return apply_defaults(settings, config);
}

}  // namespace vibee
