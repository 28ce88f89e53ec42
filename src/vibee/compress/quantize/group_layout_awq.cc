// SPDX-License-Identifier: Apache-2.0
// AWQ (Lin et al., MLSys 2024, arXiv:2306.00978), version gemm; tensors as quantized_awq.cc reads them. The layout
// alone: weights are not scaled by what reads them beforehand.
#include "vibee/base/text/json_object.h"
#include "vibee/compress/quantize/group_layout.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

/// Which nibble of a word a column is.
constexpr uint32_t kPlace[] = {0, 4, 1, 5, 2, 6, 3, 7};

class Awq final : public GroupLayout {
 public:
  std::string_view method() const override { return "awq"; }
  GroupScheme scheme(Format) const override { return {.symmetric = false}; }
  Status check(const GroupScheme& s) const override {
    if (s.table) return error(Code::invalid, "awq has no tables of values");
    if (s.bits != 4) return error(Code::invalid, "{} bits of awq; it has 4", s.bits);
    return {};
  }
  bool fits(const GroupScheme&, uint64_t n, uint64_t) const override { return n % 8 == 0; }

  std::vector<HfPart> parts(const GroupScheme& s, uint64_t n, uint64_t k, bool) const override {
    const uint64_t groups = s.group == 0 ? 1 : k / s.group;
    return {{".qweight", "I32", {k, n / 8}, k * n / 2},
            {".qzeros", "I32", {groups, n / 8}, groups * n / 2},
            {".scales", std::string(float_dtype(s.type)), {groups, n}, groups * n * float_bytes(s.type)}};
  }

  std::vector<std::vector<uint8_t>> pack(const GroupScheme& s, const GroupMatrix& m,
                                         const RowOf& row_of) const override {
    const uint64_t n = m.n, groups = m.k / m.group;
    std::vector<uint32_t> codes(m.k * n / 8), zeros(groups * n / 8);
    for (uint64_t r = 0; r < n; ++r) {
      const uint64_t from = row_of(r);
      const uint32_t shift = 4 * kPlace[r % 8];
      for (uint64_t i = 0; i < m.k; ++i) codes[(i * n + r) / 8] |= uint32_t(m.codes[from * m.k + i]) << shift;
      for (uint64_t g = 0; g < groups; ++g) zeros[(g * n + r) / 8] |= uint32_t(m.zeros[from * groups + g]) << shift;
    }
    return {bytes_of(codes), bytes_of(zeros), scales_of(m, s.type, row_of, true)};
  }

  std::string config(const GroupScheme& s, const Said& said) const override {
    std::vector<std::string> skipped;
    for (const std::string& module : said.skipped) skipped.push_back(json_quote(module));
    JsonObject out;
    out.text("quant_method", "awq")
        .integer("bits", 4)
        .integer("group_size", s.group == 0 ? int64_t(-1) : int64_t(s.group))
        .boolean("zero_point", true)
        .text("version", "gemm");
    if (!skipped.empty()) out.raw("modules_to_not_convert", json_array(skipped));
    return out.str();
  }

  Result<GroupScheme> stated(const JsonValue& config, const SafetensorsSet& files) const override {
    GroupScheme out = scheme(Format::f16);
    VIBEE_ASSIGN(out.group, quantization_group(config));
    out.type = stated_type(files, ".scales");
    return out;
  }
};

}  // namespace

const GroupLayout* awq_group_layout() {
  static const Awq layout;
  return &layout;
}

}  // namespace vibee
