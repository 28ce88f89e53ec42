// SPDX-License-Identifier: Apache-2.0
// Models in the layout of Hugging Face `transformers`: a directory with config.json and safetensors. What differs
// between architectures is said in tables (one HfArchitecture a model_type, kept in the architecture's own file); this
// folder holds the mechanism, which reads a directory as a Checkpoint in GGUF's spelling and writes one back.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "vibee/base/text/json_object.h"
#include "vibee/model/token/tokenizer_json_write.h"
#include "vibee/model/weight/gguf_write.h"
#include "vibee/model/weight/json.h"

namespace vibee {

/// How a GGUF tensor is made of the directory's, row by row as it is read; the writer applies the inverse.
enum class HfTransform : uint8_t {
  none,
  permute_heads,     ///< rows of a query head: rotary halves (i, i + d/2) become the pairs (2i, 2i + 1)
  permute_kv_heads,  ///< the same with the number of key heads
  add_one,           ///< norms stored as their difference from one; a float32 sum, so tiny differences lose bits
  transpose,         ///< [in, out] matrices (Conv1D of GPT-2)
};

struct HfTensorRule {
  std::string_view hf;    ///< "{}" stands for the layer, "{e}" for an expert: experts are stacked
  std::string_view gguf;  ///< empty: a tensor that is computed or unused, and skipped
  HfTransform transform = HfTransform::none;
};

struct HfKeyRule {
  std::string_view hf;              ///< key of config.json
  std::string_view gguf;            ///< without "<architecture>."
  GgufType type;                    ///< u32 or f32
  std::optional<double> otherwise;  ///< where config.json lacks the key, as transformers has it; null stays left out
};

/// A key of config.json that must be missing or one of the values built.
struct HfFixedKey {
  std::string_view hf;
  std::string_view values;  ///< JSON, separated by '|'; the first is written
};

struct HfRope {
  double theta = 10000;       ///< where config.json has none
  bool factors_long = false;  ///< LongRoPE factors are tensors of the architecture
  bool two_kinds = false;     ///< local layers have a base of their own
  bool none = false;          ///< positions are learned
};

struct HfArchitecture {
  std::string_view model_type;            ///< config.json
  std::string_view class_name;            ///< config.json, "architectures"
  std::string_view classifier_name = {};  ///< the same, of a model with a classifier (cls.output.weight)
  std::string_view id;                    ///< `general.architecture`
  const HfArchitecture* base = nullptr;   ///< whose rows hold too; own rows for the same GGUF name come first
  std::span<const HfKeyRule> keys = {};
  std::span<const HfTensorRule> tensors = {};
  std::span<const HfFixedKey> fixed = {};
  HfRope rope = {};
  bool tied = false;             ///< tie_word_embeddings where config.json has none
  std::string_view prefix = {};  ///< that names may lack
  /// What the tables cannot say: refuses variants that are not built, adds keys. May be nullptr.
  Status (*check)(const JsonValue& config, GgufMetadata* metadata) = nullptr;
  /// Keys of config.json that the tables cannot say, when one is written. May be nullptr.
  void (*complete)(const Checkpoint& file, JsonObject* config) = nullptr;
};

/// Sizes, norm and tensors of the Llama family; the base of most architectures.
extern const HfArchitecture kHfDecoder;

/// Reads the directory; errors name the file, the tensor or the key. Metadata that config.json has no key for comes
/// from metadata.gguf where write_hf left one. `bits`: of a model that stores several widths (quantized.h), 0: its
/// widest.
Result<Checkpoint> open_hf(const std::string& directory, std::span<const HfArchitecture* const> known,
                           uint32_t bits = 0);

/// Writes a directory that `transformers` loads and open_hf reads back: config.json, generation_config.json,
/// model.safetensors (shards of at most `shard_bytes` and their index), `tokenizer` (of a directory its own files
/// instead), and metadata.gguf, which holds what those have no keys for. The directory must not be there yet; it
/// appears whole or not at all. Refuses formats of blocks and what no model_type can say.
Status write_hf(const std::string& directory, std::span<const HfArchitecture* const> known, const Checkpoint& file,
                std::span<const TensorInfo> tensors, const TensorBytes& read,
                std::span<const TokenizerFile> tokenizer = {}, const WriteProgress& progress = nullptr,
                uint64_t shard_bytes = 5'000'000'000);

}  // namespace vibee
