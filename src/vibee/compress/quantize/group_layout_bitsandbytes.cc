// SPDX-License-Identifier: Apache-2.0
// NF4 and FP4 of bitsandbytes (Dettmers et al., QLoRA, 2023) in blocks of 64, scales in f32; tensors as
// quantized_bitsandbytes.cc reads them.
#include "vibee/base/text/json_object.h"
#include "vibee/compress/quantize/group_layout.h"
#include "vibee/formats/float/nf4_quantization.h"
#include "vibee/model/weight/quantized.h"

#include <cstring>

namespace vibee {
namespace {

constexpr uint64_t kBlock = 64;

std::string_view torch_name(Format type) {
  return type == Format::f32 ? "float32" : type == Format::f16 ? "float16" : "bfloat16";
}

class Bitsandbytes final : public GroupLayout {
 public:
  explicit Bitsandbytes(Format table) : table_(table) {}
  std::string_view method() const override { return "bitsandbytes"; }
  GroupScheme scheme(Format type) const override { return {.group = kBlock, .type = type, .table = table_}; }
  Status check(const GroupScheme& s) const override {
    if (s.table != table_ || s.bits != 4 || s.group != kBlock || !s.symmetric)
      return error(Code::invalid, "bitsandbytes:{} has 4 bits in blocks of {}", kind(), kBlock);
    return {};
  }
  bool fits(const GroupScheme&, uint64_t, uint64_t k) const override { return k % kBlock == 0; }

  std::vector<HfPart> parts(const GroupScheme& s, uint64_t n, uint64_t k, bool) const override {
    return {{".weight", "U8", {n * k / 2, 1}, n * k / 2},
            {".weight.absmax", "F32", {n * k / kBlock}, n * k / kBlock * 4},
            {".weight.quant_map", "F32", {16}, 64},
            {std::string(state_name()), "U8", {state(s, n, k).size()}, state(s, n, k).size()}};
  }

  std::vector<std::vector<uint8_t>> pack(const GroupScheme& s, const GroupMatrix& m,
                                         const RowOf& row_of) const override {
    std::vector<uint8_t> codes(m.n * m.k / 2), map(64);
    for (uint64_t r = 0; r < m.n; ++r) {
      const uint8_t* const from = m.codes.data() + row_of(r) * m.k;
      for (uint64_t i = 0; i < m.k; i += 2) codes[(r * m.k + i) / 2] = uint8_t(from[i] << 4 | from[i + 1]);
    }
    std::memcpy(map.data(), table_ == Format::nf4s64 ? kNf4Values : kBnbFp4Values, map.size());
    const std::string said = state(s, m.n, m.k);
    return {std::move(codes), scales_of(m, Format::f32, row_of, false), std::move(map), {said.begin(), said.end()}};
  }

  std::string config(const GroupScheme& s, const Said& said) const override {
    std::vector<std::string> skipped;
    for (const std::string& module : said.skipped) skipped.push_back(json_quote(module));
    if (!said.head) skipped.push_back(json_quote("lm_head"));
    return JsonObject()
        .text("quant_method", "bitsandbytes")
        .boolean("load_in_4bit", true)
        .boolean("load_in_8bit", false)
        .text("bnb_4bit_quant_type", kind())
        .boolean("bnb_4bit_use_double_quant", false)
        .text("bnb_4bit_compute_dtype", torch_name(s.type))
        .text("bnb_4bit_quant_storage", "uint8")
        .raw("llm_int8_skip_modules", json_array(skipped))
        .str();
  }

  Result<GroupScheme> stated(const JsonValue&, const SafetensorsSet& files) const override {
    GroupScheme out = scheme(Format::f16);
    out.bits = 0;  // of another layout, until a matrix says otherwise
    for (const auto& [name, place] : files.tensors()) {
      if (!name.ends_with(state_name()) || place.tensor->bytes > 4096) continue;
      std::vector<uint8_t> text(place.tensor->bytes);
      VIBEE_TRY(place.file->read(*place.tensor, 0, text));
      VIBEE_ASSIGN(const JsonValue said,
                   parse_json({reinterpret_cast<const char*>(text.data()), text.size()}, {4, 64}));
      const JsonValue* dtype = said.find("dtype");
      for (const Format type : {Format::f32, Format::f16, Format::bf16})
        if (dtype != nullptr && dtype->text == torch_name(type)) out.type = type;
      const JsonValue* block = said.find("blocksize");
      out.bits = 4;
      out.group = block != nullptr && block->integer > 0 ? uint64_t(block->integer) : 0;
      break;
    }
    return out;
  }

 private:
  std::string_view kind() const { return table_ == Format::nf4s64 ? "nf4" : "fp4"; }
  std::string_view state_name() const {
    return table_ == Format::nf4s64 ? ".weight.quant_state.bitsandbytes__nf4" : ".weight.quant_state.bitsandbytes__fp4";
  }
  /// The project's own state of a matrix, in its spelling.
  std::string state(const GroupScheme& s, uint64_t n, uint64_t k) const {
    return JsonObject()
        .text("quant_type", kind())
        .integer("blocksize", kBlock)
        .text("dtype", torch_name(s.type))
        .raw("shape", fmt::format("[{}, {}]", n, k))
        .str();
  }
  Format table_;
};

}  // namespace

const GroupLayout* bitsandbytes_group_layout(Format table) {
  static const Bitsandbytes nf4(Format::nf4s64), fp4(Format::fp4s64);
  return table == Format::nf4s64 ? &nf4 : &fp4;
}

}  // namespace vibee
