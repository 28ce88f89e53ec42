// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/host_cublaslt.h"

#include <cmath>
#include <cstring>
#include <map>

#include "vibee/base/math/half.h"

namespace vibee {

// What the library keeps behind its pointers.
struct CublasMatmulDesc {
  CublasCompute compute;
  CublasType scale;
  std::map<int, std::vector<std::byte>> attributes;
  template <class T>
  T get(CublasDescAttribute attribute, T absent) const {
    const auto at = attributes.find(int(attribute));
    if (at != attributes.end()) std::memcpy(&absent, at->second.data(), sizeof absent);
    return absent;
  }
};
struct CublasLayout {
  CublasType type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t batch = 1;
  int64_t stride = 0;
};
struct CublasPreference {
  uint64_t workspace = 0;
  uint32_t reductions = ~0u, alignment[4] = {256, 256, 256, 256};
};

namespace {

double load(CublasType type, const void* data, int64_t at) {
  if (type == CublasType::f32) return static_cast<const float*>(data)[at];
  const uint16_t bits = static_cast<const uint16_t*>(data)[at];
  return type == CublasType::bf16 ? bf16_to_float(bits) : half_to_float(bits);
}
void store(CublasType type, void* data, int64_t at, double value) {
  if (type == CublasType::f32)
    static_cast<float*>(data)[at] = float(value);
  else
    static_cast<uint16_t*>(data)[at] =
        type == CublasType::bf16 ? float_to_bf16(float(value)) : float_to_half(float(value));
}

constexpr double kGeluScale = 0.7978845608028654, kGeluCube = 0.044715;  // sqrt(2 / pi)
double gelu(double x) { return 0.5 * x * (1 + std::tanh(kGeluScale * (x + kGeluCube * x * x * x))); }
double gelu_slope(double x) {
  const double t = std::tanh(kGeluScale * (x + kGeluCube * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kGeluScale * (1 + 3 * kGeluCube * x * x);
}

size_t size_of(CublasDescAttribute a) {
  switch (a) {
    case CublasDescAttribute::bias:
    case CublasDescAttribute::bias_stride:
    case CublasDescAttribute::aux:
    case CublasDescAttribute::aux_ld:
    case CublasDescAttribute::aux_stride: return 8;
    default: return 4;
  }
}

}  // namespace

struct HostCublas {
  static inline HostCublas* current = nullptr;
  uint64_t version = 0, products = 0;
  std::string fail_symbol, refusal;
  CublasResult fail_with = CublasResult::success;
  std::vector<uint32_t> alignments;
  int live = 0;

  bool fails(const char* symbol) const { return fail_symbol == symbol; }
  CublasResult refuse(std::string why) {
    refusal = std::move(why);
    return CublasResult::invalid_value;
  }
  CublasResult multiply(const CublasMatmulDesc& desc, double alpha, double beta, const void* a, const CublasLayout& la,
                        const void* b, const CublasLayout& lb, const void* c, const CublasLayout& lc, void* d,
                        const CublasLayout& ld);
};

namespace {

HostCublas& host() { return *HostCublas::current; }

/// Sizes and leading dimensions, as the library checks them; empty where all is well.
std::string wrong(const CublasMatmulDesc& desc, const CublasLayout& a, const CublasLayout& b, const CublasLayout& c,
                  const CublasLayout& d) {
  const bool ta = desc.get<int32_t>(CublasDescAttribute::transpose_a, 0) != 0;
  const bool tb = desc.get<int32_t>(CublasDescAttribute::transpose_b, 0) != 0;
  if ((ta ? a.columns : a.rows) != d.rows || (tb ? b.rows : b.columns) != d.columns ||
      (ta ? a.rows : a.columns) != (tb ? b.columns : b.rows))
    return "sizes do not agree";
  if (c.rows != d.rows || c.columns != d.columns || c.type != d.type) return "C is not as D";
  for (const CublasLayout* l : {&a, &b, &c, &d})
    if (l->ld < int64_t(l->rows) || l->rows == 0 || l->columns == 0) return "a leading dimension is below the rows";
  for (const CublasLayout* l : {&a, &b, &c})
    if (l->batch != d.batch) return "batches differ";
  if (a.type != b.type || (d.type != CublasType::f32 && d.type != a.type)) return "types do not go together";
  if (desc.scale != CublasType::f32) return "alpha and beta are not floats";
  const auto epilogue = desc.get<uint32_t>(CublasDescAttribute::epilogue, 1);
  const bool aux = (epilogue & 128) != 0, bits = aux && (epilogue & (2 | 8)) != 0;
  if ((epilogue & (4 | 16 | 256 | 512)) != 0 && !desc.get<void*>(CublasDescAttribute::bias, nullptr)) return "no bias";
  if (!aux) return "";
  const auto ld = desc.get<int64_t>(CublasDescAttribute::aux_ld, 0);
  const auto stride = desc.get<int64_t>(CublasDescAttribute::aux_stride, 0);
  const int64_t unit = bits ? 128 : 8;
  if (!desc.get<void*>(CublasDescAttribute::aux, nullptr)) return "no auxiliary matrix";
  if (ld < int64_t(d.rows) || ld % unit != 0 || stride % unit != 0) return "the auxiliary leading dimension";
  return "";
}

}  // namespace

CublasResult HostCublas::multiply(const CublasMatmulDesc& desc, double alpha, double beta, const void* a,
                                  const CublasLayout& la, const void* b, const CublasLayout& lb, const void* c,
                                  const CublasLayout& lc, void* d, const CublasLayout& ld) {
  if (std::string why = wrong(desc, la, lb, lc, ld); !why.empty()) return refuse(std::move(why));
  refusal.clear();
  const bool ta = desc.get<int32_t>(CublasDescAttribute::transpose_a, 0) != 0;
  const bool tb = desc.get<int32_t>(CublasDescAttribute::transpose_b, 0) != 0;
  const auto epilogue = desc.get<uint32_t>(CublasDescAttribute::epilogue, 1);
  auto* const bias = desc.get<void*>(CublasDescAttribute::bias, nullptr);
  auto* const aux = desc.get<void*>(CublasDescAttribute::aux, nullptr);
  const auto aux_ld = desc.get<int64_t>(CublasDescAttribute::aux_ld, 0);
  const auto rows = int64_t(ld.rows), columns = int64_t(ld.columns), depth = int64_t(ta ? la.rows : la.columns);
  for (int64_t item = 0; item < ld.batch; ++item) {
    const int64_t a0 = item * la.stride, b0 = item * lb.stride, c0 = item * lc.stride, d0 = item * ld.stride;
    const int64_t bias0 = item * desc.get<int64_t>(CublasDescAttribute::bias_stride, 0);
    const int64_t aux0 = item * desc.get<int64_t>(CublasDescAttribute::aux_stride, 0);
    const auto at_a = [&](int64_t i, int64_t k) { return load(la.type, a, a0 + (ta ? k + i * la.ld : i + k * la.ld)); };
    const auto at_b = [&](int64_t k, int64_t j) { return load(lb.type, b, b0 + (tb ? j + k * lb.ld : k + j * lb.ld)); };
    std::vector<double> row_sums(size_t(rows), 0.0);
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t i = 0; i < rows; ++i) {
        double v = 0;
        for (int64_t k = 0; k < depth; ++k) v += at_a(i, k) * at_b(k, j);
        v *= alpha;
        if (beta != 0) v += beta * load(lc.type, c, c0 + i + j * lc.ld);
        if (epilogue & 4) v += load(ld.type, bias, bias0 + i);
        const int64_t at = aux0 + i + j * aux_ld;
        auto* const byte = aux ? static_cast<unsigned char*>(aux) + at / 8 : nullptr;
        const auto bit = (unsigned char)(1u << at % 8);
        if (epilogue & 2) {
          if (epilogue & 128) *byte = v > 0 ? *byte | bit : *byte & (unsigned char)~bit;
          v = v > 0 ? v : 0;
        } else if (epilogue & 32) {
          if (epilogue & 128) store(ld.type, aux, at, v);
          v = gelu(v);
        } else if (epilogue & 8) {
          v = *byte & bit ? v : 0;
        } else if (epilogue & 64) {
          v *= gelu_slope(load(ld.type, aux, at));
        }
        row_sums[size_t(i)] += v;
        store(ld.type, d, d0 + i + j * ld.ld, v);
      }
    if (epilogue & 16)
      for (int64_t i = 0; i < rows; ++i) store(ld.type, bias, bias0 + i, row_sums[size_t(i)]);
    for (int64_t i = 0; (epilogue & 256) && i < rows; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) sum += at_a(i, k);
      store(ld.type, bias, bias0 + i, sum);
    }
    for (int64_t j = 0; (epilogue & 512) && j < columns; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) sum += at_b(k, j);
      store(ld.type, bias, bias0 + j, sum);
    }
  }
  ++products;
  return CublasResult::success;
}

