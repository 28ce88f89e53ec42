// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/thread/run_delay.h"

#include <dirent.h>

#include <cstdint>
#include <cstdio>
#include <memory>

namespace vibee {

double run_delay() {
  // Second number of schedstat (Linux, Documentation/scheduler/sched-stats.rst), nanoseconds.
  constexpr char kTasks[] = "/proc/self/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir(kTasks), ::closedir);
  uint64_t sum = 0;
  while (const dirent* task = tasks ? ::readdir(tasks.get()) : nullptr) {
    char path[sizeof kTasks + sizeof task->d_name + sizeof "/schedstat"];
    std::snprintf(path, sizeof path, "%s/%s/schedstat", kTasks, task->d_name);
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "re"), std::fclose);
    unsigned long long ran = 0, waited = 0;
    if (file && std::fscanf(file.get(), "%llu %llu", &ran, &waited) == 2) sum += waited;
  }
  return double(sum) * 1e-9;
}

}  // namespace vibee
