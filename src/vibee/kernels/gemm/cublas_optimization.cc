// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cublas_optimization.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace vibee {
namespace {

constexpr uint32_t kMost = std::numeric_limits<int32_t>::max();  // of the library's rows and columns
constexpr uint64_t kAuxElements = 8, kAuxBits = 128;

CublasType type_of(GemmOperand operand) {
  return operand == GemmOperand::f32    ? CublasType::f32
         : operand == GemmOperand::bf16 ? CublasType::bf16
                                        : CublasType::f16;
}
CublasType type_of(GemmOutput output) {
  return output == GemmOutput::f32 ? CublasType::f32 : output == GemmOutput::bf16 ? CublasType::bf16 : CublasType::f16;
}
uint32_t bytes_of(CublasType type) { return type == CublasType::f32 ? 4 : 2; }

bool has(CublasEpilogue epilogue, CublasEpilogue part) { return (uint32_t(epilogue) & uint32_t(part)) != 0; }
bool has_bias(CublasEpilogue e) {
  return has(e, CublasEpilogue::bias) || (uint32_t(e) & 16) != 0 || has(e, CublasEpilogue::bgrad_a) ||
         has(e, CublasEpilogue::bgrad_b);
}
bool has_aux(CublasEpilogue e) { return (uint32_t(e) & 128) != 0; }
bool has_bits(CublasEpilogue e) { return has_aux(e) && (has(e, CublasEpilogue::relu) || (uint32_t(e) & 8) != 0); }

template <class... P>
Status refused(fmt::format_string<P...> text, P&&... parameters) {
  return error(Code::unsupported, "cuBLASLt: {}", fmt::format(text, std::forward<P>(parameters)...));
}

/// Whether the library takes it, before it is asked.
Status check(const CublasProduct& p) {
  if (p.operand == GemmOperand::s8) return refused("products of 8-bit operands stay with the kernels of this build");
  if (p.output != GemmOutput::f32 && type_of(p.output) != type_of(p.operand))
    return refused("D of 16 bits needs operands of its type");
  if (p.m == 0 || p.n == 0 || p.k == 0 || p.batch == 0)
    return refused("nothing is multiplied in {} x {} x {}, batch {}", p.m, p.n, p.k, p.batch);
  if (p.m > kMost || p.n > kMost || p.k > kMost || p.batch > kMost)
    return refused("{} x {} x {}, batch {}: a size is above {}", p.m, p.n, p.k, p.batch, kMost);
  const uint64_t least_a = p.transposed_a ? p.m : p.k, least_b = p.transposed_b ? p.k : p.n;
  if (p.ld_a < least_a || p.ld_b < least_b || p.ld_d < p.n)
    return refused("leading dimensions {}, {}, {} of A, B, D are below the widths {}, {}, {}", p.ld_a, p.ld_b, p.ld_d,
                   least_a, least_b, p.n);
  if (has_bias(p.epilogue) && !p.bias) return refused("epilogue {} without a bias", uint32_t(p.epilogue));
  if (!has_aux(p.epilogue)) return {};
  if (!p.aux) return refused("epilogue {} without an auxiliary matrix", uint32_t(p.epilogue));
  const uint64_t unit = has_bits(p.epilogue) ? kAuxBits : kAuxElements;
  if (p.ld_aux < p.n || p.ld_aux % unit != 0 || (p.batch > 1 && p.stride_aux % unit != 0))
    return refused("the auxiliary matrix has leading dimension {} and stride {}, not multiples of {} from {}", p.ld_aux,
                   p.stride_aux, unit, p.n);
  return {};
}

template <class T>
Status set(const CublasLt& library, CublasMatmulDesc* desc, CublasDescAttribute attribute, const T& value) {
  if (const auto r = library.desc_set(desc, attribute, &value, sizeof value); r != CublasResult::success)
    return library.failed("cublasLtMatmulDescSetAttribute", r);
  return {};
}

Status make_layout(const CublasLt& library, CublasOwned<CublasLayout>& out, CublasType type, uint64_t rows,
                   uint64_t columns, uint64_t ld, uint32_t batch, uint64_t stride) {
  CublasLayout* layout = nullptr;
  if (const auto r = library.layout_create(&layout, type, rows, columns, int64_t(ld)); r != CublasResult::success)
    return library.failed("cublasLtMatrixLayoutCreate", r);
  out.reset(layout);
  if (batch == 1) return {};
  const int32_t count = int32_t(batch);
  const int64_t step = int64_t(stride);
  auto r = library.layout_set(layout, CublasLayoutAttribute::batch, &count, sizeof count);
  if (r == CublasResult::success) r = library.layout_set(layout, CublasLayoutAttribute::stride, &step, sizeof step);
  return r == CublasResult::success ? Status() : library.failed("cublasLtMatrixLayoutSetAttribute", r);
}

}  // namespace

