// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/int8_training.h"

namespace vibee {

bool multiplies_int8(const ProductRecipe& recipe) { return info(recipe.forward.a).kind == OperandKind::integer; }

Status check_int8_training(const Precision& p) {
  if (p.products == nullptr || !multiplies_int8(*p.products)) return {};
  if (p.weights == Format::f16 && p.master == Master::none)
    return error(Code::invalid,
                 "key 'precision.products': {} rounds weights of which there is a master; give precision.master = "
                 "\"f32\" with f16",
                 p.products->name);
  return {};
}

}  // namespace vibee
