// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/device/kernel_images.h"

namespace vibee {

#define VIBEE_CUDA_FOLDER(folder) std::span<const KernelImage> kernel_images_##folder();
#include "vibee/cuda_folders.inc"
#undef VIBEE_CUDA_FOLDER

std::vector<KernelImage> kernel_images() {
  std::vector<KernelImage> all;
#define VIBEE_CUDA_FOLDER(folder) \
  for (const KernelImage& image : kernel_images_##folder()) all.push_back(image);
#include "vibee/cuda_folders.inc"
#undef VIBEE_CUDA_FOLDER
  return all;
}

std::string_view kernel_images_build() {
  return
#include "vibee/cuda_build.inc"
      ;
}

}  // namespace vibee
