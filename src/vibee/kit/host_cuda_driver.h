// SPDX-License-Identifier: Apache-2.0
// A driver of CUDA that runs on the host, for tests: its devices have memory of the host (host_memory.h) and streams
// that run when somebody waits (host_streams.h); its kernels are functions that the test names. It checks what it is
// asked, and can be told to fail.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/core/device/cuda_driver.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kit/host_memory.h"
#include "vibee/kit/host_streams.h"

namespace vibee {

/// A launch as a kernel's function sees it.
struct HostLaunch {
  std::string_view kernel;
  LaunchShape shape;
  uint64_t seed = 0;
  std::vector<std::span<std::byte>> memory;  ///< that the kernel may reach, as it is when the kernel runs
};

/// What an image says of a kernel, and what it does. A Status that is not ok is an access out of bounds: the device is
/// lost, as one is then.
struct HostFunction {
  std::vector<size_t> parameter_bytes;  ///< arguments are copied when it is launched, as the driver does
  std::function<Status(const HostLaunch&, void** args)> run;
  int registers = 32, local_bytes = 0, static_shared = 0, max_threads = 1024;
};

struct HostCudaOptions {
  int version = 13000;
  int devices = 1;  ///< 0: cuInit answers CUDA_ERROR_NO_DEVICE
  std::string name = "host device";
  int major = 9, minor = 0, multiprocessors = 4;
  size_t memory = size_t(64) << 20;  ///< bytes of a device
  int shared_per_block = 232448;     ///< bytes
  uint64_t seed = 0;                 ///< of the order between streams; 0: in order of submission
  std::function<const HostFunction*(std::string_view)> find = {};  ///< kernels by name; nullptr where there is none
  bool unified = false;  ///< kernels may reach pinned memory, as on every device; no plan of ours does
};

/// One at a time in a process: functions of the driver have no object.
class HostCudaDriver {
 public:
  explicit HostCudaDriver(HostCudaOptions options);
  ~HostCudaDriver();
  HostCudaDriver(const HostCudaDriver&) = delete;

  /// As load_cuda_driver answers.
  Result<std::shared_ptr<const CudaDriver>> load();

  enum class Fault {
    refused,  ///< the call does nothing and fails; what gives back does so all the same
    late,     ///< the call does its work and fails, as errors of earlier work make it
  };
  /// The n-th call from now (1: the next one) fails; of `symbol` alone, where one is given.
  void fail(uint64_t n, CudaResult result, Fault fault = Fault::refused, std::string symbol = "");
  /// Which function has failed so; empty where none has yet.
  std::string failed() const;
  uint64_t calls() const;
  uint64_t calls_of(std::string_view symbol) const;
  /// Misuse, writes out of bounds and leaks so far; after that nothing of the driver may be used.
  std::vector<std::string> finish();

 private:
  friend struct HostCuda;
  std::unique_ptr<struct HostCuda> cuda_;
};

}  // namespace vibee
