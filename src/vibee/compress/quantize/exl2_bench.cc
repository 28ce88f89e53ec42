// SPDX-License-Identifier: Apache-2.0
// v1745: KL divergence beside GPTQ with one width for all (Frantar et al., ICLR 2023: inputs sorted, groups of 64 with
// a scale in float16 and a zero point) at the same bits a weight, scales, zero points and orders counted.
#include <algorithm>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/compress/quantize/exl2_model.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/eval/eval_text.h"
#include "vibee/model/eval/quality.h"
#include "vibee/model/weight/builtin_model.h"
#include "vibee/train/data/stories.h"

namespace vibee {
namespace {

constexpr uint32_t kGroup = 64, kContext = 256;
constexpr uint32_t kHeldOut = 64;  ///< windows

/// GPTQ of `w` [n, k] at one width, as floats.
std::vector<float> one_width(const SortedInputs& in, std::span<const float> w, uint32_t bits, Isa isa) {
  const uint32_t k = in.k(), n = uint32_t(w.size() / k);
  const auto most = float((1u << bits) - 1);
  std::vector<float> rows(w.size()), out(w.size());
  for (uint32_t r = 0; r < n; ++r)
    for (uint32_t j = 0; j < k; ++j) rows[uint64_t(r) * k + j] = w[uint64_t(r) * k + in.order()[j]];
  std::vector<uint8_t> memory;
  for (uint32_t at = 0; at < k; at += kGroup) {
    const uint32_t end = std::min(k, at + kGroup);
    const GptqBehind behind(in.factor(), at, end, isa);
    for (uint32_t first = 0; first < n; first += kGptqRows) {
      const uint32_t count = std::min(kGptqRows, n - first);
      std::vector<float> errors(uint64_t(count) * (end - at));
      for (uint32_t r = 0; r < count; ++r) {
        float* const row = rows.data() + uint64_t(first + r) * k;
        const float low = std::min(0.0f, *std::min_element(row + at, row + end));
        const float high = std::max(0.0f, *std::max_element(row + at, row + end));
        const float scale = std::max(half_to_float(float_to_half((high - low) / most)), 1e-7f);
        const float zero = std::nearbyint(-low / scale);
        for (uint32_t j = at; j < end; ++j) {
          const float u = std::clamp(std::nearbyint(row[j] / scale) + zero, 0.0f, most);
          const float value = in.factor().dead(j) ? 0.0f : (u - zero) * scale;
          out[uint64_t(first + r) * k + in.order()[j]] = value;
          errors[uint64_t(r) * (end - at) + (j - at)] = gptq_column(in.factor(), j, end, value, row);
        }
      }
      behind.apply(std::span(rows).subspan(uint64_t(first) * k, uint64_t(count) * k), errors, &memory);
    }
  }
  return out;
}

class Comparison {
 public:
  explicit Comparison(const RunSettings& settings)
      : settings_(settings),
        team_(settings.threads),
        source_(settings.model.empty() ? std::string(kBuiltinPath) : settings.model) {}

