// SPDX-License-Identifier: Apache-2.0
// v1645: the profile's numbers go together; the tiles in shared memory are exchanged one to one; products by
// warpgroups, under the shim, have the error of sums in f32, and a row's bytes whatever is beside it; the binary
// carries images for sm_90a; without the switch a device of capability 9.0 gets what one of 8.0 does.
#include <cmath>
#include <cstring>
#include <set>

#include "vibee/core/device/image_architectures.h"
#include "vibee/core/technique/context.h"
#include "vibee/graph/device/kernel_images.h"
#include "vibee/hw/device/h100_optimization.h"
#include "vibee/hw/device/h200_optimization.h"
#include "vibee/kit/hopper_trial.h"

namespace vibee {
namespace {

/// Largest error of D over its bound: a rounding of every product's sum, k of them and those of the parts.
double worst_error(const TrialMatrix& x, uint32_t first, const TrialMatrix& w, const HopperProduct& got) {
  double worst = 0;
  const uint32_t n = w.rows, k = w.columns, m = uint32_t(got.d.size() / n);
  for (uint32_t r = 0; r < m; ++r)
    for (uint32_t c = 0; c < n; ++c) {
      double sum = 0, size = 0;
      for (uint32_t i = 0; i < k; ++i) {
        const double product = double(x.at(first + r, i)) * w.at(c, i);
        sum += product, size += std::fabs(product);
      }
      const double share = std::fabs(got.d[uint64_t(r) * n + c] - sum) / ((k + got.shape.depth_parts) * 0x1p-24 * size);
      worst = share <= worst ? worst : share;
    }
  return worst;
}

/// Places of a tile of 64 elements a row that two elements share, and groups of eight rows of which a vector of 16
/// bytes would meet another in a bank.
std::pair<size_t, size_t> wrong_places(uint32_t rows) {
  std::set<uint32_t> seen;
  size_t shared = 0, meeting = 0;
  const auto place = [](uint32_t r, uint32_t v) { return r * 128 + ((v ^ r % 8) * 16); };
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t v = 0; v < 8; ++v) shared += !seen.insert(place(r, v)).second;
  for (uint32_t first = 0; first < rows; first += 8)
    for (uint32_t v = 0; v < 8; ++v) {
      uint32_t banks = 0;
      for (uint32_t r = first; r < first + 8; ++r) banks |= 1u << place(r, v) / 16 % 8;
      meeting += banks != 0xff;
    }
  return {shared, meeting};
}

DeviceInfo device_of(uint32_t major, const char* name, uint64_t memory) {
  DeviceInfo info;
  info.name = name, info.major = major, info.multiprocessors = 132, info.memory_bytes = memory;
  info.shared_per_block = kMostSharedBytes;
  return info;
}

}  // namespace

Status check_h100_optimization(CheckContext& context) {
  context.needs_device("H100", "");
  context.not_built("a decoding step of at most five launches a layer");
  context.not_built("clusters, multicast, dependent launches, a window of L2 for keys and values, FP8 products");
  context.not_built("attention by warpgroups");
  if (context.describe_only()) return {};

  const HardwareProfile& h100 = *hopper_base();
  context.equal("dense bf16 operations a byte where memory and matrix units meet", std::round(h100.ridge("bf16")), 295);
  size_t past = 0, shapes = 0;
  const WgmmaDevice device{132, uint32_t(h100.limits.shared_per_block), uint32_t(h100.flight_bytes())};
  for (const uint32_t m : {1u, 8u, 64u, 65u, 512u, 8192u})
    for (const uint32_t n : {576u, 2048u, 8192u, 128256u})
      for (const bool alike : {false, true}) {
        GemmSizes sizes{.transposed_b = true, .m = m, .n = n, .k = 2048, .rows_alike = alike};
        const auto shape = wgmma_gemm_shape(sizes, device);
        past += !shape || shape->shape.launch.dynamic_shared + 128 > h100.limits.shared_per_block;
        ++shapes;
      }
  context.equal("shapes without a kernel, or beyond a block's shared memory", double(past), 0, "",
                fmt::format("of {}", shapes));
  const auto [shared, meeting] = wrong_places(256);
  context.equal("places in a tile that two elements share", double(shared), 0);
  context.equal("vectors of eight rows that meet in a bank", double(meeting), 0);

  const auto on = hopper_tuning(device_of(9, "NVIDIA H100 80GB HBM3", 85045149696), {});
  context.equal("devices of capability 9.0 that go by warpgroups", on.has_value(), 1);
  context.equal("those of 8.0, and those with the switch off",
                hopper_tuning(device_of(8, "NVIDIA A100", 1), {}).has_value() +
                    hopper_tuning(device_of(9, "NVIDIA H100", 1), {.hopper = false}).has_value(),
                0);
  if (!kernel_images().empty()) {
    size_t missing = 0;
    for (const KernelImage& image : kernel_images())
      missing += image_architectures(image.fatbin).find("sm_90") == std::string::npos;
    context.equal("images without code for sm_90", double(missing), 0, "",
                  fmt::format("of {}", kernel_images().size()));
  }

  RandomStream random(context.settings().seed, Purpose::test, 1645);
  const TrialMatrix x(140, 328, random), w(136, 328, random);
  double worst = 0;
  for (const uint32_t processors : {1u, 2u, 24u}) {
    if (!context.proceed("products by warpgroups", processors / 24.0)) return error(Code::cancelled, "stopped");
    const WgmmaDevice few{processors, device.shared_bytes, device.flight_bytes};
    VIBEE_ASSIGN(const HopperProduct many, run_hopper_product(x, 0, processors == 1 ? 140 : 70, w, few, 1));
    worst = std::max(worst, worst_error(x, 0, w, many));
    VIBEE_ASSIGN(const HopperProduct alone, run_hopper_product(x, 9, 1, w, few, 2));
    size_t other = std::memcmp(alone.d.data(), many.d.data() + 9 * w.rows, w.rows * 4) != 0;
    context.equal(fmt::format("rows with other bytes beside others, {} processors", processors), double(other), 0, "",
                  many.shape.shape.kernel + ", " + alone.shape.shape.kernel +
                      (alone.shape.shared_parts ? ", parts in blocks of their own" : ""));
  }
  context.at_most("largest error of a sum over its bound", worst, 1);
  return {};
}

}  // namespace vibee
