// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/device_trial.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace vibee {

Result<std::unique_ptr<DeviceTrial>> DeviceTrial::open(std::shared_ptr<const CudaDriver> driver,
                                                       const std::string& folder) {
  auto out = std::make_unique<DeviceTrial>();
  VIBEE_ASSIGN(out->device_, CudaDevice::open(std::move(driver), 0));
  std::vector<std::string> names;
  std::error_code failed;
  for (std::filesystem::recursive_directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed))
    if (at->path().extension() == ".fatbin") names.push_back(at->path().string());
  if (failed) return error(Code::not_found, "{}: {}", folder, failed.message());
  std::vector<KernelImage> images;
  for (const std::string& name : names) {
    std::ifstream file(name, std::ios::binary);
    std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
    const auto* const begin = reinterpret_cast<const std::byte*>(bytes.data());
    out->images_.emplace_back(begin, begin + bytes.size());
  }
  for (size_t i = 0; i < names.size(); ++i) images.push_back({names[i], out->images_[i]});
  VIBEE_ASSIGN(out->kernels_, KernelLibrary::load(out->device_, images));
  VIBEE_ASSIGN(out->stream_, CudaStream::create(out->device_));
  return out;
}

DeviceTrial* DeviceTrial::instance() {
  // Never destroyed: arrays of static storage may outlive whatever would destroy it.
  static DeviceTrial* const trial = []() -> DeviceTrial* {
    const char* const folder = std::getenv("VIBEE_TEST_DEVICE");
    if (!folder) return nullptr;
    const auto& driver = cuda_driver();
    VIBEE_CHECK(driver.ok(), "VIBEE_TEST_DEVICE: {}", driver.status().message());
    auto opened = open(*driver, folder);
    VIBEE_CHECK(opened.ok(), "VIBEE_TEST_DEVICE: {}", opened.status().message());
    return opened->release();
  }();
  return trial;
}

void* DeviceTrial::allocate(size_t bytes) {
  void* memory = nullptr;
  const Status made = device_->call(
      device_->driver().host_alloc, [&] { return fmt::format("{} bytes of pinned host memory", bytes); }, &memory,
      std::max<size_t>(bytes, 1), 0u);
  VIBEE_CHECK(made.ok(), "{}", made.message());
  return memory;
}

void DeviceTrial::free(void* memory) { device_->release(device_->driver().host_free, memory); }

Status DeviceTrial::launch(std::string_view kernel, const LaunchShape& shape, void* args) {
  VIBEE_ASSIGN(CudaKernel* const found, kernels_->find(kernel));
  void* packed[] = {args};
  VIBEE_TRY(found->launch(stream_, shape, packed));
  return stream_.synchronize();
}

}  // namespace vibee
