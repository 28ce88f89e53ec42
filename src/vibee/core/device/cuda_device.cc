// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_device.h"

namespace vibee {
namespace {

/// Errors behind which a context takes no more work: those that cuda.h says leave the process in an inconsistent state
/// or the device unusable.
bool loses_device(CudaResult result) {
  switch (result) {
    case CudaResult::ecc_uncorrectable:
    case CudaResult::nvlink_uncorrectable:
    case CudaResult::illegal_address:
    case CudaResult::launch_timeout:
    case CudaResult::assert_failed:
    case CudaResult::hardware_stack_error:
    case CudaResult::illegal_instruction:
    case CudaResult::misaligned_address:
    case CudaResult::invalid_address_space:
    case CudaResult::invalid_pc:
    case CudaResult::launch_failed:
    case CudaResult::unknown: return true;
    default: return false;
  }
}

Code code_of(CudaResult result) {
  switch (result) {
    case CudaResult::out_of_memory: return Code::no_memory;
    case CudaResult::not_found: return Code::not_found;
    case CudaResult::invalid_image:
    case CudaResult::no_binary_for_gpu:
    case CudaResult::unsupported_ptx_version: return Code::unsupported;
    default: return Code::io;
  }
}

}  // namespace

Result<std::shared_ptr<CudaDevice>> CudaDevice::open(std::shared_ptr<const CudaDriver> driver, int ordinal) {
  VIBEE_ASSIGN(std::vector<DeviceInfo> infos, cuda_devices(*driver));
  if (ordinal < 0 || size_t(ordinal) >= infos.size())
    return error(Code::not_found, "cuda device {}: the driver has {}, counted from 0", ordinal, infos.size());
  std::shared_ptr<CudaDevice> out(new CudaDevice);
  out->driver_ = std::move(driver), out->info_ = std::move(infos[size_t(ordinal)]);
  const CudaDriver& d = *out->driver_;
  if (const CudaResult r = d.device_get(&out->device_, ordinal); r != CudaResult::success)
    return out->status(d.device_get.symbol, "", r);
  if (const CudaResult r = d.context_retain(&out->context_, out->device_); r != CudaResult::success)
    return out->status(d.context_retain.symbol, "", r);
  return out;
}

CudaDevice::~CudaDevice() {
  if (context_) driver_->context_release(device_);
}

std::string CudaDevice::label() const {
  return fmt::format("cuda device {} ({}, {})", info_.ordinal, info_.name, info_.capability());
}

Result<CudaDevice::Memory> CudaDevice::memory() {
  size_t free = 0, total = 0;
  VIBEE_TRY(call(driver_->memory_info, "", &free, &total));
  return Memory{free, total};
}

Status CudaDevice::status(const char* symbol, std::string_view what, CudaResult result) {
  const auto say = [&](const char* call, std::string_view of, CudaResult r) {
    return fmt::format("{}{}{}: {}", call, of.empty() ? "" : ", ", of, driver_->describe(r));
  };
  if (loses_device(result)) {
    std::lock_guard lock(mutex_);
    if (lost_status_.ok())
      // A destructor may have been the first to hear of it.
      lost_status_ =
          error(Code::io, "{} is lost: {}; it is not used any more, restart the process (driver for CUDA {})", label(),
                loses_device(release_result_) ? say(release_symbol_, "", release_result_) : say(symbol, what, result),
                cuda_version_text(driver_->version));
    lost_.store(true, std::memory_order_release);
    return lost_status_;
  }
  std::string said = say(symbol, what, result);
  if (result == CudaResult::out_of_memory) {
    size_t free = 0, total = 0;
    const char* failed = nullptr;
    if (in_context(failed, driver_->memory_info, &free, &total) == CudaResult::success)
      said += fmt::format("; {} of {} bytes of the device are free", free, total);
  }
  return error(code_of(result), "{}: {} (driver for CUDA {})", label(), said, cuda_version_text(driver_->version));
}

Status CudaDevice::lost_status() {
  std::lock_guard lock(mutex_);
  return lost_status_;
}

void CudaDevice::note_release(const char* symbol, CudaResult result) noexcept {
  std::lock_guard lock(mutex_);
  if (!release_symbol_) release_symbol_ = symbol, release_result_ = result;
}

Status CudaDevice::release_error() {
  const char* symbol = nullptr;
  CudaResult result = CudaResult::success;
  {
    std::lock_guard lock(mutex_);
    std::swap(symbol, release_symbol_), std::swap(result, release_result_);
  }
  if (!symbol) return {};
  return status(symbol, "when it was given back", result);
}

}  // namespace vibee
