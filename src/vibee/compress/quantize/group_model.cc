// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/group_model.h"

#include <algorithm>

#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

/// What groups are multiples of where such directories are read.
constexpr uint64_t kUnit = 32;
/// It, half of it and a quarter are what is written where the source says nothing else.
constexpr uint64_t kMostGroup = 128;

/// What a directory that is quantised in one of the layouts says of its codes.
Result<std::optional<StatedScheme>> scheme_of(const Checkpoint& file) {
  if (!file.is_directory()) return std::optional<StatedScheme>();
  VIBEE_ASSIGN(const std::string text, file.side_file("config.json"));
  VIBEE_ASSIGN(const JsonValue config, parse_json(text));
  const JsonValue* said = config.find("quantization_config");
  if (said == nullptr) return std::optional<StatedScheme>();
  VIBEE_ASSIGN(const SafetensorsSet files, open_safetensors_directory(file.path()));
  return stated_scheme(*said, files);
}

class GroupWriter {
 public:
  GroupWriter(const Checkpoint& file, const GroupOptions& options)
      : file_(file), options_(options), layout_(*options.layout) {}

  Result<GroupReport> run(std::span<const TokenizerFile> tokenizer, const std::string& directory) {
    const auto as_floats = [](const TensorInfo& t) { return info(t.format).block_elems == 1 ? t.format : Format::f16; };
    VIBEE_ASSIGN(const Recast recast, Recast::create(file_, {.format = as_floats, .team = options_.team}));
    recast_ = &recast;
    VIBEE_TRY(choose());
    const HfLinears linears{"quantization_config",
                            {},
                            [&](const HfModules& modules) { return config(modules); },
                            [&](const TensorInfo& t) { return parts(t); },
                            [&](const TensorInfo& t, const auto& row_of) { return make(t, row_of); },
                            [&](std::string_view module) { return options_.modules.take(module); }};
    VIBEE_TRY(write_hf_linears(directory, hf_architectures(), file_, recast.tensors(), recast.reader(), linears,
                               tokenizer, options_.progress));
    for (const TensorInfo& t : recast.tensors()) {
      report_.floats += t.bytes;
      report_.left += is_layer_linear(t);
    }
    report_.floats -= replaced_;
    report_.left -= report_.matrices - uint64_t(head_) + report_.indivisible;
    return report_;
  }

 private:
  /// The scheme, and whether codes are taken as they are.
  Status choose() {
    VIBEE_ASSIGN(const TensorInfo* embedding, file_.tensor("token_embd.weight"));
    const Format type = info(embedding->format).block_elems == 1 ? embedding->format : Format::f16;
    const GroupScheme fresh = layout_.scheme(type);
    VIBEE_ASSIGN(const std::optional<StatedScheme> source, scheme_of(file_));
    GroupScheme s = fresh;
    const bool adopted = source && adopt(*source, &s);
    if (options_.bits != 0 && options_.bits != s.bits) s.bits = options_.bits, s.symmetric = fresh.symmetric;
    if (options_.asymmetric) s.symmetric = false;
    if (options_.group != 0) {
      s.group = options_.group < 0 ? 0 : uint64_t(options_.group);
    } else if (!adopted && s.group == 0) {
      s.group = common_group();
    }
    VIBEE_TRY(layout_.check(s));
    report_.taken = adopted && s.bits == source->scheme.bits && s.group == source->scheme.group &&
                    (source->scheme.symmetric || !s.symmetric);
    report_.again = source && !report_.taken;
    if (report_.taken) {
      moved_ = source->layout != &layout_;
    } else {
      s.type = fresh.type;
      s.least_zero = fresh.least_zero;
      if (options_.group == 0 && s.group != 0 && kMostGroup % s.group != 0) s.group = common_group();  // the source's
    }
    report_.scheme = s;
    return {};
  }

  /// The scheme in which the layout can take a source's codes over; whether there is one.
  bool adopt(const StatedScheme& source, GroupScheme* scheme) const {
    const bool sorted = std::any_of(file_.tensors().begin(), file_.tensors().end(),
                                    [](auto& t) { return t.name.ends_with(kOrderSuffix); });
    if (source.scheme.table != scheme->table || (sorted && !layout_.sorts())) return false;
    GroupScheme s = source.scheme;
    s.symmetric = s.symmetric && scheme->symmetric;
    if (source.layout != &layout_) s.least_zero = s.symmetric ? scheme->least_zero : 0;
    if (!layout_.check(s).ok()) return false;
    *scheme = s;
    return true;
  }

  uint64_t common_group() const {
    uint64_t group = kMostGroup;
    for (const TensorInfo& t : recast_->tensors())
      while (is_layer_linear(t) && t.row_length() % kUnit == 0 && t.row_length() % group != 0) group /= 2;
    return group;
  }

  /// The order of a matrix's columns where codes are taken; null where they are not sorted.
  const TensorInfo* order_of(const TensorInfo& t) const {
    if (!report_.taken) return nullptr;
    return file_.find(t.name.substr(0, t.name.size() - std::string_view(".weight").size()) + std::string(kOrderSuffix));
  }

