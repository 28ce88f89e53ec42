// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/hf_linears.h"
#include "vibee/model/weight/hf_source.h"
#include "vibee/model/weight/hf_write_config.h"
#include "vibee/model/weight/sampling_defaults.h"

namespace vibee {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSlice = 4 << 20;
constexpr std::string_view kWeight = ".weight";
constexpr uint64_t kShardBytes = 5'000'000'000;

/// A tensor of the directory, and where its bytes come from.
struct Output {
  std::string name;
  std::vector<uint64_t> shape;  // row-major
  Format format;
  uint64_t bytes;
  const TensorInfo* from;
  HfTransform transform;
  uint64_t head = 1;   // rows of a head
  uint64_t first = 0;  // byte of an expert
  std::string dtype = {};
  std::optional<size_t> part = {};  // of a linear in another project's tensors
};

/// Removes a directory unless it was taken over.
struct TemporaryDirectory {
  std::string path;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
};

std::string numbered(std::string_view pattern, std::string_view mark, uint64_t number) {
  const size_t at = pattern.find(mark);
  return at == std::string_view::npos
             ? std::string(pattern)
             : fmt::format("{}{}{}", pattern.substr(0, at), number, pattern.substr(at + mark.size()));
}

/// "blk.7.attn_q.weight" as "blk.{}.attn_q.weight" and 7.
std::string pattern_of(std::string_view name, uint64_t* layer) {
  if (!name.starts_with("blk.")) return std::string(name);
  const size_t end = name.find('.', 4);
  const auto [at, failed] = std::from_chars(name.data() + 4, name.data() + std::min(end, name.size()), *layer);
  if (failed != std::errc() || end == std::string_view::npos) return std::string(name);
  return fmt::format("blk.{{}}{}", name.substr(end));
}

bool computed(std::string_view name) { return name.starts_with("rope_f"); }

class HfWriter {
 public:
  HfWriter(const Checkpoint& file, std::span<const TensorInfo> tensors, const TensorBytes& read,
           std::span<const TokenizerFile> tokenizer, const WriteProgress& progress, const HfLinears* linears)
      : file_(file), tensors_(tensors), read_(read), tokenizer_(tokenizer), progress_(progress), linears_(linears) {}

  Status run(const std::string& directory, std::span<const HfArchitecture* const> known, uint64_t shard_bytes) {
    std::error_code failed;
    if (fs::exists(directory, failed))
      return error(Code::invalid, "{}: is there already; name a new directory", quote(directory, 400));
    VIBEE_TRY(choose(known));
    VIBEE_TRY(plan());
    Format format = Format::f32;
    for (const Output& o : outputs_)
      if (o.shape.size() > 1 && !o.part) format = o.format;
    std::string said;
    if (linears_) {
      VIBEE_ASSIGN(said, linears_->config(modules_));
      if (linears_->header) header_ = linears_->header(named_);
    }
    auto config = write_hf_config(*hf_, file_, format, linears_ ? linears_->key : "", said);
    if (!config.ok()) return config.take_status().within(quote(file_.path(), 400));

    std::string plain = directory;
    while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
    TemporaryDirectory place{fmt::format("{}.{}.part", plain, ::getpid())};
    if (!fs::create_directory(place.path, failed))
      return error(Code::io, "{}: cannot be created: {}", quote(place.path, 400), failed.message());
    VIBEE_TRY(small_file(place.path + "/config.json", *config));
    if (linears_ && !linears_->file.empty())
      VIBEE_TRY(small_file(fmt::format("{}/{}", place.path, linears_->file), said + "\n"));
    VIBEE_TRY(side_files(place.path));
    VIBEE_TRY(write_gguf(place.path + "/metadata.gguf", file_.metadata(), {}, read_));
    VIBEE_TRY(shards(place.path, shard_bytes));
    fs::rename(place.path, plain, failed);
    if (failed) return error(Code::io, "{}: renaming into place failed: {}", quote(plain, 400), failed.message());
    place.path.clear();
    return {};
  }

