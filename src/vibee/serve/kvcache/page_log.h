// SPDX-License-Identifier: Apache-2.0
// Pages on disk: a folder of segments that only grow, each a block of 4 KiB that names its model and then records of
// one size. A record is a page with its name, the page before it, its 16 tokens and checksums; it stands at a multiple
// of 4 KiB, so that a bad one spoils no other. Nothing read is trusted: what does not check is counted and never given.
//
// Segments of other models lie in the same folder; they are named, and they are the first to go when the folder would
// exceed its limit, then the segment of ours that was used longest ago.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "vibee/kernels/attention/batch.h"
#include "vibee/model/cache/file_lock.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {

/// 128 bits of SHA-256: of everything that makes a page's bytes what they are.
using PageName = std::array<uint8_t, 16>;

struct PageKey {
  PageName name, parent;
  std::array<int32_t, kPageTokens> tokens;
  bool operator==(const PageKey&) const = default;
};

/// Whose pages they are, and how large.
struct PageLogShape {
  PageName root;
  uint64_t page_bytes = 0;
};

/// A segment ends behind the record that reaches this.
inline constexpr uint64_t kSegmentBytes = 64 << 20;

/// What a segment holds, as far as it checks.
struct SegmentScan {
  bool readable = false, ours = false;
  std::string label;  ///< of the model that wrote it, as one line
  std::vector<std::pair<uint32_t, PageName>> records;
  uint32_t slots = 0, bad = 0;  ///< places for records, and those whose head is broken
};
SegmentScan scan_segment(const ByteSource& segment, const PageLogShape& shape);
/// The page in a slot into `page`, when it is `key` and its bytes check.
Status read_page(const ByteSource& segment, const PageLogShape& shape, uint32_t slot, const PageKey& key,
                 std::span<uint8_t> page);
/// A segment's first block; a record's head. For writers.
std::vector<uint8_t> segment_head(const PageLogShape& shape, std::string_view label);
std::vector<uint8_t> record_head(const PageLogShape& shape, const PageKey& key, std::span<const uint8_t> page);
/// From one record to the next, and where one stands.
uint64_t record_stride(uint64_t page_bytes);
uint64_t slot_offset(uint64_t page_bytes, uint32_t slot);

struct PageLogStats {
  uint64_t bytes = 0;    ///< of all segments
  uint64_t records = 0;  ///< of ours that can be found
  uint64_t bad = 0;      ///< that did not check, since it was opened
  uint64_t dropped = 0;  ///< segments that made room
  uint32_t foreign = 0;  ///< segments of others
  std::vector<std::string> others;
};

class PageLog {
 public:
  /// Makes the folder when there is none. Refuses one that belongs to another user or is in use.
  static Result<std::unique_ptr<PageLog>> open(const std::string& folder, uint64_t limit, const PageLogShape& shape,
                                               std::string_view label);

  bool has(const PageName& name) const;
  /// Marks the record's segment as used.
  void touch(const PageName& name);
  bool read(const PageKey& key, std::span<uint8_t> page);
  /// Makes room first. From one thread at a time, beside the others.
  Status append(const PageKey& key, std::span<const uint8_t> page);
  PageLogStats stats() const;

 private:
  struct Segment {
    uint32_t number;
    uint64_t bytes, used;  // used: when, 0 for those of others
    bool ours;
  };
  struct Place {
    uint32_t segment, slot;
  };
  struct NameHash {
    size_t operator()(const PageName& name) const;
  };
  PageLog(std::string folder, FileLock lock, uint64_t limit, const PageLogShape& shape, std::string_view label)
      : folder_(std::move(folder)), lock_(std::move(lock)), limit_(limit), shape_(shape), label_(label) {}
  Status scan();
  std::string path(uint32_t number) const;
  Segment* segment(uint32_t number);
  Status make_room(uint64_t bytes);
  Status begin_segment();

  std::string folder_;
  FileLock lock_;
  uint64_t limit_;
  PageLogShape shape_;
  std::string label_;
  mutable std::mutex mutex_;  // of what follows
  std::vector<Segment> segments_;
  std::unordered_map<PageName, Place, NameHash> places_;
  uint32_t current_ = 0;  // segment that grows; 0: none
  uint64_t clock_ = 0;
  PageLogStats stats_;
};

}  // namespace vibee
