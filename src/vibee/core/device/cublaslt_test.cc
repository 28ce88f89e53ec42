// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cublaslt.h"

#include <gtest/gtest.h>

#include "vibee/kit/host_cublaslt.h"

namespace vibee {
namespace {

TEST(CublasLt, SaysWhatIsMissing) {
  const Status none = load_cublaslt("/nowhere/libcublasLt.so.13").take_status();
  EXPECT_EQ(none.code(), Code::not_found);
  EXPECT_NE(none.message().find("/nowhere/libcublasLt.so.13"), std::string::npos) << none.message();

  const std::string other = std::string(VIBEE_CUDA_STUBS) + "/libcuda_old.so";
  const Status lacks = load_cublaslt(other).take_status();
  EXPECT_EQ(lacks.code(), Code::unsupported);
  EXPECT_EQ(lacks.message(), other + ": has no cublasLtGetVersion; install cuBLASLt 13");
}

TEST(CublasLt, TakesTheVersionsThatItsDeclarationsAreRightFor) {
  for (const auto& [version, taken] :
       {std::pair<uint64_t, bool>{110905, false}, {120000, true}, {131000, true}, {140000, false}}) {
    HostCublasLt host(version);
    const auto library = host.load();
    EXPECT_EQ(library.ok(), taken) << version;
    EXPECT_EQ(library.status().message().find("is not one of versions 12 to 13") == std::string::npos, taken);
  }
  HostCublasLt host(131000);
  EXPECT_EQ((*host.load())->version_text(), "13.10.0");
}

}  // namespace
}  // namespace vibee
