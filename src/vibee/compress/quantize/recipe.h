// SPDX-License-Identifier: Apache-2.0
// Recipes: which tensor of a model lies in which number format. Data: a row of recipes.inc a name, a row of recipe.cc a
// rule.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/layer/config.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {

struct Recipe {
  std::string_view name;
  Format base;  ///< of matrices that no rule names
  std::string_view summary;
};

/// A format that can be written, or a mix of them; an error lists those there are.
Result<Recipe> find_recipe(std::string_view name);
/// Mixes first, then formats.
std::vector<Recipe> all_recipes();

struct RecipeUse {
  bool pure = false;        ///< every matrix in the base format
  bool importance = false;  ///< encoders know which columns matter
};

/// The format that a recipe means for a matrix of this model, whatever its row length.
Format recipe_format(const Recipe& recipe, const TensorInfo& tensor, const ModelConfig& model, RecipeUse use = {});

/// `general.file_type` of a recipe as llama.cpp numbers it; nothing where it has no number.
std::optional<uint32_t> recipe_file_type(const Recipe& recipe);

}  // namespace vibee
