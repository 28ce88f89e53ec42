// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/safetensors.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // of the format
constexpr uint64_t kMaxIndex = 64 << 20;
constexpr size_t kMaxName = 255;
constexpr size_t kMaxRank = 8;

struct Dtype {
  std::string_view name;
  uint32_t bytes;
  std::optional<Format> format;
};
constexpr Dtype kDtypes[] = {
    {"F32", 4, Format::f32}, {"F16", 2, Format::f16}, {"BF16", 2, Format::bf16},
    {"F64", 8, {}},          {"F8_E4M3", 1, {}},      {"F8_E5M2", 1, {}},
    {"F8_E8M0", 1, {}},      {"BOOL", 1, {}},         {"U8", 1, {}},
    {"I8", 1, {}},           {"U16", 2, {}},          {"I16", 2, {}},
    {"U32", 4, {}},          {"I32", 4, {}},          {"U64", 8, {}},
    {"I64", 8, {}},
};

}  // namespace

class SafetensorsParser {
 public:
  SafetensorsParser(std::shared_ptr<const ByteSource> source, std::string name) {
    file_.source_ = std::move(source);
    file_.path_ = std::move(name);
  }
  Result<Safetensors> run() {
    VIBEE_ASSIGN(const JsonValue header, read_header());
    for (size_t i = 0; i < header.items.size(); ++i) {
      const std::string& name = header.names[i];
      VIBEE_TRY(name == "__metadata__" ? metadata(header.items[i]) : tensor(name, header.items[i]));
    }
    VIBEE_TRY(cover());
    return std::move(file_);
  }

 private:
  Status bad(std::string_view what, Code code = Code::corrupt) const {
    return error(code, "{}: {}", quote(file_.path_, 400), what);
  }

  Result<JsonValue> read_header() {
    const uint64_t size = file_.source_->size();
    if (size < 8) return bad(fmt::format("{} bytes are no safetensors file; it is cut off, fetch it again", size));
    uint8_t raw[8];
    VIBEE_TRY(file_.source_->read(0, raw).within(quote(file_.path_, 400)));
    const uint64_t n = load_u64(raw);
    if (n < 2 || n > size - 8)
      return bad(
          fmt::format("a header of {} bytes is claimed, the file has {} left (offset 0); it is cut off or no "
                      "safetensors file",
                      n, size - 8));
    if (n > kMaxHeader)
      return bad(fmt::format("its header has {} bytes, at most {} are allowed (offset 0)", n, kMaxHeader));
    data_ = 8 + n;
    std::string text(size_t(n), '\0');
    VIBEE_TRY(
        file_.source_->read(8, {reinterpret_cast<uint8_t*>(text.data()), text.size()}).within(quote(file_.path_, 400)));
    if (text[0] != '{') return bad("its header does not begin with '{' (offset 8); it is no safetensors file");
    auto header = parse_json(text, {.depth = 4});
    if (!header.ok()) return bad(fmt::format("header: {}", header.status().message()));
    return std::move(*header);
  }

  Status metadata(const JsonValue& value) {
    if (!value.is(JsonValue::Kind::object)) return bad("__metadata__ is not an object");
    for (size_t i = 0; i < value.items.size(); ++i) {
      if (!value.items[i].is(JsonValue::Kind::text))
        return bad(
            fmt::format("__metadata__ {} is {}, wanted a string", quote(value.names[i]), value.items[i].describe()));
      file_.metadata_[value.names[i]] = value.items[i].text;
    }
    return {};
  }

  /// The elements of a list of integers from 0.
  Result<std::vector<uint64_t>> sizes(const std::string& name, const JsonValue& entry, std::string_view key,
                                      size_t most) {
    const JsonValue* list = entry.find(key);
    if (list == nullptr || !list->is(JsonValue::Kind::array) || list->items.size() > most)
      return bad(fmt::format("tensor {}: {} is {}, wanted a list of at most {} sizes", quote(name), key,
                             list ? list->describe() : "missing", most));
    std::vector<uint64_t> out;
    for (const JsonValue& n : list->items) {
      if (!n.is(JsonValue::Kind::integer) || n.integer < 0)
        return bad(fmt::format("tensor {}: {} holds {}, wanted sizes from 0", quote(name), key, n.describe()));
      out.push_back(uint64_t(n.integer));
    }
    return out;
  }

