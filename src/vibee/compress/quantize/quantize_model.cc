// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/quantize_model.h"

#include <sys/stat.h>

#include <filesystem>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// Changes whenever encoders give other bytes, so that no file is half of the ones and half of the others.
constexpr int kEncoders = 1;

/// What tells one source from another: path, size, and when it was changed.
std::string identity(const Checkpoint& file) {
  std::error_code ignored;
  const std::string path = std::filesystem::absolute(file.path(), ignored).string();
  struct stat at = {};
  ::stat(path.c_str(), &at);
  return fmt::format("{} {} {}.{:09}", path, file.file_size(), at.st_mtim.tv_sec, at.st_mtim.tv_nsec);
}

}  // namespace

FormatMix recipe_mix(const Recipe& recipe, const ModelConfig& model, RecipeUse use) {
  return {[&recipe, &model, use](const TensorInfo& t) { return recipe_format(recipe, t, model, use); },
          use.pure ? std::nullopt : recipe_file_type(recipe)};
}

Result<QuantizeReport> quantize_model(const Checkpoint& file, const FormatMix& mix, GgufMetadata metadata,
                                      const std::string& path, const QuantizeOptions& options) {
  RecastOptions how{.format = mix.format, .edit = options.edit, .team = options.team};
  if (options.importance)
    how.importance = [importance = options.importance](const TensorInfo& t) { return importance->of(t); };
  if (options.solver) how.encoder = [&](const TensorInfo& t) { return options.solver->encoder(t); };
  VIBEE_ASSIGN(const Recast recast, Recast::create(file, std::move(how)));
  QuantizeReport report;
  report.indivisible = recast.indivisible();
  for (const TensorInfo& t : recast.tensors()) {
    FormatShare& share = report.formats[t.format];
    ++share.tensors;
    share.elements += t.elements();
    share.bytes += t.bytes;
    report.elements += t.elements();
    if (options.solver && t.shape.size() > 1 && info(t.format).block_elems > 1 && !options.solver->solves(t))
      ++report.unsolved;
    if (options.importance && info(t.format).block_elems > 1 && options.importance->of(t).empty()) ++report.unweighted;
  }
  set_file_type(&metadata, recast.tensors());
  if (mix.file_type) metadata["general.file_type"] = gguf_u32(*mix.file_type);
  GgufWrite write{options.progress, {}, &report.resumed, options.finish};
  write.resume = fmt::format("quantize {} {} {} {}{}", kEncoders, identity(file),
                             options.importance ? options.importance->hash() : "unweighted",
                             options.solver ? "gptq " + options.inputs : "encoders", options.edited);
  VIBEE_TRY(write_gguf(path, metadata, recast.tensors(), recast.reader(), write));
  std::error_code failed;
  report.bytes = std::filesystem::file_size(path, failed);
  if (failed) return error(Code::io, "{}: {}", quote(path, 400), failed.message());
  return report;
}

}  // namespace vibee
