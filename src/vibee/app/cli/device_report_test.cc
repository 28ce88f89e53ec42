// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/device_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "vibee/kit/host_cuda_driver.h"

namespace vibee {
namespace {

TEST(DeviceReport, SaysWhatIsThereOrWhyNot) {
  {
    HostCudaDriver host({.devices = 0});
    const DeviceReport none = report_devices(host.load(), true);
    EXPECT_EQ(none.text.rfind("devices: none: ", 0), 0u) << none.text;
    EXPECT_EQ(nlohmann::json::parse(none.json)["devices"].size(), 0u);
    EXPECT_NE(nlohmann::json::parse(none.json)["note"].get<std::string>().find("CUDA_ERROR_NO_DEVICE"),
              std::string::npos);
  }
  HostCudaDriver host({.devices = 2, .memory = size_t(64) << 20});
  {
    const auto driver = host.load();
    const DeviceReport report = report_devices(driver, true);
    const auto json = nlohmann::json::parse(report.json);
    ASSERT_EQ(json["devices"].size(), 2u);
    EXPECT_EQ(json["driver"], "13.0");
    EXPECT_EQ(json["devices"][1]["capability"], "9.0");
    EXPECT_EQ(json["devices"][1]["memory_free"], 64 << 20);
    EXPECT_GT(json["devices"][1]["to_host_gb_s"], 0);
    EXPECT_NE(report.text.find("  1: host device, capability 9.0, 4 multiprocessors"), std::string::npos);
  }
  EXPECT_EQ(host.finish(), std::vector<std::string>{});
}

TEST(DeviceReport, ADeviceWithoutRoomIsNotMeasured) {
  HostCudaDriver host({.memory = 1000});
  {
    const auto driver = host.load();
    const DeviceReport report = report_devices(driver, true);
    EXPECT_NE(report.text.find("not measured: cuda device 0 (host device, 9.0): a pool of 67108864 bytes is wanted, "
                               "1000 of 1000 bytes are free"),
              std::string::npos)
        << report.text;
  }
  EXPECT_EQ(host.finish(), std::vector<std::string>{});
}

}  // namespace
}  // namespace vibee
