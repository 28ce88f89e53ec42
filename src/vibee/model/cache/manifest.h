// SPDX-License-Identifier: Apache-2.0
// What lies in the folder of a pulled model: which files, from where, with which hashes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

/// A file of a model. Large ones of the Hub are named by their SHA-256, the others by git: the SHA-1 of "blob SIZE\0"
/// and the bytes.
struct ModelFile {
  std::string path;  ///< inside the model's folder
  uint64_t bytes = 0;
  std::string sha256 = {}, git_sha1 = {};  ///< at least one, once the file is there
};

struct Manifest {
  std::string name;      ///< what users call the model
  std::string source;    ///< where it came from
  std::string revision;  ///< commit of a repository, else empty
  std::vector<ModelFile> files;

  uint64_t bytes() const;
  std::string json() const;
};

/// DIR/manifest.json; every field is checked.
Result<Manifest> read_manifest(const std::string& folder);

/// Size and hash of a file; one without a known hash gets its SHA-256. `step` as that of digest_file.
Status check_file(const std::string& path, ModelFile* file, const std::function<bool(uint64_t)>& step = {});

/// Whether a path of a stranger stays inside the folder it is put in: relative, no "..", plain characters.
bool is_safe_path(std::string_view path);

}  // namespace vibee