Result<CublasProduct> cublas_product(const GemmSizes& sizes, const GemmArgs& args) {
  if (sizes.a != sizes.b) return refused("both operands are to be of one type");
  if (args.multiply) return refused("no epilogue for gated products");
  if (args.row_scales || args.column_scales) return refused("no scales of rows and columns for these operands");
  if (args.activation == GemmActivation::silu || args.activation == GemmActivation::gelu)
    return refused("no epilogue for {}", args.activation == GemmActivation::silu ? "silu" : "gelu by erf");
  const bool gelu = args.activation == GemmActivation::gelu_tanh;
  if (args.pre && !gelu) return refused("what is before an activation is kept of gelu by tanh alone");
  if (args.residual && (gelu || args.beta != 0))
    return refused("a residual is added where there is neither an activation nor a C");
  if (args.bias && args.output != GemmOutput::f32) return refused("a bias is of D's type, and ours is of floats");
  CublasProduct p;
  p.operand = sizes.a, p.output = args.output;
  p.transposed_a = sizes.transposed_a, p.transposed_b = sizes.transposed_b;
  p.m = sizes.m, p.n = sizes.n, p.k = sizes.k, p.batch = sizes.batch;
  p.ld_a = args.ld_a, p.ld_b = args.ld_b, p.ld_d = args.ld_d;
  p.stride_a = args.stride_a, p.stride_b = args.stride_b, p.stride_d = args.stride_d;
  p.a = args.a, p.b = args.b, p.d = args.d;
  p.alpha = args.alpha, p.beta = args.residual ? 1 : args.beta;
  p.c = args.residual ? args.residual : args.c;
  uint32_t epilogue = 0;
  if (args.bias) epilogue |= uint32_t(CublasEpilogue::bias);
  if (gelu) epilogue |= uint32_t(args.pre ? CublasEpilogue::gelu_aux : CublasEpilogue::gelu);
  p.epilogue = epilogue ? CublasEpilogue(epilogue) : CublasEpilogue::none;
  p.bias = const_cast<float*>(args.bias), p.stride_bias = args.stride_bias;  // read: the epilogue is forwards
  if (args.pre) p.aux = args.pre, p.ld_aux = args.ld_d, p.stride_aux = args.stride_d;
  VIBEE_TRY(check(p));
  return p;
}

Result<std::shared_ptr<const CublasHandle>> CublasHandle::create(std::shared_ptr<const CublasLt> library,
                                                                 std::shared_ptr<CudaDevice> device) {
  std::shared_ptr<CublasHandle> out(new CublasHandle(std::move(library), std::move(device)));
  VIBEE_TRY(out->in_context([&] {
    const auto r = out->library_->create(&out->handle_);
    return r == CublasResult::success ? Status() : out->library_->failed("cublasLtCreate", r);
  }));
  return std::shared_ptr<const CublasHandle>(std::move(out));
}
CublasHandle::~CublasHandle() {
  // A lost device answers before the library is asked: what it held is gone with it.
  if (handle_)
    (void)in_context([&] {
      library_->destroy(handle_);
      return Status();
    });
}

CublasDescriptors::CublasDescriptors(std::shared_ptr<const CublasLt> library)
    : library_(std::move(library)),
      matmul_(nullptr, library_->desc_destroy.function),
      a_(nullptr, library_->layout_destroy.function),
      b_(nullptr, library_->layout_destroy.function),
      d_(nullptr, library_->layout_destroy.function) {}

