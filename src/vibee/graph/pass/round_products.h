// SPDX-License-Identifier: Apache-2.0
// Products of training in fewer bits: a linear has three (forward, the gradient of its rows, the gradient of its
// weight), and a recipe says what numbers each one's two operands are rounded to. The pass marks the products of a
// joint graph with that, as attributes `a` and `b` of linear, linear_dx and linear_dw: what the ops compute otherwise
// stays as it is. It comes right behind differentiate; what later passes compute again carries the marks along.
//
// Not marked: routers and experts, the head, which is part of the loss, but by recipes of numbers without scales, and
// products by weights that are no floats.
#pragma once

#include <string>
#include <vector>

#include "vibee/graph/ir/ir.h"
#include "vibee/kernels/gemm/operand_form.h"

namespace vibee {

struct ProductForms {
  OperandForm a = OperandForm::f32, b = OperandForm::f32;
  bool plain() const { return a == OperandForm::f32 && b == OperandForm::f32; }
};

/// A row of product_recipes.inc.
struct ProductRecipe {
  std::string_view name;
  ProductForms forward, dx, dw;
  std::string_view summary;
};
std::span<const ProductRecipe> product_recipes();
/// nullptr: there is none of that name.
const ProductRecipe* find_product_recipe(std::string_view name);

/// Whether a recipe's operands are rounded to what no CPU multiplies, and multiplied as floats.
bool is_emulated(const ProductRecipe& recipe);

/// Operands with one scale each have numbers of their own, attributes `a_scale` and `b_scale`: one a value and form.
/// The forms, by number.
std::vector<OperandForm> scaled_operands(const Graph& graph);

/// `skip`: weights whose names contain one of these keep their products.
void round_products(Graph* joint, const ProductRecipe& recipe, const std::vector<std::string>& skip);

}  // namespace vibee
