// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/simd/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace vibee {

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::amx: return "amx";
  }
  return "?";
}

#if defined(__x86_64__)
namespace {
// clang 14 has no name for it in __builtin_cpu_supports.
bool supports_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/// Whether the CPU rounds to bf16, multiplies tiles of it and of 8-bit integers, and the kernel lends this process
/// their registers: Linux gives them (8 KiB a thread) to a process that asks (Documentation/arch/x86/xstate.rst).
bool has_amx() {
  constexpr unsigned kAll = 1u << 22 | 1u << 24 | 1u << 25;    // AMX-BF16, AMX-TILE, AMX-INT8
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (!__builtin_cpu_supports("avx512bf16")) return false;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
}  // namespace
#endif

Isa detected_isa() {
#if defined(__x86_64__)
  static const Isa isa = [] {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2") && supports_f16c();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vnni");
    return !avx2 ? Isa::scalar : !avx512 ? Isa::avx2 : has_amx() ? Isa::amx : Isa::avx512;
  }();
  return isa;
#else
  return Isa::scalar;
#endif
}

Result<Isa> parse_isa(std::string_view text) {
  for (Isa isa : kIsas) {
    if (text != name(isa)) continue;
    if (isa > detected_isa())
      return error(Code::unsupported, "--isa {}: this CPU has no {}; the best it has is {}", text, text,
                   name(detected_isa()));
    return isa;
  }
  return error(Code::invalid, "--isa {}: unknown instruction set; use scalar, avx2, avx512 or amx", text);
}

}  // namespace vibee