  Status prepare() {
    VIBEE_ASSIGN(file_, open_checkpoint(source_));
    VIBEE_ASSIGN(model_, read_config(*file_));
    VIBEE_ASSIGN(base_, load(source_, {}));
    const Tokenizer& tokenizer = base_.model->tokenizer();
    VIBEE_ASSIGN(const Storyteller teller, Storyteller::own());
    VIBEE_ASSIGN(const std::string text, teller.tell_bytes(1, settings_.quick ? 60'000 : 400'000));
    VIBEE_ASSIGN(calibration_, eval_tokens(tokenizer, text));
    const CalibrateOptions options{
        .context = kContext, .bos = window_bos(tokenizer), .threads = settings_.threads, .isa = settings_.isa};
    VIBEE_ASSIGN(Hessians hessians, Hessians::open(*file_, model_, calibration_, options, 1 << 28));
    hessians_.emplace(std::move(hessians));
    VIBEE_ASSIGN(linears_, Exl2Model::open(*file_, *hessians_, team_, settings_.isa));
    VIBEE_ASSIGN(const std::string held_out, teller.tell_bytes(2, 400'000));
    VIBEE_ASSIGN(held_out_, eval_tokens(tokenizer, held_out));
    return {};
  }

  /// Bits a weight of GPTQ, with which group an input is in.
  double gptq_bits(uint32_t bits) const {
    double sum = 0, elements = 0;
    for (const TensorInfo& t : linears_->linears()) {
      const double groups = std::ceil(double(t.row_length()) / kGroup);
      sum += double(t.elements()) * bits + groups * double(t.rows()) * (16 + bits) + 32 * double(t.row_length());
      elements += double(t.elements());
    }
    return sum / elements;
  }

  Result<double> gptq(uint32_t bits) {
    std::map<std::string, std::vector<float>, std::less<>> values;
    VIBEE_ASSIGN(const Recast exact, Recast::create(*file_, {.format = all_in(Format::f32)}));
    for (const TensorInfo& t : linears_->linears()) {
      std::vector<float> w(t.elements());
      VIBEE_TRY(exact.read(t, 0, {reinterpret_cast<uint8_t*>(w.data()), 4 * w.size()}));
      VIBEE_ASSIGN(const std::span<const float> h, hessians_->of(t.name));
      VIBEE_ASSIGN(const SortedInputs in,
                   exl2_inputs(h, uint32_t(t.row_length()), team_, settings_.isa, GptqSolver::kDamping));
      values[t.name] = one_width(in, w, bits, settings_.isa);
    }
    RecastOptions how;
    how.format = [&](const TensorInfo& t) { return values.contains(t.name) ? Format::f32 : t.format; };
    how.edit.touches = [&](const std::string& name) { return values.contains(name); };
    how.edit.apply = [&](const std::string& name, uint64_t first, std::span<float> rows) -> Status {
      const std::vector<float>& from = values.at(name);
      const uint64_t k = file_->find(name)->row_length();
      std::copy_n(from.begin() + std::ptrdiff_t(first * k), rows.size(), rows.begin());
      return {};
    };
    return kl(held_out_, kHeldOut, source_, std::move(how));
  }

  struct Exl2 {
    double kl, bits;
  };
  Result<Exl2> exl2(double bits) {
    if (matrices_.empty()) VIBEE_TRY(measure());
    uint64_t elements = 0;
    for (const TensorInfo& t : linears_->linears()) elements += t.elements();
    VIBEE_ASSIGN(const Exl2Allocation made, linears_->allocate(matrices_, uint64_t(bits * double(elements))));
    const std::string directory = fmt::format("{}/{:.4f}", folder_.path(), bits);
    VIBEE_TRY(linears_->write(made, {directory}));
    VIBEE_ASSIGN(const double lost, kl(held_out_, kHeldOut, directory, {}));
    return Exl2{lost, double(made.bits) / double(made.elements)};
  }

 private:
  struct Running {
    std::unique_ptr<Model> model;
    std::unique_ptr<Session> session;
  };
  Result<Running> load(const std::string& path, std::optional<RecastOptions> changed) const {
    VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path));
    if (changed) {
      VIBEE_ASSIGN(file, recast_checkpoint(std::move(file), std::move(*changed)));
    }
    ModelOptions options{settings_.threads, settings_.isa, {"quantize_activations"}};
    Running out;
    VIBEE_ASSIGN(out.model, Model::load(std::move(file), options));
    SessionOptions session;
    session.context = kContext;
    session.max_rows = session.max_logits = 64;
    session.row_form = RowForm::floats;
    VIBEE_ASSIGN(out.session, Session::create(*out.model, session));
    return out;
  }
  /// What each linear costs the model.
  Status measure() {
    VIBEE_ASSIGN(matrices_, linears_->measure([](uint64_t, uint64_t) { return true; }));
    for (size_t i = 0; i < matrices_.size(); ++i) {
      MatrixChoices& m = matrices_[i];
      VIBEE_ASSIGN(RecastOptions changed, linears_->changed(m, m.probe()));
      VIBEE_ASSIGN(const double lost, kl(calibration_, settings_.quick ? 2 : 8, source_, std::move(changed)));
      m.kl = std::max(lost, 0.0);
    }
    return {};
  }
  Result<double> kl(std::span<const int32_t> tokens, uint32_t windows, const std::string& path,
                    std::optional<RecastOptions> changed) {
    VIBEE_ASSIGN(Running other, load(path, std::move(changed)));
    VIBEE_ASSIGN(const QualityReport q, measure_quality(*other.session, base_.session.get(), tokens, kContext,
                                                        window_bos(base_.model->tokenizer()),
                                                        settings_.quick ? std::min(windows, 12u) : windows, nullptr));
    return q.kl;
  }

  RunSettings settings_;
  Team team_;
  std::string source_;
  TempFolder folder_;
  std::optional<Checkpoint> file_;
  ModelConfig model_;
  std::vector<int32_t> calibration_, held_out_;
  std::optional<Hessians> hessians_;
  std::optional<Exl2Model> linears_;
  std::vector<MatrixChoices> matrices_;
  Running base_;
};

}  // namespace

Status bench_exl2(BenchContext& context) {
  Comparison comparison(context.settings());
  VIBEE_TRY(comparison.prepare());
  for (const uint32_t bits : {3u, 4u}) {
    const double bpw = comparison.gptq_bits(bits);
    VIBEE_ASSIGN(const double uniform, comparison.gptq(bits));
    VIBEE_ASSIGN(const Comparison::Exl2 mixed, comparison.exl2(bpw));
    const std::string note = fmt::format("{:.3f} bits a weight; of exl2 {:.3f}", bpw, mixed.bits);
    context.figure(fmt::format("KL of GPTQ, {} bits in groups of {}", bits, kGroup), uniform, "nats", 0, note);
    context.figure("KL of exl2 in the same size", mixed.kl, "nats", 0, note);
    context.target(fmt::format("KL of GPTQ at {} bits over that of exl2", bits), uniform / mixed.kl, "x", 1 / 0.85,
                   note);
  }
  return {};
}

}  // namespace vibee
