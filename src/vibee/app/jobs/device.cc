// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/device.h"

#include <charconv>

#include "vibee/graph/device/kernel_images.h"

namespace vibee {
namespace {

Result<std::shared_ptr<DeviceRuntime>> open_cuda(int ordinal) {
  VIBEE_ASSIGN(auto driver, cuda_driver());
  return DeviceRuntime::open(std::move(driver), ordinal, kernel_images());
}

}  // namespace

Result<std::shared_ptr<DeviceRuntime>> open_device(const std::string& text) {
  if (text == "cpu") return std::shared_ptr<DeviceRuntime>();
  constexpr std::string_view kCuda = "cuda";
  int ordinal = 0;
  bool known = text == kCuda;
  if (!known && text.starts_with("cuda:")) {
    const char* const end = text.data() + text.size();
    const auto [rest, failed] = std::from_chars(text.data() + kCuda.size() + 1, end, ordinal);
    known = failed == std::errc() && rest == end && ordinal >= 0;
  }
  if (!known) return error(Code::invalid, "--device {}: unknown; use cpu, cuda or cuda:N", text);
  auto opened = open_cuda(ordinal);
  if (!opened.ok()) return opened.take_status().within("--device " + text);
  return opened;
}

}  // namespace vibee
