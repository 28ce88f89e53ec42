// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/supervise.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "vibee/app/cli/cli.h"

namespace vibee {

std::optional<int> supervise(const std::function<void(const std::string&)>& log) {
  // Signals are waited for instead of caught: nothing happens between them.
  sigset_t awaited, before;
  sigemptyset(&awaited);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&awaited, signal);
  sigprocmask(SIG_BLOCK, &awaited, &before);
  const pid_t parent = ::getpid();
  double pause = 0;
  bool ending = false;
  for (;;) {
    const auto begun = std::chrono::steady_clock::now();
    const pid_t child = ::fork();
    if (child < 0) {
      log(fmt::format("--supervise: no process: {}", std::strerror(errno)));
      return kExitFailed;
    }
    if (child == 0) {
      sigprocmask(SIG_SETMASK, &before, nullptr);
      ::setpgid(0, 0);  // an interrupt from the terminal comes through the parent, once
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) std::_Exit(kExitFailed);  // it died before it could be said
      return std::nullopt;
    }
    int status = 0;
    for (;;) {
      const int signal = sigwaitinfo(&awaited, nullptr);
      if (signal == SIGCHLD) {
        if (::waitpid(child, &status, WNOHANG) == child) break;
      } else if (signal > 0) {
        ending |= signal != SIGHUP;
        ::kill(child, signal);
      }
    }
    const bool killed = WIFSIGNALED(status);
    if (!killed && WEXITSTATUS(status) != kExitAgain) return WEXITSTATUS(status);
    if (ending) return killed ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    // One that dies again and again is started ever later, up to ten seconds.
    const std::chrono::duration<double> lived = std::chrono::steady_clock::now() - begun;
    pause = lived.count() > 60 ? 0 : std::min(10.0, 2 * pause + 0.1);
    log(fmt::format("the server {} {}; it is started again in {:.1f} s", killed ? "was ended by signal" : "ended with",
                    killed ? WTERMSIG(status) : WEXITSTATUS(status), pause));
    timespec wait = {time_t(pause), long((pause - double(time_t(pause))) * 1e9)};
    sigset_t ends = awaited;
    sigdelset(&ends, SIGCHLD);
    if (const int signal = sigtimedwait(&ends, nullptr, &wait); signal == SIGTERM || signal == SIGINT) return 0;
  }
}

}  // namespace vibee
