// SPDX-License-Identifier: Apache-2.0
// The writing half of ModelCache: the choice of source, and how the files of a plan come into the cache. They are
// gathered in DIR/partial/NAME/, checked, and change places with DIR/pulled/NAME/ in one step.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vibee/model/cache/cache_folder.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/cache/file_lock.h"
#include "vibee/model/cache/pull_plan.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace fs = std::filesystem;
namespace {

/// Whether two files surely have the same bytes.
bool same(const ModelFile& a, const ModelFile& b) {
  return a.bytes == b.bytes &&
         ((!a.sha256.empty() && a.sha256 == b.sha256) || (!a.git_sha1.empty() && a.git_sha1 == b.git_sha1));
}

Status sync_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool good = fd >= 0 && ::fsync(fd) == 0;
  const int why = errno;
  if (fd >= 0) ::close(fd);
  if (good) return {};
  return error(Code::io, "{}: cannot be written: {}", quote(path, 400), std::strerror(why));
}

Status write_manifest(const Manifest& manifest, const std::string& folder) {
  const std::string json = manifest.json();
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(folder + "/manifest.tmp"));
  VIBEE_TRY(file.append({reinterpret_cast<const uint8_t*>(json.data()), json.size()}));
  return file.commit(folder + "/manifest.json");
}

/// A hard link where the file system allows one, else a copy; the digest grows with what is copied.
Status bring_local(const PullFile& from, const std::string& to, const std::function<bool(uint64_t)>& step) {
  std::error_code why;
  fs::remove(to, why);
  fs::create_hard_link(from.local, to, why);
  if (!why) return {};
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(to + ".tmp"));
  const int fd = ::open(from.local.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return error(Code::io, "{}: cannot be opened: {}", quote(from.local, 400), std::strerror(errno));
  std::vector<uint8_t> chunk(1 << 20);
  Status status;
  for (;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0) status = error(Code::io, "{}: cannot be read: {}", quote(from.local, 400), std::strerror(errno));
    if (n <= 0) break;
    status = file.append(std::span(chunk).first(size_t(n)));
    if (status.ok() && step && !step(file.size())) status = error(Code::cancelled, "cancelled");
    if (!status.ok()) break;
  }
  ::close(fd);
  VIBEE_TRY(std::move(status));
  return file.commit(to);
}

bool is_model_name(std::string_view name) {
  return !name.empty() && name.size() <= 96 && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) ||
                  std::string_view("-_.+").find(c) != std::string_view::npos;
         });
}

}  // namespace

Status publish(const std::string& fresh, const std::string& place) {
  std::error_code why;
  fs::create_directories(fs::path(place).parent_path(), why);
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(fresh, why);  // the old one
    return {};
  }
  if (errno != ENOENT) fs::remove_all(place, why);  // a file system that cannot exchange
  fs::rename(fresh, place, why);
  if (why) return error(Code::io, "{}: cannot be put in its place: {}", quote(place, 400), why.message());
  return {};
}

Status ModelCache::pull_files(PullPlan plan, const PullProgress& progress) const {
  const std::string place = folder_of(plan.name), partial = partial_folder_of(plan.name);
  uint64_t total = 0, need = 0;
  for (const PullFile& f : plan.files) total += f.file.bytes;
  VIBEE_TRY(make_directory(partial));

  // What an unfinished pull or an earlier commit has already.
  std::error_code none;
  const Result<Manifest> old = manifest_of(plan.name);
  for (const PullFile& f : plan.files) {
    const auto there = fs::file_size(partial + "/" + f.file.path, none);
    need += f.file.bytes - std::min<uint64_t>(f.file.bytes, none ? 0 : there);
  }
  if (!old.ok()) VIBEE_TRY(check_space(directory(), plan.name, need));

  Manifest manifest{plan.name, plan.source, plan.revision, {}};
  uint64_t before = 0;
  for (PullFile& f : plan.files) {
    const std::string to = partial + "/" + f.file.path;
    VIBEE_TRY(make_directory(fs::path(to).parent_path().string()));
    const auto step = [&](std::string_view what) {
      return [&, stage = fmt::format("{} {}", what, f.file.path)](uint64_t done) {
        return tell(progress, stage, before + done, total);
      };
    };
    if (old.ok() && f.known) {
      for (const ModelFile& have : old->files) {
        ModelFile checked = have;
        if (!same(have, f.file) || !check_file(place + "/" + have.path, &checked, step("checking")).ok()) continue;
        fs::remove(to, none);
        fs::create_hard_link(place + "/" + have.path, to, none);
      }
    }
    for (int round = 0;; ++round) {
      const auto there = fs::file_size(to, none);
      const bool whole = !none && f.known && there == f.file.bytes;
      if (!whole) {
        if (!none && f.known && there > f.file.bytes) fs::remove(to, none);
        if (!f.local.empty()) {
          VIBEE_TRY(bring_local(f, to, step("copying")));
          f.file.bytes = fs::file_size(to, none);
        } else {
          VIBEE_TRY(fetch_http(
              {.url = f.url, .to = to, .token = f.token, .most = f.known ? f.file.bytes : ~0ull, .unchanging = f.known},
              step("downloading"), options_.http));
          if (!f.known) f.file.bytes = fs::file_size(to, none);
        }
      }
      Status sound = check_file(to, &f.file, step("checking"));
      if (sound.ok()) break;
      if (sound.code() == Code::cancelled) return sound;
      fs::remove(to, none);
      fs::remove(to + ".etag", none);
      if (round > 0 || !f.local.empty())
        return sound;  // once more from the beginning, in case the first half was damaged
    }
    fs::remove(to + ".etag", none);
    VIBEE_TRY(sync_file(to));
    before += f.file.bytes;
    manifest.files.push_back(f.file);
  }
  VIBEE_TRY(write_manifest(manifest, partial));
  return publish(partial, place);
}

