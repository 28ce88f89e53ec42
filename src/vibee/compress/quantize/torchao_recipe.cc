// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/torchao_recipe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "vibee/base/text/quote.h"
#include "vibee/compress/quantize/each_row.h"
#include "vibee/compress/quantize/round_to.h"
#include "vibee/formats/float/minifloat.h"

namespace vibee {
namespace {

using Of = TorchaoRecipe::Of;
constexpr TorchaoRecipe kRecipes[] = {{"int8wo", Of::int8},
                                      {"int8da_int8w", Of::int8, true},
                                      {"intxwo", Of::intx},
                                      {"int8da_intxw", Of::intx, true},
                                      {"float8wo", Of::float8}};
constexpr float kLargestE4m3 = 448;

float largest(std::span<const float> x) {
  float most = 0;
  for (const float v : x) most = std::max(most, std::fabs(v));
  return most;
}

/// How integers of a group are chosen.
struct Grid {
  float least, most;  ///< codes
  float smallest;     ///< a scale at least
  bool asymmetric;
  RoundTo type;  ///< of the weights
  RoundTo kept;  ///< of scales
};

void integers(std::span<const float> w, const Grid& grid, uint8_t* codes, float* scale, int8_t* zero) {
  const float steps = grid.most - grid.least;
  float z = 0, s;
  if (grid.asymmetric) {
    const auto [low, high] = std::minmax_element(w.begin(), w.end());
    const float least = std::min(*low, 0.0f), most = std::max(*high, 0.0f);
    s = std::max(grid.type(grid.type(most - least) / steps), grid.smallest);
    z = std::clamp(grid.type(grid.least - std::nearbyint(grid.type(least / s))), grid.least, grid.most);
  } else {
    s = std::max(grid.type(largest(w) / (steps / 2)), grid.smallest);
  }
  const float inverse = grid.kept(1 / s);
  for (size_t i = 0; i < w.size(); ++i)
    codes[i] =
        uint8_t(int8_t(std::clamp(grid.kept(std::nearbyint(grid.kept(w[i] * inverse)) + z), grid.least, grid.most)));
  *scale = s;
  *zero = int8_t(z);
}

float floats(std::span<const float> w, RoundTo type, uint8_t* codes) {
  const float scale = type(largest(w) / kLargestE4m3);
  for (size_t i = 0; i < w.size(); ++i)
    codes[i] = scale > 0 ? uint8_t(E4m3::encode(std::clamp(w[i] / scale, -kLargestE4m3, kLargestE4m3))) : uint8_t(0);
  return scale;
}

float smallest_normal(Format type) { return type == Format::f16 ? 0x1p-14f : std::numeric_limits<float>::min(); }

}  // namespace

Result<TorchaoRecipe> find_torchao_recipe(std::string_view name) {
  std::string known;
  for (const TorchaoRecipe& r : kRecipes) {
    if (r.name == name) return r;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", r.name);
  }
  return error(Code::invalid, "--scheme torchao:{}: one of {}", quote(name, 40), known);
}

std::vector<std::string> torchao_recipes() {
  std::vector<std::string> out;
  for (const TorchaoRecipe& r : kRecipes) out.push_back(fmt::format("torchao:{}", r.name));
  return out;
}

TorchaoMatrix torchao_quantize(std::span<const float> w, uint64_t k, const TorchaoRecipe& recipe,
                               const TorchaoCodes& codes, Format type, Team* team) {
  const bool intx = recipe.of == Of::intx;
  const uint64_t group = intx ? codes.group : k;
  const auto half = float(1u << ((intx ? codes.bits : 8) - 1));
  const Grid grid{.least = -half,
                  .most = half - 1,
                  .smallest = intx ? smallest_normal(type) : std::numeric_limits<float>::epsilon(),
                  .asymmetric = intx && codes.asymmetric,
                  .type = round_to(type),
                  .kept = round_to(intx ? type : Format::f32)};
  TorchaoMatrix out;
  out.codes.resize(w.size());
  out.scale.resize(w.size() / group);
  if (recipe.of != Of::float8) out.zero.resize(out.scale.size());
  each_row(out.scale.size(), team, [&](uint64_t g) {
    const std::span<const float> from = w.subspan(g * group, group);
    uint8_t* const to = out.codes.data() + g * group;
    if (recipe.of == Of::float8) {
      out.scale[g] = floats(from, grid.type, to);
    } else {
      integers(from, grid, to, &out.scale[g], &out.zero[g]);
    }
  });
  return out;
}

}  // namespace vibee
