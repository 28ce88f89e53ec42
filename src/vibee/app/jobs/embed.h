// SPDX-License-Identifier: Apache-2.0
// The jobs behind embed and rerank: texts through a model in steps of many, each text whole in one of them. The same
// text gives the same bytes whatever else is in its step.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vibee/app/jobs/load.h"

namespace vibee {

/// How much memory embedding needs beside the model: texts in a step, and keys and values as floats, which live for one
/// step only.
void set_embed_defaults(LoadConfig* config);

struct EmbedConfig {
  std::optional<bool> normalise;  ///< embeddings of length one; empty: as the model's files say
  bool truncate = false;          ///< texts that are too long are cut at their end instead of being refused
};

/// What became of a text.
struct TextStats {
  uint32_t tokens = 0;  ///< that the model read, special tokens included
  uint32_t cut = 0;     ///< that did not fit
};

struct Embedding {
  std::vector<float> values;  ///< as many as the model is wide
  TextStats text;
};
/// Embeddings in the order of the texts. The session's model gives Output::embedding. `cancelled` is asked at every
/// step.
Result<std::vector<Embedding>> embed(Session& session, std::span<const std::string> texts, const EmbedConfig& config,
                                     const std::function<bool()>& cancelled);

struct Ranked {
  uint32_t index = 0;          ///< of the document
  float score = 0, logit = 0;  ///< score: the logit through the activation that the model's files name
  TextStats text;              ///< of query and document together
};
/// Documents, best first and earlier ones first among equals. The session's model gives Output::scores.
Result<std::vector<Ranked>> rerank(Session& session, const std::string& query, std::span<const std::string> documents,
                                   const EmbedConfig& config, const std::function<bool()>& cancelled);

}  // namespace vibee
