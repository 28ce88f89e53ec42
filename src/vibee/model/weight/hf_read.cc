// SPDX-License-Identifier: Apache-2.0
// A directory's tensors by the rules of its architecture.
#include <algorithm>
#include <filesystem>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/gguf.h"
#include "vibee/model/weight/hf_config.h"
#include "vibee/model/weight/hf_names.h"
#include "vibee/model/weight/hf_pooling.h"
#include "vibee/model/weight/hf_source.h"
#include "vibee/model/weight/quantized.h"
#include "vibee/model/weight/sampling_defaults.h"

namespace vibee {
namespace {

constexpr uint64_t kMaxConfig = 4 << 20;

std::string with_layer(std::string_view pattern, uint32_t layer) {
  const size_t at = pattern.find("{}");
  return at == std::string_view::npos ? std::string(pattern)
                                      : fmt::format("{}{}{}", pattern.substr(0, at), layer, pattern.substr(at + 2));
}

/// A GGUF tensor under construction: pieces by expert.
struct Draft {
  const HfTensorRule* rule;
  uint32_t layer = 0;
  bool order = false;  ///< of the rule's weight, not itself
  std::map<uint32_t, SafetensorsSet::Place> pieces;
};

class HfReader {
 public:
  HfReader(const std::string& directory, std::span<const HfArchitecture* const> known, uint32_t bits)
      : directory_(directory), known_(known), bits_(bits) {}

  Result<Checkpoint> run() {
    const std::string path = directory_ + "/config.json";
    VIBEE_ASSIGN(const std::string text, read_small_file(path, kMaxConfig));
    auto config = parse_json(text);
    if (!config.ok()) return config.take_status().within(quote(path, 400));
    VIBEE_ASSIGN(SafetensorsSet files, open_safetensors_directory(directory_));
    auto found = find_hf_architecture(*config, known_);
    CheckpointParts parts;
    parts.path = parts.directory = directory_;
    if (found.ok()) {
      hf_ = *found;
      rules_ = hf_tensors(*hf_);
      VIBEE_TRY(left_by_writer(&parts.metadata));
      VIBEE_TRY(read_hf_config(*config, *hf_, &parts.metadata, &computed_).within(quote(path, 400)));
    }
    const auto inputs = [&](std::string_view module) -> uint64_t {
      HfMatch match;
      const HfTensorRule* rule =
          hf_ == nullptr ? nullptr : hf_rule_of(rules_, *hf_, std::string(module) + ".weight", &match);
      return rule == nullptr ? 0 : hf_inputs_of(*rule, *hf_, parts.metadata);
    };
    VIBEE_ASSIGN(const std::unique_ptr<QuantizedLayout> layout, layout_of(*config, path, inputs));
    if (layout != nullptr) {
      auto unpacked = unpack_quantized(std::move(files), *layout);
      if (!unpacked.ok()) return (found.ok() ? unpacked.take_status() : found.take_status()).within(quote(path, 400));
      files = std::move(*unpacked);
    }
    if (!found.ok()) return unknown(found.take_status().within(quote(path, 400)), *config, files);
    VIBEE_TRY(read_hf_pooling(directory_, hf_->id, &parts.metadata));
    VIBEE_TRY(read_hf_generation(directory_, &parts.metadata));
    if (!parts.metadata.contains("general.name"))
      parts.metadata["general.name"] =
          gguf_text(std::filesystem::path(directory_ + "/.").parent_path().filename().string());
    const JsonValue* tied = config->find("tie_word_embeddings");
    tied_ = tied ? tied->boolean : hf_->tied;

    VIBEE_TRY(collect(files));
    std::vector<HfTensor> tensors;
    for (const auto& [name, draft] : drafts_) {
      auto tensor = make(name, draft, parts.metadata);
      if (!tensor.ok()) return tensor.take_status();
      tensors.push_back(std::move(*tensor));
    }
    for (HfComputed& table : computed_) {
      HfTensor t;
      t.info = {table.name, Format::f32, {table.values.size()}, 0, table.values.size() * 4};
      t.computed = std::move(table.values);
      tensors.push_back(std::move(t));
    }
    std::stable_sort(tensors.begin(), tensors.end(),
                     [&](const HfTensor& a, const HfTensor& b) { return order(a.info.name) < order(b.info.name); });
    auto source = std::make_shared<const HfSource>(std::move(files), std::move(tensors));
    for (const HfTensor& t : source->tensors()) parts.tensors.push_back(t.info);
    parts.source = std::move(source);
    return Checkpoint::assemble(std::move(parts));
  }