Result<CublasDescriptors> CublasDescriptors::make(std::shared_ptr<const CublasLt> owner, const CublasProduct& p) {
  VIBEE_TRY(check(p));
  const CublasLt& library = *owner;
  CublasDescriptors out(std::move(owner));
  CublasMatmulDesc* desc = nullptr;
  const CublasCompute compute = p.operand == GemmOperand::f32 && p.tf32 ? CublasCompute::f32_tf32 : CublasCompute::f32;
  if (const auto r = library.desc_create(&desc, compute, CublasType::f32); r != CublasResult::success)
    return library.failed("cublasLtMatmulDescCreate", r);
  out.matmul_.reset(desc);
  const auto operation = [](bool transposed) {
    return int32_t(transposed ? CublasOperation::transposed : CublasOperation::as_stored);
  };
  VIBEE_TRY(set(library, desc, CublasDescAttribute::transpose_a, operation(p.transposed_b)));
  VIBEE_TRY(set(library, desc, CublasDescAttribute::transpose_b, operation(p.transposed_a)));
  VIBEE_TRY(set(library, desc, CublasDescAttribute::epilogue, uint32_t(p.epilogue)));
  if (has_bias(p.epilogue)) {
    VIBEE_TRY(set(library, desc, CublasDescAttribute::bias, p.bias));
    if (p.batch > 1) VIBEE_TRY(set(library, desc, CublasDescAttribute::bias_stride, int64_t(p.stride_bias)));
  }
  if (has_aux(p.epilogue)) {
    VIBEE_TRY(set(library, desc, CublasDescAttribute::aux, p.aux));
    VIBEE_TRY(set(library, desc, CublasDescAttribute::aux_ld, int64_t(p.ld_aux)));
    if (p.batch > 1) VIBEE_TRY(set(library, desc, CublasDescAttribute::aux_stride, int64_t(p.stride_aux)));
  }
  // As stored: a row of ours is a column of the library's.
  const auto layout = [&](CublasOwned<CublasLayout>& to, CublasType type, uint64_t rows, uint64_t columns, uint64_t ld,
                          uint64_t stride) {
    return make_layout(library, to, type, columns, rows, ld, p.batch, stride);
  };
  const CublasType type = type_of(p.operand);
  VIBEE_TRY(layout(out.a_, type, p.transposed_b ? p.n : p.k, p.transposed_b ? p.k : p.n, p.ld_b, p.stride_b));
  VIBEE_TRY(layout(out.b_, type, p.transposed_a ? p.k : p.m, p.transposed_a ? p.m : p.k, p.ld_a, p.stride_a));
  VIBEE_TRY(layout(out.d_, type_of(p.output), p.m, p.n, p.ld_d, p.stride_d));
  return out;
}

uint32_t cublas_alignment(const void* data, uint64_t ld, uint64_t stride, uint32_t batch, uint32_t element_bytes) {
  uint64_t all = reinterpret_cast<uintptr_t>(data) | ld * element_bytes | 256;
  if (batch > 1) all |= stride * element_bytes;
  return uint32_t(all & (~all + 1));
}

Result<CublasPlan> CublasPlan::make(std::shared_ptr<const CublasHandle> handle, const CublasProduct& product) {
  const std::shared_ptr<const CublasLt> library(handle, &handle->library());
  VIBEE_ASSIGN(CublasDescriptors descriptors, CublasDescriptors::make(library, product));
  return CublasPlan(std::move(handle), product, std::move(descriptors));
}

