// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/device/kernel_images.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "vibee/kit/host_kernels.h"

namespace vibee {
namespace {

TEST(KernelImages, AreFatBinariesWhereTheBuildHadACompiler) {
  EXPECT_EQ(kernel_images().empty(), kernel_images_build().starts_with("none, ")) << kernel_images_build();
  for (const KernelImage& image : kernel_images()) {
    EXPECT_TRUE(image.file.ends_with("_cuda.cu")) << image.file;
    ASSERT_GE(image.fatbin.size(), 16u);
    uint32_t magic;
    std::memcpy(&magic, image.fatbin.data(), 4);
    EXPECT_EQ(magic, 0xba55ed50u) << image.file;
    uint64_t bytes;  // behind a header of 16
    std::memcpy(&bytes, image.fatbin.data() + 8, 8);
    EXPECT_EQ(bytes + 16, image.fatbin.size()) << image.file;
  }
}

TEST(KernelImages, HostKernelsHaveNamesOfTheirOwn) {
  std::vector<std::string> names;
  for (const auto table : host_kernels())
    for (const HostKernel& kernel : table) {
      names.push_back(kernel.name);
      EXPECT_EQ(find_host_kernel(kernel.name), &kernel) << kernel.name;
    }
  EXPECT_FALSE(names.empty());
  EXPECT_EQ(find_host_kernel("vibee_nothing"), nullptr);
}

}  // namespace
}  // namespace vibee
