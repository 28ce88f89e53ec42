// SPDX-License-Identifier: Apache-2.0
// vibee list: what the cache has.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/base/text/json_object.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

std::string_view name(CacheState state) {
  switch (state) {
    case CacheState::absent: return "absent";
    case CacheState::partial: return "partial";
    case CacheState::present: return "present";
    case CacheState::damaged: return "damaged";
  }
  return "?";
}

}  // namespace

int verb_list(int argc, char** argv) {
  std::string directory;
  bool json = false;
  Args args("list", "Known models and what the cache has of them.");
  args.add("--cache", directory, "cache folder; default ~/.cache/vibee");
  args.add("--json", json, "print an array of objects");
  args.example("vibee list --json");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  CacheOptions options;
  options.directory = directory;
  auto cache = ModelCache::open(std::move(options));
  if (!cache.ok()) return fail("list", cache.status());
  std::vector<std::string> items;
  for (const CachedModel& m : cache->list()) {
    items.push_back(JsonObject()
                        .text("name", m.name)
                        .text("state", name(m.state))
                        .integer("bytes", m.bytes)
                        .text("path", m.path)
                        .str());
    if (!json)
      std::puts(
          fmt::format("{:<16} {:>8.1f} MB  {:<8} {}", m.name, double(m.bytes) / 1e6, name(m.state), m.path).c_str());
  }
  if (json) std::puts(json_array(items).c_str());
  return kExitOk;
}

}  // namespace vibee