  std::vector<HfPart> parts(const TensorInfo& t) {
    const GroupScheme& s = report_.scheme;
    const TensorInfo* const from = file_.find(t.name);
    const bool matrix = report_.taken ? t.shape.size() == 2 && holds_codes(from->format, s) : is_layer_linear(t);
    if (!matrix) return {};
    const uint64_t n = t.rows(), k = t.row_length(), group = s.group == 0 ? k : s.group;
    if (k % kUnit != 0 || k % group != 0 || !layout_.fits(s, n, k)) {
      report_.indivisible += is_layer_linear(t);
      return {};
    }
    head_ = head_ || !is_layer_linear(t);
    const bool sorted = order_of(t) != nullptr;
    sorted_ = sorted_ || sorted;
    return layout_.parts(s, n, k, sorted);
  }

  Result<std::string> config(const HfModules& modules) const {
    if (modules.written.empty())
      return error(Code::invalid,
                   "no linear is quantised: none is of --include, all are of --exclude, or rows that groups of {} "
                   "divide are nowhere",
                   report_.scheme.group == 0 ? kUnit : report_.scheme.group);
    GroupLayout::Said said{.head = head_, .sorted = sorted_};
    for (const std::string& module : modules.left)
      if (module != "lm_head") said.skipped.push_back(module);
    return layout_.config(report_.scheme, said);
  }

  Result<std::vector<std::vector<uint8_t>>> make(const TensorInfo& t, const std::function<uint64_t(uint64_t)>& row_of) {
    auto matrix = report_.taken ? taken(t) : quantized(t);
    if (!matrix.ok()) return matrix.take_status();
    std::vector<std::vector<uint8_t>> out = layout_.pack(report_.scheme, *matrix, row_of);
    ++report_.matrices;
    report_.elements += matrix->codes.size();
    replaced_ += t.bytes;
    for (const auto& part : out) report_.bytes += part.size();
    return out;
  }

  Result<GroupMatrix> taken(const TensorInfo& t) const {
    VIBEE_ASSIGN(const TensorInfo* from, file_.tensor(t.name));
    std::vector<uint8_t> bytes(from->bytes);
    VIBEE_TRY(file_.read(*from, 0, bytes));
    const GroupScheme& s = report_.scheme;
    GroupMatrix out = group_matrix(from->format, bytes, t.row_length(), s);
    for (const uint8_t zero : out.zeros)
      if (moved_ && s.symmetric && zero != 1u << (s.bits - 1))
        return error(Code::corrupt,
                     "tensor {} has zero point {} of {} bits, though the source says that it is symmetric",
                     quote(t.name), zero, s.bits);
    if (const TensorInfo* order = order_of(t); order != nullptr) {
      std::vector<float> columns(out.k);
      VIBEE_TRY(file_.read(*order, 0, {reinterpret_cast<uint8_t*>(columns.data()), columns.size() * sizeof(float)}));
      out.order.assign(columns.begin(), columns.end());
    }
    return out;
  }

  Result<GroupMatrix> quantized(const TensorInfo& t) {
    const uint64_t k = t.row_length();
    VIBEE_ASSIGN(std::vector<float> w, finite_floats(*recast_, t.name, layout_.method()));
    VIBEE_ASSIGN(const GptqFactor* factor, factor_of(t));
    auto out = group_quantize(w, k, report_.scheme, factor, *options_.team, options_.isa);
    if (!out.ok()) return out.take_status().within("tensor " + t.name);
    return out;
  }

  /// Null where codes are rounded one by one.
  Result<const GptqFactor*> factor_of(const TensorInfo& t) {
    Hessians* const hessians = options_.hessians;
    if (hessians == nullptr || report_.scheme.table || !hessians->knows(t.name)) return nullptr;
    if (const std::string& shared = hessians->shared_by(t.name); shared != factored_) {
      factor_.reset();
      factored_.clear();
      VIBEE_ASSIGN(const std::span<const float> h, hessians->of(t.name));
      auto factor = GptqFactor::make({h.begin(), h.end()}, uint32_t(t.row_length()), GptqSolver::kDamping,
                                     *options_.team, options_.isa);
      if (!factor.ok()) return factor.take_status().within("tensor " + t.name);
      factor_ = std::move(*factor);
      factored_ = shared;
    }
    return &*factor_;
  }

  const Checkpoint& file_;
  const GroupOptions& options_;
  const GroupLayout& layout_;
  const Recast* recast_ = nullptr;
  GroupReport report_;
  bool head_ = false, sorted_ = false, moved_ = false;  // moved: from another layout
  uint64_t replaced_ = 0;                               // bytes as floats of what is quantised
  std::string factored_;                                // whose inputs are kept
  std::optional<GptqFactor> factor_;
};

}  // namespace

Result<GroupReport> write_groups_model(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                       const std::string& directory, const GroupOptions& options) {
  return GroupWriter(file, options).run(tokenizer, directory);
}

}  // namespace vibee
