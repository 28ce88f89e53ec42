// SPDX-License-Identifier: Apache-2.0
// What tests of devices share: a driver of the host with a few kernels, a device of it, and an image that names them.
#pragma once

#include <cstring>

#include "vibee/core/device/cuda_device.h"
#include "vibee/core/device/cuda_module.h"
#include "vibee/kit/host_cuda_driver.h"

namespace vibee {

/// What a test cannot go on without.
template <class T>
T made(Result<T> result) {
  VIBEE_CHECK(result.ok(), "{}", result.status().message());
  return std::move(*result);
}

struct AddArgs {
  CudaAddress out;
  uint32_t n;
  float add;
};

/// out[i] += add.
inline const HostFunction* trial_kernel(std::string_view name) {
  static const HostFunction add{{sizeof(AddArgs)}, [](const HostLaunch& launch, void** args) -> Status {
                                  AddArgs a;
                                  std::memcpy(&a, args[0], sizeof a);
                                  bool inside = false;
                                  for (const auto& block : launch.memory) {
                                    const auto begin = reinterpret_cast<CudaAddress>(block.data());
                                    inside |= a.out >= begin && a.out + 4ull * a.n <= begin + block.size();
                                  }
                                  if (!inside) return error(Code::invalid, "{} floats are outside", a.n);
                                  for (uint32_t i = 0; i < a.n; ++i) reinterpret_cast<float*>(a.out)[i] += a.add;
                                  return {};
                                }};
  static const HostFunction twice{{sizeof(AddArgs)}, [](const HostLaunch& launch, void** args) -> Status {
                                    AddArgs a;
                                    std::memcpy(&a, args[0], sizeof a);
                                    for (uint32_t i = 0; i < a.n; ++i) reinterpret_cast<float*>(a.out)[i] *= 2;
                                    return {};
                                  }};
  return name == "add" ? &add : name == "twice" ? &twice : nullptr;
}

/// A fat binary of machine code for `sm` (90), as far as anybody but a driver of NVIDIA's reads it.
inline std::vector<std::byte> trial_fatbin(std::initializer_list<uint32_t> sms, uint16_t kind = 2) {
  std::vector<std::byte> out(16 + sms.size() * 72);
  const auto put = [&](size_t at, auto value) { std::memcpy(out.data() + at, &value, sizeof value); };
  put(0, 0xBA55ED50u), put(4, uint16_t(1)), put(6, uint16_t(16)), put(8, uint64_t(out.size() - 16));
  size_t at = 16;
  for (uint32_t sm : sms) {
    put(at, kind), put(at + 2, uint16_t(0x101)), put(at + 4, 64u), put(at + 8, uint64_t(8)), put(at + 28, sm);
    at += 72;
  }
  return out;
}

struct TrialDevice {
  explicit TrialDevice(HostCudaOptions options = {})
      : host([&] {
          if (!options.find) options.find = trial_kernel;
          return options;
        }()) {
    auto loaded = host.load();
    if (loaded.ok()) driver = *loaded;
  }
  Result<std::shared_ptr<CudaDevice>> open() { return CudaDevice::open(driver, 0); }
  HostCudaDriver host;
  std::shared_ptr<const CudaDriver> driver;
};

}  // namespace vibee
