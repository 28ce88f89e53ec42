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
constexpr uint32_t kVersion = 1, kLongestLine = 1 << 20;
constexpr size_t kSlice = size_t(1) << 20;

struct Header {
  char magic[8];
  uint32_t version, line;
  uint64_t steps;
  double best;
  uint64_t floats;
  Hash128 shape;
  uint32_t line_crc, crc;
};
static_assert(sizeof(Header) == 64);

uint32_t crc_of(std::span<const uint8_t> bytes, uint32_t before = 0) {
  return uint32_t(::crc32(before, bytes.data(), uInt(bytes.size())));
}
template <class T>
std::span<const uint8_t> bytes_of(const T& x, size_t n = sizeof(T)) {
  return {reinterpret_cast<const uint8_t*>(&x), n};
}
uint32_t header_crc(const Header& header) { return crc_of(bytes_of(header, sizeof(Header) - 4)); }

/// Names, formats, sizes and places of the weights, and what an adapter's are multiplied by.
Hash128 shape_of(const TrainStep& step) {
  std::string text = fmt::format("alpha {}\n", step.lora().alpha);
  for (const TrainStep::Weight& w : step.weights())
    text += fmt::format("{} {} {} {} {}\n", w.name, info(w.format).name, w.at, w.count, w.trained);
  return SipHash(0, 0)({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace

Status save_run(const std::string& path, TrainStep& step, const RunState& state) {
  VIBEE_CHECK(state.sampler.size() <= kLongestLine);
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(path + ".part"));
  const std::span<const uint8_t> line(reinterpret_cast<const uint8_t*>(state.sampler.data()), state.sampler.size());
  Header header{{},
                kVersion,
                uint32_t(line.size()),
                state.steps,
                state.best,
                step.state()[0].size() / 4,
                shape_of(step),
                crc_of(line),
                0};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.crc = header_crc(header);
  VIBEE_TRY(file.append(bytes_of(header)));
  VIBEE_TRY(file.append(line));
  for (const std::span<uint8_t> part : step.state()) {
    uint32_t crc = 0;
    for (size_t at = 0; at < part.size(); at += kSlice) {
      const std::span<const uint8_t> slice = part.subspan(at, std::min(kSlice, part.size() - at));
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
  if (header.version != kVersion)
    return error(Code::unsupported, "{}: version {}; this build reads {}", name, header.version, kVersion);
  const auto parts = step->state();
  if (!(header.shape == shape_of(*step)) || header.floats != parts[0].size() / 4)
    return error(
        Code::invalid,
        "{}: the run was of a model of other weights ({} floats, this one has {}); give the configuration that "
        "it began with",
        name, header.floats, parts[0].size() / 4);
  if (header.line > kLongestLine || file->size() != sizeof header + header.line + 3 * (uint64_t(4) * header.floats + 4))
    return damaged(fmt::format("the file has {} bytes, not those that the header says,", file->size()), 12);
  RunState state{header.steps, header.best, std::string(header.line, 0)};
  const std::span<uint8_t> line(reinterpret_cast<uint8_t*>(state.sampler.data()), state.sampler.size());
  VIBEE_TRY(file->read(sizeof header, line).within(name));
  if (crc_of(line) != header.line_crc) return damaged("the sampler's line does not match its checksum", sizeof header);
  uint64_t offset = sizeof header + header.line;
  for (const std::span<uint8_t> part : parts) {
    uint32_t crc = 0, want = 0;
    for (size_t at = 0; at < part.size(); at += kSlice) {
      const std::span<uint8_t> slice = part.subspan(at, std::min(kSlice, part.size() - at));
      VIBEE_TRY(file->read(offset + at, slice).within(name));
      crc = crc_of(slice, crc);
    }
    VIBEE_TRY(file->read(offset + part.size(), {reinterpret_cast<uint8_t*>(&want), 4}).within(name));
    if (crc != want) return damaged("a part does not match its checksum", offset);
    offset += part.size() + 4;
  }
  step->resume(state.steps);
  return state;
}

}  // namespace vibee
