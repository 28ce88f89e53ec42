// SPDX-License-Identifier: Apache-2.0
// Quantisation-aware training (Jacob et al., CVPR 2018, arXiv:1712.05877, section 3; TorchAO's prepare and convert): the
// forward product of a linear is the one that the model computes once its weight is stored in a format of few bits, its
// rows rounded as that format's are; the gradient of its rows goes through the numbers that are stored, and that of
// the weight to the weight itself, as if nothing had been rounded (straight through). The pass marks linear and
// linear_dx of a joint graph with the attribute `format`; it comes right behind differentiate.
//
// Not marked: the head, which is part of the loss, routers and experts, and products by weights that are no floats.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vibee/formats/packed/format.h"
#include "vibee/graph/ir/ir.h"

namespace vibee {

/// A product by a weight as it will be stored in the format that the attribute `format` names.
inline bool is_stored_product(const Node& node) { return node.has("format"); }

/// `formats`: of a family, the best first (parse_formats); a weight takes the first whose blocks divide its rows, or what
/// takes its place (`fitting`). `skip`: weights whose names contain one of these keep their products.
void quantize_aware(Graph* joint, std::span<const Format> formats, const std::vector<std::string>& skip);

}  // namespace vibee
