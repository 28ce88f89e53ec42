// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/recipe.h"

#include <algorithm>
#include <charconv>

namespace vibee {
namespace {

constexpr Recipe kMixes[] = {
#define VIBEE_RECIPE(name, base, summary) {#name, Format::base, summary},
#include "vibee/compress/quantize/recipes.inc"
#undef VIBEE_RECIPE
};

/// What a matrix does in its layer, by its name in GGUF.
enum class Part : uint8_t { other, head, embedding, attn_k, attn_v, attn_qkv, attn_output, ffn_down };

/// Which layers a rule is for, of a model of so many.
enum class Layers : uint8_t {
  all,
  first_two,
  first_four,
  first_sixteenth,
  first_eighth,
  more_bits,  ///< the first and the last eighth, and every third between
};

/// Which models.
enum class Models : uint8_t {
  all,
  grouped,        ///< four or more heads share keys and values
  eight_experts,  ///< whose attention is a small part of the file
  unweighted,     ///< whatever it is, without importance
  weighted,
};

struct Rule {
  std::string_view recipe;  ///< or a format
  Part part;
  Layers layers;
  Models models;
  Format format;
};

/// As llama.cpp chooses (llama_tensor_get_type_impl in src/llama-quant.cpp of llama-cpp-python 0.3.36); of several that
/// are for a matrix, the first. The empty name is every recipe of a base smaller than Q8_0.
constexpr Rule kRules[] = {
    {"", Part::attn_v, Layers::all, Models::eight_experts, Format::q8_0},
    {"", Part::attn_k, Layers::all, Models::eight_experts, Format::q8_0},

    {"q2_k", Part::attn_v, Layers::all, Models::grouped, Format::q4_k},
    {"q2_k", Part::attn_v, Layers::all, Models::all, Format::q3_k},
    {"q2_k", Part::ffn_down, Layers::all, Models::all, Format::q3_k},
    {"q2_k", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},
    {"q2_k", Part::attn_output, Layers::all, Models::all, Format::q3_k},

    {"q3_k_s", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},

    {"q3_k_m", Part::attn_v, Layers::first_two, Models::all, Format::q5_k},
    {"q3_k_m", Part::attn_v, Layers::all, Models::all, Format::q4_k},
    {"q3_k_m", Part::ffn_down, Layers::first_sixteenth, Models::all, Format::q5_k},
    {"q3_k_m", Part::ffn_down, Layers::all, Models::all, Format::q4_k},
    {"q3_k_m", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},
    {"q3_k_m", Part::attn_output, Layers::all, Models::all, Format::q4_k},
    {"q3_k_m", Part::attn_qkv, Layers::all, Models::all, Format::q4_k},

    {"q3_k_l", Part::attn_v, Layers::all, Models::all, Format::q5_k},
    {"q3_k_l", Part::ffn_down, Layers::all, Models::all, Format::q5_k},
    {"q3_k_l", Part::attn_output, Layers::all, Models::eight_experts, Format::q3_k},
    {"q3_k_l", Part::attn_output, Layers::all, Models::all, Format::q5_k},
    {"q3_k_l", Part::attn_qkv, Layers::all, Models::all, Format::q4_k},

    {"q4_k_s", Part::attn_v, Layers::first_four, Models::all, Format::q5_k},
    {"q4_k_s", Part::ffn_down, Layers::first_eighth, Models::all, Format::q5_k},
    {"q4_k_s", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},

    {"q4_k_m", Part::attn_v, Layers::more_bits, Models::all, Format::q6_k},
    {"q4_k_m", Part::ffn_down, Layers::more_bits, Models::all, Format::q6_k},
    {"q4_k_m", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},
    {"q4_k_m", Part::attn_qkv, Layers::all, Models::all, Format::q5_k},

    {"q5_k_m", Part::attn_v, Layers::more_bits, Models::all, Format::q6_k},
    {"q5_k_m", Part::ffn_down, Layers::more_bits, Models::all, Format::q6_k},
    {"q5_k_m", Part::attn_qkv, Layers::all, Models::all, Format::q6_k},

    {"iq4_nl", Part::attn_v, Layers::all, Models::grouped, Format::q5_k},
    {"iq4_nl", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},
    {"iq4_nl", Part::ffn_down, Layers::first_eighth, Models::unweighted, Format::q5_k},
    {"iq4_xs", Part::attn_v, Layers::all, Models::grouped, Format::q5_k},
    {"iq4_xs", Part::attn_output, Layers::all, Models::eight_experts, Format::q5_k},
    {"iq4_xs", Part::ffn_down, Layers::first_eighth, Models::unweighted, Format::q5_k},
    {"q4_0", Part::ffn_down, Layers::first_eighth, Models::weighted, Format::q4_1},
    {"q5_0", Part::ffn_down, Layers::first_eighth, Models::weighted, Format::q5_1},
    {"tq1_0", Part::embedding, Layers::all, Models::all, Format::q4_k},
    {"tq2_0", Part::embedding, Layers::all, Models::all, Format::q4_k},
};
/// The head of a model whose base has fewer bits.
constexpr Format kHead = Format::q6_k;

/// llama_ftype of files whose recipes it knows.
struct FileType {
  std::string_view recipe;
  uint32_t number;
};
constexpr FileType kFileTypes[] = {{"q2_k", 10},   {"q3_k_s", 11}, {"q3_k_m", 12}, {"q3_k_l", 13},
                                   {"q4_k_s", 14}, {"q4_k_m", 15}, {"q5_k_s", 16}, {"q5_k_m", 17}};

Part part_of(std::string_view name, bool tied) {
  if (name == "output.weight" || (tied && name == "token_embd.weight")) return Part::head;
  if (name == "token_embd.weight") return Part::embedding;
  struct Row {
    std::string_view word;
    Part part;
  };
  constexpr Row kRows[] = {{".attn_k.", Part::attn_k},     {".attn_v.", Part::attn_v},
                           {".attn_qkv.", Part::attn_qkv}, {".attn_output.", Part::attn_output},
                           {".ffn_down.", Part::ffn_down}, {".ffn_down_exps.", Part::ffn_down}};
  for (const Row& row : kRows)
    if (name.find(row.word) != name.npos) return row.part;
  return Part::other;
}

/// N of "blk.N."; 0 for tensors of no layer.
uint32_t layer_of(std::string_view name) {
  uint32_t layer = 0;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

bool among(Layers layers, uint32_t i, uint32_t n) {
  switch (layers) {
    case Layers::all: return true;
    case Layers::first_two: return i < 2;
    case Layers::first_four: return i < 4;
    case Layers::first_sixteenth: return i < n / 16;
    case Layers::first_eighth: return i < n / 8;
    case Layers::more_bits: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  }
  return false;
}

bool among(Models models, const ModelConfig& m, bool importance) {
  switch (models) {
    case Models::all: return true;
    case Models::grouped: return m.kv_heads > 0 && m.heads / m.kv_heads >= 4;
    case Models::eight_experts: return m.experts == 8;
    case Models::unweighted: return !importance;
    case Models::weighted: return importance;
  }
  return false;
}

}  // namespace

std::vector<Recipe> all_recipes() {
  std::vector<Recipe> all(std::begin(kMixes), std::end(kMixes));
  for (const NumericFormat& f : all_formats())
    if (f.encode && f.in_gguf() &&
        std::none_of(all.begin(), all.end(), [&](const Recipe& r) { return r.name == f.name; }))
      all.push_back({f.name, f.format, "one format"});
  return all;
}

Result<Recipe> find_recipe(std::string_view name) {
  std::string known;
  for (const Recipe& recipe : all_recipes()) {
    if (recipe.name == name) return recipe;
    known += known.empty() ? "" : " ";
    known += recipe.name;
  }
  return error(Code::invalid, "unknown recipe \"{}\"; known: {}", name, known);
}

Format recipe_format(const Recipe& recipe, const TensorInfo& tensor, const ModelConfig& model, RecipeUse use) {
  if (use.pure) return recipe.base;
  const Part part = part_of(tensor.name, model.tied);
  if (part == Part::head) {
    const NumericFormat &base = info(recipe.base), &head = info(kHead);
    return base.bits_per_weight() < head.bits_per_weight() ? kHead : recipe.base;
  }
  const uint32_t layer = layer_of(tensor.name);
  const bool small = info(recipe.base).bits_per_weight() < info(Format::q8_0).bits_per_weight();
  for (const Rule& rule : kRules)
    if ((rule.recipe == recipe.name || (rule.recipe.empty() && small)) && rule.part == part &&
        among(rule.layers, layer, model.layers) && among(rule.models, model, use.importance))
      return rule.format;
  return recipe.base;
}

std::optional<uint32_t> recipe_file_type(const Recipe& recipe) {
  for (const FileType& row : kFileTypes)
    if (row.recipe == recipe.name) return row.number;
  return std::nullopt;
}

}  // namespace vibee
