// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cublaslt.h"

#include <dlfcn.h>

#include <cstdlib>

namespace vibee {

std::string CublasLt::version_text() const {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

Status CublasLt::failed(const char* call, CublasResult result) const {
  const char* const name = status_name(result);
  return error(Code::unsupported, "cuBLASLt {} ({}): {} answered {}", version_text(), path, call,
               name ? name : fmt::format("status {}", int(result)));
}

Status start_cublaslt(CublasLt& library) {
  library.version = library.version_number();
  const int major = int(library.version / 10000);
  if (major < kCublasOldest || major > kCublasNewest)
    return error(Code::unsupported,
                 "{}: cuBLASLt {} is not one of versions {} to {} that this build knows; products stay with its own "
                 "kernels",
                 library.path, library.version_text(), kCublasOldest, kCublasNewest);
  return {};
}

Result<std::shared_ptr<const CublasLt>> load_cublaslt(const std::string& path) {
  auto out = std::make_shared<CublasLt>();
  out->path = path;
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char* const why = ::dlerror();
    return error(Code::not_found, "no cuBLASLt: {}", why ? why : path.c_str());
  }
  out->library.reset(library, [](void* handle) { ::dlclose(handle); });
  const char* absent = nullptr;
  const auto find = [&](auto& call) {
    using Function = decltype(call.function);
    call.function = reinterpret_cast<Function>(::dlsym(library, call.symbol));
    if (!call.function && !absent) absent = call.symbol;
  };
#define VIBEE_CUBLASLT_CALL(field, ...) find(out->field);
#include "vibee/core/device/cublaslt_calls.inc"
#undef VIBEE_CUBLASLT_CALL
  if (absent) {
    if (out->version_number.function) VIBEE_TRY(start_cublaslt(*out));  // the better reason
    return error(Code::unsupported, "{}: has no {}; install cuBLASLt {}", path, absent, kCublasNewest);
  }
  VIBEE_TRY(start_cublaslt(*out));
  return std::shared_ptr<const CublasLt>(std::move(out));
}

const Result<std::shared_ptr<const CublasLt>>& cublaslt() {
  static const Result<std::shared_ptr<const CublasLt>> library = [] {
    if (const char* const path = std::getenv("VIBEE_CUBLASLT"); path && *path) return load_cublaslt(path);
    auto newest = load_cublaslt(fmt::format("libcublasLt.so.{}", kCublasNewest));
    if (newest.ok() || newest.status().code() != Code::not_found) return newest;
    auto oldest = load_cublaslt(fmt::format("libcublasLt.so.{}", kCublasOldest));
    return oldest.ok() || oldest.status().code() != Code::not_found ? std::move(oldest) : std::move(newest);
  }();
  return library;
}

}  // namespace vibee