  Status tensor(const std::string& name, const JsonValue& entry) {
    if (name.empty() || name.size() > kMaxName)
      return bad(fmt::format("a tensor's name has {} bytes, 1 to {} are allowed", name.size(), kMaxName));
    const JsonValue* type = entry.find("dtype");
    if (type == nullptr || !type->is(JsonValue::Kind::text))
      return bad(fmt::format("tensor {}: dtype is {}", quote(name), type ? type->describe() : "missing"));
    const auto* dtype =
        std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return d.name == type->text; });
    if (dtype == std::end(kDtypes))
      return bad(
          fmt::format("tensor {} has the unknown dtype {}; F32, F16 and BF16 are read", quote(name), quote(type->text)),
          Code::unsupported);
    SafetensorsTensor t{name, type->text, dtype->format, {}, 0, 0};
    VIBEE_ASSIGN(t.shape, sizes(name, entry, "shape", kMaxRank));
    VIBEE_ASSIGN(const std::vector<uint64_t> range, sizes(name, entry, "data_offsets", 2));
    const uint64_t data_bytes = file_.source_->size() - data_;
    if (range.size() != 2 || range[0] > range[1] || range[1] > data_bytes)
      return bad(fmt::format(
          "tensor {}: its bytes are said to stand at {}, the file has {} bytes of data; it is cut "
          "off or damaged, fetch it again",
          quote(name), range.size() == 2 ? fmt::format("{} to {}", range[0], range[1]) : "no range", data_bytes));
    std::optional<uint64_t> bytes = dtype->bytes;
    for (uint64_t n : t.shape) bytes = bytes ? checked_mul(*bytes, n) : bytes;
    if (bytes != range[1] - range[0])
      return bad(fmt::format("tensor {}: its shape asks for {} bytes of {}, its range has {}", quote(name),
                             bytes ? fmt::format("{}", *bytes) : "more than 2^64", t.dtype, range[1] - range[0]));
    t.offset = data_ + range[0];
    t.bytes = *bytes;
    file_.tensors_.push_back(std::move(t));
    return {};
  }

  /// Every byte of data belongs to exactly one tensor.
  Status cover() {
    std::vector<SafetensorsTensor>& all = file_.tensors_;
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
    });
    uint64_t end = data_;
    for (const SafetensorsTensor& t : all) {
      if (t.offset < end)
        return bad(fmt::format("tensor {} overlaps the one before it (offset {})", quote(t.name), t.offset));
      if (t.offset > end)
        return bad(
            fmt::format("{} bytes before tensor {} belong to none (offset {})", t.offset - end, quote(t.name), end));
      end += t.bytes;
    }
    if (end != file_.source_->size())
      return bad(fmt::format("{} bytes at its end belong to no tensor (offset {})", file_.source_->size() - end, end));
    return {};
  }

  Safetensors file_;
  uint64_t data_ = 0;  // where the tensors' bytes begin
};

Status Safetensors::read(const SafetensorsTensor& tensor, uint64_t offset, std::span<uint8_t> out) const {
  VIBEE_CHECK(offset <= tensor.bytes && out.size() <= tensor.bytes - offset, "tensor {} of {} bytes, read {} at {}",
              tensor.name, tensor.bytes, out.size(), offset);
  return source_->read(tensor.offset + offset, out)
      .within(fmt::format("{}: tensor {}", quote(path_, 400), quote(tensor.name)));
}

Safetensors Safetensors::made(std::string path, std::shared_ptr<const ByteSource> source,
                              std::vector<SafetensorsTensor> tensors) {
  Safetensors out;
  out.path_ = std::move(path);
  out.source_ = std::move(source);
  out.tensors_ = std::move(tensors);
  uint64_t at = 0;
  for (SafetensorsTensor& t : out.tensors_) t.offset = std::exchange(at, at + t.bytes);
  return out;
}

Result<Safetensors> open_safetensors(const std::string& path) {
  VIBEE_ASSIGN(auto source, open_file_source(path));
  return SafetensorsParser(std::move(source), path).run();
}

Result<Safetensors> parse_safetensors(std::span<const uint8_t> bytes, std::string name) {
  return SafetensorsParser(memory_source({bytes.begin(), bytes.end()}), std::move(name)).run();
}

