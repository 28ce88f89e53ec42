// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/memory/huge_buffer.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "vibee/base/memory/checked.h"

namespace vibee {
namespace {

constexpr uint64_t kHugePage = 2u << 20;

uint64_t read_field(const char* path, const char* key) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return 0;
  char line[256];
  uint64_t kib = 0;
  while (std::fgets(line, sizeof line, file)) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) {
      kib = std::strtoull(line + std::strlen(key), nullptr, 10);
      break;
    }
  }
  std::fclose(file);
  return kib * 1024;
}

uint64_t read_number(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return 0;
  unsigned long long n = 0;
  if (std::fscanf(file, "%llu", &n) != 1) n = 0;
  std::fclose(file);
  return n;
}

}  // namespace

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) munmap(data_, mapped_);
}

Result<HugeBuffer> HugeBuffer::allocate(uint64_t size) {
  HugeBuffer buffer;
  if (size == 0) return buffer;
  const bool huge = size >= kHugePage;
  if (size > (uint64_t(1) << 47)) return error(Code::no_memory, "cannot allocate {} bytes", size);
  const uint64_t wanted = round_up(size, uint64_t(sysconf(_SC_PAGESIZE)));
  // A huge page needs a 2 MiB boundary, which mmap does not promise: map one more and give back both ends.
  const uint64_t mapped = huge ? wanted + kHugePage : wanted;
  void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return error(Code::no_memory, "cannot allocate {} bytes", size);
  auto* begin = static_cast<uint8_t*>(raw);
  if (huge) {
    auto* aligned = reinterpret_cast<uint8_t*>(round_up(reinterpret_cast<uint64_t>(begin), kHugePage));
    if (aligned != begin) munmap(begin, uint64_t(aligned - begin));
    const uint64_t tail = mapped - uint64_t(aligned - begin) - wanted;
    if (tail != 0) munmap(aligned + wanted, tail);
    // Only whole huge pages: the rest of a last one would be resident for nothing.
    madvise(aligned, wanted / kHugePage * kHugePage, MADV_HUGEPAGE);
    begin = aligned;
  }
  buffer.data_ = begin;
  buffer.size_ = size;
  buffer.mapped_ = wanted;
  return buffer;
}

uint64_t available_memory() {
  const uint64_t system = read_field("/proc/meminfo", "MemAvailable:");
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
  const uint64_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit > used && limit - used < system) return limit - used;
  return system;
}
uint64_t resident_memory() { return read_field("/proc/self/status", "VmRSS:"); }
uint64_t peak_resident_memory() { return read_field("/proc/self/status", "VmHWM:"); }
void reset_peak_resident_memory() {
  std::FILE* file = std::fopen("/proc/self/clear_refs", "w");
  if (file == nullptr) return;
  std::fputs("5", file);
  std::fclose(file);
}

namespace {

/// Unmaps the pages of code and constants of one loaded file; they come back from the file when they are touched.
int unmap_code(dl_phdr_info* info, size_t, void*) {
  const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W)) continue;  // what was relocated is not in the file
    const uint64_t begin = (info->dlpi_addr + part.p_vaddr) / page * page;
    const uint64_t end = round_up(info->dlpi_addr + part.p_vaddr + part.p_filesz, page);
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void return_free_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  // A debugger's breakpoints are changes of the code, which would be lost.
  if (read_field("/proc/self/status", "TracerPid:") == 0) dl_iterate_phdr(unmap_code, nullptr);
}

}  // namespace vibee
