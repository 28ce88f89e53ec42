// SPDX-License-Identifier: Apache-2.0
// Checkpoints that are written while training goes on: of a copy of what a step changes, on a thread of their own.
#pragma once

#include <functional>
#include <future>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/train/loop/run_state.h"

namespace vibee {

class RunSaver {
 public:
  /// `copy`: whether there is memory for one; without it, and where a part of the
  /// step is in a file itself, a file is whole when save() returns.
  explicit RunSaver(bool copy) : copy_(copy) {}
  /// Waits for the file that is being written.
  ~RunSaver() { (void)wait(); }
  RunSaver(const RunSaver&) = delete;
  RunSaver& operator=(const RunSaver&) = delete;

  /// Begins to write a file (save_run) once the one before is whole, and calls `then` where it was written. An error is
  /// that of the file before, or of this one where nothing is copied.
  Status save(const std::string& path, TrainStep& step, const RunState& state, std::function<void()> then = {});
  /// Until nothing is being written: what became of it.
  Status wait();

 private:
  bool copy_;
  HugeBuffer bytes_;
  std::future<Status> writing_;
};

}  // namespace vibee