Status SafetensorsSet::add(Safetensors file) {
  files_.push_back(std::make_unique<const Safetensors>(std::move(file)));
  const Safetensors& f = *files_.back();
  for (const SafetensorsTensor& t : f.tensors()) {
    const auto [at, fresh] = tensors_.try_emplace(t.name, Place{&f, &t});
    if (!fresh)
      return error(Code::corrupt, "{}: tensor {} stands in {} too", quote(f.path(), 400), quote(t.name),
                   quote(at->second.file->path(), 400));
  }
  return {};
}

Result<SafetensorsSet> SafetensorsSet::of(Safetensors file) {
  SafetensorsSet out;
  VIBEE_TRY(out.add(std::move(file)));
  return out;
}

Result<SafetensorsSet> SafetensorsSet::replaced(const SafetensorsSet& from,
                                                const std::set<std::string, std::less<>>& without, Safetensors made) {
  SafetensorsSet out;
  for (const auto& [name, place] : from.tensors_)
    if (!without.contains(name)) out.tensors_.emplace(name, place);
  VIBEE_TRY(out.add(std::move(made)));
  return out;
}

namespace {

/// A name that cannot lead out of its directory.
bool plain_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

Result<SafetensorsSet> open_safetensors_directory(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string index_path = directory + "/model.safetensors.index.json", one = directory + "/model.safetensors";
  SafetensorsSet set;
  if (!fs::exists(index_path, ignored)) {
    if (!fs::exists(one, ignored)) {
      const bool pickle = fs::exists(directory + "/pytorch_model.bin", ignored) ||
                          fs::exists(directory + "/pytorch_model.bin.index.json", ignored);
      return error(
          Code::not_found, "{}: has neither model.safetensors nor model.safetensors.index.json{}",
          quote(directory, 400),
          pickle ? "; pytorch_model.bin is a pickle, which is never read: load it where it was made and save it as "
                   "safetensors (transformers 5 saves so, models of torchao 0.16 and later too)"
                 : "");
    }
    VIBEE_ASSIGN(Safetensors file, open_safetensors(one));
    VIBEE_TRY(set.add(std::move(file)));
    return set;
  }
  const auto bad = [&](std::string_view what) { return error(Code::corrupt, "{}: {}", quote(index_path, 400), what); };
  VIBEE_ASSIGN(const std::string text, read_small_file(index_path, kMaxIndex));
  auto index = parse_json(text, {.depth = 8});
  if (!index.ok()) return bad(index.status().message());
  const JsonValue* map = index->find("weight_map");
  if (map == nullptr || !map->is(JsonValue::Kind::object)) return bad("weight_map is missing");
  std::set<std::string> shards;
  for (size_t i = 0; i < map->items.size(); ++i) {
    const JsonValue& shard = map->items[i];
    if (!shard.is(JsonValue::Kind::text))
      return bad(fmt::format("tensor {}: its shard is {}", quote(map->names[i]), shard.describe()));
    if (!plain_file_name(shard.text))
      return bad(fmt::format("tensor {}: its shard {} is not the name of a file beside the index", quote(map->names[i]),
                             quote(shard.text)));
    shards.insert(shard.text);
  }
  for (const std::string& shard : shards) {
    const std::string path = fmt::format("{}/{}", directory, shard);
    if (!fs::exists(path, ignored)) return bad(fmt::format("shard {} is missing; fetch it", quote(shard)));
    VIBEE_ASSIGN(Safetensors file, open_safetensors(path));
    VIBEE_TRY(set.add(std::move(file)));
  }
  std::set<std::string_view> listed;
  for (size_t i = 0; i < map->items.size(); ++i) {
    const auto at = set.tensors().find(map->names[i]);
    const std::string wanted = directory + "/" + map->items[i].text;
    if (at == set.tensors().end() || at->second.file->path() != wanted)
      return bad(fmt::format("tensor {} is not in its shard {}{}", quote(map->names[i]), quote(map->items[i].text),
                             at == set.tensors().end() ? "" : " but in " + quote(at->second.file->path(), 400)));
    listed.insert(map->names[i]);
  }
  for (const auto& [name, place] : set.tensors())
    if (!listed.contains(name))
      return bad(fmt::format("tensor {} of {} is not listed", quote(name), quote(place.file->path(), 400)));
  return set;
}

}  // namespace vibee
