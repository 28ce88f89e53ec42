// SPDX-License-Identifier: Apache-2.0
// Atom as `vibee quantize --scheme atom` writes it (compress/quantize/atom_model.h): nibbles of sorted inputs, the last
// group's codes continued in bytes, a half a group.
#include <cstring>

#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".qweight_kept", ".qweight", ".scales", ".order"};

class AtomLayout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* kept, parts.need(".qweight_kept", {"U8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".qweight", {"U8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(".scales", {"F16"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* order, parts.need(".order", {"I32"}, 1));
    const uint64_t n = kept->shape[0], group = 2 * kept->shape[1], k = order->shape[0];
    if (group != 32 && group != 64 && group != 128)
      return parts.bad(".qweight_kept", fmt::format("has groups of {}; 32, 64 and 128 are read", group));
    if (k % group != 0 || k == group)
      return parts.bad(".order", fmt::format("has {} inputs in groups of {}", k, group));
    if (codes->shape != std::vector<uint64_t>{n, k / 2})
      return parts.bad(".qweight", fmt::format("is not [{}, {}]", n, k / 2));
    if (scales->shape != std::vector<uint64_t>{n, k / group})
      return parts.bad(".scales", fmt::format("is not [{}, {}]", n, k / group));
    QuantizedLinear out{n, k, group == 128 ? Format::atom128 : group == 64 ? Format::atom64 : Format::atom32};
    VIBEE_ASSIGN(out.order, parts.words(".order"));
    std::vector<bool> seen(k);
    for (const uint32_t at : out.order) {
      if (at >= k) return parts.bad(".order", fmt::format("has input {} of {}", at, k));
      if (seen[at]) return parts.bad(".order", fmt::format("has input {} twice", at));
      seen[at] = true;
    }
    out.unpack = [parts, n, k, group](std::span<uint8_t> to) { return unpack(parts, n, k, group, to.data()); };
    return out;
  }

 private:
  static Status unpack(const LinearParts& parts, uint64_t n, uint64_t k, uint64_t group, uint8_t* to) {
    VIBEE_TRY(parts.floats(".scales").take_status());  // all finite
    VIBEE_ASSIGN(const std::vector<uint8_t> kept, parts.bytes(".qweight_kept"));
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(".qweight"));
    VIBEE_ASSIGN(const std::vector<uint8_t> scales, parts.bytes(".scales"));
    for (uint64_t r = 0; r < n; ++r) {
      std::memcpy(to, kept.data() + r * group / 2, group / 2);
      to += group / 2;
      for (uint64_t g = 0; g < k / group; ++g, to += 2 + group / 2) {
        std::memcpy(to, scales.data() + 2 * (r * (k / group) + g), 2);
        std::memcpy(to + 2, codes.data() + (r * k + g * group) / 2, group / 2);
      }
    }
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> atom_layout(const JsonValue&) {
  return std::unique_ptr<QuantizedLayout>(std::make_unique<AtomLayout>());
}

}  // namespace vibee
