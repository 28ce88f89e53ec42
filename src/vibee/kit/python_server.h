// SPDX-License-Identifier: Apache-2.0
// A server of tests/ that runs as a process of its own: `python3 tests/SCRIPT ROOT` writes its port into ROOT/port.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace vibee {

/// Killed with this object, or when this process ends.
class PythonServer {
 public:
  PythonServer(const std::string& script, const std::filesystem::path& root) {
    std::filesystem::create_directories(root);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execlp("python3", "python3", (VIBEE_SOURCE_DIR "/tests/" + script).c_str(), root.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 2000 && !std::filesystem::exists(root / "port"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::ifstream port(root / "port");
    url_ = "http://127.0.0.1:" + std::string(std::istreambuf_iterator<char>(port), {});
  }
  PythonServer(const PythonServer&) = delete;
  PythonServer& operator=(const PythonServer&) = delete;
  ~PythonServer() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  const std::string& url() const { return url_; }

 private:
  pid_t pid_;
  std::string url_;
};

}  // namespace vibee
