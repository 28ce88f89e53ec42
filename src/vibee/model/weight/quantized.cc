// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/quantized.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <set>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

struct Row {
  std::string_view method;
  Result<std::unique_ptr<QuantizedLayout>> (*layout)(const JsonValue& config);
};
constexpr Row kLayouts[] = {{"gptq", gptq_layout},
                            {"marlin", marlin_layout},
                            {"awq", awq_layout},
                            {"compressed-tensors", compressed_tensors_layout},
                            {"bitsandbytes", bitsandbytes_layout},
                            {"fp8", fp8_layout},
                            {"exl2", exl2_layout},
                            {"atom", atom_layout},
                            {"hqq", hqq_layout},
                            {"qoq", qserve_layout},
                            {"torchao", torchao_layout},
                            {"modelopt", modelopt_layout}};

/// The linears of a set, one behind the other, each made whole when a byte of it is read; the last one is kept.
class UnpackSource final : public ByteSource {
 public:
  UnpackSource(std::unique_ptr<const SafetensorsSet> files, std::vector<QuantizedLinear> linears)
      : files_(std::move(files)), linears_(std::move(linears)) {
    for (const QuantizedLinear& linear : linears_) {
      ends_.push_back(size() + info(linear.format).row_bytes(linear.k) * linear.n);
    }
  }
  uint64_t size() const override { return ends_.empty() ? 0 : ends_.back(); }
  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    const std::lock_guard lock(mutex_);
    while (!out.empty()) {
      const auto at = size_t(std::upper_bound(ends_.begin(), ends_.end(), offset) - ends_.begin());
      VIBEE_CHECK(at < linears_.size(), "offset {} of {}", offset, size());
      const uint64_t begin = at == 0 ? 0 : ends_[at - 1], left = ends_[at] - offset;
      if (made_ != at) {
        made_ = linears_.size();  // nothing, should this fail
        whole_.resize(ends_[at] - begin);
        VIBEE_TRY(linears_[at].unpack(whole_));
        made_ = at;
      }
      const auto some = size_t(std::min<uint64_t>(left, out.size()));
      std::memcpy(out.data(), whole_.data() + (offset - begin), some);
      out = out.subspan(some);
      offset += some;
    }
    return {};
  }

 private:
  std::unique_ptr<const SafetensorsSet> files_;  // that the linears are read from
  std::vector<QuantizedLinear> linears_;
  std::vector<uint64_t> ends_;
  mutable std::mutex mutex_;
  mutable size_t made_ = SIZE_MAX;
  mutable std::vector<uint8_t> whole_;
};

}  // namespace

const SafetensorsTensor* LinearParts::find(std::string_view suffix) const {
  return beside(name_ + std::string(suffix));
}

const SafetensorsTensor* LinearParts::beside(std::string_view tensor) const {
  const auto at = files_->tensors().find(tensor);
  return at == files_->tensors().end() ? nullptr : at->second.tensor;
}

const std::string* LinearParts::header_says(std::string_view suffix, const std::string& key) const {
  const auto at = files_->tensors().find(name_ + std::string(suffix));
  if (at == files_->tensors().end()) return nullptr;
  const auto said = at->second.file->metadata().find(key);
  return said == at->second.file->metadata().end() ? nullptr : &said->second;
}

Status LinearParts::bad(std::string_view suffix, std::string_view what) const {
  const std::string tensor = name_ + std::string(suffix);
  const auto at = files_->tensors().find(tensor);
  if (at == files_->tensors().end()) return error(Code::corrupt, "tensor {} {}", quote(tensor), what);
  return error(Code::corrupt, "{}: tensor {} {}", quote(at->second.file->path(), 400), quote(tensor), what);
}

Result<const SafetensorsTensor*> LinearParts::need(std::string_view suffix,
                                                   std::initializer_list<std::string_view> dtypes, size_t rank) const {
  const SafetensorsTensor* t = find(suffix);
  if (t == nullptr) return bad(suffix, "is missing");
  std::string known;
  for (const std::string_view dtype : dtypes) known += fmt::format("{}{}", known.empty() ? "" : ", ", dtype);
  if (std::find(dtypes.begin(), dtypes.end(), t->dtype) == dtypes.end())
    return bad(suffix, fmt::format("is {}; {} is read there", t->dtype, known));
  if (t->shape.size() != rank) return bad(suffix, fmt::format("has {} dimensions, not {}", t->shape.size(), rank));
  if (t->bytes == 0) return bad(suffix, "has no elements");
  return t;
}

