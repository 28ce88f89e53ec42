// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/certificate.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/digest.h"

namespace vibee {
namespace {

constexpr std::string_view kPrefix = "vibee.certificate.";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kSlice = 1 << 20;

std::string key(std::string_view name) { return std::string(kPrefix) + std::string(name); }

/// The fields of a quality that are numbers, by name.
struct Number {
  std::string_view name;
  double Certificate::Quality::*value;
};
constexpr Number kNumbers[] = {{"perplexity", &Certificate::Quality::perplexity},
                               {"perplexity_error", &Certificate::Quality::perplexity_error},
                               {"base_perplexity", &Certificate::Quality::base_perplexity},
                               {"kl", &Certificate::Quality::kl},
                               {"kl_error", &Certificate::Quality::kl_error},
                               {"top1", &Certificate::Quality::top1},
                               {"top1_low", &Certificate::Quality::top1_low},
                               {"top1_high", &Certificate::Quality::top1_high},
                               {"prompt_rate", &Certificate::Quality::prompt_rate},
                               {"generate_rate", &Certificate::Quality::generate_rate}};

Result<std::string> hash_of(const Checkpoint& file, const TensorInfo& t, const std::function<bool(uint64_t)>& step) {
  Digest digest;
  std::string head = fmt::format("{} {}", t.name, info(t.format).name);
  for (const uint64_t n : t.shape) head += fmt::format(" {}", n);
  digest.update(head + '\n');
  std::vector<uint8_t> slice;
  for (uint64_t at = 0; at < t.bytes; at += kSlice) {
    slice.resize(size_t(std::min(kSlice, t.bytes - at)));
    VIBEE_TRY(file.read(t, at, slice));
    digest.update(slice);
    if (!step(slice.size())) return error(Code::cancelled, "{}: stopped while it was read", quote(file.path(), 400));
  }
  return digest.finish();
}

}  // namespace

void Certificate::put(GgufMetadata* metadata) const {
  GgufMetadata& m = *metadata;
  m[key("version")] = gguf_u32(kVersion);
  m[key("recipe")] = gguf_text(recipe);
  m[key("pure")] = gguf_bool(pure);
  m[key("base")] = gguf_text(base);
  m[key("weights")] = gguf_text(weights);
  m[key("importance")] = gguf_text(importance);
  m[key("calibration")] = gguf_text(calibration);
  if (!solver.empty()) m[key("solver")] = gguf_text(solver);
  if (!edit.empty()) m[key("edit")] = gguf_text(edit);
  if (!quality) return;
  m[key("text")] = gguf_text(quality->text);
  m[key("context")] = gguf_u32(quality->context);
  m[key("windows")] = gguf_u32(quality->windows);
  m[key("machine")] = gguf_text(quality->machine);
  for (const Number& n : kNumbers) m[key(n.name)] = gguf_f64((*quality).*n.value);
}

Result<Certificate> Certificate::read(const Checkpoint& file) {
  if (!file.has(key("version")))
    return error(Code::not_found, "{}: has no certificate; `vibee quantize` writes one", quote(file.path(), 400));
  VIBEE_ASSIGN(const uint64_t version, file.get_u64(key("version")));
  if (version != kVersion)
    return error(Code::unsupported, "{}: its certificate is of version {}, this build reads {}",
                 quote(file.path(), 400), version, kVersion);
  Certificate c;
  VIBEE_ASSIGN(c.recipe, file.get_string(key("recipe")));
  VIBEE_ASSIGN(c.pure, file.get_bool(key("pure")));
  VIBEE_ASSIGN(c.base, file.get_string(key("base")));
  VIBEE_ASSIGN(c.weights, file.get_string(key("weights")));
  VIBEE_ASSIGN(c.importance, file.get_string(key("importance")));
  VIBEE_ASSIGN(c.calibration, file.get_string(key("calibration")));
  VIBEE_ASSIGN(c.solver, file.get_string_or(key("solver"), ""));
  VIBEE_ASSIGN(c.edit, file.get_string_or(key("edit"), ""));
  if (!file.has(key("text"))) return c;
  Quality q;
  VIBEE_ASSIGN(q.text, file.get_string(key("text")));
  VIBEE_ASSIGN(const uint64_t context, file.get_u64(key("context")));
  VIBEE_ASSIGN(const uint64_t windows, file.get_u64(key("windows")));
  if (context > UINT32_MAX || windows > UINT32_MAX)
    return error(Code::invalid, "{}: its certificate is of {} windows of {} tokens", quote(file.path(), 400), windows,
                 context);
  q.context = uint32_t(context), q.windows = uint32_t(windows);
  VIBEE_ASSIGN(q.machine, file.get_string(key("machine")));
  for (const Number& n : kNumbers) {
    VIBEE_ASSIGN(q.*n.value, file.get_f64(key(n.name)));
  }
  c.quality = std::move(q);
  return c;
}

void Certificate::drop(GgufMetadata* metadata) {
  std::erase_if(*metadata, [](const auto& entry) { return entry.first.starts_with(kPrefix); });
}

Result<std::string> content_hash(const Checkpoint& file, Team& team,
                                 const std::function<bool(uint64_t, uint64_t)>& progress) {
  std::vector<const TensorInfo*> tensors;
  uint64_t total = 0;
  for (const TensorInfo& t : file.tensors()) {
    tensors.push_back(&t);
    total += t.bytes;
  }
  std::vector<size_t> by_size(tensors.size());  // long ones first, so that no thread is left with one at the end
  for (size_t i = 0; i < by_size.size(); ++i) by_size[i] = i;
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return tensors[a]->bytes > tensors[b]->bytes; });
  std::vector<std::string> hashes(tensors.size());
  std::vector<Status> failed(team.size());
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> done{0};
  std::atomic<bool> stop{false};
  team.run([&](uint32_t tid) {
    const auto step = [&](uint64_t bytes) {
      const uint64_t so_far = done += bytes;
      if (tid == 0 && progress && !progress(so_far, total)) stop = true;
      return !stop;
    };
    for (size_t i; !stop && (i = next++) < by_size.size();) {
      auto hash = hash_of(file, *tensors[by_size[i]], step);
      if (!hash.ok()) {
        failed[tid] = hash.take_status();
        stop = true;
        return;
      }
      hashes[by_size[i]] = std::move(*hash);
    }
  });
  for (Status& status : failed) VIBEE_TRY(std::move(status));
  std::vector<size_t> by_name(tensors.size());
  for (size_t i = 0; i < by_name.size(); ++i) by_name[i] = i;
  std::sort(by_name.begin(), by_name.end(), [&](size_t a, size_t b) { return tensors[a]->name < tensors[b]->name; });
  Digest all;
  for (const size_t i : by_name) all.update(hashes[i]);
  return all.finish();
}

Interval wilson(double share, uint64_t n) {
  if (n == 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const double z2 = z * z / double(n), middle = share + z2 / 2,
               width = z * std::sqrt(share * (1 - share) / double(n) + z2 / (4 * double(n)));
  return {std::max(0.0, (middle - width) / (1 + z2)), std::min(1.0, (middle + width) / (1 + z2))};
}

}  // namespace vibee