 private:
  /// What is missing for a model_type without tables.
  Status unknown(Status status, const JsonValue& config, const SafetensorsSet& files) const {
    if (status.code() != Code::unsupported) return status;
    std::vector<std::string> names;
    for (const auto& [name, place] : files.tensors()) names.push_back(name);
    return error(Code::unsupported, "{}{}", status.message(),
                 hf_nearest(known_, names, false, config.find("model_type")->text));
  }

  /// Metadata that config.json has no keys for.
  Status left_by_writer(GgufMetadata* metadata) const {
    const std::string path = directory_ + "/metadata.gguf";
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return {};
    VIBEE_ASSIGN(const Checkpoint file, open_gguf(path));
    *metadata = file.metadata();
    return {};
  }

  /// What config.json or a map beside it says of how linears lie; null: as they are.
  Result<std::unique_ptr<QuantizedLayout>> layout_of(const JsonValue& config, const std::string& path,
                                                     const LinearInputs& inputs) const {
    auto layout = find_quantized_layout(config, bits_);
    if (!layout.ok()) return layout.take_status().within(quote(path, 400));
    for (const std::string_view file : {kQuantoMap, kModelOptFile}) {
      const std::string beside = fmt::format("{}/{}", directory_, file);
      std::error_code ignored;
      if (*layout != nullptr || !std::filesystem::exists(beside, ignored)) continue;
      VIBEE_ASSIGN(const std::string text, read_small_file(beside, kMaxConfig));
      const auto said = parse_json(text);
      if (!said.ok()) return Status(said.status()).within(quote(beside, 400));
      const JsonValue* of_modelopt = said->find("quantization");
      layout =
          file == kQuantoMap ? quanto_layout(*said, inputs) : modelopt_layout(of_modelopt ? *of_modelopt : JsonValue());
      if (!layout.ok()) return layout.take_status().within(quote(beside, 400));
    }
    return layout;
  }

  Status collect(const SafetensorsSet& files) {
    for (const auto& [name, place] : files.tensors()) {
      HfMatch match;
      const bool order = name.ends_with(kOrderSuffix);  // has the rule of its weight
      const std::string_view module = std::string_view(name).substr(0, name.size() - (order ? kOrderSuffix.size() : 0));
      const HfTensorRule* rule = hf_rule_of(rules_, *hf_, order ? std::string(module) + ".weight" : name, &match);
      if (rule == nullptr)
        return error(Code::unsupported, "{}: tensor {} is not of model_type {} as it is built",
                     quote(place.file->path(), 400), quote(name), quote(hf_->model_type));
      if (rule->gguf.empty() || (rule->gguf == "output.weight" && tied_)) continue;
      if (!place.tensor->format)
        return error(Code::unsupported, "{}: tensor {} is {}; F32, F16 and BF16 are read",
                     quote(place.file->path(), 400), quote(name), place.tensor->dtype);
      std::string gguf = with_layer(rule->gguf, match.layer);
      if (order) {
        if (rule->hf.find("{e}") != std::string_view::npos)
          return error(Code::unsupported, "{}: tensor {}: experts whose inputs are sorted are not built",
                       quote(place.file->path(), 400), quote(name));
        gguf = gguf.substr(0, gguf.rfind('.')) + std::string(kOrderSuffix);
      }
      Draft& draft = drafts_[gguf];
      draft.order = order;
      draft.rule = rule;
      draft.layer = match.layer;
      if (!draft.pieces.try_emplace(match.expert, place).second)
        return error(Code::corrupt, "{}: tensor {} stands there twice, under two names", quote(place.file->path(), 400),
                     quote(name));
    }
    return {};
  }