Result<std::vector<uint8_t>> LinearParts::bytes(std::string_view suffix) const {
  const auto at = files_->tensors().find(name_ + std::string(suffix));
  VIBEE_CHECK(at != files_->tensors().end());
  return bytes(suffix, 0, at->second.tensor->bytes);
}

Result<std::vector<uint8_t>> LinearParts::bytes(std::string_view suffix, uint64_t offset, uint64_t count) const {
  const auto at = files_->tensors().find(name_ + std::string(suffix));
  VIBEE_CHECK(at != files_->tensors().end());
  std::vector<uint8_t> out(count);
  VIBEE_TRY(at->second.file->read(*at->second.tensor, offset, out));
  return out;
}

Result<std::vector<uint32_t>> LinearParts::words(std::string_view suffix) const {
  VIBEE_ASSIGN(const std::vector<uint8_t> raw, bytes(suffix));
  std::vector<uint32_t> out(raw.size() / 4);
  std::memcpy(out.data(), raw.data(), out.size() * 4);
  return out;
}

Result<std::vector<float>> LinearParts::floats(std::string_view suffix) const {
  VIBEE_ASSIGN(const std::vector<uint8_t> raw, bytes(suffix));
  const NumericFormat& format = info(*find(suffix)->format);
  std::vector<float> out(raw.size() / format.block_bytes);
  format.decode(raw.data(), out.size(), out.data());
  for (size_t i = 0; i < out.size(); ++i)
    if (!std::isfinite(out[i])) return bad(suffix, fmt::format("has {} at element {}", out[i], i));
  return out;
}

Result<int64_t> quantization_integer(const JsonValue& config, std::string_view key, std::optional<int64_t> otherwise) {
  const JsonValue* value = config.find(key);
  if (value == nullptr && otherwise) return *otherwise;
  if (value == nullptr || !value->is(JsonValue::Kind::integer))
    return error(Code::invalid, "quantization_config: {} is {}, not a whole number", key,
                 value ? value->describe() : "missing");
  return value->integer;
}

Result<bool> quantization_flag(const JsonValue& config, std::string_view key, bool otherwise) {
  const JsonValue* value = config.find(key);
  if (value == nullptr) return otherwise;
  if (!value->is(JsonValue::Kind::boolean))
    return error(Code::invalid, "quantization_config: {} is {}, not true or false", key, value->describe());
  return value->boolean;
}

Result<uint64_t> quantization_group(const JsonValue& config) {
  VIBEE_ASSIGN(const int64_t group, quantization_integer(config, "group_size", {}));
  if (group != -1 && (group < 32 || group > (1 << 20)))
    return error(Code::unsupported, "quantization_config: group_size {}; -1, or 32 and more are read", group);
  return group < 0 ? 0 : uint64_t(group);
}

Result<uint64_t> check_groups(const LinearParts& parts, uint64_t n, uint64_t k, uint64_t asked, uint64_t bits) {
  VIBEE_ASSIGN(const SafetensorsTensor* zeros, parts.need(".qzeros", {"I32"}, 2));
  VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(".scales", {"F16", "BF16", "F32"}, 2));
  const uint64_t group = asked == 0 ? k : asked;
  if (k % group != 0 || group % 32 != 0)
    return parts.bad(".qweight",
                     fmt::format("has {} inputs in groups of {}; groups of a multiple of 32 that divides the "
                                 "inputs are read",
                                 k, group));
  const std::vector<uint64_t> want_zeros = {k / group, n * bits / 32}, want_scales = {k / group, n};
  if (n * bits % 32 != 0 || zeros->shape != want_zeros)
    return parts.bad(".qzeros", fmt::format("is not [{}, {} codes of {} bits]", k / group, n, bits));
  if (scales->shape != want_scales) return parts.bad(".scales", fmt::format("is not [{}, {}]", k / group, n));
  return group;
}

Result<std::vector<uint32_t>> sorted_inputs(const LinearParts& parts, std::string_view suffix, uint64_t k,
                                            uint64_t group) {
  std::vector<uint32_t> order;
  if (parts.find(suffix) == nullptr) return order;
  VIBEE_ASSIGN(const SafetensorsTensor* index, parts.need(suffix, {"I32"}, 1));
  if (index->shape[0] != k) return parts.bad(suffix, fmt::format("has {} elements of {}", index->shape[0], k));
  VIBEE_ASSIGN(const std::vector<uint32_t> groups, parts.words(suffix));
  std::vector<uint64_t> members(k / group);
  for (uint64_t i = 0; i < k; ++i) {
    if (groups[i] >= members.size())
      return parts.bad(suffix, fmt::format("has input {} in group {} of {}", i, groups[i], members.size()));
    if (++members[groups[i]] > group)
      return parts.bad(suffix, fmt::format("has more than {} inputs in group {}", group, groups[i]));
  }
  if (std::is_sorted(groups.begin(), groups.end())) return order;
  order.resize(k);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return groups[a] < groups[b]; });
  return order;
}

