// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/device.h"

#include "vibee/core/device/cuda_driver.h"

namespace vibee {
namespace {

std::string uuid_text(const CudaUuid& uuid) {
  std::string out = "GPU-";
  for (int i = 0; i < 16; ++i)
    out += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid.bytes[i]);
  return out;
}

Result<DeviceInfo> describe(const CudaDriver& driver, int ordinal) {
  DeviceInfo out;
  out.ordinal = ordinal;
  Status failed;
  const auto ask = [&](const auto& call, auto... arguments) {
    if (!failed.ok()) return;
    if (const CudaResult r = call(arguments...); r != CudaResult::success)
      failed = error(Code::io, "cuda device {}: {}: {}", ordinal, call.symbol, driver.describe(r));
  };
  int device = 0;
  ask(driver.device_get, &device, ordinal);
  const auto attribute = [&](CudaAttribute which) {
    int value = 0;
    ask(driver.device_attribute, &value, which, device);
    return value;
  };
  char name[256] = "", pci[32] = "";
  size_t bytes = 0;
  CudaUuid uuid = {};
  ask(driver.device_name, name, int(sizeof name), device);
  ask(driver.device_memory, &bytes, device);
  ask(driver.device_uuid, &uuid, device);
  ask(driver.device_pci, pci, int(sizeof pci), device);
  out.name = name, out.pci = pci, out.uuid = uuid_text(uuid), out.memory_bytes = bytes;
  out.major = uint32_t(attribute(CudaAttribute::major)), out.minor = uint32_t(attribute(CudaAttribute::minor));
  out.multiprocessors = uint32_t(attribute(CudaAttribute::multiprocessors));
  out.l2_bytes = uint64_t(attribute(CudaAttribute::l2_bytes));
  out.shared_per_block = uint64_t(attribute(CudaAttribute::shared_per_block));
  out.shared_per_multiprocessor = uint64_t(attribute(CudaAttribute::shared_per_multiprocessor));
  out.clock_ghz = attribute(CudaAttribute::clock_khz) / 1e6;
  out.memory_clock_ghz = attribute(CudaAttribute::memory_clock_khz) / 1e6;
  out.memory_bus_bits = uint32_t(attribute(CudaAttribute::memory_bus_bits));
  out.integrated = attribute(CudaAttribute::integrated) != 0, out.ecc = attribute(CudaAttribute::ecc) != 0;
  if (!failed.ok()) return failed;
  return out;
}

}  // namespace

Result<std::vector<DeviceInfo>> cuda_devices(const CudaDriver& driver) {
  std::vector<DeviceInfo> out;
  for (int i = 0; i < driver.devices; ++i) {
    VIBEE_ASSIGN(DeviceInfo info, describe(driver, i));
    out.push_back(std::move(info));
  }
  return out;
}

Result<std::vector<DeviceInfo>> cuda_devices() {
  const auto& driver = cuda_driver();
  if (!driver.ok()) return driver.status();
  return cuda_devices(**driver);
}

}  // namespace vibee
