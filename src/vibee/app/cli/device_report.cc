// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/device_report.h"

#include <vector>

#include "vibee/base/text/json_object.h"
#include "vibee/core/device/cuda_device.h"
#include "vibee/core/measure/copy_rates.h"
#include "vibee/graph/device/kernel_images.h"
#include "vibee/hw/device/hardware_profile.h"

namespace vibee {
namespace {

constexpr double kGiB = double(1u << 30);
constexpr size_t kCopied = size_t(64) << 20;  // bytes: well above the time of a launch

/// What only an open device can say.
struct Measured {
  uint64_t free = 0;  // bytes
  CopyRates rates;
};

Result<Measured> measure(const std::shared_ptr<const CudaDriver>& driver, int ordinal, bool quick) {
  Measured out;
  VIBEE_ASSIGN(const auto device, CudaDevice::open(driver, ordinal));
  VIBEE_ASSIGN(const CudaDevice::Memory memory, device->memory());
  out.free = memory.free;
  VIBEE_ASSIGN(out.rates, copy_rates(device, kCopied, quick ? 3 : 9));
  return out;
}

}  // namespace

DeviceReport report_devices(const Result<std::shared_ptr<const CudaDriver>>& driver, bool quick) {
  DeviceReport out;
  const auto infos = driver.ok() ? cuda_devices(**driver) : Result<std::vector<DeviceInfo>>(driver.status());
  if (!infos.ok()) {
    out.text = fmt::format("devices: none: {}\n  kernels built: {}\n", infos.status().message(), kernel_images_build());
    out.json = JsonObject()
                   .text("kernels", kernel_images_build())
                   .text("note", infos.status().message())
                   .raw("devices", "[]")
                   .str();
    return out;
  }
  const std::string version = cuda_version_text((*driver)->version);
  out.text = fmt::format("devices (driver for CUDA {}):\n", version);
  std::vector<std::string> rows;
  for (const DeviceInfo& d : *infos) {
    const auto measured = measure(*driver, d.ordinal, quick);
    JsonObject row;
    row.integer("ordinal", d.ordinal)
        .text("name", d.name)
        .text("uuid", d.uuid)
        .text("pci", d.pci)
        .text("capability", d.capability())
        .integer("multiprocessors", d.multiprocessors)
        .integer("memory_bytes", d.memory_bytes)
        .integer("l2_bytes", d.l2_bytes)
        .integer("shared_per_block", d.shared_per_block)
        .number("clock_ghz", d.clock_ghz)
        .number("memory_clock_ghz", d.memory_clock_ghz)
        .integer("memory_bus_bits", d.memory_bus_bits)
        .boolean("slice", d.slice());
    const HardwareProfile* const profile = profile_of(d);
    row.text("profile", profile ? profile->id : "");
    out.text += fmt::format(
        "  {}: {}, capability {}, {} multiprocessors at {:.2f} GHz, {:.1f} GiB at {:.2f} GHz x {} bits, L2 {:.1f} MiB, "
        "{}, {}\n",
        d.ordinal, d.name, d.capability(), d.multiprocessors, d.clock_ghz, double(d.memory_bytes) / kGiB,
        d.memory_clock_ghz, d.memory_bus_bits, double(d.l2_bytes) / (1u << 20), d.pci, d.uuid);
    if (profile) out.text += fmt::format("     planned by the profile {} ({})\n", profile->id, profile->title);
    if (measured.ok()) {
      row.integer("memory_free", measured->free)
          .number("to_device_gb_s", measured->rates.to_device)
          .number("to_host_gb_s", measured->rates.to_host);
      out.text += fmt::format("     {:.1f} GiB free; copies {:.1f} GB/s to the device, {:.1f} GB/s back\n",
                              double(measured->free) / kGiB, measured->rates.to_device, measured->rates.to_host);
    } else {
      row.text("note", measured.status().message());
      out.text += fmt::format("     not measured: {}\n", measured.status().message());
    }
    rows.push_back(row.str());
  }
  out.text += fmt::format("  kernels built: {}\n", kernel_images_build());
  out.json = JsonObject()
                 .text("driver", version)
                 .text("kernels", kernel_images_build())
                 .text("note", "")
                 .raw("devices", json_array(rows))
                 .str();
  return out;
}

DeviceReport report_devices(bool quick) { return report_devices(cuda_driver(), quick); }

}  // namespace vibee
