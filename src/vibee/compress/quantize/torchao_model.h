// SPDX-License-Identifier: Apache-2.0
// A model as a directory of torchao (torchao_recipe.h) as transformers 5 saves it: parts of tensor subclasses, whose classes
// stand in the header of the safetensors file, and the recipe in config.json.
#pragma once

#include "vibee/compress/quantize/linear_writer.h"
#include "vibee/compress/quantize/torchao_recipe.h"

namespace vibee {

/// Writes `file` to a directory that is not there yet. Linears of layers are quantised in the type they have, f16 where
/// that is in blocks; the head is not, as transformers leaves it, nor are experts. `codes` is of intx alone.
Result<LinearReport> write_torchao(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                   const std::string& directory, const TorchaoRecipe& recipe, const TorchaoCodes& codes,
                                   const LinearOptions& options);

}  // namespace vibee
