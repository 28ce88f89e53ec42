// SPDX-License-Identifier: Apache-2.0
// The table behind formats/packed/format.h, in the last folder of formats because it names every family's functions.
#include <array>

#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/format.h"

namespace vibee {
namespace {

constexpr auto kFormats = [] {
  auto all = std::to_array<NumericFormat>({
#define VIBEE_FORMAT(id, gguf_type, block, bytes, encode) \
  {Format::id, #id, gguf_type, block, bytes, decode_##id, encode, 0, nullptr, 0},
#include "vibee/formats/packed/formats.inc"
#undef VIBEE_FORMAT
  });
#define VIBEE_CODES(id, count)              \
  all[size_t(Format::id)].levels = (count); \
  all[size_t(Format::id)].put_codes = put_codes_##id;
#include "vibee/formats/packed/codes.inc"
#undef VIBEE_CODES
  for (uint32_t bits = 3; bits <= 8; ++bits) all[size_t(Format::lut3) + bits - 3].head_bytes = 2u << bits;
  for (const Format atom : {Format::atom32, Format::atom64, Format::atom128})
    all[size_t(atom)].head_bytes = all[size_t(atom)].block_elems / 2;
  all[size_t(Format::nvfp4s)].head_bytes = 4;
  return all;
}();

// Names of all type ids ever used by GGUF, whether read here or not; gaps were never given out.
constexpr std::string_view kGgufTypeNames[] = {
    "f32",        "f16",        "q4_0",       "q4_1",  "q4_2",     "q4_3",     "q5_0",     "q5_1",    "q8_0",
    "q8_1",       "q2_k",       "q3_k",       "q4_k",  "q5_k",     "q6_k",     "q8_k",     "iq2_xxs", "iq2_xs",
    "iq3_xxs",    "iq1_s",      "iq4_nl",     "iq3_s", "iq2_s",    "iq4_xs",   "i8",       "i16",     "i32",
    "i64",        "f64",        "iq1_m",      "bf16",  "q4_0_4_4", "q4_0_4_8", "q4_0_8_8", "tq1_0",   "tq2_0",
    "iq4_nl_4_4", "iq4_nl_4_8", "iq4_nl_8_8", "mxfp4", "nvfp4",    "q1_0",     "q2_0"};

struct Family {
  std::string_view name;
  std::vector<Format> formats;
};
const std::vector<Family>& families() {
  static const std::vector<Family> all = {{"int4", {Format::i4z128, Format::i4z64, Format::i4z32}},
                                          {"int8", {Format::i8s128, Format::i8s64, Format::i8s32}},
                                          {"qoq", {Format::qoq128, Format::qoq64, Format::qoq32}},
                                          {"w4a4", {Format::i4a128, Format::i4a64, Format::i4a32}},
                                          {"atom", {Format::atom128, Format::atom64, Format::atom32}},
                                          {"fp8", {Format::e4m3s128, Format::e4m3s32}},
                                          {"fp6", {Format::e2m3s128, Format::e2m3s32}},
                                          {"fp6e3m2", {Format::e3m2s128, Format::e3m2s32}},
                                          {"mxfp8", {Format::mxfp8}},
                                          {"mxfp8e5m2", {Format::mxfp8e5m2}},
                                          {"mxfp6", {Format::mxfp6}},
                                          {"mxfp6e3m2", {Format::mxfp6e3m2}},
                                          {"nvfp4s", {Format::nvfp4s}},
                                          {"nf4", {Format::nf4s64}},
                                          {"fp4", {Format::fp4s64}}};
  return all;
}

}  // namespace

std::span<const NumericFormat> all_formats() { return kFormats; }

const NumericFormat& info(Format format) { return kFormats[size_t(format)]; }

const NumericFormat* format_of_gguf_type(uint32_t gguf_type) {
  for (const NumericFormat& f : kFormats) {
    if (f.in_gguf() && f.gguf_type == gguf_type) return &f;
  }
  return nullptr;
}

std::string_view gguf_type_name(uint32_t gguf_type) {
  return gguf_type < std::size(kGgufTypeNames) ? kGgufTypeNames[gguf_type] : "?";
}

Result<Format> parse_format(std::string_view name) {
  std::string known;
  for (const NumericFormat& f : kFormats) {
    if (f.name == name) return f.format;
    if (!known.empty()) known += ' ';
    known += f.name;
  }
  return error(Code::invalid, "unknown format \"{}\"; known: {}", name, known);
}

Result<std::vector<Format>> parse_formats(std::string_view name) {
  for (const Family& family : families())
    if (family.name == name) return family.formats;
  VIBEE_ASSIGN(const Format one, parse_format(name));
  return std::vector<Format>{one};
}

std::vector<std::string> writable_formats() {
  std::vector<std::string> out;
  for (const NumericFormat& f : all_formats())
    if (f.encode != nullptr && f.in_gguf()) out.emplace_back(f.name);
  for (const Family& family : families()) out.emplace_back(family.name);
  return out;
}

Format fitting(Format format, uint64_t row_length) {
  struct Row {
    Format format, instead;
  };
  // As llama.cpp chooses them; it has no row for NVFP4.
  constexpr Row kRows[] = {{Format::q2_k, Format::q4_0},   {Format::q3_k, Format::q4_0},
                           {Format::q4_k, Format::q5_0},   {Format::q5_k, Format::q5_1},
                           {Format::q6_k, Format::q8_0},   {Format::tq1_0, Format::q4_0},
                           {Format::tq2_0, Format::q4_0},  {Format::iq4_xs, Format::iq4_nl},
                           {Format::nvfp4, Format::mxfp4}, {Format::nvfp4s, Format::mxfp4}};
  const auto divides = [&](Format f) { return row_length % info(f).block_elems == 0; };
  if (divides(format)) return format;
  for (const Row& row : kRows)
    if (row.format == format && divides(row.instead)) return row.instead;
  return Format::f16;
}

}  // namespace vibee
