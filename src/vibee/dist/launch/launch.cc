// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/launch/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace vibee {
namespace {

/// Between two words of a line; empty where they are not there.
std::string between(const std::string& line, const char* before, const char* after) {
  const size_t begin = line.find(before);
  if (begin == std::string::npos) return "";
  const size_t from = begin + std::strlen(before), end = line.find(after, from);
  return end == std::string::npos ? "" : line.substr(from, end - from);
}

std::vector<std::string> arguments_of(const LaunchOptions& options) {
  // More ranks than cores are fine and wait politely; memory of other processes, which containers refuse to show, is
  // not read.
  std::vector<std::string> args = {"mpirun",
                                   "-n",
                                   std::to_string(options.ranks),
                                   "--oversubscribe",
                                   "--bind-to",
                                   "none",
                                   "--mca",
                                   "mpi_yield_when_idle",
                                   "1",
                                   "--mca",
                                   "btl_vader_single_copy_mechanism",
                                   "none",
                                   "--mca",
                                   "orte_base_help_aggregate",
                                   "1"};
  args.insert(args.end(), options.command.begin(), options.command.end());
  return args;
}

}  // namespace

bool LaunchLines::take(const std::string& line) {
  // mpirun frames what it says in lines of dashes.
  if (line.size() > 20 && line.find_first_not_of('-') == std::string::npos) {
    inside_ = !inside_;
    return false;
  }
  const std::string rank = between(line, "process rank ", " with PID");
  if (inside_) {
    const size_t at = line.find("exited on signal ");
    if (at != std::string::npos) {
      std::string what = line.substr(at + std::strlen("exited on signal "));
      if (!what.empty() && what.back() == '.') what.pop_back();
      const std::string whose = rank.empty() ? between(said_ + " " + line, "process rank ", " with PID") : rank;
      if (lost_.empty()) lost_ = fmt::format("rank {} was ended by signal {}", whose, what);
    }
    if (!line.empty()) said_ += (said_.empty() ? "" : " ") + line;
    return false;
  }
  if (line.empty() || line.rfind("mpirun: ", 0) == 0) return false;
  // Ranks run the same program, and say the same of the same mistake.
  if (line.rfind("vibee ", 0) == 0) {
    rank_spoke_ = true;
    if (std::find(errors_.begin(), errors_.end(), line) != errors_.end()) return false;
    errors_.push_back(line);
  }
  return true;
}

Result<int> launch(const LaunchOptions& options) {
  int errors[2];
  if (::pipe2(errors, O_CLOEXEC) != 0) return error(Code::io, "no pipe: {}", std::strerror(errno));
  std::vector<std::string> args = arguments_of(options);
  std::vector<char*> pointers;
  for (std::string& arg : args) pointers.push_back(arg.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid(), child = ::fork();
  if (child < 0) return error(Code::io, "no process: {}", std::strerror(errno));
  if (child == 0) {
    ::setpgid(0, 0);  // an interrupt from the terminal comes through the parent
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(errors[1], STDERR_FILENO);
    // A container's only user is root; the job stays on this machine.
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  ::close(errors[1]);
  LaunchLines lines;
  std::string held;
  bool asked = false;
  for (bool open = true; open;) {
    if (!asked && options.interrupted()) {
      asked = true;
      ::kill(child, SIGUSR1);
    }
    pollfd waiting{errors[0], POLLIN, 0};
    if (::poll(&waiting, 1, 100) <= 0) continue;
    std::array<char, 4096> bytes;
    const ssize_t n = ::read(errors[0], bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    open = n > 0;
    if (open) held.append(bytes.data(), size_t(n));
    for (size_t end = held.find('\n'); end != std::string::npos; end = held.find('\n')) {
      const std::string line = held.substr(0, end);
      held.erase(0, end + 1);
      if (lines.take(line)) options.line(line);
    }
  }
  ::close(errors[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!held.empty() && lines.take(held)) options.line(held);
  const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (code == 127) return error(Code::not_found, "mpirun: cannot be started; install Open MPI (Debian: openmpi-bin)");
  if (!lines.lost().empty()) return error(Code::io, "{}; the other ranks were ended", lines.lost());
  if (code != 0 && !lines.rank_spoke()) return error(Code::io, "mpirun ended with {}: {}", code, lines.said());
  return code;
}

}  // namespace vibee
