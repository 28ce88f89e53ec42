// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/open_tokenizer.h"

#include <filesystem>

#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/token/tokenizer_json.h"
#include "vibee/model/token/tokenizer_json_write.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {
namespace {
constexpr uint64_t kMostBytes = 1 << 30;
}

Result<TokenizerSpec> read_tokenizer_spec(const std::string& model) {
  if (!model.ends_with(".json")) {
    VIBEE_ASSIGN(const std::string path, resolve_model(model));
    VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(path));
    return read_tokenizer(file);
  }
  VIBEE_ASSIGN(const std::string json, read_small_file(model, kMostBytes));
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer_json(json, model));
  const std::string config = (std::filesystem::path(model).parent_path() / "tokenizer_config.json").string();
  if (std::filesystem::exists(config)) {
    VIBEE_ASSIGN(const std::string text, read_small_file(config, kMostBytes));
    VIBEE_TRY(read_tokenizer_config(text, config, &spec));
  }
  const std::string chat = (std::filesystem::path(model).parent_path() / "chat_template.jinja").string();
  if (std::filesystem::exists(chat)) {
    VIBEE_ASSIGN(spec.chat_template, read_small_file(chat, kMostBytes));
  }
  return spec;
}

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& model) {
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer_spec(model));
  return make_tokenizer(std::move(spec));
}

Result<std::vector<std::string>> write_tokenizer_directory(TokenizerSpec spec, const std::string& directory) {
  VIBEE_ASSIGN(const std::vector<TokenizerFile> files, write_tokenizer_files(std::move(spec)));
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  if (failed) return error(Code::io, "{}: cannot be created: {}", quote(directory, 400), failed.message());
  std::vector<std::string> paths;
  for (const TokenizerFile& file : files) {
    paths.push_back(directory + "/" + file.name);
    VIBEE_TRY(write_file(paths.back(), file.text));
  }
  return paths;
}

}  // namespace vibee
