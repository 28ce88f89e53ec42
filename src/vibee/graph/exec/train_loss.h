// SPDX-License-Identifier: Apache-2.0
// The loss over a vocabulary without an array of rows x vocabulary: rows that have a target are gathered in chunks,
// whose logits are made, used and forgotten.
#pragma once

#include "vibee/graph/exec/train_plan.h"

namespace vibee {

void train_cross_entropy(const Node& node, const TrainWorker& worker);
void train_cross_entropy_dx(const Node& node, const TrainWorker& worker);
void train_cross_entropy_dw(const Node& node, const TrainWorker& worker);

}  // namespace vibee
