// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/run_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "vibee/base/text/quote.h"

extern char** environ;

namespace vibee {
namespace {

constexpr size_t kKept = 64 << 10, kMostInput = 4096;
using Clock = std::chrono::steady_clock;
constexpr auto kStep = std::chrono::milliseconds(200);

std::vector<std::string> merged_environment(const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::string> out;
  for (char** e = environ; e && *e; ++e) {
    const std::string_view entry = *e;
    bool replaced = false;
    for (const auto& [name, value] : more) {
      replaced |= entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=';
    }
    if (!replaced) out.emplace_back(entry);
  }
  for (const auto& [name, value] : more) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

// Runs in the forked child: only calls that are safe there, nothing that allocates.
[[noreturn]] void become(char* const* argv, char* const* envp, int input, int errors, int null, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  ::signal(SIGPIPE, SIG_DFL);
  ::dup2(input, 0);
  ::dup2(null, 1);
  ::dup2(errors, 2);
  ::execvpe(argv[0], argv, envp);
  ::_exit(errno == ENOENT ? 127 : 126);
}

}  // namespace

Result<ProcessEnd> run_process(const std::vector<std::string>& args,
                               const std::vector<std::pair<std::string, std::string>>& environment,
                               const std::function<bool()>& step, std::string_view input) {
  VIBEE_CHECK(input.size() <= kMostInput, "{} bytes of input", input.size());
  std::vector<std::string> words = args, settings = merged_environment(environment);
  const std::vector<char*> argv = pointers(words), envp = pointers(settings);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return error(Code::io, "a pipe cannot be made: {}", std::strerror(errno));
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  int in[2] = {-1, -1};
  if (!input.empty() && ::pipe2(in, O_CLOEXEC) == 0) {
    // Fits into the pipe, so nobody needs to read it yet.
    if (::write(in[1], input.data(), input.size()) != ssize_t(input.size())) ::close(std::exchange(in[0], -1));
    ::close(in[1]);
  }
  const bool ready = null >= 0 && (input.empty() || in[0] >= 0);
  const pid_t parent = ::getpid();
  const pid_t child = ready ? ::fork() : -1;
  if (child == 0) become(argv.data(), envp.data(), input.empty() ? null : in[0], ends[1], null, parent);
  const int why = errno;
  ::close(ends[1]);
  if (null >= 0) ::close(null);
  if (in[0] >= 0) ::close(in[0]);
  if (child < 0) {
    ::close(ends[0]);
    return error(Code::io, "{} cannot be started: {}", quote(args[0]), std::strerror(why));
  }
  ::setpgid(child, child);  // also here: a kill of the group must not come before the child's own call

  ProcessEnd end;
  bool open = true, cancelled = false;
  Clock::time_point asked{};
  int state = 0;
  for (;;) {
    struct pollfd wait = {open ? ends[0] : -1, POLLIN, 0};
    (void)::poll(&wait, 1, open ? int(kStep.count()) : 5);  // its end follows that of its stderr
    if (open && wait.revents) {
      char chunk[4096];
      const ssize_t n = ::read(ends[0], chunk, sizeof chunk);
      if (n > 0) {
        end.errors.append(chunk, size_t(n));
        if (end.errors.size() > 2 * kKept) end.errors.erase(0, end.errors.size() - kKept);
      }
      if (n == 0) open = false;
    }
    const Clock::time_point now = Clock::now();
    if (!cancelled && step && now - asked >= kStep) {
      asked = now;
      cancelled = !step();
      if (cancelled) ::kill(-child, SIGKILL);
    }
    const pid_t done = ::waitpid(child, &state, WNOHANG);
    if (done == child || (done < 0 && errno != EINTR)) break;
  }
  // What it wrote before its end; a grandchild that holds the pipe open is not waited for.
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  char chunk[4096];
  for (ssize_t n; open && end.errors.size() < 4 * kKept && (n = ::read(ends[0], chunk, sizeof chunk)) > 0;) {
    end.errors.append(chunk, size_t(n));
  }
  ::close(ends[0]);
  if (end.errors.size() > kKept) end.errors.erase(0, end.errors.size() - kKept);
  if (cancelled) return error(Code::cancelled, "cancelled");
  end.exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  return end;
}

}  // namespace vibee