Result<std::string> ModelCache::pull(const std::string& what, const PullProgress& progress,
                                     const PullOptions& options) const {
  const Result<const KnownModel*> known = find(what);
  const bool address = what.starts_with("http://") || what.starts_with("https://");
  std::error_code none;
  const bool path = !known.ok() && !address && fs::exists(what, none);
  if (known.ok() && !options.name.empty()) return error(Code::invalid, "{}: a known model keeps its name", what);
  if (!options.sha256.empty() && !address)
    return error(Code::invalid, "--sha256 is for a file at an address; {} is checked by hashes of its own",
                 quote(what, 200));
  if (options.sha256.size() != 0 &&
      (options.sha256.size() != 64 || options.sha256.find_first_not_of("0123456789abcdef") != std::string::npos))
    return error(Code::invalid, "--sha256 {}: not 64 hexadecimal digits in lower case", quote(options.sha256));
  if (!options.name.empty() && (!is_model_name(options.name) || find(options.name).ok()))
    return error(Code::invalid, "--name {}: use letters, digits and -_.+, at most 96, and no known model's name",
                 quote(options.name));
  if (!known.ok() && !address && !path && !parse_hub_name(what).ok())
    return error(Code::not_found, "no known model {}; known: {}; or write OWNER/NAME, an https address or a path",
                 quote(what, 200), known_names());

  VIBEE_TRY(make_directory(directory()));
  PullPlan plan;
  if (address) {
    VIBEE_ASSIGN(plan, plan_url(what, options.sha256));
  } else if (path) {
    VIBEE_ASSIGN(plan, plan_path(what));
  } else if (!known.ok()) {
    VIBEE_TRY(make_directory(directory() + "/partial"));
    const std::string scratch = fmt::format("{}/partial/listing.{}", directory(), ::getpid());
    auto planned = plan_hub(what, options_.hub, scratch, options_.http,
                            [&] { return tell(progress, "asking " + options_.hub.endpoint, 0, 0); });
    for (const char* ending : {"", ".etag"}) fs::remove(scratch + ending, none);
    if (!planned.ok()) return planned.take_status();
    plan = std::move(*planned);
  }
  const std::string name = known.ok() ? (*known)->name : options.name.empty() ? plan.name : options.name;
  if (!known.ok() && find(name).ok())
    return error(Code::invalid, "{} is the name of a known model; choose another with --name", quote(name));
  plan.name = name;
  const std::string lock_path = known.ok() ? directory() + "/" + name + ".lock" : partial_folder_of(name) + ".lock";
  VIBEE_TRY(make_directory(fs::path(lock_path).parent_path().string()));
  VIBEE_ASSIGN(const FileLock lock,
               FileLock::take(lock_path, [&] { return tell(progress, "waiting for another pull", 0, 0); }));
  VIBEE_TRY(known.ok() ? pull_known(**known, progress) : pull_files(std::move(plan), progress));
  return name;
}

Status ModelCache::verify(const std::string& name, const PullProgress& progress) const {
  VIBEE_TRY(resolve(name).take_status());
  if (const auto known = find(name); known.ok()) return check_hash(**known, progress);
  VIBEE_ASSIGN(Manifest manifest, manifest_of(name));
  uint64_t before = 0;
  for (ModelFile& file : manifest.files) {
    VIBEE_TRY(check_file(folder_of(name) + "/" + file.path, &file,
                         [&](uint64_t done) { return tell(progress, "checking", before + done, manifest.bytes()); }));
    before += file.bytes;
  }
  return {};
}

Status ModelCache::remove(const std::string& name) const {
  const auto known = find(name);
  std::error_code none;
  const bool pulled =
      !known.ok() && !name.empty() && (fs::exists(folder_of(name), none) || fs::exists(partial_folder_of(name), none));
  if (!known.ok() && !pulled)
    return error(Code::not_found, "no model {} in the cache; `vibee list` shows them", quote(name, 200));
  if (known.ok() && state_of(**known) == CacheState::absent)
    return error(Code::not_found, "model {} is not in the cache", quote(name));
  const std::string lock_path = known.ok() ? directory() + "/" + name + ".lock" : partial_folder_of(name) + ".lock";
  VIBEE_TRY(make_directory(fs::path(lock_path).parent_path().string()));
  VIBEE_ASSIGN(const FileLock lock, FileLock::take(lock_path, {}));
  const std::vector<std::string> paths = known.ok() ? std::vector{path_of(**known), partial_of(**known)}
                                                    : std::vector{folder_of(name), partial_folder_of(name)};
  for (const std::string& path : paths) {
    std::error_code why;
    fs::remove_all(path, why);
    if (why) return error(Code::io, "{}: cannot be removed: {}", quote(path, 400), why.message());
  }
  return {};
}

}  // namespace vibee
