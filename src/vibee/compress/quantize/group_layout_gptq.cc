// SPDX-License-Identifier: Apache-2.0
// GPTQ (Frantar et al. 2022, arXiv:2210.17323) as AutoGPTQ and GPTQModel write it; tensors as quantized_gptq.cc reads
// them. Version 1 of the format stores zero points less one. Some of its readers wrap one that is zero, others carry
// into the next: none is chosen, and where codes that have some are taken over, version 2 is written.
#include "vibee/base/text/json_object.h"
#include "vibee/compress/quantize/group_layout.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

class Gptq final : public GroupLayout {
 public:
  std::string_view method() const override { return "gptq"; }
  GroupScheme scheme(Format) const override { return {.least_zero = 1}; }
  Status check(const GroupScheme& s) const override {
    if (s.table) return error(Code::invalid, "gptq has no tables of values");
    if (s.bits != 2 && s.bits != 3 && s.bits != 4 && s.bits != 8)
      return error(Code::invalid, "{} bits of gptq; 2, 3, 4 or 8", s.bits);
    if (s.bits == 8 && !s.symmetric) return error(Code::invalid, "8 bits of gptq are symmetric here");
    return {};
  }
  bool sorts() const override { return true; }
  bool fits(const GroupScheme& s, uint64_t n, uint64_t) const override { return n * s.bits % 32 == 0; }

  std::vector<HfPart> parts(const GroupScheme& s, uint64_t n, uint64_t k, bool) const override {
    const uint64_t groups = s.group == 0 ? 1 : k / s.group;
    return {{".qweight", "I32", {k * s.bits / 32, n}, k * n * s.bits / 8},
            {".qzeros", "I32", {groups, n * s.bits / 32}, groups * n * s.bits / 8},
            {".scales", std::string(float_dtype(s.type)), {groups, n}, groups * n * float_bytes(s.type)},
            {".g_idx", "I32", {k}, 4 * k}};
  }

  std::vector<std::vector<uint8_t>> pack(const GroupScheme& s, const GroupMatrix& m,
                                         const RowOf& row_of) const override {
    const uint64_t n = m.n, groups = m.k / m.group, a_group = n * s.bits / 32;
    const uint32_t less = s.least_zero, mask = (1u << s.bits) - 1;
    std::vector<uint32_t> codes(m.k * s.bits / 32 * n), zeros(groups * a_group);
    for (uint64_t r = 0; r < n; ++r) {
      const uint64_t from = row_of(r);
      for (uint64_t i = 0; i < m.k; ++i)
        put_code(m.order.empty() ? i : m.order[i], s.bits, m.codes[from * m.k + i],
                 [&](uint64_t w) -> uint32_t& { return codes[w * n + r]; });
      for (uint64_t g = 0; g < groups; ++g)
        put_code(r, s.bits, (m.zeros[from * groups + g] - less) & mask,
                 [&](uint64_t w) -> uint32_t& { return zeros[g * a_group + w]; });
    }
    return {bytes_of(codes), bytes_of(zeros), scales_of(m, s.type, row_of, true), input_groups(m)};
  }

  std::string config(const GroupScheme& s, const Said& said) const override {
    JsonObject out;
    out.text("quant_method", "gptq")
        .integer("bits", s.bits)
        .integer("group_size", s.group == 0 ? int64_t(-1) : int64_t(s.group))
        .boolean("desc_act", said.sorted)
        .boolean("sym", s.symmetric)
        .boolean("lm_head", said.head)
        .number("damp_percent", 0.01)
        .boolean("true_sequential", false)
        .text("checkpoint_format", s.least_zero == 1 ? "gptq" : "gptq_v2")
        .text("pack_dtype", "int32");
    JsonObject skipped;  // regular expressions of modules: GPTQModel and vLLM skip those
    for (const std::string& module : said.skipped) {
      std::string pattern = "-:^";
      for (const char c : module) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
      skipped.raw(pattern + "$", "{}");
    }
    if (!said.skipped.empty()) out.raw("dynamic", skipped.str());
    return out.str();
  }

  Result<GroupScheme> stated(const JsonValue& config, const SafetensorsSet& files) const override {
    GroupScheme out;
    VIBEE_ASSIGN(const int64_t bits, quantization_integer(config, "bits", {}));
    out.bits = uint32_t(bits);
    VIBEE_ASSIGN(out.group, quantization_group(config));
    VIBEE_ASSIGN(out.symmetric, quantization_flag(config, "sym", true));
    const JsonValue* version = config.find("checkpoint_format");
    out.least_zero = version != nullptr && version->text == "gptq_v2" ? 0 : 1;
    out.type = stated_type(files, ".scales");
    return out;
  }
};

}  // namespace

const GroupLayout* gptq_group_layout() {
  static const Gptq layout;
  return &layout;
}

}  // namespace vibee
