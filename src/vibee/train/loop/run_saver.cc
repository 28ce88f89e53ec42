// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/run_saver.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/memory/checked.h"

namespace vibee {

Status RunSaver::save(const std::string& path, TrainStep& step, const RunState& state, std::function<void()> then) {
  VIBEE_TRY(wait());
  RunImage image = image_of(step, state);
  const bool in_file =
      std::any_of(image.parts.begin(), image.parts.end(), [](const StatePart& part) { return part.file != nullptr; });
  if (!copy_ || in_file) {
    VIBEE_TRY(save_run(path, image));
    if (then) then();
    return {};
  }
  uint64_t bytes = 0;
  for (const StatePart& part : image.parts) bytes += round_up(part.bytes.size(), 64);
  if (bytes_.size() < bytes) {
    VIBEE_ASSIGN(bytes_, HugeBuffer::allocate(bytes));
  }
  uint8_t* to = bytes_.data();
  for (StatePart& part : image.parts) {
    std::memcpy(to, part.bytes.data(), part.bytes.size());
    part.bytes = {to, part.bytes.size()};
    to += round_up(part.bytes.size(), 64);
  }
  writing_ = std::async(std::launch::async, [path, image = std::move(image), then = std::move(then)] {
    Status saved = save_run(path, image);
    if (saved.ok() && then) then();
    return saved;
  });
  return {};
}

Status RunSaver::wait() { return writing_.valid() ? writing_.get() : Status(); }

}  // namespace vibee