namespace {

#define VIBEE_HOST_FAILS(symbol) \
  if (host().fails(symbol)) return host().fail_with

template <class T>
CublasResult destroy(T* thing) {
  delete thing;
  --host().live;
  return CublasResult::success;
}

constexpr auto kOk = CublasResult::success, kInvalid = CublasResult::invalid_value;

void fill(CublasLt& out) {
  out.version_number.function = [] { return size_t(host().version); };
  out.status_name.function = [](CublasResult r) -> const char* {
    return r == CublasResult::not_initialized ? "CUBLAS_STATUS_NOT_INITIALIZED"
           : r == CublasResult::not_supported ? "CUBLAS_STATUS_NOT_SUPPORTED"
           : r == CublasResult::invalid_value ? "CUBLAS_STATUS_INVALID_VALUE"
                                              : nullptr;
  };
  out.create.function = [](cublasLtContext** handle) {
    VIBEE_HOST_FAILS("cublasLtCreate");
    ++host().live;
    *handle = reinterpret_cast<cublasLtContext*>(new int);
    return kOk;
  };
  out.destroy.function = [](cublasLtContext* handle) { return destroy(reinterpret_cast<int*>(handle)); };
  out.desc_create.function = [](CublasMatmulDesc** desc, CublasCompute compute, CublasType scale) {
    VIBEE_HOST_FAILS("cublasLtMatmulDescCreate");
    ++host().live;
    *desc = new CublasMatmulDesc{compute, scale, {}};
    return kOk;
  };
  out.desc_destroy.function = destroy<CublasMatmulDesc>;
  out.desc_set.function = [](CublasMatmulDesc* desc, CublasDescAttribute a, const void* from, size_t bytes) {
    VIBEE_HOST_FAILS("cublasLtMatmulDescSetAttribute");
    if (!from || bytes != size_of(a)) return kInvalid;
    const auto* const begin = static_cast<const std::byte*>(from);
    desc->attributes[int(a)].assign(begin, begin + bytes);
    return kOk;
  };
  out.desc_get.function = [](CublasMatmulDesc* desc, CublasDescAttribute a, void* to, size_t bytes, size_t* written) {
    const auto at = desc->attributes.find(int(a));
    if (!to || bytes != size_of(a) || at == desc->attributes.end()) return kInvalid;
    std::memcpy(to, at->second.data(), bytes);
    if (written) *written = bytes;
    return kOk;
  };
  out.layout_create.function = [](CublasLayout** layout, CublasType type, uint64_t rows, uint64_t columns, int64_t ld) {
    VIBEE_HOST_FAILS("cublasLtMatrixLayoutCreate");
    ++host().live;
    *layout = new CublasLayout{type, rows, columns, ld};
    return kOk;
  };
  out.layout_destroy.function = destroy<CublasLayout>;
  out.layout_set.function = [](CublasLayout* layout, CublasLayoutAttribute a, const void* from, size_t bytes) {
    VIBEE_HOST_FAILS("cublasLtMatrixLayoutSetAttribute");
    if (a == CublasLayoutAttribute::batch && bytes == 4)
      std::memcpy(&layout->batch, from, 4);
    else if (a == CublasLayoutAttribute::stride && bytes == 8)
      std::memcpy(&layout->stride, from, 8);
    else
      return kInvalid;
    return kOk;
  };
  out.layout_get.function = [](CublasLayout* layout, CublasLayoutAttribute a, void* to, size_t bytes, size_t* written) {
    const auto give = [&](const auto& value) {
      if (!to || bytes != sizeof value) return kInvalid;
      std::memcpy(to, &value, bytes);
      if (written) *written = bytes;
      return kOk;
    };
    switch (a) {
      case CublasLayoutAttribute::type: return give(layout->type);
      case CublasLayoutAttribute::order: return give(int32_t(0));
      case CublasLayoutAttribute::rows: return give(layout->rows);
      case CublasLayoutAttribute::columns: return give(layout->columns);
      case CublasLayoutAttribute::ld: return give(layout->ld);
      case CublasLayoutAttribute::batch: return give(layout->batch);
      case CublasLayoutAttribute::stride: return give(layout->stride);
    }
    return kInvalid;
  };
  out.preference_create.function = [](CublasPreference** preference) {
    VIBEE_HOST_FAILS("cublasLtMatmulPreferenceCreate");
    ++host().live;
    *preference = new CublasPreference;
    return kOk;
  };
  out.preference_destroy.function = destroy<CublasPreference>;
  out.preference_set.function = [](CublasPreference* preference, CublasPreferenceAttribute a, const void* from,
                                   size_t bytes) {
    VIBEE_HOST_FAILS("cublasLtMatmulPreferenceSetAttribute");
    const int which = int(a) - int(CublasPreferenceAttribute::align_a);
    if (a == CublasPreferenceAttribute::workspace && bytes == 8)
      std::memcpy(&preference->workspace, from, 8);
    else if (a == CublasPreferenceAttribute::reductions && bytes == 4)
      std::memcpy(&preference->reductions, from, 4);
    else if (which >= 0 && which < 4 && bytes == 4)
      std::memcpy(&preference->alignment[which], from, 4);
    else
      return kInvalid;
    return kOk;
  };
  // Two algorithms: one that cuts the depth and needs a mebibyte for it, one that does neither.
  out.heuristic.function = [](cublasLtContext*, CublasMatmulDesc* desc, CublasLayout* a, CublasLayout* b,
                              CublasLayout* c, CublasLayout* d, CublasPreference* preference, int most,
                              CublasHeuristic* found, int* count) {
    VIBEE_HOST_FAILS("cublasLtMatmulAlgoGetHeuristic");
    *count = 0;
    if (std::string why = wrong(*desc, *a, *b, *c, *d); !why.empty()) return host().refuse(std::move(why));
    host().alignments.assign(std::begin(preference->alignment), std::end(preference->alignment));
    for (const size_t needs : {size_t(1) << 20, size_t(0)}) {
      if (*count == most || needs > preference->workspace || (needs > 0 && preference->reductions == 0)) continue;
      found[*count] = {};
      found[*count].algo.data[0] = needs + 1;
      found[(*count)++].workspace = needs;
    }
    return *count > 0 ? kOk : CublasResult::not_supported;
  };
  out.matmul.function = [](cublasLtContext* handle, CublasMatmulDesc* desc, const void* alpha, const void* a,
                           CublasLayout* la, const void* b, CublasLayout* lb, const void* beta, const void* c,
                           CublasLayout* lc, void* d, CublasLayout* ld, const CublasAlgo* algo, void* workspace,
                           size_t bytes, CUstream_st*) {
    VIBEE_HOST_FAILS("cublasLtMatmul");
    if (!handle || !a || !b || !c || !d) return host().refuse("a null operand");
    if (algo && (algo->data[0] == 0 || algo->data[0] - 1 > bytes || (algo->data[0] > 1 && !workspace)))
      return host().refuse("the workspace is too small for the algorithm");
    return host().multiply(*desc, *static_cast<const float*>(alpha), *static_cast<const float*>(beta), a, *la, b, *lb,
                           c, *lc, d, *ld);
  };
}

}  // namespace

HostCublasLt::HostCublasLt(uint64_t version) : host_(std::make_unique<HostCublas>()) {
  VIBEE_CHECK(!HostCublas::current, "two cuBLASLts of the host at a time");
  host_->version = version;
  HostCublas::current = host_.get();
}
HostCublasLt::~HostCublasLt() { HostCublas::current = nullptr; }

Result<std::shared_ptr<const CublasLt>> HostCublasLt::load() {
  auto library = std::make_shared<CublasLt>();
  library->path = "the host's cuBLASLt";
  fill(*library);
  VIBEE_TRY(start_cublaslt(*library));
  return std::shared_ptr<const CublasLt>(std::move(library));
}
void HostCublasLt::fail(std::string symbol, CublasResult result) {
  host_->fail_symbol = std::move(symbol), host_->fail_with = result;
}
uint64_t HostCublasLt::products() const { return host_->products; }
std::vector<uint32_t> HostCublasLt::alignments() const { return host_->alignments; }
std::string HostCublasLt::refusal() const { return host_->refusal; }
int HostCublasLt::live() const { return host_->live; }

}  // namespace vibee
