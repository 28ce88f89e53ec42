// SPDX-License-Identifier: Apache-2.0
// A model as a directory of optimum-quanto (quanto.h), which its QuantizedModelForCausalLM.from_pretrained loads, and
// model/weight/quantized_quanto.cc.
#pragma once

#include "vibee/compress/quantize/linear_writer.h"
#include "vibee/compress/quantize/quanto.h"

namespace vibee {

/// Writes `file` to a directory that is not there yet. Linears of layers and a head with weights of its own are
/// quantised in the type they have, f16 where that is in blocks; experts, routers and what GPT-2 keeps transposed are
/// no linears to the package and stay. `hqq`: shifts are searched; not of 8 bits.
Result<LinearReport> write_quanto(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                  const std::string& directory, const QuantoType& type, bool hqq,
                                  const LinearOptions& options);

}  // namespace vibee
