// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/vendor_gemm.h"

#include <dlfcn.h>

#include <cstdlib>
#include <limits>

#include "vibee/base/simd/isa.h"

namespace vibee {
namespace {

/// CBLAS: order, transposes, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc; 101 = by rows, 111 = as stored, 112 =
/// transposed.
using CblasSgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*,
                            int);
/// oneDNN's function of the same arguments, rows by convention; 0 = success.
using DnnlSgemm = int (*)(char, char, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*, int64_t,
                          float, float*, int64_t);

struct Vendor {
  std::string_view name;
  const char* files[2];  // the interface that Debian 12 ships, then any
  const char *product, *threads;
  // What tells the library to use its AVX-512 kernels on a processor newer than itself, which it would give AVX2 or
  // plain C; a setting of the user's stays.
  const char *variable, *avx512;
};
constexpr Vendor kVendors[] = {
    {"OpenBLAS",
     {"libopenblas.so.0", "libopenblas.so"},
     "cblas_sgemm",
     "openblas_set_num_threads",
     "OPENBLAS_CORETYPE",
     "SkylakeX"},
    {"BLIS", {"libblis.so.4", "libblis.so"}, "cblas_sgemm", "bli_thread_set_num_threads", "BLIS_ARCH_TYPE", "skx"},
    {"oneDNN", {"libdnnl.so.2", "libdnnl.so.3"}, "dnnl_sgemm", "omp_set_num_threads", nullptr, nullptr},
};
const Vendor& vendor_of(GemmVendor v) { return kVendors[size_t(v)]; }

template <class Function>
Function find(void* library, const char* symbol) {
  return reinterpret_cast<Function>(dlsym(library, symbol));
}

std::string text_of(void* library, const char* symbol) {
  const auto text = find<const char* (*)()>(library, symbol);
  return text ? text() : "?";
}
std::string describe(GemmVendor vendor, void* library) {
  switch (vendor) {
    case GemmVendor::openblas: {
      const std::string config = text_of(library, "openblas_get_config");  // "OpenBLAS 0.3.21 NO_LAPACKE ..."
      return fmt::format("{}, core {}", config.substr(0, config.find(' ', config.find(' ') + 1)),
                         text_of(library, "openblas_get_corename"));
    }
    case GemmVendor::blis: {
      const auto id = find<int (*)()>(library, "bli_arch_query_id");
      const auto string = find<const char* (*)(int)>(library, "bli_arch_string");
      return fmt::format("BLIS {}, core {}", text_of(library, "bli_info_get_version_str"),
                         id && string ? string(id()) : "?");
    }
    case GemmVendor::onednn: {
      struct Version {
        int major, minor, patch;
      };
      const auto version = find<const Version* (*)()>(library, "dnnl_version");
      return version ? fmt::format("oneDNN {}.{}.{}", version()->major, version()->minor, version()->patch) : "oneDNN";
    }
  }
  return {};
}

}  // namespace

std::string_view name(GemmVendor vendor) { return vendor_of(vendor).name; }

void VendorGemm::Unload::operator()(void* library) const { dlclose(library); }

Result<VendorGemm> VendorGemm::open(GemmVendor vendor, uint32_t threads) {
  const Vendor& v = vendor_of(vendor);
  VendorGemm out;
  out.vendor_ = vendor;
  if (v.variable && detected_isa() >= Isa::avx512) setenv(v.variable, v.avx512, 0);
  for (const char* file : v.files)
    if (!out.library_) out.library_.reset(dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE));  // it has threads
  if (!out.library_) return error(Code::not_found, "{}: there is no {} here", v.name, v.files[0]);
  out.product_ = find<void (*)()>(out.library_.get(), v.product);
  void (*set)() = find<void (*)()>(out.library_.get(), v.threads);
  if (!out.product_ || !set)
    return error(Code::unsupported, "{}: its library has no {}", v.name, out.product_ ? v.threads : v.product);
  if (vendor == GemmVendor::blis)
    reinterpret_cast<void (*)(int64_t)>(set)(threads);
  else
    reinterpret_cast<void (*)(int)>(set)(int(threads));
  if (vendor == GemmVendor::onednn) out.threads_of_caller_ = reinterpret_cast<void (*)(int)>(set);
  out.description_ = describe(vendor, out.library_.get());
  return out;
}

