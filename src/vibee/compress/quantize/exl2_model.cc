// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/exl2_model.h"

#include <algorithm>

#include "vibee/base/text/quote.h"
#include "vibee/core/allocate/knapsack.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

uint32_t outputs(const TensorInfo& t) { return uint32_t(t.rows()); }
uint32_t inputs_of(const TensorInfo& t) { return uint32_t(t.row_length()); }

}  // namespace

Result<Exl2Model> Exl2Model::open(const Checkpoint& file, Hessians& hessians, Team& team, Isa isa) {
  VIBEE_ASSIGN(Recast exact, Recast::create(file, {.format = all_in(Format::f32), .team = &team}));
  Exl2Model out(file, std::move(exact), hessians, team, isa);
  for (const TensorInfo& t : out.exact_.tensors()) {
    if (t.shape.size() < 2) continue;
    const bool can = t.shape.size() == 2 && t.row_length() % 32 == 0 && hessians.knows(t.name);
    if (can && t.name.starts_with("blk.") && t.rows() % kExl2Padding == 0) {
      out.linears_.push_back(t);
    } else if (can && t.name == "output.weight") {
      out.head_ = t;
    } else {
      ++out.left_;
    }
  }
  if (out.linears_.empty())
    return error(Code::invalid, "{}: has no linear with rows of a multiple of 32", quote(file.path(), 400));
  return out;
}

Result<const SortedInputs*> Exl2Model::inputs(const TensorInfo& linear) {
  if (const std::string& shared = hessians_->shared_by(linear.name); shared != factored_) {
    inputs_.reset();
    factored_.clear();
    VIBEE_ASSIGN(const std::span<const float> h, hessians_->of(linear.name));
    auto made = exl2_inputs(h, inputs_of(linear), *team_, isa_);
    if (!made.ok()) return made.take_status().within("tensor " + linear.name);
    inputs_ = std::move(*made);
    factored_ = shared;
  }
  return &*inputs_;
}

Result<Exl2Matrix> Exl2Model::quantize(const TensorInfo& linear, const Exl2Option& option) {
  VIBEE_ASSIGN(const SortedInputs* in, inputs(linear));
  VIBEE_ASSIGN(const std::vector<float> w, finite_floats(exact_, linear.name, "EXL2"));
  return exl2_quantize(*in, w, exl2_groups(option, inputs_of(linear)), *team_, isa_);
}

Result<std::vector<MatrixChoices>> Exl2Model::measure(const std::function<bool(uint64_t, uint64_t)>& progress) {
  std::vector<MatrixChoices> out;
  for (const TensorInfo& t : linears_) {
    if (progress && !progress(out.size(), linears_.size()))
      return error(Code::cancelled, "stopped after {} of {} linears", out.size(), linears_.size());
    const uint32_t k = inputs_of(t);
    VIBEE_ASSIGN(const SortedInputs* in, inputs(t));
    VIBEE_ASSIGN(const std::vector<float> w, finite_floats(exact_, t.name, "EXL2"));
    VIBEE_ASSIGN(const std::span<const float> h, hessians_->of(t.name));
    const double whole = hessian_loss(w, h, k);
    MatrixChoices m{t.name, t.elements(), {}, {}};
    std::vector<std::vector<Exl2Group>> seen;
    for (const Exl2Option& option : exl2_options()) {
      std::vector<Exl2Group> groups = exl2_groups(option, k);
      if (std::find(seen.begin(), seen.end(), groups) != seen.end()) continue;
      m.choices.push_back(option.name());
      m.errors.push_back(whole > 0 ? exl2_quantize(*in, w, groups, *team_, isa_).loss / whole : 0);
      seen.push_back(std::move(groups));
    }
    out.push_back(std::move(m));
  }
  return out;
}

