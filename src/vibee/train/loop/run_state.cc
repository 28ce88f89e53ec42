// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/run_state.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "vibee/base/hash/siphash.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {
namespace {

static_assert(std::endian::native == std::endian::little);
constexpr char kMagic[8] = {'V', 'I', 'B', 'E', 'E', 'R', 'U', 'N'};
constexpr uint32_t kVersion = 2, kLongestLine = 1 << 20;
constexpr uint64_t kSlice = uint64_t(1) << 20;

struct Header {
  char magic[8];
  uint32_t version, line;
  uint64_t steps;
  double best;
  uint64_t parts;  ///< version 1: floats of a part
  Hash128 shape;
  uint32_t line_crc, crc;
};
struct PartHeader {
  char name[48];
  uint64_t bytes;
  uint32_t zero, crc;
};
static_assert(sizeof(Header) == 64 && sizeof(PartHeader) == 64);

uint32_t crc_of(std::span<const uint8_t> bytes, uint32_t before = 0) {
  return uint32_t(::crc32(before, bytes.data(), uInt(bytes.size())));
}
template <class T>
std::span<const uint8_t> bytes_of(const T& x, size_t n = sizeof(T)) {
  return {reinterpret_cast<const uint8_t*>(&x), n};
}
template <class T>
uint32_t header_crc(const T& header) {
  return crc_of(bytes_of(header, sizeof(T) - 4));
}

/// Names and sizes of the weights, formats of the frozen ones, and what an adapter's are multiplied by. Parts say in
/// what trained weights are kept; in version 1 they were f32.
Hash128 shape_of(const TrainStep& step, uint32_t version) {
  std::string text = fmt::format("alpha {}\n", step.lora().alpha);
  for (const TrainStep::Weight& w : step.weights()) {
    if (version == 1)
      text += fmt::format("{} {} {} {} {}\n", w.name, info(w.format).name, w.at, w.count, w.trained);
    else
      text += fmt::format("{} {} {}\n", w.name, w.trained ? "trained" : info(w.format).name, w.count);
  }
  return SipHash(0, 0)({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

PartHeader part_header(const StatePart& part) {
  PartHeader header{{}, part.size(), 0, 0};
  VIBEE_CHECK(part.name.size() < sizeof header.name);
  std::copy(part.name.begin(), part.name.end(), header.name);
  header.crc = header_crc(header);
  return header;
}

/// How a configuration that has the parts of the step differs from the one that wrote `name`.
std::string other_part(std::string_view name, const std::vector<StatePart>& parts, size_t at) {
  std::string have;
  for (const StatePart& part : parts) have += (have.empty() ? "" : ", ") + std::string(part.name);
  return fmt::format(
      "part {} is {}, this configuration keeps {}; give precision.* and optimiser.rule, .moments and .block as the run "
      "began with",
      at + 1, quote(name, 48), have);
}

}  // namespace

RunImage image_of(TrainStep& step, const RunState& state) { return {state, shape_of(step, kVersion), step.state()}; }

Status save_run(const std::string& path, TrainStep& step, const RunState& state) {
  return save_run(path, image_of(step, state));
}

Status save_run(const std::string& path, const RunImage& image) {
  const RunState& state = image.state;
  VIBEE_CHECK(state.sampler.size() <= kLongestLine);
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(path + ".part"));
  const std::span<const uint8_t> line(reinterpret_cast<const uint8_t*>(state.sampler.data()), state.sampler.size());
  const std::vector<StatePart>& parts = image.parts;
  std::vector<uint8_t> room;
  Header header{{},           kVersion, uint32_t(line.size()), state.steps, state.best, parts.size(), image.shape,
                crc_of(line), 0};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.crc = header_crc(header);
  VIBEE_TRY(file.append(bytes_of(header)));
  VIBEE_TRY(file.append(line));
  for (const StatePart& part : parts) {
    PartHeader of_part = part_header(part);
    VIBEE_TRY(file.append(bytes_of(of_part)));
    uint32_t crc = 0;
    for (uint64_t at = 0; at < part.size(); at += kSlice) {
      VIBEE_ASSIGN(const std::span<const uint8_t> slice, part.slice(at, std::min(kSlice, part.size() - at), &room));
      crc = crc_of(slice, crc);
      VIBEE_TRY(file.append(slice));
    }
    VIBEE_TRY(file.append(bytes_of(crc)));
  }
  return file.commit(path);
}

Result<RunState> load_run(const std::string& path, TrainStep* step) {
  const std::string name = quote(path, 400);
  VIBEE_ASSIGN(const auto file, open_file_source(path));
  const auto damaged = [&](std::string_view what, uint64_t offset) {
    return error(Code::corrupt, "{}: {} at offset {}: the checkpoint is damaged; go on from an earlier one", name, what,
                 offset);
  };
  if (file->size() < sizeof(Header))
    return error(Code::corrupt, "{}: no checkpoint of a run: {} bytes", name, file->size());
  Header header;
  VIBEE_TRY(file->read(0, {reinterpret_cast<uint8_t*>(&header), sizeof header}).within(name));
  if (!std::equal(std::begin(kMagic), std::end(kMagic), header.magic))
    return error(Code::corrupt, "{}: no checkpoint of a run: it does not begin with VIBEERUN", name);
  if (header.crc != header_crc(header)) return damaged("the header does not match its checksum", 0);
  const bool old = header.version == 1;
  if (header.version != kVersion && !old)
    return error(Code::unsupported, "{}: version {}; this build reads 1 and {}", name, header.version, kVersion);
  const std::vector<StatePart> parts = step->state();
  const auto other = [&](std::string_view part, size_t at) {
    return error(Code::invalid, "{}: {}", name, other_part(part, parts, at));
  };
  if (old && (parts.size() != 4 || parts[2].name != "second moments"))
    return other("of version 1 (weights and moments of AdamW in f32)", 0);
  if (!(header.shape == shape_of(*step, header.version)))
    return error(Code::invalid,
                 "{}: the run was of a model of other weights; give the configuration that it began with", name);
  if (header.line > kLongestLine || file->size() < sizeof header + header.line)
    return damaged(fmt::format("the file has {} bytes, fewer than the header says,", file->size()), 12);
  RunState state{header.steps, header.best, std::string(header.line, 0)};
  const std::span<uint8_t> line(reinterpret_cast<uint8_t*>(state.sampler.data()), state.sampler.size());
  VIBEE_TRY(file->read(sizeof header, line).within(name));
  if (crc_of(line) != header.line_crc) return damaged("the sampler's line does not match its checksum", sizeof header);
  if (old && header.parts != parts[0].size() / 4) return damaged("a part has another size", 32);
  uint64_t offset = sizeof header + header.line;
  std::vector<uint8_t> room;
  const auto ends = [&](uint64_t bytes) { return file->size() - offset < bytes; };
  for (size_t i = 0; i < (old ? 3 : parts.size()); ++i) {
    const StatePart& part = parts[i];
    if (!old) {
      PartHeader there;
      if (i >= header.parts) return other("missing", i);
      if (ends(sizeof there)) return damaged("the file ends", file->size());
      VIBEE_TRY(file->read(offset, {reinterpret_cast<uint8_t*>(&there), sizeof there}).within(name));
      if (there.crc != header_crc(there) || there.name[sizeof there.name - 1] != 0)
        return damaged("a part's header does not match its checksum", offset);
      if (there.name != part.name || there.bytes != part.size()) return other(there.name, i);
      offset += sizeof there;
    }
    if (ends(part.size() + 4)) return damaged("the file ends", file->size());
    uint32_t crc = 0, want = 0;
    for (uint64_t at = 0; at < part.size(); at += kSlice) {
      room.resize(std::min(kSlice, part.size() - at));
      const std::span<uint8_t> slice =
          part.file == nullptr ? part.bytes.subspan(at, room.size()) : std::span<uint8_t>(room);
      VIBEE_TRY(file->read(offset + at, slice).within(name));
      crc = crc_of(slice, crc);
      VIBEE_TRY(part.put(at, slice));
    }
    VIBEE_TRY(file->read(offset + part.size(), {reinterpret_cast<uint8_t*>(&want), 4}).within(name));
    if (crc != want) return damaged("a part does not match its checksum", offset);
    offset += part.size() + 4;
  }
  if (!old && header.parts != parts.size()) return other("more than these", parts.size());
  if (offset != file->size()) return damaged("the file goes on behind its parts", offset);
  VIBEE_TRY(step->resume(state.steps).within(name));
  return state;
}

}  // namespace vibee
