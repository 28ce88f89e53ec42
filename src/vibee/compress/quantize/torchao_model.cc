// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/torchao_model.h"

#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

using Of = TorchaoRecipe::Of;

/// {"_type": ..., "_data": ...}, by which the package names classes and values of its own.
std::string typed(std::string_view type, std::string_view data) {
  return JsonObject().text("_type", type).raw("_data", data).str();
}
std::string typed_text(std::string_view type, std::string_view data) { return typed(type, json_quote(data)); }

std::string_view torch_name(Format format) {
  return format == Format::f32 ? "float32" : format == Format::f16 ? "float16" : "bfloat16";
}

class TorchaoScheme {
 public:
  TorchaoScheme(const TorchaoRecipe& recipe, const TorchaoCodes& codes) : recipe_(recipe), codes_(codes) {}

  std::vector<HfPart> parts(const TensorInfo& t) const {
    const uint64_t n = t.rows(), k = t.row_length(), groups = recipe_.of == Of::intx ? k / codes_.group : 1;
    const Format kept = scales(t);
    std::vector<HfPart> out = {
        {"._weight_qdata", recipe_.of == Of::float8 ? "F8_E4M3" : "I8", {n, k}, n * k},
        {"._weight_scale", std::string(safetensors_dtype(kept)), {n, groups}, n * groups * info(kept).block_bytes}};
    if (recipe_.of != Of::float8) out.push_back({"._weight_zero_point", "I8", {n, groups}, n * groups});
    return out;
  }

  std::vector<std::vector<uint8_t>> make(const TensorInfo& t, std::span<const float> w, Team* team) const {
    TorchaoMatrix made = torchao_quantize(w, t.row_length(), recipe_, codes_, t.format, team);
    std::vector<std::vector<uint8_t>> out = {std::move(made.codes), encoded_floats(scales(t), made.scale)};
    if (!made.zero.empty()) out.emplace_back(made.zero.begin(), made.zero.end());
    return out;
  }

  /// What becomes of each tensor, and their names, which is how transformers finds them.
  std::vector<std::pair<std::string, std::string>> header(std::span<const HfNamed> all) const {
    std::vector<std::pair<std::string, std::string>> out;
    std::vector<std::string> names;
    for (const HfNamed& t : all) {
      out.emplace_back(t.name, t.in_parts ? subclass(*t.in_parts) : JsonObject().text("_type", "Tensor").str());
      names.push_back(json_quote(t.name));
    }
    out.emplace_back("tensor_names", json_array(names));
    return out;
  }

  std::string config(const HfModules& modules) const {
    std::vector<std::string> left;
    for (const std::string& module : modules.left)
      if (module != "lm_head") left.push_back(json_quote(module));
    return JsonObject()
        .text("quant_method", "torchao")
        .raw("quant_type", JsonObject().raw("default", recipe()).str())
        .raw("modules_to_not_convert", left.empty() ? "null" : json_array(left))
        .boolean("include_input_output_embeddings", false)
        .boolean("untie_embedding_weights", false)
        .str();
  }

 private:
  Format scales(const TensorInfo& t) const { return recipe_.of == Of::intx ? t.format : Format::f32; }

  std::string subclass(const TensorInfo& t) const {
    const std::string dtype = typed_text("torch.dtype", torch_name(t.format));
    const std::string block = fmt::format("[1, {}]", recipe_.of == Of::intx ? codes_.group : uint64_t(t.row_length()));
    JsonObject data;
    std::string_view type, names = R"(["qdata", "scale", "zero_point"])";
    if (recipe_.of == Of::int8) {
      type = "Int8Tensor";
      data.raw("act_quant_kwargs", recipe_.rows ? rows_of_int8() : "null")
          .boolean("reduce_range", false)
          .raw("block_size", block)
          .raw("dtype", dtype);
    } else if (recipe_.of == Of::intx) {
      type = "IntxUnpackedToInt8Tensor";
      data.raw("target_dtype", typed_text("torch.dtype", fmt::format("int{}", codes_.bits)))
          .raw("block_size", block)
          .raw("dtype", dtype)
          .raw("activation_quantization", recipe_.rows ? R"("int8_asym_per_token")" : "null");
    } else {
      type = "Float8Tensor";
      names = R"(["qdata", "scale"])";
      data.raw("block_size", block)
          .raw("mm_config", "null")
          .raw("act_quant_kwargs", "null")
          .raw("kernel_preference", typed_text("KernelPreference", "AUTO"))
          .raw("dtype", dtype);
    }
    return JsonObject().text("_type", type).raw("_data", data.str()).raw("_tensor_data_names", names).str();
  }

