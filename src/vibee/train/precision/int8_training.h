// SPDX-License-Identifier: Apache-2.0
// Training whose products are of 8-bit integers (SwitchBack: Wortsman et al., NeurIPS 2023, arXiv:2304.13013). A
// linear's rows and the gradients that come back are rounded with a scale a row, its weight with one, once a step;
// what sums over tokens, the gradient of a weight, stays as it is, because the noise of a sum grows with its length.
// The recipes are rows of graph/pass/product_recipes.inc, the kernels those of kernels/gemm/int8_gemm.h.
#pragma once

#include "vibee/train/precision/precision.h"

namespace vibee {

/// Whether a recipe has products of 8-bit integers.
bool multiplies_int8(const ProductRecipe& recipe);
/// What products in 8-bit integers do not go with; the error names the key of a configuration.
Status check_int8_training(const Precision& precision);

}  // namespace vibee
