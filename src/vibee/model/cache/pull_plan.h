// SPDX-License-Identifier: Apache-2.0
// What a pull is to bring: the files of a model and where each comes from, whatever the source (a repository, an
// address, a path). ModelCache carries a plan out.
#pragma once

#include <string>
#include <vector>

#include "vibee/model/cache/cache.h"
#include "vibee/model/cache/http.h"
#include "vibee/model/cache/manifest.h"

namespace vibee {

struct PullFile {
  ModelFile file;
  bool known = true;       ///< whether size and hash are known before it is here
  std::string url = {};    ///< fetched from there
  std::string token = {};  ///< with this
  std::string local = {};  ///< or linked or copied from this path
};

struct PullPlan {
  std::string name, source, revision;
  std::vector<PullFile> files;
};

/// OWNER/NAME[@REVISION][:WANTED]: asks the hub. The listing is put into `scratch`.
Result<PullPlan> plan_hub(const std::string& text, const Hub& hub, const std::string& scratch, const HttpOptions& http,
                          const std::function<bool()>& step);
/// A .gguf file at an http or https address.
Result<PullPlan> plan_url(const std::string& url, const std::string& sha256);
/// A .gguf file (with its parts) or a directory of transformers.
Result<PullPlan> plan_path(const std::string& path);

}  // namespace vibee
