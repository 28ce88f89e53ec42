// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/hf_pooling.h"

#include <filesystem>
#include <optional>

#include "vibee/base/text/quote.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {
namespace {

constexpr uint64_t kMost = 1 << 20;

struct Mode {
  std::string_view key, name;  // of the flag, and of the newer field "pooling_mode"
  Pooling pooling;
  uint32_t gguf;  // llama.cpp's LLAMA_POOLING_TYPE_*; 0: it has none
};
constexpr Mode kModes[] = {{"pooling_mode_mean_tokens", "mean", Pooling::mean, 1},
                           {"pooling_mode_cls_token", "cls", Pooling::cls, 2},
                           {"pooling_mode_lasttoken", "lasttoken", Pooling::last, 3},
                           {"pooling_mode_max_tokens", "max", Pooling::max, 0}};

Result<JsonValue> read(const std::string& path) {
  VIBEE_ASSIGN(const std::string text, read_small_file(path, kMost));
  auto json = parse_json(text);
  if (!json.ok()) return json.take_status().within(quote(path, 400));
  return json;
}

Result<Mode> find_mode(const JsonValue& config) {
  if (const JsonValue* name = config.find("pooling_mode"); name && name->is(JsonValue::Kind::text)) {
    for (const Mode& mode : kModes)
      if (mode.name == name->text) return mode;
    return error(Code::unsupported, "key \"pooling_mode\" is {}; mean, cls, max and lasttoken are built",
                 name->describe());
  }
  std::optional<Mode> found;
  for (const std::string& key : config.names) {
    const JsonValue* on = config.find(key);
    if (!key.starts_with("pooling_mode_") || on == nullptr || !on->boolean) continue;
    if (found)
      return error(Code::unsupported, "keys {} and {} are both true; one is built", quote(found->key), quote(key));
    for (const Mode& mode : kModes)
      if (mode.key == key) found = mode;
    if (!found) return error(Code::unsupported, "key {} is true; mean, cls, max and lasttoken are built", quote(key));
  }
  if (!found) return error(Code::corrupt, "no key \"pooling_mode_...\" is true");
  return *found;
}

}  // namespace

Status read_pooling_config(const JsonValue& config, std::string_view id, GgufMetadata* metadata) {
  VIBEE_ASSIGN(const Mode mode, find_mode(config));
  if (mode.gguf != 0) {
    (*metadata)[fmt::format("{}.pooling_type", id)] = gguf_u32(mode.gguf);
  } else {
    (*metadata)["vibee.pooling"] = gguf_text(name(mode.pooling));
  }
  return {};
}

Status read_hf_pooling(const std::string& directory, std::string_view id, GgufMetadata* metadata) {
  const std::string path = directory + "/modules.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  VIBEE_ASSIGN(const JsonValue modules, read(path));
  if (!modules.is(JsonValue::Kind::array)) return error(Code::corrupt, "{}: is no array of modules", quote(path, 400));
  bool pooled = false, normalised = false;
  for (const JsonValue& module : modules.items) {
    const JsonValue *type = module.find("type"), *folder = module.find("path");
    const std::string_view full = type ? std::string_view(type->text) : "";
    const std::string_view kind = full.substr(full.rfind('.') + 1);
    if (kind == "Transformer" && !pooled) continue;
    if (kind == "Normalize" && pooled) {
      normalised = true;
    } else if (kind == "Pooling" && !pooled && folder != nullptr) {
      // A folder of this directory and no other place.
      if (folder->text.empty() || folder->text.find('/') != std::string::npos || folder->text[0] == '.')
        return error(Code::corrupt, "{}: key \"path\" is {}, no folder of the model", quote(path, 400),
                     folder->describe());
      const std::string config = fmt::format("{}/{}/config.json", directory, folder->text);
      VIBEE_ASSIGN(const JsonValue json, read(config));
      VIBEE_TRY(read_pooling_config(json, id, metadata).within(quote(config, 400)));
      pooled = true;
    } else {
      return error(Code::unsupported,
                   "{}: module {} is not built here; Transformer, then Pooling, then perhaps Normalize are",
                   quote(path, 400), type ? type->describe() : "without a type");
    }
  }
  if (pooled) (*metadata)["vibee.normalise"] = gguf_bool(normalised);
  const std::string limits = directory + "/sentence_bert_config.json";
  if (!std::filesystem::exists(limits, ignored)) return {};
  VIBEE_ASSIGN(const JsonValue json, read(limits));
  const JsonValue* most = json.find("max_seq_length");
  if (most == nullptr) return {};
  if (!most->is_number() || !(most->number >= 1 && most->number <= 1 << 26))
    return error(Code::corrupt, "{}: key \"max_seq_length\" is {}, wanted 1 to 2^26", quote(limits, 400),
                 most->describe());
  (*metadata)["vibee.text_tokens"] = gguf_u32(uint32_t(most->number));
  return {};
}

}  // namespace vibee
