// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/any_precision_model.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "vibee/base/text/json_object.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/hf_linears.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

constexpr uint64_t kAffineGroup = 64;

bool of_layer(const TensorInfo& t) {
  return t.shape.size() == 2 && t.name.starts_with("blk.") && t.name.ends_with(".weight") &&
         !t.name.ends_with("ffn_gate_inp.weight");
}

/// Row `place` of the planes [parent, n, k / 32] of one row's codes (quantized_any_precision.cc says in which order).
void put_planes(const uint8_t* codes, uint64_t k, uint64_t n, uint64_t place, uint32_t parent, uint8_t* planes) {
  const uint64_t words = k / 32;
  for (uint32_t p = 0; p < parent; ++p) {
    uint8_t* const row = planes + (p * n + place) * words * 4;
    for (uint64_t first = 0; first < words; first += 32) {
      const uint64_t threads = std::min<uint64_t>(32, words - first);
      for (uint64_t t = 0; t < threads; ++t) {
        uint32_t word = 0;
        for (uint64_t j = 0; j < 4; ++j)
          for (uint64_t i = 0; i < 8; ++i) {
            const uint8_t code = codes[32 * first + 8 * threads * j + 8 * t + i];
            word |= uint32_t(code >> (parent - 1 - p) & 1) << (31 - 8 * j - i);
          }
        store_u32(row + 4 * (first + t), word);
      }
    }
  }
}

class Writer {
 public:
  Writer(const Checkpoint& file, const AnyPrecisionOptions& options) : file_(file), options_(options) {}

  Result<AnyPrecisionReport> run(std::span<const TokenizerFile> tokenizer, const std::string& directory) {
    // Nested matrices are read as floats, the others as they are written.
    const auto format = [&](const TensorInfo& t) {
      return is_nested(t, options_.affine) ? Format::f32 : info(t.format).block_elems == 1 ? t.format : Format::f16;
    };
    VIBEE_ASSIGN(const Recast recast, Recast::create(file_, {.format = format, .team = options_.team}));
    recast_ = &recast;
    for (const TensorInfo& t : recast.tensors()) {
      report_.indivisible += of_layer(t) && !is_nested(t, options_.affine);
      if (!is_nested(t, options_.affine)) report_.floats += t.bytes;
    }
    const HfLinears linears{"anyprec",
                            {},
                            [&](const HfModules& modules) { return config(modules.written); },
                            [&](const TensorInfo& t) { return parts(t); },
                            [&](const TensorInfo& t, const auto& row_of) { return make(t, row_of); }};
    report_.weighted = options_.gradients != nullptr;
    VIBEE_TRY(write_hf_linears(directory, hf_architectures(), file_, recast.tensors(), recast.reader(), linears,
                               tokenizer, options_.progress));
    return report_;
  }

 private:
  uint32_t parent() const { return options_.widths.parent; }

  /// As the project's own loader reads it: modules are MODEL.LAYERS.N.NAME.
  std::string config(std::span<const std::string> modules) const {
    std::vector<std::string> names;
    std::string model, layers;
    for (const std::string& module : modules) {
      const size_t number = module.find_first_of("0123456789"), end = module.find('.', number);
      if (number == module.npos || number == 0 || end == module.npos) continue;
      const std::string front = module.substr(0, number - 1), name = json_quote(module.substr(end + 1));
      model = front.substr(0, front.rfind('.'));
      layers = front.substr(front.rfind('.') + 1);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    JsonObject out;
    out.integer("seed_precision", options_.widths.seed).integer("parent_precision", parent()).integer("group_count", 1);
    if (options_.affine) out.text("table", "affine");
    return out
        .raw("arch_config", JsonObject()
                                .raw("module_names", json_array(names))
                                .text("model_name", model)
                                .text("layers_name", layers)
                                .str())
        .str();
  }

  std::vector<HfPart> parts(const TensorInfo& t) const {
    std::vector<HfPart> out;
    if (!is_nested(t, options_.affine)) return out;
    const uint64_t n = t.rows(), k = t.row_length();
    out.push_back({".qweight", "I32", {parent(), n, k / 32}, parent() * n * k / 8});
    if (options_.affine) {
      for (const char* suffix : {".scale", ".low"})
        out.push_back({suffix, "F32", {n, k / kAffineGroup}, n * k / kAffineGroup * 4});
      return out;
    }
    for (uint64_t b = options_.widths.seed; b <= parent(); ++b)
      out.push_back({fmt::format(".lut{}", b), "F16", {n, uint64_t(1) << b}, n << (b + 1)});
    return out;
  }

  Result<std::vector<std::vector<uint8_t>>> make(const TensorInfo& t, const std::function<uint64_t(uint64_t)>& row_of) {
    const uint64_t n = t.rows(), k = t.row_length();
    ++report_.matrices;
    report_.elements += t.elements();
    std::vector<float> floats(n * k);
    VIBEE_TRY(recast_->read(t, 0, {reinterpret_cast<uint8_t*>(floats.data()), t.bytes}));
    const float* weights = nullptr;
    if (options_.gradients != nullptr)
      if (const auto at = options_.gradients->find(t.name); at != options_.gradients->end())
        weights = at->second.data();
    std::vector<std::vector<uint8_t>> out;
    for (const HfPart& part : parts(t)) {
      out.emplace_back(part.bytes);
      (part.dtype == "I32" ? report_.planes : report_.tables) += part.bytes;
    }
    std::atomic<uint64_t> next{0};
    const auto work = [&](uint32_t) {
      std::vector<uint8_t> codes(k);
      NestedTables tables;
      for (uint64_t r; (r = next++) < n;) {
        const uint64_t from = row_of(r);
        const float* const row = floats.data() + from * k;
        if (options_.affine) {
          for (uint64_t g = 0; g < k / kAffineGroup; ++g) {
            const NestedRange range =
                nest_group(row + g * kAffineGroup, kAffineGroup, parent(), codes.data() + g * kAffineGroup);
            std::memcpy(out[1].data() + (r * (k / kAffineGroup) + g) * 4, &range.cell, 4);
            std::memcpy(out[2].data() + (r * (k / kAffineGroup) + g) * 4, &range.low, 4);
          }
        } else {
          nest_row(row, k, weights ? weights + from * k : nullptr, options_.widths, codes.data(), &tables);
          for (size_t i = 0; i < tables.size(); ++i)
            std::memcpy(out[1 + i].data() + r * tables[i].size() * 2, tables[i].data(), tables[i].size() * 2);
        }
        put_planes(codes.data(), k, n, r, parent(), out[0].data());
      }
    };
    if (options_.team != nullptr) {
      options_.team->run(work);
    } else {
      work(0);
    }
    return out;
  }

  const Checkpoint& file_;
  const AnyPrecisionOptions& options_;
  const Recast* recast_ = nullptr;
  AnyPrecisionReport report_;
};

}  // namespace

bool is_nested(const TensorInfo& t, bool affine) {
  return of_layer(t) && t.row_length() % (affine ? kAffineGroup : 32) == 0;
}

Result<AnyPrecisionReport> write_any_precision(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                               const std::string& directory, const AnyPrecisionOptions& options) {
  const NestedWidths w = options.widths;
  if (w.seed < kLeastPlanes || w.parent > kMostPlanes || w.seed > w.parent)
    return error(Code::invalid, "widths of {} to {} bits; {} to {} are built", w.seed, w.parent, kLeastPlanes,
                 kMostPlanes);
  return Writer(file, options).run(tokenizer, directory);
}

}  // namespace vibee
