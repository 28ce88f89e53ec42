// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/gptq_solver.h"

#include <gtest/gtest.h>

#include "vibee/compress/quantize/calibration_fixture.h"

namespace vibee {
namespace {

constexpr uint32_t kWindows = 10;

/// The matrices of a model whose tensors are asked for in the file's order, and how often the text was read.
struct Asked {
  std::map<std::string, std::vector<float>> matrices;
  uint64_t passes = 0;
};
Asked ask_in_the_files_order(const Opened& m, uint64_t bytes) {
  const std::vector<int32_t> tokens = ids(kWindows * kContext, 48);
  Asked out;
  uint64_t windows_read = 0;
  CalibrateOptions options = windows();
  options.progress = [&](uint64_t done, uint64_t of) {
    windows_read += done == of;
    return true;
  };
  auto hessians = Hessians::open(m.file, m.config, tokens, options, bytes);
  VIBEE_CHECK(hessians.ok(), "{}", hessians.status().message());
  for (const TensorInfo& t : m.file.tensors()) {
    const auto h = hessians->of(t.name);
    VIBEE_CHECK(h.ok(), "{}", h.status().message());
    out.matrices[t.name].assign(h->begin(), h->end());
  }
  out.passes = windows_read;
  return out;
}

/// A head that is the embedding comes first in the file and last in the graph; of a layer the file has the products of
/// the feed-forward first.
TEST(Hessians, OfAFileThatFitsInMemoryAreOfOnePassOverTheText) {
  TinyModel model{.architecture = "gemma3"};
  model.layers = 3;
  const Opened m(model);
  ASSERT_TRUE(m.config.tied);
  const Asked all = ask_in_the_files_order(m, 1 << 30), by_layer = ask_in_the_files_order(m, 0);
  EXPECT_EQ(all.passes, 1u);
  EXPECT_EQ(by_layer.passes, 4u);  // of the head and of each layer
  EXPECT_EQ(all.matrices, by_layer.matrices);
  EXPECT_FALSE(all.matrices.at("blk.2.ffn_down.weight").empty());
  EXPECT_TRUE(all.matrices.at("blk.2.attn_norm.weight").empty());
}

}  // namespace
}  // namespace vibee
