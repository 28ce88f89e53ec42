// SPDX-License-Identifier: Apache-2.0
// What stands where: DIR/NAME.gguf the models, DIR/partial/NAME/ the wheels of an unfinished pull, DIR/NAME.lock its
// lock.
#include "vibee/model/cache/cache.h"

#include <cstdlib>
#include <filesystem>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace fs = std::filesystem;

const std::vector<KnownModel>& known_models() {
  static const std::vector<KnownModel> models = {
#define VIBEE_PART(package, version, member, wheel, bytes, sha256) \
  ModelPart { package, version, member, wheel, bytes, sha256 }
#define VIBEE_MODEL(name, bytes, sha256, ...) KnownModel{name, bytes, sha256, {__VA_ARGS__}},
#include "vibee/model/cache/known_models.inc"
#undef VIBEE_MODEL
#undef VIBEE_PART
  };
  return models;
}

Result<ModelCache> ModelCache::open(CacheOptions options) {
  if (options.directory.empty()) {
    const char* xdg = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    if (xdg && xdg[0] == '/') {
      options.directory = fs::path(xdg) / "vibee";
    } else if (home && home[0] == '/') {
      options.directory = fs::path(home) / ".cache" / "vibee";
    } else {
      return error(Code::invalid,
                   "no place for the model cache: neither XDG_CACHE_HOME nor HOME is an absolute path; set one");
    }
  }
  return ModelCache(std::move(options));
}

std::string ModelCache::path_of(const KnownModel& model) const {
  return (fs::path(options_.directory) / (model.name + ".gguf")).string();
}
std::string ModelCache::partial_of(const KnownModel& model) const {
  return (fs::path(options_.directory) / "partial" / model.name).string();
}

std::string ModelCache::known_names() const {
  std::string names;
  for (const KnownModel& m : options_.known) names += fmt::format("{}{}", names.empty() ? "" : " ", m.name);
  return names;
}

Result<const KnownModel*> ModelCache::find(const std::string& name) const {
  for (const KnownModel& m : options_.known) {
    if (m.name == name) return &m;
  }
  return error(Code::not_found, "no known model {}; known: {}", quote(name), known_names());
}

CacheState ModelCache::state_of(const KnownModel& model) const {
  std::error_code none;
  const std::string path = path_of(model);
  if (fs::is_regular_file(path, none)) {
    const auto size = fs::file_size(path, none);
    return !none && size == model.bytes ? CacheState::present : CacheState::damaged;
  }
  if (fs::exists(path, none)) return CacheState::damaged;
  return fs::exists(partial_of(model), none) ? CacheState::partial : CacheState::absent;
}

std::vector<CachedModel> ModelCache::list() const {
  std::vector<CachedModel> out;
  for (const KnownModel& m : options_.known) out.push_back({m.name, path_of(m), m.bytes, state_of(m)});
  return out;
}

Result<std::string> ModelCache::resolve(const std::string& name_or_path) const {
  std::error_code none;
  if (fs::is_regular_file(name_or_path, none) || fs::exists(fs::path(name_or_path) / "config.json", none))
    return name_or_path;
  const Result<const KnownModel*> found = find(name_or_path);
  if (!found.ok()) {
    return error(Code::not_found,
                 "{} is neither a file, nor a directory with config.json, nor a known model; known: {}; `vibee pull "
                 "NAME` fetches one",
                 quote(name_or_path, 400), known_names());
  }
  const KnownModel& model = **found;
  switch (state_of(model)) {
    case CacheState::present: return path_of(model);
    case CacheState::damaged:
      return error(Code::corrupt, "{}: the cached model does not have its {} bytes; `vibee pull {}` replaces it",
                   quote(path_of(model), 400), model.bytes, model.name);
    case CacheState::partial:
      return error(Code::not_found, "model {} was pulled only in part; `vibee pull {}` goes on", quote(model.name),
                   model.name);
    case CacheState::absent: break;
  }
  return error(Code::not_found, "model {} is not here yet; `vibee pull {}` fetches it (known: {})", quote(model.name),
               model.name, known_names());
}

Result<std::string> resolve_model(const std::string& name_or_path) {
  VIBEE_ASSIGN(const ModelCache cache, ModelCache::open());
  return cache.resolve(name_or_path);
}

}  // namespace vibee
