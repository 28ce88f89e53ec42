// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_driver.h"

#include <dlfcn.h>

namespace vibee {

std::string cuda_version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

std::string CudaDriver::describe(CudaResult result) const {
  const char *name = nullptr, *text = nullptr;
  error_name(result, &name);
  error_text(result, &text);
  return fmt::format("{} ({})", name ? name : fmt::format("CUDA error {}", int(result)), text ? text : "no text");
}

Status start_cuda_driver(CudaDriver& driver) {
  const std::string needed = cuda_version_text(kCudaVersionNeeded);
  if (const CudaResult r = driver.driver_version(&driver.version); r != CudaResult::success)
    return error(Code::unsupported,
                 "{}: its version cannot be asked for (cuDriverGetVersion: {}); reinstall the driver", driver.path,
                 driver.describe(r));
  if (driver.version < kCudaVersionNeeded)
    return error(Code::unsupported,
                 "{}: the driver is for CUDA {}, and CUDA {} or newer is needed; update it to 525 or newer",
                 driver.path, cuda_version_text(driver.version), needed);
  const auto failed = [&](const char* call, CudaResult r) {
    if (r == CudaResult::no_device)
      return error(Code::not_found, "{}: the driver (CUDA {}) finds no device ({}: {})", driver.path,
                   cuda_version_text(driver.version), call, driver.describe(r));
    return error(Code::unsupported,
                 "{}: the driver (CUDA {}) does not start ({}: {}); see nvidia-smi and the kernel's log", driver.path,
                 cuda_version_text(driver.version), call, driver.describe(r));
  };
  if (const CudaResult r = driver.init(0); r != CudaResult::success) return failed("cuInit", r);
  if (const CudaResult r = driver.device_count(&driver.devices); r != CudaResult::success)
    return failed("cuDeviceGetCount", r);
  if (driver.devices < 1) return failed("cuDeviceGetCount", CudaResult::no_device);
  return {};
}

Result<std::shared_ptr<const CudaDriver>> load_cuda_driver(const std::string& path) {
  auto driver = std::make_shared<CudaDriver>();
  driver->path = path;
  // Never unloaded: the driver has threads of its own.
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char* const why = ::dlerror();
    return error(Code::not_found, "no CUDA driver: {}", why ? why : path.c_str());
  }
  driver->library.reset(library, [](void* handle) { ::dlclose(handle); });
  const char* absent = nullptr;
  const auto find = [&](auto& call) {
    using Function = decltype(call.function);
    call.function = reinterpret_cast<Function>(::dlsym(library, call.symbol));
    if (!call.function && !absent) absent = call.symbol;
  };
#define VIBEE_CUDA_CALL(field, ...) find(driver->field);
#include "vibee/core/device/cuda_calls.inc"
#undef VIBEE_CUDA_CALL
  if (absent) {
    const bool asked = driver->driver_version.function &&
                       driver->driver_version(&driver->version) == CudaResult::success && driver->version > 0;
    return error(Code::unsupported,
                 "{}: has no {}: the driver is for CUDA {}, and CUDA {} or newer is needed; update it to 525 or newer",
                 path, absent, asked ? cuda_version_text(driver->version) : "?", cuda_version_text(kCudaVersionNeeded));
  }
  VIBEE_TRY(start_cuda_driver(*driver));
  return std::shared_ptr<const CudaDriver>(std::move(driver));
}

const Result<std::shared_ptr<const CudaDriver>>& cuda_driver() {
  static const Result<std::shared_ptr<const CudaDriver>> driver = load_cuda_driver();
  return driver;
}

}  // namespace vibee
