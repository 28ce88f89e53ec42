// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/atom_model.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/hf_linears.h"

namespace vibee {
namespace {

/// Of 32 codes element j in the low and j + 16 in the high nibble of byte j.
void put_nibbles(const uint8_t* codes, uint32_t shift, uint8_t* out) {
  for (uint32_t j = 0; j < 16; ++j) out[j] = uint8_t((codes[j] >> shift & 15) | (codes[j + 16] >> shift & 15) << 4);
}

class AtomWriter {
 public:
  AtomWriter(const Checkpoint& file, Recast exact, Recast rest, Hessians& hessians, Team& team, Isa isa,
             const AtomOptions& options)
      : file_(file),
        exact_(std::move(exact)),
        rest_(std::move(rest)),
        hessians_(hessians),
        team_(team),
        isa_(isa),
        options_(options) {}

  Result<AtomReport> run(const std::string& directory) {
    HfLinears linears;
    linears.config = [&](const HfModules& modules) -> Result<std::string> {
      if (modules.written.empty())
        return error(Code::invalid, "{}: has no linear with rows of groups of {}", quote(file_.path(), 400),
                     options_.group ? options_.group : 32);
      return JsonObject().text("quant_method", "atom").integer("bits", 4).integer("kept_bits", 8).str();
    };
    linears.parts = [&](const TensorInfo& t) { return parts(t); };
    linears.make = [&](const TensorInfo& t, const auto& row_of) { return make(t, row_of); };
    VIBEE_TRY(write_hf_linears(directory, hf_architectures(), file_, rest_.tensors(), rest_.reader(), linears,
                               options_.tokenizer, options_.progress));
    for (const TensorInfo& t : rest_.tensors()) {
      if (group_of(t) != 0) continue;
      report_.floats += t.bytes;
      report_.left += t.shape.size() > 1;
    }
    return report_;
  }

 private:
  /// 0: not quantised.
  uint32_t group_of(const TensorInfo& t) const {
    if (t.shape.size() != 2 || !t.name.starts_with("blk.") || !hessians_.knows(t.name)) return 0;
    const auto k = uint32_t(t.row_length());
    if (options_.group == 0) return atom_group(k);
    return k % options_.group == 0 && k > options_.group ? options_.group : 0;
  }

  std::vector<HfPart> parts(const TensorInfo& t) const {
    const uint64_t group = group_of(t), n = t.rows(), k = t.row_length();
    if (group == 0) return {};
    return {{".qweight", "U8", {n, k / 2}, n * k / 2},
            {".qweight_kept", "U8", {n, group / 2}, n * group / 2},
            {".scales", "F16", {n, k / group}, n * k / group * 2},
            {".order", "I32", {k}, 4 * k}};
  }

  Result<const SortedInputs*> inputs(const TensorInfo& t) {
    const std::string& shared = hessians_.shared_by(t.name);
    if (shared != factored_) {
      inputs_.reset();
      factored_.clear();
      VIBEE_ASSIGN(const std::span<const float> h, hessians_.of(t.name));
      auto made = atom_inputs(h, uint32_t(t.row_length()), group_of(t), team_, isa_);
      if (!made.ok()) return made.take_status().within("tensor " + t.name);
      inputs_ = std::move(*made);
      factored_ = shared;
    }
    return &*inputs_;
  }

  Result<std::vector<std::vector<uint8_t>>> make(const TensorInfo& t, const std::function<uint64_t(uint64_t)>& row_of) {
    VIBEE_ASSIGN(const SortedInputs* in, inputs(t));
    VIBEE_ASSIGN(const std::vector<float> w, finite_floats(exact_, t.name, "Atom"));
    const AtomMatrix m = atom_quantize(*in, w, group_of(t), team_, isa_);
    const uint64_t k = m.k, groups = k / m.group;
    std::vector<std::vector<uint8_t>> out;
    for (const HfPart& part : parts(t)) out.emplace_back(part.bytes);
    for (uint64_t r = 0; r < m.n; ++r) {
      const uint8_t* const codes = m.codes.data() + row_of(r) * k;
      for (uint64_t j = 0; j < k; j += 32) put_nibbles(codes + j, 0, out[0].data() + (r * k + j) / 2);
      for (uint64_t j = 0; j < m.group; j += 32)
        put_nibbles(codes + k - m.group + j, 4, out[1].data() + (r * m.group + j) / 2);
      std::memcpy(out[2].data() + 2 * r * groups, m.scales.data() + row_of(r) * groups, 2 * groups);
    }
    std::memcpy(out[3].data(), m.order.data(), 4 * k);
    ++report_.matrices;
    report_.elements += t.elements();
    for (const auto& part : out) report_.bytes += part.size();
    return out;
  }

  const Checkpoint& file_;
  Recast exact_, rest_;  // in float32, in float16
  Hessians& hessians_;
  Team& team_;
  Isa isa_;
  const AtomOptions& options_;
  AtomReport report_;
  std::string factored_;  // whose inputs are kept
  std::optional<SortedInputs> inputs_;
};

}  // namespace

Result<AtomReport> write_atom(const Checkpoint& file, Hessians& hessians, Team& team, Isa isa,
                              const std::string& directory, const AtomOptions& options) {
  VIBEE_ASSIGN(Recast exact, Recast::create(file, {.format = all_in(Format::f32), .team = &team}));
  VIBEE_ASSIGN(Recast rest, Recast::create(file, {.format = all_in(Format::f16), .team = &team}));
  return AtomWriter(file, std::move(exact), std::move(rest), hessians, team, isa, options).run(directory);
}

}  // namespace vibee
