// SPDX-License-Identifier: Apache-2.0
// What the check and the bench of a technique are given and what they report. A check first says which parts of its
// technique are not built, need a device or are only modelled (the status in `vibee tree` is computed from that), then,
// unless `describe_only`, proves the technique and records each figure beside its bound.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/simd/isa.h"

namespace vibee {

/// One figure of a check or bench.
struct Finding {
  std::string name;
  double value = 0;
  std::string unit;
  double bound = 0;  ///< the limit of a check, the ceiling or target of a bench
  bool passed = true;
  std::string note;
};

/// A device that a part of a technique runs on, and where that part was last proved ("H100, 2026-05-01"; empty: never).
struct DeviceNeed {
  std::string device, last_proved;
};

/// Inputs that checks and benches share.
struct RunSettings {
  std::string model;  ///< path of the user's model; empty: the technique makes its own data
  uint32_t threads = 1;
  Isa isa = Isa::scalar;  ///< the best that may be used
  uint64_t seed = 1;
  bool quick = true;  ///< seconds on any machine; false: the full sweep
  /// Called now and then with what is going on and the fraction done; false asks to stop.
  std::function<bool(std::string_view what, double fraction)> progress;
};

class ContextBase {
 public:
  explicit ContextBase(RunSettings settings) : settings_(std::move(settings)) {}
  const RunSettings& settings() const { return settings_; }
  const std::vector<Finding>& findings() const { return findings_; }
  /// False when any figure missed its bound.
  bool passed() const;
  /// Reports progress; false when the caller asked to stop.
  bool proceed(std::string_view what, double fraction) const {
    return !settings_.progress || settings_.progress(what, fraction);
  }

 protected:
  void add(Finding finding) { findings_.push_back(std::move(finding)); }

 private:
  RunSettings settings_;
  std::vector<Finding> findings_;
};

class CheckContext : public ContextBase {
 public:
  explicit CheckContext(RunSettings settings, bool describe_only = false)
      : ContextBase(std::move(settings)), describe_only_(describe_only) {}
  /// True when only the declarations below are wanted: the check returns before it computes anything.
  bool describe_only() const { return describe_only_; }
  /// A part of the technique's specification that this build does not have; makes the technique *partial*.
  void not_built(std::string part) { missing_.push_back(std::move(part)); }
  /// A part that runs only on `device` ("cuda", "opencl", ...).
  void needs_device(std::string device, std::string last_proved) {
    devices_.push_back({std::move(device), std::move(last_proved)});
  }
  /// The technique computes figures for hardware that cannot be here.
  void only_modelled() { modelled_ = true; }

  /// Passes when value <= bound; NaN fails.
  void at_most(std::string name, double value, double bound, std::string unit = "", std::string note = "");
  /// Passes when value >= bound; NaN fails.
  void at_least(std::string name, double value, double bound, std::string unit = "", std::string note = "");
  /// Passes when value == bound.
  void equal(std::string name, double value, double bound, std::string unit = "", std::string note = "");

  const std::vector<std::string>& missing_parts() const { return missing_; }
  const std::vector<DeviceNeed>& device_needs() const { return devices_; }
  bool modelled() const { return modelled_; }

 private:
  bool describe_only_ = false, modelled_ = false;
  std::vector<std::string> missing_;
  std::vector<DeviceNeed> devices_;
};

class BenchContext : public ContextBase {
 public:
  using ContextBase::ContextBase;
  /// A measured figure; `ceiling` is what this machine allows (0: unknown), `note` says how it was measured.
  void figure(std::string name, double value, std::string unit, double ceiling = 0, std::string note = "");
  /// A measured figure with a target to reach.
  void target(std::string name, double value, std::string unit, double at_least, std::string note = "");
};

}  // namespace vibee
