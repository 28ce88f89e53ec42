// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

/// A GGUF file whose matrices NAME.weight have a scale of their own beside them, NAME.scale, f32, one number or one an
/// expert (llama.cpp's files of NVFP4): such a matrix becomes one in nvfp4s, whose rows begin with theirs. Refuses
/// scales other than 1 of other formats of blocks, which would be left out.
Result<Checkpoint> with_matrix_scales(Checkpoint file);

}  // namespace vibee
