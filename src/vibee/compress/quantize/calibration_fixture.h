// SPDX-License-Identifier: Apache-2.0
// What tests of calibration share: a tiny model, random tokens, short windows.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/compress/quantize/calibration_run.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"

namespace vibee {

inline constexpr uint32_t kContext = 12;  ///< tokens of a window

/// A tiny model in a file of its own.
struct Opened {
  TinyModelFile made;
  Checkpoint file;
  ModelConfig config;
  explicit Opened(const TinyModel& model) : made(model), file(open(made.path())), config(read(file)) {}
  static Checkpoint open(const std::string& path) {
    auto file = open_checkpoint(path);
    VIBEE_CHECK(file.ok(), "{}", file.status().message());
    return std::move(*file);
  }
  static ModelConfig read(const Checkpoint& file) {
    auto config = read_config(file);
    VIBEE_CHECK(config.ok(), "{}", config.status().message());
    return std::move(*config);
  }
  std::vector<float> floats(const std::string& name) const {
    const TensorInfo& t = *file.find(name);
    std::vector<uint8_t> raw(t.bytes);
    std::vector<float> out(t.elements());
    VIBEE_CHECK(file.read(t, 0, raw).ok(), "{}", name);
    info(t.format).decode(raw.data(), out.size(), out.data());
    return out;
  }
};

inline std::vector<int32_t> ids(size_t n, uint32_t vocab) {
  RandomStream random(3, Purpose::test);
  std::vector<int32_t> out(n);
  for (int32_t& id : out) id = int32_t(random.below(vocab));
  return out;
}

inline CalibrateOptions windows(uint32_t threads = 2) { return {.context = kContext, .threads = threads}; }

}  // namespace vibee
