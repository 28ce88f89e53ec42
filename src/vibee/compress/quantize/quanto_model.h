// SPDX-License-Identifier: Apache-2.0
// A model as a directory of optimum-quanto (quanto.h), which its QuantizedModelForCausalLM.from_pretrained loads, and
// model/weight/quantized_quanto.cc.
#pragma once

#include "vibee/compress/quantize/quanto.h"
#include "vibee/model/weight/hf.h"

namespace vibee {

struct QuantoOptions {
  QuantoType type;
  bool hqq = false;                                     ///< shifts are searched; not of 8 bits
  std::vector<std::string> include = {}, exclude = {};  ///< patterns of modules (base/text/glob.h); no include: all
  Team* team = nullptr;
  WriteProgress progress = nullptr;
};

struct QuantoReport {
  uint64_t matrices = 0, elements = 0, bytes = 0;  ///< that are quantised; with their scales and shifts
  uint64_t floats = 0;                             ///< bytes of what stays so
  uint64_t left = 0;         ///< linears that patterns leave as floats, or that the directory holds transposed
  uint64_t indivisible = 0;  ///< linears that stay floats: 32 does not divide their rows
  double bits_per_weight() const { return elements ? 8.0 * double(bytes) / double(elements) : 0; }
};

/// Writes `file` to a directory that is not there yet. Linears of layers and a head with weights of its own are
/// quantised in the type they have, f16 where that is in blocks; experts, routers and what GPT-2 keeps transposed are
/// no linears to the package and stay.
Result<QuantoReport> write_quanto(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                  const std::string& directory, const QuantoOptions& options);

}  // namespace vibee
