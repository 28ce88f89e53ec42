// SPDX-License-Identifier: Apache-2.0
// Low-rank adapters (LoRA) as they lie on disk, checked against the products of a model before a number is read: a
// directory of PEFT (adapter_config.json and adapter_model.safetensors), or a GGUF file as llama.cpp's
// convert_lora_to_gguf writes it (general.type "adapter").
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "vibee/graph/ir/ir.h"
#include "vibee/model/layer/config.h"

namespace vibee {

/// A product of a graph that adapters may change, with the rows of the tensor that it multiplies.
struct AdaptedProduct {
  std::string weight;  ///< as the graph names it: a tensor or a part of one (weight_part)
  uint32_t k = 0, n = 0;
};
/// Those of a graph, in the order of their numbers (LoraWeights of a step have this order).
std::vector<AdaptedProduct> adapted_products(const Graph& graph);

/// What an adapter adds to one tensor of the model: scale * B A, rows of B in the tensor's order.
struct AdapterMatrix {
  uint32_t k = 0, n = 0, rank = 0;
  float scale = 1;
  std::vector<float> a;  ///< [rank][k]
  std::vector<float> b;  ///< [n][rank]
};

struct AdapterFile {
  std::string path;
  std::map<std::string, AdapterMatrix> matrices;  ///< by the tensor's name in GGUF's spelling
};

/// Reads an adapter for a model of this configuration. Code::unsupported for what is not built (DoRA, biases, trained
/// embeddings or heads, modules that are not products of a layer), Code::corrupt for what does not fit; messages name
/// the file and the module, tensor or key.
Result<AdapterFile> read_adapter(const std::string& path, const ModelConfig& base,
                                 std::span<const AdaptedProduct> products, uint32_t max_rank);
/// The same from a PEFT adapter's two files in memory; `name` stands in messages where the path would.
Result<AdapterFile> parse_peft_adapter(std::string_view config, std::span<const uint8_t> weights, std::string name,
                                       const ModelConfig& base, std::span<const AdaptedProduct> products,
                                       uint32_t max_rank);

}  // namespace vibee
