// SPDX-License-Identifier: Apache-2.0
// To be preloaded (LD_PRELOAD): makes the N-th call of some kinds fail, as a system does that is out of memory, disk or
// luck. When and what is said by another process while this one runs, through the file that VIBEE_FAULT names
// (tests/faults.py). One fault plan at a time; without the variable nothing is changed.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

enum Kind : uint32_t {
  kAlloc = 1,
  kOpen = 2,
  kRead = 4,
  kWrite = 8,
  kReceive = 16,
  kSend = 32,
  kAccept = 64,
  kClock = 128
};

/// As tests/faults.py packs it.
struct Plan {
  std::atomic<uint32_t> armed;  ///< set last
  uint32_t kinds;               ///< bits of Kind
  int64_t first, count;         ///< of the calls that fail
  uint32_t halves;              ///< reads, writes and sends do half of what they should instead of failing
  char thread[20];              ///< name of the thread whose calls are counted; empty: all
  std::atomic<int64_t> calls;   ///< since it was armed
  std::atomic<int64_t> fired;
};
Plan* plan = nullptr;

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}
#define REAL(name) static auto* const real = next<decltype(::name)>(#name)

__attribute__((constructor)) void attach() {
  const char* path = std::getenv("VIBEE_FAULT");
  const int fd = path == nullptr ? -1 : static_cast<int>(next<decltype(::open)>("open")(path, O_RDWR | O_CLOEXEC));
  if (fd < 0) return;
  void* at = ::mmap(nullptr, sizeof(Plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at != MAP_FAILED) plan = static_cast<Plan*>(at);
}

/// Whether this call is to go wrong.
bool hit(Kind kind) {
  if (plan == nullptr || plan->armed.load(std::memory_order_acquire) == 0 || (plan->kinds & kind) == 0) return false;
  if (plan->thread[0] != 0) {
    char name[16] = {};
    ::prctl(PR_GET_NAME, name);
    if (std::strcmp(name, plan->thread) != 0) return false;
  }
  const int64_t call = ++plan->calls;
  if (call < plan->first || call >= plan->first + plan->count) return false;
  ++plan->fired;
  return true;
}

bool is(int fd, mode_t type) {
  struct stat info;
  return ::fstat(fd, &info) == 0 && (info.st_mode & S_IFMT) == type;
}

/// What `call(bytes)` gives, all of them or half; or -1 with `error`.
template <class F>
ssize_t pass(bool fails, int error, size_t bytes, F&& call) {
  if (!fails) return call(bytes);
  if (plan->halves != 0 && bytes > 1) return call(bytes / 2);
  errno = error;
  return -1;
}

int fail(int error) {
  errno = error;
  return -1;
}

/// The first part of a message, cut to half.
size_t first_length(const msghdr* m) { return m->msg_iovlen > 0 ? m->msg_iov[0].iov_len : 0; }

}  // namespace

extern "C" {

void* malloc(size_t n) {
  if (!hit(kAlloc)) return __libc_malloc(n);
  errno = ENOMEM;
  return nullptr;
}
void* calloc(size_t n, size_t size) {
  if (!hit(kAlloc)) return __libc_calloc(n, size);
  errno = ENOMEM;
  return nullptr;
}
void* realloc(void* p, size_t n) {
  if (n == 0 || !hit(kAlloc)) return __libc_realloc(p, n);
  errno = ENOMEM;
  return nullptr;
}
void* aligned_alloc(size_t alignment, size_t n) {
  if (!hit(kAlloc)) return __libc_memalign(alignment, n);
  errno = ENOMEM;
  return nullptr;
}
int posix_memalign(void** out, size_t alignment, size_t n) {
  void* p = hit(kAlloc) ? nullptr : __libc_memalign(alignment, n);
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

int open(const char* path, int flags, ...) {
  REAL(open);
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  return hit(kOpen) ? fail(EMFILE) : real(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  REAL(open);
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  return hit(kOpen) ? fail(EMFILE) : real(path, flags, mode);
}

ssize_t read(int fd, void* to, size_t n) {
  REAL(read);
  return pass(plan != nullptr && is(fd, S_IFREG) && hit(kRead), EIO, n, [&](size_t k) { return real(fd, to, k); });
}
ssize_t pread(int fd, void* to, size_t n, off_t at) {
  REAL(pread);
  return pass(hit(kRead), EIO, n, [&](size_t k) { return real(fd, to, k, at); });
}
ssize_t pread64(int fd, void* to, size_t n, off_t at) { return pread(fd, to, n, at); }
ssize_t write(int fd, const void* from, size_t n) {
  REAL(write);
  return pass(plan != nullptr && is(fd, S_IFREG) && hit(kWrite), ENOSPC, n,
              [&](size_t k) { return real(fd, from, k); });
}
ssize_t pwrite(int fd, const void* from, size_t n, off_t at) {
  REAL(pwrite);
  return pass(hit(kWrite), ENOSPC, n, [&](size_t k) { return real(fd, from, k, at); });
}
ssize_t pwrite64(int fd, const void* from, size_t n, off_t at) { return pwrite(fd, from, n, at); }
int fsync(int fd) {
  REAL(fsync);
  return hit(kWrite) ? fail(EIO) : real(fd);
}
int ftruncate(int fd, off_t n) noexcept {
  REAL(ftruncate);
  return hit(kWrite) ? fail(EIO) : real(fd, n);
}
int ftruncate64(int fd, off_t n) noexcept { return ftruncate(fd, n); }

ssize_t recv(int fd, void* to, size_t n, int flags) {
  REAL(recv);
  return pass(hit(kReceive), ECONNRESET, n, [&](size_t k) { return real(fd, to, k, flags); });
}
ssize_t recvmsg(int fd, msghdr* m, int flags) {
  REAL(recvmsg);
  return pass(hit(kReceive), ECONNRESET, first_length(m), [&](size_t k) {
    return k == first_length(m) ? real(fd, m, flags) : recv(fd, m->msg_iov[0].iov_base, k, flags);
  });
}
ssize_t send(int fd, const void* from, size_t n, int flags) {
  REAL(send);
  return pass(hit(kSend), ECONNRESET, n, [&](size_t k) { return real(fd, from, k, flags); });
}
ssize_t sendmsg(int fd, const msghdr* m, int flags) {
  REAL(sendmsg);
  return pass(hit(kSend), ECONNRESET, first_length(m), [&](size_t k) {
    return k == first_length(m) ? real(fd, m, flags) : send(fd, m->msg_iov[0].iov_base, k, flags);
  });
}
int accept(int fd, sockaddr* from, socklen_t* length) {
  REAL(accept);
  return hit(kAccept) ? fail(EMFILE) : real(fd, from, length);
}
int accept4(int fd, sockaddr* from, socklen_t* length, int flags) {
  REAL(accept4);
  return hit(kAccept) ? fail(EMFILE) : real(fd, from, length, flags);
}

/// A thread that is hit here never gets on: it hangs.
int clock_gettime(clockid_t clock, timespec* out) noexcept {
  REAL(clock_gettime);
  while (hit(kClock)) ::pause();
  return real(clock, out);
}

}  // extern "C"