Format group_format(GroupKind kind, uint64_t group) {
  constexpr Format kFormats[][3] = {{Format::i4z32, Format::i4z64, Format::i4z128},
                                    {Format::i4m32, Format::i4m64, Format::i4m128},
                                    {Format::i8s32, Format::i8s64, Format::i8s128}};
  return kFormats[size_t(kind)][group % 128 == 0 ? 2 : group % 64 == 0 ? 1 : 0];
}

Result<std::unique_ptr<QuantizedLayout>> find_quantized_layout(const JsonValue& model, uint32_t bits) {
  if (const JsonValue* nested = model.find("anyprec"); nested != nullptr) return any_precision_layout(*nested, bits);
  if (bits != 0)
    return error(Code::invalid,
                 "--bits {}: this model stores one width; directories of `vibee quantize --scheme any` store several",
                 bits);
  const JsonValue* config = model.find("quantization_config");
  return config == nullptr ? std::unique_ptr<QuantizedLayout>() : quantized_layout(*config);
}

Result<std::unique_ptr<QuantizedLayout>> quantized_layout(const JsonValue& config) {
  const JsonValue* method = config.find("quant_method");
  std::string known;
  for (const Row& row : kLayouts) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.method);
  const Row* found = nullptr;
  for (const Row& row : kLayouts)
    if (method != nullptr && method->is(JsonValue::Kind::text) && method->text == row.method) found = &row;
  if (found == nullptr)
    return error(Code::unsupported, "quantization_config: quant_method {} is not read; {} are",
                 method ? method->describe() : "missing", known);
  return found->layout(config);
}

Result<SafetensorsSet> unpack_quantized(SafetensorsSet set, const QuantizedLayout& layout) {
  auto files = std::make_unique<const SafetensorsSet>(std::move(set));
  std::vector<QuantizedLinear> linears;
  std::vector<SafetensorsTensor> tensors;
  std::set<std::string, std::less<>> taken;
  VIBEE_TRY(layout.check(*files));
  for (const auto& [name, place] : files->tensors()) {
    for (const std::string_view suffix : layout.unread())
      if (name.ends_with(suffix)) taken.insert(name);
    if (!name.ends_with(layout.key())) continue;
    const LinearParts parts(*files, name.substr(0, name.size() - layout.key().size()));
    VIBEE_ASSIGN(QuantizedLinear linear, layout.linear(parts));
    const NumericFormat& format = info(linear.format);
    const auto bytes = checked_mul(format.row_bytes(linear.k), linear.n);
    if (!bytes || *bytes > std::numeric_limits<int64_t>::max()) return parts.bad(layout.key(), "is more than memory");
    for (const std::string_view suffix : layout.parts()) taken.insert(parts.name() + std::string(suffix));
    tensors.push_back(
        {parts.name() + ".weight", std::string(format.name), linear.format, {linear.n, linear.k}, 0, *bytes});
    const std::vector<uint32_t> order = std::move(linear.order);
    linears.push_back(std::move(linear));
    if (order.empty()) continue;
    VIBEE_CHECK(order.size() == linears.back().k);
    tensors.push_back(
        {parts.name() + std::string(kOrderSuffix), "F32", Format::f32, {order.size()}, 0, 4 * order.size()});
    linears.push_back(QuantizedLinear{1, order.size(), Format::f32, {}, [order](std::span<uint8_t> out) -> Status {
                                        const std::vector<float> columns(order.begin(), order.end());
                                        std::memcpy(out.data(), columns.data(), out.size());
                                        return {};
                                      }});
  }
  const SafetensorsSet& from = *files;
  const std::string path = from.tensors().empty() ? "" : from.tensors().begin()->second.file->path();
  auto source = std::make_shared<const UnpackSource>(std::move(files), std::move(linears));
  return SafetensorsSet::replaced(from, taken, Safetensors::made(path, std::move(source), std::move(tensors)));
}

}  // namespace vibee
