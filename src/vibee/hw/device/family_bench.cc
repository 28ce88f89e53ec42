// SPDX-License-Identifier: Apache-2.0
// A hardware row on the device that it is of: prompt and generation of a model with it over without it, turn by turn.
#include <algorithm>

#include "vibee/app/jobs/bench_model.h"
#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/hw/device/hardware_profile.h"

namespace vibee {
namespace {

/// What `vibee tree show` states as targets, over the device without the row.
struct Row {
  std::string_view id, profile;
  double prompt, generation;  ///< 0: none
};
constexpr Row kHardwareRows[] = {{"h100_optimization", "h100_sxm5_80", 1.4, 1.15},
                                 {"h200_optimization", "h200_sxm_141", 0, 1.12}};

}  // namespace

Status bench_family_hw_device(BenchContext& context, std::string_view id) {
  const Row& row =
      *std::find_if(std::begin(kHardwareRows), std::end(kHardwareRows), [&](const Row& r) { return r.id == id; });
  VIBEE_ASSIGN(const HardwareProfile* const wanted, find_hardware_profile(row.profile));
  auto devices = cuda_devices();
  if (!devices.ok()) return devices.take_status().within(std::string("needs an ") + wanted->device_name);
  const auto found =
      std::find_if(devices->begin(), devices->end(), [&](const DeviceInfo& d) { return profile_of(d) == wanted; });
  if (found == devices->end())
    return error(Code::unsupported, "needs an {}; device 0 is {}", wanted->device_name, (*devices)[0].name);
  LoadConfig with;
  with.model = context.settings().model;
  with.device = fmt::format("cuda:{}", found->ordinal);
  with.weights = "bf16";  // products that the row is about
  LoadConfig without = with;
  without.disable.emplace_back(id);
  BenchConfig config;
  config.probe = false;
  config.prompt = 2048;
  std::vector<double> prompt, generation;
  const int pairs = context.settings().quick ? 3 : 7;
  for (int i = 0; i < pairs; ++i) {
    if (!context.proceed("with and without", double(i) / pairs)) return error(Code::cancelled, "stopped");
    VIBEE_ASSIGN(const BenchReport a, bench_model(with, config, {}));
    VIBEE_ASSIGN(const BenchReport b, bench_model(without, config, {}));
    prompt.push_back(a.prompt_rate / b.prompt_rate);
    generation.push_back(a.generate_rate / b.generate_rate);
  }
  const auto say = [&](const char* what, const std::vector<double>& ratios, double target) {
    const std::string note = fmt::format("median of {} pairs, {}", pairs, found->name);
    if (target > 0)
      context.target(what, median(ratios), "x", target, note);
    else
      context.figure(what, median(ratios), "x", 0, note);
  };
  say("prompt over that without the row", prompt, row.prompt);
  say("generation over that without the row", generation, row.generation);
  return {};
}

}  // namespace vibee
