// SPDX-License-Identifier: Apache-2.0
// Block tests on a real device: where VIBEE_TEST_DEVICE names a folder of images (a build's cuda/), their arrays lie in
// pinned memory, which a device reads and writes at the host's addresses, and their kernels run there instead of under
// the shim. The tests compare alike.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/core/device/kernel_library.h"

namespace vibee {

/// Of one thread at a time.
class DeviceTrial {
 public:
  /// Every *.fatbin below `folder`, on device 0.
  static Result<std::unique_ptr<DeviceTrial>> open(std::shared_ptr<const CudaDriver> driver, const std::string& folder);
  /// That of VIBEE_TEST_DEVICE; null where it is not set. A device that cannot be opened ends the test program.
  static DeviceTrial* instance();

  void* allocate(size_t bytes);
  void free(void* memory);
  /// Runs a kernel to its end. `args` are the one struct that block kernels take.
  Status launch(std::string_view kernel, const LaunchShape& shape, void* args);
  CudaDevice& device() { return *device_; }

 private:
  std::shared_ptr<CudaDevice> device_;
  std::vector<std::vector<std::byte>> images_;
  std::unique_ptr<KernelLibrary> kernels_;
  CudaStream stream_;
};

/// Allocates what tests' arrays lie in: of the instance, where there is one.
template <class T>
struct TrialAllocator {
  using value_type = T;
  TrialAllocator() = default;
  template <class U>
  TrialAllocator(const TrialAllocator<U>&) {}
  T* allocate(size_t n) {
    if (DeviceTrial* const trial = DeviceTrial::instance()) return static_cast<T*>(trial->allocate(n * sizeof(T)));
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* p, size_t n) {
    if (DeviceTrial* const trial = DeviceTrial::instance()) return trial->free(p);
    std::allocator<T>().deallocate(p, n);
  }
  template <class U>
  bool operator==(const TrialAllocator<U>&) const {
    return true;
  }
};

}  // namespace vibee