  static std::string rows_of_int8() {
    return typed("QuantizeTensorToInt8Kwargs", JsonObject()
                                                   .raw("granularity", typed("PerRow", R"({"dim": -1})"))
                                                   .raw("mapping_type", typed_text("MappingType", "SYMMETRIC"))
                                                   .boolean("reduce_range", false)
                                                   .str());
  }

  /// The configuration that makes such weights in the package.
  std::string recipe() const {
    const auto versioned = [](std::string_view type, const JsonObject& data, uint32_t version) {
      return JsonObject().text("_type", type).raw("_data", data.str()).integer("_version", version).str();
    };
    const std::string row = versioned("PerRow", JsonObject().integer("dim", -1), 1);
    JsonObject data;
    if (recipe_.of == Of::float8) {
      data.raw("weight_dtype", typed_text("torch.dtype", "float8_e4m3fn"))
          .raw("granularity", row)
          .boolean("set_inductor_config", true);
      return versioned("Float8WeightOnlyConfig", data, 2);
    }
    if (recipe_.of == Of::int8) {
      if (!recipe_.rows) {
        data.raw("granularity", row).raw("group_size", "null").boolean("set_inductor_config", true);
        return versioned("Int8WeightOnlyConfig", data, 2);
      }
      data.raw("act_mapping_type", typed_text("MappingType", "SYMMETRIC"))
          .raw("granularity", row)
          .boolean("reduce_range", false)
          .boolean("set_inductor_config", true)
          .boolean("weight_only_decode", false);
      return versioned("Int8DynamicActivationInt8WeightConfig", data, 2);
    }
    const std::string prefix = recipe_.rows ? "weight_" : "";
    data.raw("weight_dtype", typed_text("torch.dtype", fmt::format("int{}", codes_.bits)))
        .raw(prefix + "granularity", versioned("PerGroup", JsonObject().integer("group_size", codes_.group), 1))
        .raw(prefix + "mapping_type", typed_text("MappingType", codes_.asymmetric ? "ASYMMETRIC" : "SYMMETRIC"))
        .raw(recipe_.rows ? "weight_scale_dtype" : "scale_dtype", "null")
        .raw("intx_packing_format", typed_text("IntxPackingFormat", "UNPACKED_TO_INT8"))
        .raw("intx_choose_qparams_algorithm", typed_text("IntxChooseQParamsAlgorithm", "AFFINE"));
    if (recipe_.rows) data.raw("act_mapping_type", typed_text("MappingType", "ASYMMETRIC"));
    return versioned(recipe_.rows ? "Int8DynamicActivationIntxWeightConfig" : "IntxWeightOnlyConfig", data, 2);
  }

  const TorchaoRecipe& recipe_;
  const TorchaoCodes& codes_;
};

}  // namespace

Result<LinearReport> write_torchao(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                   const std::string& directory, const TorchaoRecipe& recipe, const TorchaoCodes& codes,
                                   const LinearOptions& options) {
  const TorchaoScheme torchao(recipe, codes);
  const LinearScheme scheme{
      .name = "torchao",
      .unit = recipe.of == Of::intx ? codes.group : 32,
      .is_linear = is_layer_linear,
      .config = [&](const HfModules& modules) { return torchao.config(modules); },
      .parts = [&](const TensorInfo& t) { return torchao.parts(t); },
      .make = [&](const TensorInfo& t, std::span<const float> w) { return torchao.make(t, w, options.team); },
      .header = [&](std::span<const HfNamed> all) { return torchao.header(all); }};
  return write_linears(file, tokenizer, directory, scheme, options);
}

}  // namespace vibee
