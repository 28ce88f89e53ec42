// SPDX-License-Identifier: Apache-2.0
// The bytes of a segment (page_log.h): what is written, and what of it is believed. Numbers are little-endian.
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/serve/kvcache/page_log.h"

namespace vibee {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr char kSegmentMagic[9] = "VIBEEKV1", kRecordMagic[9] = "KVPAGE01";

struct SegmentHead {
  char magic[8];
  uint64_t page_bytes;
  PageName root;
  char label[92];  // zeros behind
  uint32_t sum;    // of all before it
};
struct RecordHead {
  char magic[8];
  uint64_t page_bytes;
  PageName root;
  PageKey key;
  uint32_t page_sum, sum;
};
static_assert(sizeof(SegmentHead) == 128 && sizeof(RecordHead) == 136, "no padding: these are files");

uint32_t checksum(std::span<const uint8_t> bytes) { return uint32_t(crc32_z(0, bytes.data(), bytes.size())); }
template <class Head>
uint32_t head_sum(const Head& head) {
  return checksum({reinterpret_cast<const uint8_t*>(&head), offsetof(Head, sum)});
}
template <class Head>
bool read_head(const ByteSource& from, uint64_t offset, const char* magic, Head* head) {
  return from.read(offset, {reinterpret_cast<uint8_t*>(head), sizeof *head}).ok() &&
         std::memcmp(head->magic, magic, sizeof head->magic) == 0 && head->sum == head_sum(*head);
}
template <class Head>
std::vector<uint8_t> bytes_of(Head head, size_t size) {
  head.sum = head_sum(head);
  std::vector<uint8_t> out(size);
  std::memcpy(out.data(), &head, sizeof head);
  return out;
}

}  // namespace

uint64_t record_stride(uint64_t page_bytes) { return round_up(sizeof(RecordHead) + page_bytes, kBlock); }
uint64_t slot_offset(uint64_t page_bytes, uint32_t slot) { return kBlock + slot * record_stride(page_bytes); }

std::vector<uint8_t> segment_head(const PageLogShape& shape, std::string_view label) {
  SegmentHead head{};
  std::memcpy(head.magic, kSegmentMagic, sizeof head.magic);
  head.page_bytes = shape.page_bytes;
  head.root = shape.root;
  std::memcpy(head.label, label.data(), std::min(label.size(), sizeof head.label));
  return bytes_of(head, kBlock);
}

std::vector<uint8_t> record_head(const PageLogShape& shape, const PageKey& key, std::span<const uint8_t> page) {
  RecordHead head{};
  std::memcpy(head.magic, kRecordMagic, sizeof head.magic);
  head.page_bytes = shape.page_bytes;
  head.root = shape.root;
  head.key = key;
  head.page_sum = checksum(page);
  return bytes_of(head, sizeof head);
}

SegmentScan scan_segment(const ByteSource& segment, const PageLogShape& shape) {
  SegmentScan scan;
  SegmentHead head;
  scan.readable = read_head(segment, 0, kSegmentMagic, &head);
  if (!scan.readable) return scan;
  scan.label = one_line(std::string_view(head.label, strnlen(head.label, sizeof head.label)));
  scan.ours = head.root == shape.root && head.page_bytes == shape.page_bytes;
  if (!scan.ours) return scan;
  const uint64_t stride = record_stride(shape.page_bytes);
  // A last record that was cut off takes its slot all the same: what is appended stands behind it.
  const uint64_t slots = segment.size() > kBlock ? (segment.size() - kBlock + stride - 1) / stride : 0;
  scan.slots = uint32_t(std::min(slots, kSegmentBytes / stride + 2));  // more was not written by us
  for (uint32_t slot = 0; slot < scan.slots; ++slot) {
    RecordHead record;
    const uint64_t at = slot_offset(shape.page_bytes, slot);
    if (read_head(segment, at, kRecordMagic, &record) && record.root == shape.root &&
        record.page_bytes == shape.page_bytes && segment.size() - at >= sizeof record + shape.page_bytes) {
      scan.records.emplace_back(slot, record.key.name);
    } else {
      ++scan.bad;
    }
  }
  return scan;
}

Status read_page(const ByteSource& segment, const PageLogShape& shape, uint32_t slot, const PageKey& key,
                 std::span<uint8_t> page) {
  RecordHead record;
  const uint64_t at = slot_offset(shape.page_bytes, slot);
  if (!read_head(segment, at, kRecordMagic, &record) || record.root != shape.root || record.page_bytes != page.size() ||
      record.key != key)
    return error(Code::corrupt, "the record at offset {} is not the page that was named", at);
  VIBEE_TRY(segment.read(at + sizeof record, page));
  if (checksum(page) != record.page_sum)
    return error(Code::corrupt, "the page at offset {} does not have its checksum", at);
  return {};
}

}  // namespace vibee
