// SPDX-License-Identifier: Apache-2.0
// What stands where: DIR/NAME.gguf or DIR/NAME/ the known models, DIR/pulled/NAME/ the others (with a manifest.json),
// DIR/partial/NAME/ what an unfinished pull has so far, DIR/NAME.lock its lock. NAME is escaped where it is a folder.
#include "vibee/model/cache/cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/builtin_model.h"

namespace vibee {
namespace fs = std::filesystem;

const std::vector<KnownModel>& known_models() {
  static const std::vector<KnownModel> models = {
#define VIBEE_PART(package, version, member, wheel, bytes, sha256) \
  ModelPart { package, version, member, wheel, bytes, sha256 }
#define VIBEE_FILE(file, package, version, member, wheel, bytes, sha256) \
  ModelPart { package, version, member, wheel, bytes, sha256, file }
#define VIBEE_MODEL(name, bytes, sha256, ...) KnownModel{name, bytes, sha256, {__VA_ARGS__}},
#include "vibee/model/cache/known_models.inc"
#undef VIBEE_MODEL
#undef VIBEE_FILE
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
  return (fs::path(options_.directory) / (model.name + (model.is_directory() ? "" : ".gguf"))).string();
}
std::string ModelCache::partial_of(const KnownModel& model) const {
  return (fs::path(options_.directory) / "partial" / model.name).string();
}

namespace {

std::string escape(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) || std::string_view("-_.+@").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out.starts_with('.') ? "%2E" + out.substr(1) : out;
}

}  // namespace

std::string ModelCache::folder_of(const std::string& name) const {
  return (fs::path(options_.directory) / "pulled" / escape(name)).string();
}
std::string ModelCache::partial_folder_of(const std::string& name) const {
  return (fs::path(options_.directory) / "partial" / escape(name)).string();
}

Result<Manifest> ModelCache::manifest_of(const std::string& name) const {
  const std::string folder = folder_of(name);
  VIBEE_ASSIGN(Manifest manifest, read_manifest(folder));
  if (manifest.name != name)
    return error(Code::corrupt, "{}: is the folder of {}, its manifest says {}", quote(folder, 400), quote(name),
                 quote(manifest.name));
  for (const ModelFile& file : manifest.files) {
    std::error_code none;
    const auto size = fs::file_size(fs::path(folder) / file.path, none);
    if (none || size != file.bytes)
      return error(Code::corrupt, "{}: of the cached model {} does not have its {} bytes; pull it again to replace it",
                   quote(folder, 400), quote(file.path), file.bytes);
  }
  return manifest;
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
  if (model.is_directory() && fs::is_directory(path, none)) {
    uint64_t sum = 0;
    for (const ModelPart& part : model.parts) {
      const auto size = fs::file_size(fs::path(path) / part.file, none);
      if (none) return CacheState::damaged;
      sum += size;
    }
    return sum == model.bytes ? CacheState::present : CacheState::damaged;
  }
  if (!model.is_directory() && fs::is_regular_file(path, none)) {
    const auto size = fs::file_size(path, none);
    return !none && size == model.bytes ? CacheState::present : CacheState::damaged;
  }
  if (fs::exists(path, none)) return CacheState::damaged;
  return fs::exists(partial_of(model), none) ? CacheState::partial : CacheState::absent;
}

std::vector<CachedModel> ModelCache::list() const {
  std::vector<CachedModel> out = {
      {std::string(kBuiltinModel), std::string(kBuiltinPath), builtin_model()->size(), CacheState::present}};
  for (const KnownModel& m : options_.known) out.push_back({m.name, path_of(m), m.bytes, state_of(m)});
  const size_t known = out.size();
  std::error_code why;
  for (fs::directory_iterator it(fs::path(options_.directory) / "pulled", why), end; !why && it != end;
       it.increment(why)) {
    const Result<Manifest> manifest = read_manifest(it->path().string());
    if (!manifest.ok()) {
      out.push_back({it->path().filename().string(), it->path().string(), 0, CacheState::damaged});
      continue;
    }
    const bool whole = manifest_of(manifest->name).ok();
    const auto path = whole ? resolve(manifest->name) : Result<std::string>(it->path().string());
    out.push_back({manifest->name, path.ok() ? *path : it->path().string(), manifest->bytes(),
                   whole ? CacheState::present : CacheState::damaged});
  }
  std::sort(out.begin() + ptrdiff_t(known), out.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return out;
}

Result<std::string> ModelCache::resolve(const std::string& name_or_path) const {
  std::error_code none;
  if (fs::is_regular_file(name_or_path, none) || fs::exists(fs::path(name_or_path) / "config.json", none))
    return name_or_path;
  if (name_or_path == kBuiltinModel || name_or_path == kBuiltinPath) return std::string(kBuiltinPath);
  const Result<const KnownModel*> found = find(name_or_path);
  if (!found.ok()) {
    const std::string name = name_or_path.starts_with("hf:") ? name_or_path.substr(3) : name_or_path;
    if (const std::string folder = folder_of(name); !name.empty() && fs::exists(folder, none)) {
      VIBEE_ASSIGN(const Manifest manifest, manifest_of(name));
      const std::string& first = manifest.files[0].path;
      return first.ends_with(".gguf") ? folder + "/" + first : folder;
    }
    const bool partial = !name.empty() && fs::exists(partial_folder_of(name), none);
    if (partial || parse_hub_name(name).ok()) {
      return error(Code::not_found, "model {} is {}; `vibee pull {}` {}", quote(name_or_path),
                   partial ? "pulled only in part" : "neither a path nor in the cache", name,
                   partial ? "goes on" : "fetches it");
    }
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
