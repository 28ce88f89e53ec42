// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/round_products.h"

#include <algorithm>

namespace vibee {
namespace {

constexpr ProductRecipe kRecipes[] = {
#define VIBEE_PRODUCTS(name, fa, fb, xa, xb, wa, wb, summary) \
  {name,                                                      \
   {OperandForm::fa, OperandForm::fb},                        \
   {OperandForm::xa, OperandForm::xb},                        \
   {OperandForm::wa, OperandForm::wb},                        \
   summary},
#include "vibee/graph/pass/product_recipes.inc"
#undef VIBEE_PRODUCTS
};

/// What operands are rounded to is a function of the value and the form, whoever reads them: they share a scale.
class Marks {
 public:
  void mark(Node* node, const ProductForms& forms) {
    if (forms.plain()) return;
    node->attrs.emplace_back("a", std::string(info(forms.a).name));
    node->attrs.emplace_back("b", std::string(info(forms.b).name));
    for (size_t i = 0; i < 2; ++i) {
      const OperandForm form = i == 0 ? forms.a : forms.b;
      if (info(form).kind != OperandKind::scaled) continue;
      const auto key = std::pair(node->in[i], form);
      const auto found = std::find(scaled_.begin(), scaled_.end(), key);
      node->attrs.emplace_back(i == 0 ? "a_scale" : "b_scale", int64_t(found - scaled_.begin()));
      if (found == scaled_.end()) scaled_.push_back(key);
    }
  }

 private:
  std::vector<std::pair<ValueId, OperandForm>> scaled_;
};

/// Numbers without scales are what the loss's own products round to as well.
bool rounds_losses(const ProductRecipe& recipe) {
  const auto nearest = [](const ProductForms& forms) {
    return info(forms.a).kind == OperandKind::nearest && info(forms.b).kind == OperandKind::nearest;
  };
  return nearest(recipe.forward) && nearest(recipe.dx) && nearest(recipe.dw);
}

}  // namespace

std::span<const ProductRecipe> product_recipes() { return kRecipes; }
const ProductRecipe* find_product_recipe(std::string_view name) {
  for (const ProductRecipe& recipe : kRecipes)
    if (recipe.name == name) return &recipe;
  return nullptr;
}

bool is_emulated(const ProductRecipe& recipe) {
  const OperandKind kind = info(recipe.forward.a).kind;
  return kind == OperandKind::scaled || kind == OperandKind::blocks;
}

void round_products(Graph* joint, const ProductRecipe& recipe, const std::vector<std::string>& skip) {
  const auto rounded = [&](ValueId id) {
    const Node& weight = joint->producer(id);
    if (weight.op != Op::weight || !joint->type(id).elem.is_float()) return false;
    return std::none_of(skip.begin(), skip.end(), [&](const std::string& part) {
      return weight.text("name").find(part) != std::string_view::npos;
    });
  };
  // A weight's gradient is of the gradient that its linear passed on: linear_dx(g, weight) and linear_dw(g, rows). The
  // first linear of a graph may have the second alone; then its rows tell.
  std::vector<ValueId> gradients, kept;
  for (const Node& node : joint->nodes)
    if (node.op == Op::linear_dx) (rounded(node.in[1]) ? gradients : kept).push_back(node.in[0]);
  const auto has = [](const std::vector<ValueId>& list, ValueId id) {
    return std::find(list.begin(), list.end(), id) != list.end();
  };
  std::vector<ValueId> rows;
  for (const Node& node : joint->nodes)
    if (node.op == Op::linear && rounded(node.in[1])) rows.push_back(node.in[0]);
  Marks marks;
  for (Node& node : joint->nodes) {
    if (node.op == Op::linear && rounded(node.in[1])) marks.mark(&node, recipe.forward);
    if (node.op == Op::linear_dx && rounded(node.in[1])) marks.mark(&node, recipe.dx);
    if (node.op == Op::linear_dw && !has(kept, node.in[0]) && (has(gradients, node.in[0]) || has(rows, node.in[1])))
      marks.mark(&node, recipe.dw);
    const bool loss =
        node.op == Op::cross_entropy || node.op == Op::cross_entropy_dx || node.op == Op::cross_entropy_dw;
    if (loss && rounds_losses(recipe) && rounded(node.in[1])) marks.mark(&node, recipe.forward);
  }
}

std::vector<OperandForm> scaled_operands(const Graph& graph) {
  std::vector<OperandForm> forms;
  for (const Node& node : graph.nodes)
    for (const auto& [key, number] : {std::pair{"a", "a_scale"}, {"b", "b_scale"}}) {
      if (!node.has(number)) continue;
      const auto i = size_t(node.integer(number));
      if (forms.size() <= i) forms.resize(i + 1, OperandForm::f32);
      forms[i] = *find_operand_form(node.text(key));
    }
  return forms;
}

}  // namespace vibee
