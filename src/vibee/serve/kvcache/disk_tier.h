// SPDX-License-Identifier: Apache-2.0
// The tier below a prefix index: pages that were published go to a PageLog, written by a thread of its own, and come
// back where the index ends, so that a conversation goes on after a restart. Pages of equal names are equal byte for
// byte, so what is loaded gives the logits that computing would have given.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <set>
#include <thread>

#include "vibee/model/state/page_store.h"
#include "vibee/serve/kvcache/page_log.h"

namespace vibee {

struct DiskTierConfig {
  std::string folder;
  uint64_t limit = 0;    ///< bytes of the folder
  std::string model;     ///< everything that makes a page's bytes what they are, as text: names are hashes of it
  std::string label;     ///< for people: what the folder says of a model that is not loaded
  uint32_t context = 0;  ///< positions a sequence; a folder that does not hold one is refused
};

struct DiskTierStats {
  PageLogStats log;
  uint64_t loaded = 0;   ///< pages
  uint64_t written = 0;  ///< pages
  uint64_t skipped = 0;  ///< pages that were not written: the disk did not keep up, or refused
  Status error;          ///< of the first page that could not be written; none is after it
};

class DiskTier {
 public:
  static Result<std::unique_ptr<DiskTier>> open(const DiskTierConfig& config, PageStore* store);
  /// Writes what was published.
  ~DiskTier();

  /// Queues the whole pages of `tokens` that are not on disk: copies, so that the pages may go.
  void publish(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state);
  /// Goes on behind the whole pages of `state`, the first tokens of `tokens`, with pages on disk; `evict` makes room.
  /// Stops at the first page that took longer than computing 16 rows of `row_seconds`; 0: not known.
  void load(uint64_t space, std::span<const int32_t> tokens, double row_seconds, const std::function<bool()>& evict,
            SequenceState* state);
  /// Waits until what was published is written.
  void flush();
  DiskTierStats stats() const;

 private:
  struct Page {
    PageKey key;
    std::vector<uint8_t> bytes;
  };
  DiskTier(std::unique_ptr<PageLog> log, const PageName& root, PageStore* store);
  std::vector<PageKey> keys(uint64_t space, std::span<const int32_t> tokens) const;
  void write_pages();

  std::unique_ptr<PageLog> log_;
  PageName root_;
  PageStore* store_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<Page> queue_;
  std::set<PageName> queued_;  // and the one being written
  bool ending_ = false;
  DiskTierStats stats_;
  std::thread writer_;
};

}  // namespace vibee
