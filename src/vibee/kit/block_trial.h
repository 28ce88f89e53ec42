// SPDX-License-Identifier: Apache-2.0
// Block kernels in tests: launched by name under the shim, over arrays that end where they end, in several orders of
// threads whose results have to be the same bytes.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kit/device_trial.h"
#include "vibee/kit/host_kernels.h"

namespace vibee {

/// Elements of device memory behind `lead` others: with a lead of 0 they begin at a multiple of 16 bytes.
template <class T>
class TrialArray {
 public:
  TrialArray(uint64_t n, uint32_t lead = 0) : memory_((n + lead) * sizeof(T) / 16 + 1), n_(n), lead_(lead) {}
  T* data() { return reinterpret_cast<T*>(memory_.data()) + lead_; }
  const T* data() const { return reinterpret_cast<const T*>(memory_.data()) + lead_; }
  T& operator[](uint64_t i) { return data()[i]; }
  const T& operator[](uint64_t i) const { return data()[i]; }
  uint64_t size() const { return n_; }
  ShimMemory memory() const { return {data(), n_ * sizeof(T)}; }

 private:
  struct alignas(16) Line {
    unsigned char bytes[16] = {};
  };
  std::vector<Line, TrialAllocator<Line>> memory_;
  uint64_t n_;
  uint32_t lead_;
};

/// Whether two arrays hold the same bytes.
template <class T>
bool same_bytes(const TrialArray<T>& a, const TrialArray<T>& b) {
  return a.size() == b.size() && (a.size() == 0 || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Runs a kernel that takes `args` in three orders; `outputs` are what it writes. Its result is that of the first. With
/// a device (device_trial.h) it runs there.
template <class Args>
Status run_kernel(std::string_view name, const LaunchShape& shape, Args args, const std::vector<ShimMemory>& inputs,
                  const std::vector<ShimMemory>& outputs) {
  const HostKernel* const kernel = find_host_kernel(name);
  if (!kernel) return error(Code::not_found, "no kernel {}", name);
  if (shape.grid[0] == 0 || shape.grid[1] == 0) return {};  // nothing to launch
  if (DeviceTrial* const device = DeviceTrial::instance()) return device->launch(name, shape, &args);
  std::vector<ShimMemory> memory = inputs;
  memory.insert(memory.end(), outputs.begin(), outputs.end());
  std::vector<std::vector<char>> before, first;
  const auto bytes = [](const ShimMemory& m) { return static_cast<char*>(const_cast<void*>(m.base)); };
  for (const ShimMemory& m : outputs) before.emplace_back(bytes(m), bytes(m) + m.bytes);
  for (uint64_t seed = 0; seed < 3; ++seed) {
    ShimLaunch launch;
    launch.grid = shape.grid;
    launch.block = {shape.threads, 1, 1};
    launch.dynamic_shared = shape.dynamic_shared;
    launch.memory = memory;
    launch.seed = seed;
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].bytes > 0) std::memcpy(bytes(outputs[i]), before[i].data(), outputs[i].bytes);
    void* packed[] = {&args};
    VIBEE_TRY(kernel->run(launch, packed));
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (seed == 0)
        first.emplace_back(bytes(outputs[i]), bytes(outputs[i]) + outputs[i].bytes);
      else if (!std::equal(first[i].begin(), first[i].end(), bytes(outputs[i])))
        return error(Code::invalid, "kernel {}: output {} differs in another order of threads, seed {}", name, i, seed);
    }
  }
  return {};
}

/// How a type of device memory is called in kernels' names, and its numbers.
template <class T>
struct TrialType;
template <>
struct TrialType<float> {
  static constexpr const char* name = "f32";
  static constexpr double ulp = 0, least = 0;  // it is the type of sums
  static float from(float v) { return v; }
  static double value(float v) { return v; }
};
template <>
struct TrialType<Bf16> {
  static constexpr const char* name = "bf16";
  static constexpr double ulp = 0x1p-9, least = 0x1p-134;
  static Bf16 from(float v) { return {float_to_bf16(v)}; }
  static double value(Bf16 v) { return bf16_to_float(v.bits); }
};
template <>
struct TrialType<Half> {
  static constexpr const char* name = "f16";
  static constexpr double ulp = 0x1p-12, least = 0x1p-25;
  static Half from(float v) { return {float_to_half(v)}; }
  static double value(Half v) { return half_to_float(v.bits); }
};
/// What rounding a number near v to a T adds to its error.
template <class T>
double rounding(double v) {
  return 2 * TrialType<T>::ulp * std::fabs(v) + TrialType<T>::least;
}
/// What a rounding of f32 moves a number by at most, relatively, and what one of its functions does: errors of the C
/// library (The GNU C Library, "Known Maximum Errors in Math Functions") in ulps, two units each.
constexpr double kUnit = 0x1p-24, kExpUnits = 2, kLogUnits = 2, kTanhUnits = 4, kErfcUnits = 6;
/// Below it numbers of f32 lose digits.
constexpr double kLeastNormal = 0x1p-126;

template <class T>
TrialArray<T> normals(uint64_t n, uint32_t stream, float scale = 1, uint32_t lead = 0) {
  RandomStream random(21, Purpose::test, stream);
  TrialArray<T> v(n, lead);
  for (uint64_t i = 0; i < n; ++i) v[i] = TrialType<T>::from(scale * random.normal());
  return v;
}

}  // namespace vibee
