// SPDX-License-Identifier: Apache-2.0
// --kv-disk DIR,SIZE: keys and values that outlive the process (serve/kvcache/disk_tier.h).
#pragma once

#include <memory>
#include <string>

#include "vibee/model/session/session.h"
#include "vibee/model/weight/checkpoint.h"
#include "vibee/serve/kvcache/disk_tier.h"

namespace vibee {

/// "DIR,SIZE", SIZE in bytes or with K, M, G or T behind it.
struct KvDisk {
  std::string folder;
  uint64_t limit = 0;
};
Result<KvDisk> parse_kv_disk(const std::string& text);

/// Everything that makes the bytes of keys and values what they are, as text: SHA-256 of the weights and of what the
/// file says of the model, the form of the pages. Reads the whole file.
Result<std::string> kv_identity(const Checkpoint& file, const ModelConfig& config, const SessionOptions& session);

/// One line of what was loaded and stored, and of what was passed over.
std::string kv_disk_line(const DiskTierStats& stats);

}  // namespace vibee
