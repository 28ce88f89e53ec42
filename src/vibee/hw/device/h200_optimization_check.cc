// SPDX-License-Identifier: Apache-2.0
// v1646: an H200's products have more stages than an H100's and the same bytes, in shared memory that a block has; the
// switch gives an H100's.
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/hw/device/h100_optimization.h"
#include "vibee/hw/device/h200_optimization.h"
#include "vibee/kit/hopper_trial.h"

namespace vibee {

Status check_h200_optimization(CheckContext& context) {
  context.needs_device("H200", "");
  context.not_built("keys and values, batch, recomputation and ranks chosen by capacity");
  context.not_built("bytes under way in attention, norms and the optimiser by profile");
  if (context.describe_only()) return {};

  DeviceInfo info;
  info.name = "NVIDIA H200", info.major = 9, info.multiprocessors = 132;
  VIBEE_ASSIGN(const HardwareProfile* const h200, find_hardware_profile("h200_sxm_141"));
  const auto own = hopper_tuning(info, {}), base = hopper_tuning(info, {.deep_stages = false});
  context.equal("profiles chosen", own && base && own->profile == h200 && base->profile == hopper_base(), 1, "",
                "the H200's own, and the H100's without the switch");
  context.equal("dense bf16 operations a byte where memory and matrix units meet", std::round(h200->ridge("bf16")),
                206);
  context.at_least("bytes under way, over those of an H100", double(own->flight_bytes) / base->flight_bytes, 1.4);

  RandomStream random(context.settings().seed, Purpose::test, 1646);
  const TrialMatrix x(64, 456, random), w(130, 456, random);
  const auto device = [&](const HopperTuning& tuning) {
    return WgmmaDevice{8, uint32_t(h200->limits.shared_per_block), tuning.flight_bytes};
  };
  size_t different = 0, not_deeper = 0;
  for (const uint32_t m : {1u, 17u, 64u}) {
    if (!context.proceed("products", m / 64.0)) return error(Code::cancelled, "stopped");
    VIBEE_ASSIGN(const HopperProduct a, run_hopper_product(x, 0, m, w, device(*own), m));
    VIBEE_ASSIGN(const HopperProduct b, run_hopper_product(x, 0, m, w, device(*base), m + 1));
    different += std::memcmp(a.d.data(), b.d.data(), a.d.size() * 4) != 0;
    not_deeper += a.shape.stages != b.shape.stages + 1;
  }
  context.equal("products with other bytes than an H100's stages give", double(different), 0);
  context.equal("products without a stage more", double(not_deeper), 0);
  return {};
}

}  // namespace vibee
