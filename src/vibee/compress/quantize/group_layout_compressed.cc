// SPDX-License-Identifier: Apache-2.0
// pack-quantized of compressed-tensors; tensors as quantized_compressed.cc reads them, of its two ways with codes of 3
// bits the newer one, a stream.
#include <cstring>

#include "vibee/base/text/json_object.h"
#include "vibee/compress/quantize/group_layout.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

uint64_t words(uint64_t codes, uint64_t bits) { return (codes * bits + 31) / 32; }

class Compressed final : public GroupLayout {
 public:
  std::string_view method() const override { return "compressed-tensors"; }
  GroupScheme scheme(Format type) const override { return {.type = type}; }
  Status check(const GroupScheme& s) const override {
    if (s.table) return error(Code::invalid, "pack-quantized has no tables of values");
    if (s.bits != 2 && s.bits != 3 && s.bits != 4 && s.bits != 8)
      return error(Code::invalid, "{} bits of pack-quantized; 2, 3, 4 or 8", s.bits);
    if (s.bits == 8 && !s.symmetric) return error(Code::invalid, "8 bits of pack-quantized are symmetric here");
    return {};
  }
  bool sorts() const override { return true; }
  bool fits(const GroupScheme&, uint64_t, uint64_t) const override { return true; }

  std::vector<HfPart> parts(const GroupScheme& s, uint64_t n, uint64_t k, bool sorted) const override {
    const uint64_t groups = s.group == 0 ? 1 : k / s.group;
    std::vector<HfPart> out = {
        {".weight_packed", "I32", {n, words(k, s.bits)}, 4 * n * words(k, s.bits)},
        {".weight_scale", std::string(float_dtype(s.type)), {n, groups}, groups * n * float_bytes(s.type)},
        {".weight_shape", "I64", {2}, 16}};
    if (!s.symmetric)
      out.push_back({".weight_zero_point", "I32", {words(n, s.bits), groups}, 4 * words(n, s.bits) * groups});
    if (sorted) out.push_back({".weight_g_idx", "I32", {k}, 4 * k});
    return out;
  }

  std::vector<std::vector<uint8_t>> pack(const GroupScheme& s, const GroupMatrix& m,
                                         const RowOf& row_of) const override {
    const uint64_t n = m.n, groups = m.k / m.group, a_row = words(m.k, s.bits);
    std::vector<uint32_t> codes(n * a_row), zeros(s.symmetric ? 0 : words(n, s.bits) * groups);
    for (uint64_t r = 0; r < n; ++r) {
      const uint64_t from = row_of(r);
      for (uint64_t i = 0; i < m.k; ++i)
        put_code(m.order.empty() ? i : m.order[i], s.bits, m.codes[from * m.k + i],
                 [&](uint64_t w) -> uint32_t& { return codes[r * a_row + w]; });
      for (uint64_t g = 0; g < groups && !s.symmetric; ++g)
        put_code(r, s.bits, m.zeros[from * groups + g], [&](uint64_t w) -> uint32_t& { return zeros[w * groups + g]; });
    }
    const uint64_t shape[] = {n, m.k};
    std::vector<uint8_t> shape_bytes(sizeof shape);
    std::memcpy(shape_bytes.data(), shape, sizeof shape);
    std::vector<std::vector<uint8_t>> out = {bytes_of(codes), scales_of(m, s.type, row_of, false),
                                             std::move(shape_bytes)};
    if (!s.symmetric) out.push_back(bytes_of(zeros));
    if (!m.order.empty()) out.push_back(input_groups(m));
    return out;
  }

  std::string config(const GroupScheme& s, const Said& said) const override {
    JsonObject weights;
    weights.integer("num_bits", s.bits)
        .text("type", "int")
        .boolean("symmetric", s.symmetric)
        .text("strategy", s.group == 0 ? "channel" : "group")
        .boolean("dynamic", false)
        .text("observer", "minmax");
    if (s.group != 0) weights.integer("group_size", s.group);
    if (said.sorted) weights.text("actorder", "group");
    std::vector<std::string> skipped;
    for (const std::string& module : said.skipped) skipped.push_back(json_quote(module));
    if (!said.head) skipped.push_back(json_quote("lm_head"));
    return JsonObject()
        .text("quant_method", "compressed-tensors")
        .text("format", "pack-quantized")
        .text("quantization_status", "compressed")
        .raw("config_groups", JsonObject()
                                  .raw("group_0", JsonObject()
                                                      .raw("targets", json_array({json_quote("Linear")}))
                                                      .raw("weights", weights.str())
                                                      .text("format", "pack-quantized")
                                                      .str())
                                  .str())
        .raw("ignore", json_array(skipped))
        .str();
  }

  Result<GroupScheme> stated(const JsonValue& config, const SafetensorsSet& files) const override {
    GroupScheme out;
    const JsonValue* groups = config.find("config_groups");
    const JsonValue* weights = groups != nullptr && !groups->items.empty() ? groups->items[0].find("weights") : nullptr;
    if (weights == nullptr)
      return error(Code::unsupported, "quantization_config: weights of config_groups are missing");
    const JsonValue* format = groups->items[0].find("format");
    if (format == nullptr) format = config.find("format");
    if (format == nullptr || format->text != "pack-quantized") {
      out.bits = 0;  // of another format
      return out;
    }
    VIBEE_ASSIGN(const int64_t bits, quantization_integer(*weights, "num_bits", {}));
    VIBEE_ASSIGN(const int64_t group, quantization_integer(*weights, "group_size", 0));
    VIBEE_ASSIGN(out.symmetric, quantization_flag(*weights, "symmetric", true));
    const JsonValue* strategy = weights->find("strategy");
    out.bits = uint32_t(bits);
    out.group = strategy != nullptr && strategy->text == "group" ? uint64_t(group) : 0;
    out.type = stated_type(files, ".weight_scale");
    return out;
  }
};

}  // namespace

const GroupLayout* compressed_tensors_group_layout() {
  static const Compressed layout;
  return &layout;
}

}  // namespace vibee
