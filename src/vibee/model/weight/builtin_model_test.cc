// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/builtin_model.h"

#include <gtest/gtest.h>

#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

TEST(BuiltinModel, IsAFileBehindItsPath) {
  const auto file = open_gguf(std::string(kBuiltinPath));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(*file->get_string("general.name"), kBuiltinModel);
  EXPECT_LE(builtin_model()->size(), 4'000'000u);
  // Every tensor lies inside.
  for (const TensorInfo& tensor : file->tensors()) {
    std::vector<uint8_t> last(1);
    EXPECT_TRUE(file->read(tensor, tensor.bytes - 1, last).ok()) << tensor.name;
  }
}

}  // namespace
}  // namespace vibee
