// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/exl2_options.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/text/quote.h"

namespace vibee {

std::string Exl2Option::name() const {
  std::string out;
  for (const Exl2Part& p : parts) out += fmt::format("{}{}:{}b_{}g", out.empty() ? "" : "/", p.share, p.bits, p.group);
  return out + " s4";
}

std::span<const Exl2Option> exl2_options() {
  static const std::vector<Exl2Option> all = {
#define VIBEE_EXL2(...) Exl2Option{{__VA_ARGS__}},
#include "vibee/compress/quantize/exl2_options.inc"
#undef VIBEE_EXL2
  };
  return all;
}

Result<const Exl2Option*> find_exl2_option(std::string_view name) {
  for (const Exl2Option& o : exl2_options())
    if (o.name() == name) return &o;
  return error(Code::invalid, "{} is no option of EXL2 that this build has", quote(name, 80));
}

Result<Exl2Option> exl2_head(uint32_t bits) {
  switch (bits) {
    case 2: return Exl2Option{{{4, 0.3, 32}, {2, 0.7, 32}}};
    case 3: return Exl2Option{{{4, 0.15, 32}, {3, 0.85, 32}}};
    case 4: return Exl2Option{{{6, 0.15, 32}, {4, 0.85, 32}}};
    case 5: return Exl2Option{{{6, 0.15, 128}, {5, 0.85, 128}}};
    case 6: return Exl2Option{{{8, 0.15, 128}, {6, 0.85, 128}}};
    case 8: return Exl2Option{{{8, 1, 128}}};
    default: return error(Code::invalid, "{} bits of a head; 2, 3, 4, 5, 6 or 8", bits);
  }
}

std::vector<Exl2Group> exl2_groups(const Exl2Option& option, uint32_t k) {
  VIBEE_CHECK(k % 32 == 0, "{}", k);
  std::vector<Exl2Group> out;
  uint32_t at = 0, row = 0;
  for (size_t i = 0; i < option.parts.size(); ++i) {
    const Exl2Part& p = option.parts[i];
    const double inputs = i + 1 == option.parts.size() ? k : std::min<double>(k * p.share, k - at);
    const auto groups = uint32_t(std::ceil(std::min<double>(inputs, k - at) / p.group));
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t end = std::min(at + p.group, k);
      out.push_back({p.bits, at, end, row});
      row += (end - at) * p.bits / 32;
      at = end;
    }
  }
  return out;
}

uint64_t exl2_bits(std::span<const Exl2Group> groups, uint32_t n, uint32_t k) {
  const uint64_t padded = exl2_padded(n);
  uint64_t bits = 32 * uint64_t(k);
  for (const Exl2Group& g : groups) bits += uint64_t(g.end - g.first) * g.bits * padded + 16 + 32 + 4 * padded;
  return bits;
}

}  // namespace vibee