 private:
  /// The model_type whose rules know all tensors and the most keys.
  Status choose(std::span<const HfArchitecture* const> known) {
    VIBEE_ASSIGN(const std::string id, file_.get_string("general.architecture"));
    size_t most = 0;
    std::string strange = id;
    for (const HfArchitecture* hf : known) {
      if (hf->id != id) continue;
      const std::vector<HfTensorRule> rules = hf_tensors(*hf);
      const auto unknown = std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorInfo& t) {
        uint64_t layer;
        const std::string pattern = pattern_of(t.name, &layer);
        return !computed(t.name) &&
               std::none_of(rules.begin(), rules.end(), [&](auto& r) { return r.gguf == pattern; });
      });
      if (unknown != tensors_.end()) {
        strange = unknown->name;
        continue;
      }
      std::set<std::string_view> keys;
      for (const HfKeyRule& rule : hf_keys(*hf))
        if (file_.has(fmt::format("{}.{}", id, rule.gguf))) keys.insert(rule.gguf);
      if (hf_ == nullptr || keys.size() > most) {
        hf_ = hf;
        most = keys.size();
      }
    }
    if (hf_ != nullptr) return {};
    return error(Code::unsupported, "{}: no model_type of architecture {} has a place for {}", quote(file_.path(), 400),
                 quote(id), quote(strange));
  }

  Status plan() {
    VIBEE_ASSIGN(const uint64_t heads, file_.get_u64(fmt::format("{}.attention.head_count", hf_->id)));
    VIBEE_ASSIGN(const uint64_t kv, file_.get_u64_or(fmt::format("{}.attention.head_count_kv", hf_->id), heads));
    const std::vector<HfTensorRule> rules = hf_tensors(*hf_);
    for (const TensorInfo& t : tensors_) {
      if (computed(t.name)) continue;
      uint64_t layer = 0;
      const std::string pattern = pattern_of(t.name, &layer);
      const auto rule = std::find_if(rules.begin(), rules.end(), [&](auto& r) { return r.gguf == pattern; });
      const bool linear = linears_ != nullptr && rule->transform != HfTransform::transpose &&
                          rule->hf.ends_with(kWeight) && rule->hf.find("{e}") == std::string_view::npos;
      const std::vector<HfPart> parts =
          linear && taken(numbered(rule->hf, "{}", layer)) ? linears_->parts(t) : std::vector<HfPart>();
      if (parts.empty() && info(t.format).block_elems != 1)
        return error(Code::unsupported, "{}: tensor {} is {}, which safetensors do not hold; use --format f16 or bf16",
                     quote(file_.path(), 400), quote(t.name), info(t.format).name);
      Output o{
          numbered(rule->hf, "{}", layer), {t.shape.rbegin(), t.shape.rend()}, t.format, t.bytes, &t, rule->transform};
      if (o.transform == HfTransform::transpose) std::swap(o.shape[0], o.shape[1]);
      if (o.transform == HfTransform::permute_heads || o.transform == HfTransform::permute_kv_heads) {
        const uint64_t n = o.transform == HfTransform::permute_heads ? heads : kv;
        if (n == 0 || o.shape[0] % n != 0 || o.shape[0] / n % 2 != 0)
          return error(Code::corrupt, "{}: tensor {} has {} rows for {} heads", quote(file_.path(), 400), quote(t.name),
                       o.shape[0], n);
        o.head = o.shape[0] / n;
      }
      if (!parts.empty()) {
        plan_parts(std::move(o), parts);
        continue;
      }
      const bool module = o.name.ends_with(kWeight) && t.shape.size() > 1 && !t.name.starts_with("token") &&
                          !t.name.starts_with("position");
      o.dtype = t.format == Format::f32 ? "F32" : t.format == Format::f16 ? "F16" : "BF16";
      const uint64_t experts = rule->hf.find("{e}") == std::string_view::npos ? 1 : o.shape[0];
      if (rule->hf.find("{e}") != std::string_view::npos) {
        o.shape.erase(o.shape.begin());
        o.bytes /= experts;
      }
      for (uint64_t e = 0; e < experts; ++e) {
        outputs_.push_back(o);
        outputs_.back().name = numbered(o.name, "{e}", e);
        outputs_.back().first = e * o.bytes;
        if (module) modules_.left.push_back(module_of(outputs_.back().name));
        named_.push_back({outputs_.back().name, nullptr});
      }
      total_ += t.bytes;
    }
    return {};
  }

  static std::string module_of(std::string_view weight) {
    return std::string(weight.substr(0, weight.size() - kWeight.size()));
  }
  bool taken(std::string_view weight) const { return !linears_->takes || linears_->takes(module_of(weight)); }

  void plan_parts(Output o, std::span<const HfPart> parts) {
    named_.push_back({o.name, o.from});
    o.name.resize(o.name.size() - kWeight.size());
    modules_.written.push_back(o.name);
    for (size_t i = 0; i < parts.size(); ++i) {
      outputs_.push_back(o);
      Output& part = outputs_.back();
      part.name += parts[i].suffix;
      part.dtype = parts[i].dtype;
      part.shape = parts[i].shape;
      part.bytes = parts[i].bytes;
      part.part = i;
      total_ += part.bytes;
    }
  }

  static Status small_file(const std::string& path, std::string_view text) {
    VIBEE_ASSIGN(AtomicFile out, AtomicFile::create(path + ".part"));
    VIBEE_TRY(out.append({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
    return out.commit(path);
  }

  /// Those of a directory are copied; what a GGUF file knows of them is written.
  Status side_files(const std::string& place) const {
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
          "chat_template.jinja", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json"}) {
      auto text = file_.side_file(name);
      if (text.ok()) {
        const std::string path = fmt::format("{}/{}", place, name);
        std::error_code failed;
        fs::create_directories(fs::path(path).parent_path(), failed);
        VIBEE_TRY(small_file(path, *text));
      } else if (text.status().code() != Code::not_found) {
        return text.take_status();
      }
    }
    if (file_.is_directory()) return {};
    VIBEE_ASSIGN(const std::string generation, write_hf_generation(file_));
    VIBEE_TRY(small_file(place + "/generation_config.json", generation));
    for (const TokenizerFile& file : tokenizer_)
      VIBEE_TRY(small_file(fmt::format("{}/{}", place, file.name), file.text));
    return {};
  }

  Status shards(const std::string& place, uint64_t shard_bytes) {
    std::vector<std::span<const Output>> parts;
    for (size_t first = 0; first < outputs_.size();) {
      size_t last = first;
      for (uint64_t sum = 0; last < outputs_.size() && (last == first || sum + outputs_[last].bytes <= shard_bytes);)
        sum += outputs_[last++].bytes;
      parts.emplace_back(outputs_.data() + first, last - first);
      first = last;
    }
    JsonObject map;
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string name = parts.size() == 1 ? "model.safetensors"
                                                 : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, parts.size());
      VIBEE_TRY(shard(fmt::format("{}/{}", place, name), parts[i]));
      for (const Output& o : parts[i]) map.text(o.name, name);
    }
    if (parts.size() <= 1) return {};
    return small_file(place + "/model.safetensors.index.json",
                      JsonObject()
                              .raw("metadata", JsonObject().integer("total_size", total_).str())
                              .raw("weight_map", map.str())
                              .str() +
                          "\n");
  }

  Status shard(const std::string& path, std::span<const Output> part) {
    JsonObject header;
    JsonObject said;
    said.text("format", "pt");
    for (const auto& [key, text] : header_) said.text(key, text);
    header.raw("__metadata__", said.str());
    uint64_t at = 0;
    for (const Output& o : part) {
      std::vector<std::string> shape;
      for (uint64_t n : o.shape) shape.push_back(std::to_string(n));
      header.raw(o.name, JsonObject()
                             .text("dtype", o.dtype)
                             .raw("shape", json_array(shape))
                             .raw("data_offsets", fmt::format("[{}, {}]", at, at + o.bytes))
                             .str());
      at += o.bytes;
    }
    std::string text = header.str();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors begin on words
    std::vector<uint8_t> head(8);
    store_u64(head.data(), text.size());
    head.insert(head.end(), text.begin(), text.end());
    VIBEE_ASSIGN(AtomicFile out, AtomicFile::create(path + ".part"));
    VIBEE_TRY(out.append(head));
    for (const Output& o : part) VIBEE_TRY(tensor(o, out));
    return out.commit(path);
  }

  /// Rows of the GGUF tensor, put in the directory's order. Heads are permuted a head at a time; a transposed matrix
  /// and a vector are taken whole.
  Status tensor(const Output& o, AtomicFile& out) {
    if (o.part) return part(o, out);
    const uint64_t row = info(o.format).row_bytes(o.from->row_length());
    const bool permute = o.transform == HfTransform::permute_heads || o.transform == HfTransform::permute_kv_heads;
    const bool whole = o.shape.size() == 1 || o.transform == HfTransform::transpose;
    const uint64_t unit = permute ? o.head * row : row,
                   step = whole ? o.bytes : std::max<uint64_t>(1, kSlice / unit) * unit;
    std::vector<uint8_t> slice, moved;
    for (uint64_t at = 0; at < o.bytes; at += step) {
      slice.resize(std::min(step, o.bytes - at));
      VIBEE_TRY(read_(*o.from, o.first + at, slice));
      moved.resize(slice.size());
      if (permute) {
        const uint64_t size = o.shape.size() == 1 ? info(o.format).block_bytes : row;
        for (uint64_t r = 0; r < slice.size() / size; ++r)
          std::copy_n(slice.data() + r * size, size, moved.data() + hf_row_of(r, o.head) * size);
      } else if (o.transform == HfTransform::transpose) {
        const uint64_t size = info(o.format).block_bytes, k = o.shape[0], n = o.shape[1];
        for (uint64_t i = 0; i < k; ++i)
          for (uint64_t j = 0; j < n; ++j)
            std::copy_n(slice.data() + (j * k + i) * size, size, moved.data() + (i * n + j) * size);
      } else {
        if (o.transform == HfTransform::add_one) subtract_one(o, slice);
        moved.swap(slice);
      }
      VIBEE_TRY(out.append(moved));
      VIBEE_TRY(count(moved.size()));
    }
    return {};
  }

  Status part(const Output& o, AtomicFile& out) {
    if (made_of_ != o.from) {
      made_of_ = nullptr;
      const bool permute = o.transform == HfTransform::permute_heads || o.transform == HfTransform::permute_kv_heads;
      VIBEE_ASSIGN(made_, linears_->make(*o.from, [permute, head = o.head](uint64_t row) {
        return permute ? gguf_row_of(row, head) : row;
      }));
      made_of_ = o.from;
    }
    VIBEE_CHECK(made_[*o.part].size() == o.bytes, "{} of {}", made_[*o.part].size(), o.bytes);
    VIBEE_TRY(out.append(made_[*o.part]));
    return count(o.bytes);
  }

  Status count(uint64_t bytes) {
    done_ += bytes;
    if (progress_ && !progress_(done_, total_))
      return error(Code::cancelled, "{}: stopped; nothing was written", quote(file_.path(), 400));
    return {};
  }

  static void subtract_one(const Output& o, std::vector<uint8_t>& bytes) {
    std::vector<float> values(bytes.size() / info(o.format).block_bytes);
    info(o.format).decode(bytes.data(), values.size(), values.data());
    for (float& v : values) v -= 1.0f;
    info(o.format).encode(values.data(), values.size(), nullptr, bytes.data());
  }

  const Checkpoint& file_;
  std::span<const TensorInfo> tensors_;
  const TensorBytes& read_;
  std::span<const TokenizerFile> tokenizer_;
  const WriteProgress& progress_;
  const HfLinears* linears_;
  HfModules modules_;
  std::vector<HfNamed> named_;
  std::vector<std::pair<std::string, std::string>> header_;  // of every file
  const TensorInfo* made_of_ = nullptr;                      // whose parts are held
  std::vector<std::vector<uint8_t>> made_;
  const HfArchitecture* hf_ = nullptr;
  std::vector<Output> outputs_;
  uint64_t total_ = 0, done_ = 0;
};

}  // namespace

Status write_hf(const std::string& directory, std::span<const HfArchitecture* const> known, const Checkpoint& file,
                std::span<const TensorInfo> tensors, const TensorBytes& read, std::span<const TokenizerFile> tokenizer,
                const WriteProgress& progress, uint64_t shard_bytes) {
  return HfWriter(file, tensors, read, tokenizer, progress, nullptr).run(directory, known, shard_bytes);
}

Status write_hf_linears(const std::string& directory, std::span<const HfArchitecture* const> known,
                        const Checkpoint& file, std::span<const TensorInfo> tensors, const TensorBytes& read,
                        const HfLinears& linears, std::span<const TokenizerFile> tokenizer,
                        const WriteProgress& progress) {
  return HfWriter(file, tensors, read, tokenizer, progress, &linears).run(directory, known, kShardBytes);
}

}  // namespace vibee
