// SPDX-License-Identifier: Apache-2.0
// Where a run's moments lie between two steps: in memory, or in a scratch file of which a step has a window in memory.
// Then weights come one behind the other: while one is moved, a thread writes those of weights before it and reads
// those of weights behind it. A window that holds two of the largest hides that behind the work, as far as the disk
// can; bytes do not depend on it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/thread/background.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/train/precision/state_part.h"

namespace vibee {

/// Bytes of moments that are in memory at once, 0: all, and the folder of the file that holds the rest.
struct PagedMoments {
  uint64_t bytes = 0;
  std::string folder;
};

class MomentStore {
 public:
  /// Of each moment, an array of all weights' bytes; a weight's are multiples of 64.
  struct Layout {
    uint32_t moments = 0;
    uint64_t bytes = 0;  ///< of one array
    struct Weight {
      std::string_view name;
      uint64_t at, bytes;
    };
    std::vector<Weight> weights;  ///< in the order in which a step moves them
    uint64_t all() const { return moments * bytes; }
  };
  struct Memory {
    uint64_t bytes, file;
  };
  /// What it takes. An error where the window does not hold the largest weight's moments, which it names.
  static Result<Memory> memory(const Layout& layout, const PagedMoments& paged);
  static Result<std::unique_ptr<MomentStore>> create(Layout layout, const PagedMoments& paged);
  /// Ends the thread before what it works on.
  ~MomentStore() { thread_.reset(); }

  bool paged() const { return thread_ != nullptr; }
  /// The bytes of a weight's moments.
  struct Place {
    uint8_t* moments[kMostMoments] = {};
  };
  /// Of weight i, where all are in memory.
  Place at(size_t i) const;

  /// Where they are paged, a step begins, takes weights in order and gives each back before it takes the next one, and
  /// ends. An error is that of the file; then its bytes are of no step.
  void begin();
  Result<Place> take(size_t i);
  void give(size_t i);
  Status end();

  /// Moment m of all weights, between two steps.
  StatePart part(uint32_t m, std::string_view name) const;

 private:
  MomentStore() = default;
  uint8_t* slot(size_t i, uint32_t m) const;
  void queue_read(size_t i);
  Status each_moment(size_t i, bool write) const;

  Layout layout_;
  HugeBuffer memory_;  ///< all of it, or slots
  uint64_t slot_bytes_ = 0;
  size_t slots_ = 0;
  ScratchFile file_;
  std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  size_t read_ = 0, written_ = 0;  ///< weights of the step
  Status trouble_;
  std::unique_ptr<Background> thread_;
};

}  // namespace vibee