Result<std::vector<CublasHeuristic>> CublasPlan::candidates(uint64_t workspace, bool whole_sums, int most) const {
  const CublasLt& library = handle_->library();
  const CublasProduct& p = product_;
  CublasPreference* made = nullptr;
  if (const auto r = library.preference_create(&made); r != CublasResult::success)
    return library.failed("cublasLtMatmulPreferenceCreate", r);
  const CublasOwned<CublasPreference> preference(made, library.preference_destroy.function);
  const uint32_t in = bytes_of(type_of(p.operand)), out = bytes_of(type_of(p.output));
  const auto align = [&](const void* data, uint64_t ld, uint64_t stride, uint32_t bytes) {
    return cublas_alignment(data, ld, stride, p.batch, bytes);
  };
  const std::pair<CublasPreferenceAttribute, uint32_t> alignments[] = {
      {CublasPreferenceAttribute::align_a, align(p.b, p.ld_b, p.stride_b, in)},
      {CublasPreferenceAttribute::align_b, align(p.a, p.ld_a, p.stride_a, in)},
      {CublasPreferenceAttribute::align_c, align(p.c ? p.c : p.d, p.ld_d, p.stride_d, out)},
      {CublasPreferenceAttribute::align_d, align(p.d, p.ld_d, p.stride_d, out)},
  };
  auto r = library.preference_set(made, CublasPreferenceAttribute::workspace, &workspace, sizeof workspace);
  const uint32_t no_reductions = 0;
  if (whole_sums && r == CublasResult::success)
    r = library.preference_set(made, CublasPreferenceAttribute::reductions, &no_reductions, sizeof no_reductions);
  for (const auto& a : alignments)
    if (r == CublasResult::success) r = library.preference_set(made, a.first, &a.second, sizeof a.second);
  if (r != CublasResult::success) return library.failed("cublasLtMatmulPreferenceSetAttribute", r);
  std::vector<CublasHeuristic> found(size_t(std::max(most, 1)));
  int count = 0;
  VIBEE_TRY(handle_->in_context([&] {
    r = library.heuristic(handle_->get(), descriptors_.matmul(), descriptors_.a(), descriptors_.b(), descriptors_.d(),
                          descriptors_.d(), made, int(found.size()), found.data(), &count);
    if (r == CublasResult::success || r == CublasResult::not_supported) return Status();
    return library.failed("cublasLtMatmulAlgoGetHeuristic", r);
  }));
  found.resize(r == CublasResult::success ? size_t(std::max(count, 0)) : 0);
  std::erase_if(found,
                [&](const CublasHeuristic& h) { return h.state != CublasResult::success || h.workspace > workspace; });
  if (found.empty())
    return refused("{} has no algorithm for {} x {} x {}, batch {}, epilogue {} in {} bytes of workspace", library.path,
                   p.m, p.n, p.k, p.batch, uint32_t(p.epilogue), workspace);
  return found;
}

Status CublasPlan::run(const CublasAlgo& algo, void* workspace, uint64_t bytes, CUstream_st* stream) const {
  const CublasLt& library = handle_->library();
  const CublasProduct& p = product_;
  // Where beta is 0 the library does not read C, which may not be null all the same.
  return handle_->in_context([&] {
    const auto r = library.matmul(handle_->get(), descriptors_.matmul(), &p.alpha, p.b, descriptors_.a(), p.a,
                                  descriptors_.b(), &p.beta, p.beta != 0 ? p.c : p.d, descriptors_.d(), p.d,
                                  descriptors_.d(), &algo, workspace, size_t(bytes), stream);
    return r == CublasResult::success ? Status() : library.failed("cublasLtMatmul", r);
  });
}

Result<size_t> choose_cublas(std::span<const CublasHeuristic> candidates, std::span<const double> times) {
  VIBEE_CHECK(candidates.size() == times.size());
  double quickest = std::numeric_limits<double>::infinity();
  for (const double t : times)
    if (t > 0) quickest = std::min(quickest, t);
  std::optional<size_t> best;
  for (size_t i = 0; i < times.size(); ++i) {
    if (!(times[i] > 0) || times[i] > quickest * 1.01) continue;
    if (!best || candidates[i].workspace < candidates[*best].workspace ||
        (candidates[i].workspace == candidates[*best].workspace && times[i] < times[*best]))
      best = i;
  }
  if (!best) return error(Code::not_found, "cuBLASLt: none of {} algorithms ran", candidates.size());
  return *best;
}

}  // namespace vibee
