// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/device/probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "vibee/core/measure/measure.h"

namespace vibee {

uint64_t probe_read_scalar(const uint8_t* data, uint64_t bytes) {
  uint64_t sum = 0, word;
  for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
    std::memcpy(&word, data + i, 8);
    sum ^= word;
  }
  return sum;
}
double probe_fma_scalar(uint64_t rounds, float* sink) {
  float a[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (uint64_t r = 0; r < rounds; ++r)
    for (float& v : a) v = v * *sink + 1e-9f;
  for (float v : a) *sink += v;
  return double(rounds) * 8 * 2;
}
double probe_int8_scalar(uint64_t rounds, int32_t* sink) {
  int32_t a[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (uint64_t r = 0; r < rounds; ++r)
    for (int32_t& v : a) v = int32_t(uint32_t(v) + uint32_t(int8_t(v)) * uint32_t(*sink & 7));
  for (int32_t v : a) *sink ^= v;
  return double(rounds) * 8 * 2;
}

Result<BandwidthProbe> BandwidthProbe::create(uint64_t bytes) {
  BandwidthProbe probe;
  VIBEE_ASSIGN(probe.buffer_, HugeBuffer::allocate(bytes));
  std::memset(probe.buffer_.data(), 1, bytes);  // pages exist before the first timing
  return probe;
}

double BandwidthProbe::gb_per_second(Team& team, Isa isa, uint32_t runs) {
  const auto read = isa >= Isa::avx512 ? probe_read_avx512 : isa == Isa::avx2 ? probe_read_avx2 : probe_read_scalar;
  std::vector<double> rates;
  std::vector<uint64_t> sink(team.size() * 8);
  for (uint32_t r = 0; r < runs; ++r) {
    const Timer timer;
    team.run([&](uint32_t tid) {
      const uint64_t part = buffer_.size() / team.size() / 4096 * 4096;
      sink[tid * 8] += read(buffer_.data() + tid * part, part);
    });
    rates.push_back(double(buffer_.size()) / timer.seconds() / 1e9);
  }
  return median(rates);
}

ComputePeaks compute_peaks(Team& team, Isa isa, uint32_t runs) {
  const auto fma = isa >= Isa::avx512 ? probe_fma_avx512 : isa == Isa::avx2 ? probe_fma_avx2 : probe_fma_scalar;
  const auto int8 = isa == Isa::amx      ? probe_int8_amx
                    : isa == Isa::avx512 ? probe_int8_avx512
                    : isa == Isa::avx2   ? probe_int8_avx2
                                         : probe_int8_scalar;
  constexpr uint64_t kRounds = 2'000'000;
  std::vector<double> flops, ops, done(team.size() * 8);
  for (uint32_t r = 0; r < runs; ++r) {
    Timer timer;
    team.run([&](uint32_t tid) {
      float sink = 0.5f;
      done[tid * 8] = fma(kRounds, &sink) + (sink == 12345.0f ? 1 : 0);
    });
    double total = 0;
    for (uint32_t t = 0; t < team.size(); ++t) total += done[t * 8];
    flops.push_back(total / timer.seconds() / 1e9);
    timer.restart();
    team.run([&](uint32_t tid) {
      int32_t sink = 5;
      done[tid * 8] = int8(kRounds, &sink) + (sink == 12345 ? 1 : 0);
    });
    total = 0;
    for (uint32_t t = 0; t < team.size(); ++t) total += done[t * 8];
    ops.push_back(total / timer.seconds() / 1e9);
  }
  return {median(flops), median(ops)};
}

double disk_read_gb_per_second(const std::string& directory, uint64_t bytes, std::string* note) {
  const std::string path = directory + "/vibee-disk-probe." + std::to_string(getpid());
  const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    *note = fmt::format("cannot write in {}: {}", directory, std::strerror(errno));
    return 0;
  }
  unlink(path.c_str());
  std::vector<uint8_t> block(4u << 20, 7);
  double rate = 0;
  bool written = true;
  for (uint64_t at = 0; at < bytes && written; at += block.size())
    written = write(fd, block.data(), block.size()) == ssize_t(block.size());
  if (!written || fsync(fd) != 0) {
    *note = fmt::format("cannot write {} MiB in {}: {}", bytes >> 20, directory, std::strerror(errno));
  } else {
    const bool dropped = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    *note = dropped ? "page cache dropped before reading" : "through the page cache";
    const Timer timer;
    uint64_t read = 0;
    for (uint64_t at = 0; at < bytes; at += block.size()) {
      const ssize_t n = pread(fd, block.data(), block.size(), off_t(at));
      if (n <= 0) break;
      read += uint64_t(n);
    }
    rate = double(read) / timer.seconds() / 1e9;
  }
  close(fd);
  return rate;
}

uint64_t cache_bytes(int level) {
  // What sysconf says may be that of the whole socket. Index 1 is the first level's of code.
  const std::string path = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/size", level == 1 ? 0 : level);
  std::FILE* file = std::fopen(path.c_str(), "r");
  unsigned long long kib = 0;
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%lluK", &kib) != 1) kib = 0;
  std::fclose(file);
  return kib << 10;
}

std::string cpu_name() {
  std::FILE* file = std::fopen("/proc/cpuinfo", "r");
  char line[256];
  std::string name = "unknown CPU";
  while (file && std::fgets(line, sizeof line, file)) {
    if (std::strncmp(line, "model name", 10) != 0) continue;
    const char* colon = std::strchr(line, ':');
    if (colon) name = std::string(colon + 2, std::strcspn(colon + 2, "\n"));
    break;
  }
  if (file) std::fclose(file);
  return name;
}

}  // namespace vibee
