// SPDX-License-Identifier: Apache-2.0
// vibee rm: takes a model out of the cache.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/model/cache/cache.h"

namespace vibee {

int verb_rm(int argc, char** argv) {
  std::string model, directory;
  Args args("rm", "Removes a model from the cache, with what an interrupted pull left of it.");
  args.add("MODEL", model, "a name from `vibee list`").required();
  args.add("--cache", directory, "cache folder; default ~/.cache/vibee");
  args.example("vibee rm gemma3-270m");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  CacheOptions options;
  options.directory = directory;
  auto cache = ModelCache::open(std::move(options));
  if (!cache.ok()) return fail("rm", cache.status());
  const Status status = cache->remove(model);
  if (!status.ok()) return fail("rm", status);
  std::puts(fmt::format("removed {}", model).c_str());
  return kExitOk;
}

}  // namespace vibee
