// SPDX-License-Identifier: Apache-2.0
// Model repositories of the Hugging Face Hub (or what HF_ENDPOINT names): what is in one at which commit, and which of
// its files a model needs. The answers are a stranger's: paths, sizes and hashes are checked before anything is done
// with them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/cache/manifest.h"

namespace vibee {

/// OWNER/NAME[@REVISION][:WANTED]; WANTED is a quantisation ("Q4_K_M") or a .gguf file of the repository.
struct HubName {
  std::string repo, revision = "main", wanted;
};
/// Nothing when `text` has another form.
Result<HubName> parse_hub_name(std::string_view text);

struct HubRepo {
  std::string commit;
  std::vector<ModelFile> files;
};

/// The answer of GET /api/models/REPO/revision/REVISION?blobs=true. `where` names it in errors.
Result<HubRepo> parse_hub_listing(std::string_view json, const std::string& where);

/// The files of one model: a .gguf file with all its parts, or what a directory of transformers is made of.
Result<std::vector<ModelFile>> choose_files(const HubRepo& repo, const HubName& name);

struct Hub {
  std::string endpoint, token;
  /// HF_ENDPOINT; HF_TOKEN, HUGGING_FACE_HUB_TOKEN or the file that `huggingface-cli login` writes.
  static Hub from_environment();
  std::string listing_url(const HubName& name) const;
  std::string file_url(const HubName& name, const std::string& commit, const std::string& path) const;
};

}  // namespace vibee