  Result<HfTensor> make(const std::string& name, const Draft& draft, const GgufMetadata& metadata) const {
    const auto& [file, first] = draft.pieces.begin()->second;
    const auto bad = [&, file = file, first = first](std::string_view what) {
      return error(Code::corrupt, "{}: tensor {} {}", quote(file->path(), 400), quote(first->name), what);
    };
    HfTensor t;
    t.transform = draft.order ? HfTransform::none : draft.rule->transform;
    const bool experts = draft.rule->hf.find("{e}") != std::string_view::npos;
    const size_t rank = first->shape.size();
    if (rank < 1 || rank + experts > 4) return bad(fmt::format("has {} dimensions", rank));
    if (first->bytes == 0) return bad("has no elements");
    t.info = {name, rank == 1 ? Format::f32 : *first->format, {first->shape.rbegin(), first->shape.rend()}, 0, 0};
    for (const auto& [expert, piece] : draft.pieces) {
      if (expert != t.pieces.size()) return bad(fmt::format("is there, that of expert {} is not", t.pieces.size()));
      if (piece.tensor->shape != first->shape || piece.tensor->format != first->format)
        return bad(fmt::format("has another shape or dtype than {}", quote(piece.tensor->name)));
      t.pieces.push_back(piece);
    }
    if (experts) t.info.shape.push_back(t.pieces.size());
    if (experts && rank != 2) return bad("is an expert's and not a matrix");
    if (t.transform == HfTransform::transpose) {
      if (rank != 2) return bad("is not a matrix");
      std::swap(t.info.shape[0], t.info.shape[1]);
    }
    if (t.transform == HfTransform::add_one && rank != 1) return bad("is not a vector");
    if (t.transform == HfTransform::permute_heads || t.transform == HfTransform::permute_kv_heads) {
      const auto key = [&](std::string_view k) {
        const auto at = metadata.find(fmt::format("{}.{}", hf_->id, k));
        return at == metadata.end() ? 0u : load_u32(at->second.bytes.data());
      };
      uint64_t heads = key("attention.head_count");
      if (const uint32_t kv = key("attention.head_count_kv"); kv && t.transform == HfTransform::permute_kv_heads)
        heads = kv;
      const uint64_t rows = first->shape[0];
      if (rank > 2 || heads == 0 || rows % heads != 0 || rows / heads % 2 != 0)
        return bad(fmt::format("has {} rows, which {} heads do not share in pairs", rows, heads));
      t.head = rows / heads;
    }
    // The pieces were checked against the file; as float32 a vector may be larger than it stands.
    t.info.bytes = rank == 1 ? first->shape[0] * 4 : first->bytes * t.pieces.size();
    return t;
  }

  /// Where a tensor stands among the others: as the rules list them, blocks in the middle.
  std::tuple<int, uint32_t, size_t> order(const std::string& name) const {
    const auto at = drafts_.find(name);
    if (at == drafts_.end()) return {0, 0, 0};
    const auto rule = size_t(at->second.rule - rules_.data());
    if (at->second.rule->gguf.starts_with("blk.")) return {1, at->second.layer, rule};
    return {name.starts_with("output") ? 2 : 0, 0, rule};
  }

  const std::string& directory_;
  std::span<const HfArchitecture* const> known_;
  uint32_t bits_;
  const HfArchitecture* hf_ = nullptr;
  bool tied_ = false;
  std::vector<HfTensorRule> rules_;
  std::vector<HfComputed> computed_;
  std::map<std::string, Draft> drafts_;
};

}  // namespace

Result<Checkpoint> open_hf(const std::string& directory, std::span<const HfArchitecture* const> known, uint32_t bits) {
  return HfReader(directory, known, bits).run();
}

}  // namespace vibee