Status VendorGemm::takes(const GemmProblem& p) const {
  const std::string_view library = vendor_of(vendor_).name;
  if (p.epilogue.any() || p.packed_b || p.grouping != GemmGroups::none || p.a.element != Format::f32 ||
      p.b.element != Format::f32)
    return error(Code::unsupported, "{}: only plain float products without groups, panels or an epilogue", library);
  constexpr uint64_t kMost = std::numeric_limits<int>::max();
  if (p.m > kMost || p.n > kMost || p.k > kMost || p.a.ld > kMost || p.b.ld > kMost || p.d.ld > kMost)
    return error(Code::unsupported, "{}: {} x {} x {} is more than its integers", library, p.m, p.n, p.k);
  return {};
}

Status VendorGemm::run(const GemmProblem& problem, const GemmData& data) const {
  GemmProblem p;
  VIBEE_ASSIGN(p, checked(problem));
  VIBEE_TRY(check_operands(p, data));
  VIBEE_TRY(takes(p));
  if (p.beta != 0 && data.c.data() != data.d.data())
    return error(Code::unsupported, "{}: C has to be D", vendor_of(vendor_).name);
  return product(p, data, {0, p.m}, {0, p.n});
}

void VendorGemm::run_thread(const GemmProblem& problem, const GemmData& data, uint32_t tid, uint32_t threads) const {
  const auto p = checked(problem);
  VIBEE_CHECK(p.ok());
  if (threads_of_caller_) threads_of_caller_(1);
  // Stripes along the longer side, of whole lines of D.
  constexpr uint32_t kUnit = 16;
  const bool by_rows = p->m >= p->n;
  const uint32_t all = by_rows ? p->m : p->n;
  Range mine = share((all + kUnit - 1) / kUnit, tid, threads);
  mine = {std::min(all, mine.begin * kUnit), std::min(all, mine.end * kUnit)};
  if (mine.begin == mine.end) return;
  const Status done = product(*p, data, by_rows ? mine : Range{0, p->m}, by_rows ? Range{0, p->n} : mine);
  VIBEE_CHECK(done.ok(), "{}", done.message());
}

Status VendorGemm::product(const GemmProblem& p, const GemmData& data, Range rows, Range columns) const {
  const auto ld = [](const GemmLayout& l) { return l.ld ? int64_t(l.ld) : 1; };
  const uint32_t m = rows.end - rows.begin, n = columns.end - columns.begin;
  const float beta = p.goes_on ? 1 : p.beta;
  for (uint32_t i = 0; i < p.batch; ++i) {
    const float* a =
        static_cast<const float*>(data.a.data) + i * *p.a.stride + uint64_t(rows.begin) * (p.a.transposed ? 1 : p.a.ld);
    const float* b = static_cast<const float*>(data.b.data) + i * *p.b.stride +
                     uint64_t(columns.begin) * (p.b.transposed ? p.b.ld : 1);
    float* d = data.d.data() + i * *p.d.stride + uint64_t(rows.begin) * p.d.ld + columns.begin;
    if (vendor_ != GemmVendor::onednn) {
      reinterpret_cast<CblasSgemm>(product_)(101, p.a.transposed ? 112 : 111, p.b.transposed ? 112 : 111, int(m),
                                             int(n), int(p.k), p.alpha, a, int(ld(p.a)), b, int(ld(p.b)), beta, d,
                                             int(ld(p.d)));
      continue;
    }
    const int failed = reinterpret_cast<DnnlSgemm>(product_)(p.a.transposed ? 'T' : 'N', p.b.transposed ? 'T' : 'N', m,
                                                             n, p.k, p.alpha, a, ld(p.a), b, ld(p.b), beta, d, ld(p.d));
    if (failed) return error(Code::unsupported, "oneDNN: refused the product with status {}", failed);
  }
  return {};
}

}  // namespace vibee
