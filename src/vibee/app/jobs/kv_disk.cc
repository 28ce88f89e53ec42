// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/kv_disk.h"

#include <algorithm>
#include <charconv>

#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/format.h"
#include "vibee/model/cache/digest.h"

namespace vibee {

Result<KvDisk> parse_kv_disk(const std::string& text) {
  const Status wrong = error(Code::invalid, "--kv-disk {}: expected DIR,SIZE, e.g. {}", quote(text), "pages,4G");
  const size_t comma = text.rfind(',');
  if (comma == std::string::npos || comma == 0) return wrong;
  uint64_t size = 0;
  const char *begin = text.data() + comma + 1, *end = text.data() + text.size();
  const auto [at, why] = std::from_chars(begin, end, size);
  if (why != std::errc() || end - at > 1) return wrong;
  const size_t unit = at == end ? 0 : std::string_view("KMGT").find(*at) + 1;
  if (at != end && unit == 0) return wrong;
  if (size > UINT64_MAX >> 10 * unit) return wrong;
  return KvDisk{text.substr(0, comma), size << 10 * unit};
}

Result<std::string> kv_identity(const Checkpoint& file, const ModelConfig& config, const SessionOptions& session) {
  Digest digest;
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with("tokenizer.")) continue;  // tokens are compared as ids
    digest.update(fmt::format("{} {} {} {} ", key, int(value.type), int(value.element), value.count));
    digest.update(value.bytes);
  }
  std::vector<uint8_t> chunk(1 << 20);
  for (const TensorInfo& t : file.tensors()) {
    digest.update(fmt::format("{} {} ", t.name, info(t.format).name));
    for (const uint64_t n : t.shape) digest.update(fmt::format("{} ", n));
    for (uint64_t at = 0; at < t.bytes; at += chunk.size()) {
      const auto part = std::span(chunk).first(size_t(std::min<uint64_t>(chunk.size(), t.bytes - at)));
      VIBEE_TRY(file.read(t, at, part));
      digest.update(part);
    }
  }
  const std::string rows = session.row_form == RowForm::floats ? "float"
                           : session.row_form == RowForm::bf16 ? "bf16 from 32"
                           : session.outlier_threshold > 0     ? fmt::format("int8 below {}", session.outlier_threshold)
                                                               : "int8";
  // The number goes up when the same model's keys and values get other bytes.
  return fmt::format("vibee pages 1, weights {}, {} layers of {} x {}, format {}, {} positions, {} rows",
                     digest.finish(), config.layers, config.kv_heads, config.head_dim, int(session.kv), kPageTokens,
                     rows);
}

std::string kv_disk_line(const DiskTierStats& s) {
  std::string line = fmt::format("disk: {} pages loaded, {} stored, {} there, {:.1f} MiB", s.loaded, s.written,
                                 s.log.records, double(s.log.bytes) / (1 << 20));
  if (s.skipped) line += fmt::format(", {} not stored", s.skipped);
  if (s.log.bad) line += fmt::format(", {} broken ones passed over", s.log.bad);
  for (size_t i = 0; i < s.log.others.size(); ++i)
    line += fmt::format("{} {}", i == 0 ? "; passed over pages of" : ",", s.log.others[i]);
  if (!s.error.ok()) line += "; " + s.error.message();
  return line;
}

}  // namespace vibee
