// SPDX-License-Identifier: Apache-2.0
// An adapter added to the weights that it was made for.
#pragma once

#include <span>

#include "vibee/model/adapter/adapter_file.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

/// An adapter and what it is multiplied by, beside its own scale.
struct ScaledAdapter {
  AdapterFile file;
  float by = 1;
};

/// The edit of a model's tensors that adds the adapters one behind the other, in f32. They must outlive it.
RecastEdit merging(std::span<const ScaledAdapter> adapters);

}  // namespace vibee
