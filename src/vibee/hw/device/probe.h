// SPDX-License-Identifier: Apache-2.0
// What this machine can do, measured: the floors that every speed is reported against.
#pragma once

#include <cstdint>
#include <string>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"

namespace vibee {

/// Read bandwidth over a buffer on huge pages, four streams a thread.
class BandwidthProbe {
 public:
  /// `bytes` of memory, well above the last-level cache.
  static Result<BandwidthProbe> create(uint64_t bytes = 256u << 20);
  /// GB/s, median of `runs` passes by all threads of the team.
  double gb_per_second(Team& team, Isa isa, uint32_t runs = 9);

 private:
  HugeBuffer buffer_;
};

struct ComputePeaks {
  double fma_gflops = 0;  ///< fp32, 2 operations a fused multiply-add
  double int8_gops = 0;   ///< 8-bit dot products by the instruction that is best at them, 2 operations a multiply-add
};
ComputePeaks compute_peaks(Team& team, Isa isa, uint32_t runs = 7);

/// Sequential read of a file of `bytes` in `directory` past the page cache where the system allows, GB/s; 0 with a
/// reason.
double disk_read_gb_per_second(const std::string& directory, uint64_t bytes, std::string* note);

std::string cpu_name();
/// Bytes of the first core's cache of a level, 1 to 3; 0 where the system does not say.
uint64_t cache_bytes(int level);

// The loops, one set an instruction set. Each returns operations done, or a checksum that keeps the reads.
#define VIBEE_PROBE(isa)                                          \
  uint64_t probe_read_##isa(const uint8_t* data, uint64_t bytes); \
  double probe_fma_##isa(uint64_t rounds, float* sink);           \
  double probe_int8_##isa(uint64_t rounds, int32_t* sink);
VIBEE_PROBE(scalar)
VIBEE_PROBE(avx2)
VIBEE_PROBE(avx512)
#undef VIBEE_PROBE
double probe_int8_amx(uint64_t rounds, int32_t* sink);

}  // namespace vibee
