// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/bench_process.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "vibee/model/cache/run_process.h"
#include "vibee/model/weight/json.h"

namespace vibee {

Result<BenchFigures> read_bench_report(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto json = parse_json(text);
  const auto get = [&](const char* key) {
    const JsonValue* v = json.ok() ? json->find(key) : nullptr;
    return v && v->is_number() ? v->number : -1.0;
  };
  const BenchFigures f{get("prompt_tokens_per_s"), get("generate_tokens_per_s"), get("batch_tokens_per_s"),
                       get("first_token_s"), get("peak_resident_bytes")};
  if (!(f.prompt > 0 && f.generate > 0))
    return error(Code::corrupt, "{}: is not a report of `vibee bench --json-out`", path);
  return f;
}

Result<BenchFigures> bench_process(const std::string& binary, std::vector<std::string> arguments,
                                   const std::function<bool()>& go_on) {
  const std::string out =
      (std::filesystem::temp_directory_path() / fmt::format("vibee-bench-{}.json", ::getpid())).string();
  arguments.insert(arguments.begin(), {binary, "bench"});
  arguments.insert(arguments.end(), {"--no-probe", "--json-out", out});
  VIBEE_ASSIGN(const ProcessEnd end, run_process(arguments, {}, go_on));
  if (end.exit_code != 0) return error(Code::io, "{} bench ended with {}: {}", binary, end.exit_code, end.errors);
  auto figures = read_bench_report(out);
  ::unlink(out.c_str());
  return figures;
}

Result<std::string> own_binary() {
  std::error_code failed;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (failed) return error(Code::io, "cannot find this binary through /proc/self/exe");
  return self.string();
}

}  // namespace vibee