Result<RecastOptions> Exl2Model::changed(const MatrixChoices& linear, size_t choice) {
  const auto at = std::find_if(linears_.begin(), linears_.end(), [&](auto& t) { return t.name == linear.tensor; });
  VIBEE_CHECK(at != linears_.end(), "{}", linear.tensor);
  VIBEE_ASSIGN(const Exl2Option* option, find_exl2_option(linear.choices[choice]));
  VIBEE_ASSIGN(const Exl2Matrix matrix, quantize(*at, *option));
  auto values = std::make_shared<const std::vector<float>>(matrix.values());
  RecastOptions out;
  out.format = [tensor = linear.tensor](const TensorInfo& t) { return t.name == tensor ? Format::f32 : t.format; };
  out.edit.touches = [tensor = linear.tensor](const std::string& name) { return name == tensor; };
  out.edit.apply = [values, k = at->row_length()](const std::string&, uint64_t first, std::span<float> rows) -> Status {
    std::copy_n(values->begin() + std::ptrdiff_t(first * k), rows.size(), rows.begin());
    return {};
  };
  return out;
}

Status Exl2Model::check(const MatrixChoices& linear, const TensorInfo& tensor) {
  if (tensor.row_length() % 32 != 0)
    return error(Code::invalid, "tensor {}: EXL2 has no rows of {}", quote(tensor.name), tensor.row_length());
  for (const std::string& choice : linear.choices) VIBEE_TRY(find_exl2_option(choice).take_status());
  return {};
}

Result<Exl2Allocation> Exl2Model::allocate(std::span<const MatrixChoices> matrices, uint64_t bits) const {
  Exl2Allocation out;
  std::vector<std::vector<KnapsackChoice>> items;
  uint64_t least = 0;
  for (const MatrixChoices& m : matrices) {
    const TensorInfo* const t = file_->find(m.tensor);
    VIBEE_CHECK(t != nullptr, "{}", m.tensor);
    items.emplace_back();
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < m.choices.size(); ++i) {
      VIBEE_ASSIGN(const Exl2Option* option, find_exl2_option(m.choices[i]));
      const uint64_t size = exl2_bits(exl2_groups(*option, inputs_of(*t)), outputs(*t), inputs_of(*t));
      items.back().push_back({size, m.damage(i)});
      smallest = std::min(smallest, size);
    }
    least += smallest;
    out.elements += m.elements;
  }
  const auto answer = solve_knapsack(items, bits);
  if (!answer.ok())
    return error(Code::invalid, "{:.3f} bits a weight are below {:.3f}, what the smallest options take",
                 double(bits) / double(out.elements), double(least) / double(out.elements));
  for (size_t i = 0; i < matrices.size(); ++i) {
    VIBEE_ASSIGN(const Exl2Option* option, find_exl2_option(matrices[i].choices[answer->chosen[i]]));
    out.options[matrices[i].tensor] = *option;
  }
  out.bits = answer->size;
  out.predicted = answer->damage;
  out.bound = answer->bound;
  return out;
}

Status Exl2Model::write(const Exl2Allocation& allocation, const Write& how) {
  std::map<std::string, Exl2Option, std::less<>> options = allocation.options;
  if (head_) {
    VIBEE_ASSIGN(options["output.weight"], exl2_head(how.head_bits));
  }
  const auto option_of = [&](const TensorInfo& t) {
    const auto at = options.find(t.name);
    return at == options.end() ? nullptr : &at->second;
  };
  HfLinears linears;
  linears.config = [&](const HfModules&) {
    return JsonObject()
        .text("quant_method", "exl2")
        .text("version", "0.3.2")
        .number("bits", double(allocation.bits) / double(allocation.elements))
        .integer("head_bits", head_ ? how.head_bits : 16)
        .str();
  };
  linears.parts = [&](const TensorInfo& t) {
    const Exl2Option* const option = option_of(t);
    return option == nullptr ? std::vector<HfPart>()
                             : exl2_parts(exl2_groups(*option, inputs_of(t)), outputs(t), inputs_of(t));
  };
  linears.make = [&](const TensorInfo& t,
                     const std::function<uint64_t(uint64_t)>& row_of) -> Result<std::vector<std::vector<uint8_t>>> {
    VIBEE_ASSIGN(const Exl2Matrix matrix, quantize(t, *option_of(t)));
    return exl2_pack(matrix, row_of);
  };
  VIBEE_ASSIGN(const Recast rest, Recast::create(*file_, {.format = all_in(Format::f16), .team = team_}));
  return write_hf_linears(how.directory, hf_architectures(), *file_, rest.tensors(), rest.reader(), linears,
                          how.tokenizer, how.progress);
}

}  // namespace vibee
