// SPDX-License-Identifier: Apache-2.0
// A model in several GGUF files, NAME-00001-of-0000N.gguf: the first holds the metadata, each the list of its tensors
// (split.no, split.count, split.tensors.count; llama.cpp's gguf-split). They are read as one file behind the other.
#include <filesystem>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/gguf.h"
#include "vibee/model/weight/gguf_parse.h"
#include "vibee/model/weight/gguf_scale.h"

namespace vibee {
namespace {

constexpr uint64_t kMaxParts = 9999;

class PartsSource final : public ByteSource {
 public:
  void add(std::shared_ptr<const ByteSource> part) {
    starts_.push_back(size_);
    size_ += part->size();
    parts_.push_back(std::move(part));
  }
  uint64_t size() const override { return size_; }
  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    size_t i = parts_.size() - 1;
    while (i > 0 && starts_[i] > offset) --i;
    return parts_[i]->read(offset - starts_[i], out);  // a tensor lies in one part
  }

 private:
  std::vector<std::shared_ptr<const ByteSource>> parts_;
  std::vector<uint64_t> starts_;
  uint64_t size_ = 0;
};

std::string part_name(const std::string& stem, uint64_t number, uint64_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", stem, number, count);
}

}  // namespace

Result<Checkpoint> open_gguf(const std::string& path) {
  VIBEE_ASSIGN(auto source, open_file_source(path));
  VIBEE_ASSIGN(Checkpoint first, GgufParser(source, path).run());
  VIBEE_ASSIGN(const uint64_t count, first.get_u64_or("split.count", 1));
  if (count <= 1) return with_matrix_scales(std::move(first));
  const auto bad = [&](std::string_view what) { return error(Code::corrupt, "{}: {}", quote(path, 400), what); };
  if (count > kMaxParts) return bad(fmt::format("key \"split.count\" is {}, at most {} are read", count, kMaxParts));
  VIBEE_ASSIGN(const uint64_t number, first.get_u64("split.no"));
  if (number >= count) return bad(fmt::format("key \"split.no\" is {} of {} parts", number, count));
  const std::string end = part_name("", number + 1, count);
  if (!path.ends_with(end))
    return bad(fmt::format("is part {} of {}, whose name must end with {} for the others to be found", number + 1,
                           count, quote(end)));
  const std::string stem = path.substr(0, path.size() - end.size());
  if (number != 0)
    return bad(
        fmt::format("is part {} of {}; name the first, {}", number + 1, count, quote(part_name(stem, 1, count), 400)));
  auto all = std::make_shared<PartsSource>();
  CheckpointParts parts{path, "", all, first.version(), first.metadata(), {}};
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) parts.metadata.erase(key);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string name = part_name(stem, i + 1, count);
    std::error_code ignored;
    if (!std::filesystem::exists(name, ignored))
      return error(Code::not_found, "{}: part {} of {} is missing: fetch {}", quote(path, 400), i + 1, count,
                   quote(name, 400));
    VIBEE_ASSIGN(auto bytes, open_file_source(name));
    VIBEE_ASSIGN(const Checkpoint part, GgufParser(bytes, name).run());
    VIBEE_ASSIGN(const uint64_t own_number, part.get_u64_or("split.no", UINT64_MAX));
    VIBEE_ASSIGN(const uint64_t own_count, part.get_u64_or("split.count", 0));
    if (own_number != i || own_count != count)
      return error(Code::corrupt, "{}: says that it is part {} of {}, its name says {} of {}", quote(name, 400),
                   own_number + 1, own_count, i + 1, count);
    for (TensorInfo t : part.tensors()) {
      t.offset += all->size();
      parts.tensors.push_back(std::move(t));
    }
    all->add(std::move(bytes));
  }
  VIBEE_ASSIGN(const uint64_t tensors, first.get_u64_or("split.tensors.count", parts.tensors.size()));
  if (tensors != parts.tensors.size())
    return bad(
        fmt::format("its {} parts hold {} tensors, {} are said to be there", count, parts.tensors.size(), tensors));
  VIBEE_ASSIGN(Checkpoint whole, Checkpoint::assemble(std::move(parts)));
  return with_matrix_scales(std::move(whole));
}

}  // namespace vibee
