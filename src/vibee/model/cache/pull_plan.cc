// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/pull_plan.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/hub.h"

namespace vibee {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMostListing = 16 << 20;

/// "model" of "dir/model.gguf".
std::string stem_of(std::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name;
}

}  // namespace

Result<PullPlan> plan_hub(const std::string& text, const Hub& hub, const std::string& scratch, const HttpOptions& http,
                          const std::function<bool()>& step) {
  VIBEE_ASSIGN(const HubName name, parse_hub_name(text));
  const std::string url = hub.listing_url(name);
  std::error_code none;
  fs::remove(scratch, none);
  Status fetched = fetch_http(
      {.url = url, .to = scratch, .token = hub.token, .most = kMostListing}, [&](uint64_t) { return !step || step(); },
      http);
  if (fetched.code() == Code::not_found)
    return error(Code::not_found, "{}: no such repository or revision at {}", quote(text, 200), hub.endpoint);
  VIBEE_TRY(std::move(fetched));
  std::ifstream in(scratch, std::ios::binary);
  const std::string json{std::istreambuf_iterator<char>(in), {}};
  in.close();
  fs::remove(scratch, none);
  VIBEE_ASSIGN(const HubRepo repo, parse_hub_listing(json, quote(url, 400)));
  VIBEE_ASSIGN(const std::vector<ModelFile> files, choose_files(repo, name));
  PullPlan plan;
  plan.name = text.starts_with("hf:") ? text.substr(3) : text;
  plan.source = hub.endpoint + "/" + name.repo;
  plan.revision = repo.commit;
  for (const ModelFile& file : files) {
    plan.files.push_back({.file = file, .url = hub.file_url(name, repo.commit, file.path), .token = hub.token});
  }
  return plan;
}

Result<PullPlan> plan_url(const std::string& url, const std::string& sha256) {
  const std::string path = url.substr(0, url.find_first_of("?#"));
  const std::string base = path.substr(path.rfind('/') + 1);
  if (!base.ends_with(".gguf") || !is_safe_path(base)) {
    return error(Code::invalid, "{}: not the address of a .gguf file; a repository is pulled as OWNER/NAME",
                 quote(url, 400));
  }
  PullPlan plan{stem_of(base), url, "", {}};
  plan.files.push_back({.file = {base, 0, sha256, ""}, .known = false, .url = url});
  return plan;
}

Result<PullPlan> plan_path(const std::string& path) {
  std::error_code why;
  const fs::path full = fs::canonical(path, why);
  if (why) return error(Code::not_found, "{}: {}", quote(path, 400), why.message());
  PullPlan plan{stem_of(full.string()), full.string(), "", {}};
  const auto add = [&](const fs::path& file) -> Status {
    std::error_code none;
    const std::string inside =
        fs::is_directory(full, none) ? file.lexically_relative(full).string() : file.filename().string();
    if (!is_safe_path(inside))
      return error(Code::invalid, "{}: a name with characters that the cache does not take", quote(file.string(), 400));
    plan.files.push_back({.file = {inside, fs::file_size(file, none), "", ""}, .known = false, .local = file.string()});
    return {};
  };
  if (!fs::is_directory(full, why)) {
    if (full.extension() != ".gguf")
      return error(Code::invalid, "{}: neither a .gguf file nor a directory with config.json", quote(path, 400));
    const std::string name = full.filename().string();
    const size_t part = name.rfind("-of-");
    const bool parts = part != std::string::npos && part >= 6 && name.size() == part + 14;
    if (!parts) {
      VIBEE_TRY(add(full));
      return plan;
    }
    const std::string first = name.substr(0, part - 5), last = name.substr(part);
    plan.name = first.substr(0, first.size() - 1);
    for (fs::directory_iterator it(full.parent_path(), why), end; !why && it != end; it.increment(why)) {
      const std::string other = it->path().filename().string();
      if (other.size() == name.size() && other.starts_with(first) && other.ends_with(last)) VIBEE_TRY(add(it->path()));
    }
  } else {
    if (!fs::exists(full / "config.json", why))
      return error(Code::invalid, "{}: neither a .gguf file nor a directory with config.json", quote(path, 400));
    HubRepo all;
    for (fs::recursive_directory_iterator it(full, why), end; !why && it != end; it.increment(why)) {
      if (it->is_regular_file(why)) all.files.push_back({it->path().lexically_relative(full).string()});
    }
    VIBEE_ASSIGN(const std::vector<ModelFile> files, choose_files(all, {path, "", ""}));
    for (const ModelFile& file : files) VIBEE_TRY(add(full / file.path));
  }
  std::sort(plan.files.begin(), plan.files.end(),
            [](const PullFile& a, const PullFile& b) { return a.file.path < b.file.path; });
  return plan;
}

}  // namespace vibee
