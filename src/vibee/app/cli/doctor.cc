// SPDX-License-Identifier: Apache-2.0
// vibee doctor: this machine's measured limits, the instruction sets that kernels can use, its devices, and optional
// parts that are absent.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/device_report.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/device/cublaslt.h"
#include "vibee/hw/device/probe.h"
#include "vibee/model/cache/cache.h"

namespace vibee {
namespace {

/// A library (.so, or else an older one) or a program.
struct Optional {
  const char *file, *name, *cost, *older = nullptr;
  bool present() const {
    if (std::string_view(file).find(".so") != std::string_view::npos) {
      void* handle = dlopen(file, RTLD_LAZY);
      if (!handle && older) handle = dlopen(older, RTLD_LAZY);
      return handle != nullptr && dlclose(handle) == 0;
    }
    const char* path = std::getenv("PATH");
    std::string_view rest = path ? path : "";
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(':'), rest.size());
      if (access(fmt::format("{}/{}", rest.substr(0, end), file).c_str(), X_OK) == 0) return true;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return false;
  }
};
constexpr Optional kOptional[] = {
    {"libcuda.so.1", "CUDA driver", "models run on the CPU only"},
    {"libcudnn.so.9", "cuDNN", "nothing yet: no kernel of this build asks for it"},
    {"libnvrtc.so.13", "NVRTC", "nothing yet, the same", "libnvrtc.so.12"},
    {"libnccl.so.2", "NCCL", "nothing yet, the same"},
    {"libOpenCL.so.1", "OpenCL", "no OpenCL device can be used"},
    {"libopenblas.so.0", "OpenBLAS",
     "`vibee train` with kernels.gemm = auto has less to choose from; install libopenblas0-pthread"},
    {"libdnnl.so.2", "oneDNN", "the same; install libdnnl2"},
    {"curl", "curl", "`vibee pull` cannot fetch repositories and addresses; install curl"},
    {"python3", "python3", "`vibee pull` cannot fetch the known models, which pip does; install python3-pip"},
};

}  // namespace

int verb_doctor(int argc, char** argv) {
  bool json = false, quick = false;
  Args args(
      "doctor",
      "Measures memory bandwidth at 1 to n threads, fp32 and int8 peaks, disk reads and copies to and from devices, "
      "and says what is missing and what that costs.");
  args.add("--json", json, "print an object");
  args.add("--quick", quick, "fewer repetitions, no disk");
  args.example("vibee doctor --json");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  const Isa isa = detected_isa();
  auto bandwidth = BandwidthProbe::create();
  if (!bandwidth.ok()) return fail("doctor", bandwidth.status());
  std::vector<std::string> rows;
  std::string text;
  for (uint32_t threads = 1; threads <= cores; threads = threads < cores && threads * 2 > cores ? cores : threads * 2) {
    Team team(threads);
    const double gb = bandwidth->gb_per_second(team, isa, quick ? 3 : 9);
    const ComputePeaks peaks = compute_peaks(team, isa, quick ? 3 : 7);
    rows.push_back(JsonObject()
                       .integer("threads", threads)
                       .number("read_gb_s", gb)
                       .number("fma_gflops", peaks.fma_gflops)
                       .number("int8_gops", peaks.int8_gops)
                       .str());
    text += fmt::format("  {:>2} threads: memory read {:>6.1f} GB/s   fp32 {:>7.1f} GFLOP/s   int8 {:>7.1f} GOP/s\n",
                        threads, gb, peaks.fma_gflops, peaks.int8_gops);
    if (threads == cores) break;
  }
  std::string disk_note = "not measured (--quick)";
  const double disk = quick ? 0 : disk_read_gb_per_second("/tmp", 256u << 20, &disk_note);
  std::vector<std::string> isas, missing;
  std::string isa_text;
  for (Isa i : kIsas) {
    isas.push_back(JsonObject().text("isa", name(i)).boolean("runs", i <= isa).str());
    isa_text += fmt::format("{}{}{}", isa_text.empty() ? "" : ", ", name(i), i <= isa ? "" : " (absent)");
  }
  std::string optional_text;
  for (const Optional& o : kOptional) {
    const bool present = o.present();
    optional_text += fmt::format("  {:<12} {}\n", o.name, present ? "present" : fmt::format("absent: {}", o.cost));
    missing.push_back(
        JsonObject().text("name", o.name).boolean("present", present).text("cost_of_absence", o.cost).str());
  }
  const auto& vendor = cublaslt();
  const std::string vendor_note =
      vendor.ok() ? fmt::format("{} ({})", (*vendor)->version_text(), (*vendor)->path)
                  : fmt::format("nothing yet: no plan takes products from it; {}", vendor.status().message());
  optional_text += fmt::format("  {:<12} {}: {}\n", "cuBLASLt", vendor.ok() ? "present" : "absent", vendor_note);
  missing.push_back(
      JsonObject()
          .text("name", "cuBLASLt")
          .boolean("present", vendor.ok())
          .text("cost_of_absence", vendor.ok() ? "nothing yet: no plan takes products from it" : vendor_note)
          .str());
  const DeviceReport devices = report_devices(quick);
  if (json) {
    std::puts(JsonObject()
                  .text("cpu", cpu_name())
                  .integer("cores", cores)
                  .integer("memory_available", available_memory())
                  .raw("limits", json_array(rows))
                  .number("disk_read_gb_s", disk)
                  .text("disk_note", disk_note)
                  .raw("instruction_sets", json_array(isas))
                  .raw("cuda", devices.json)
                  .raw("optional", json_array(missing))
                  .str()
                  .c_str());
    return kExitOk;
  }
  std::fputs(fmt::format("{}, {} cores, {:.1f} GiB of memory available\nmeasured limits (median):\n{}", cpu_name(),
                         cores, double(available_memory()) / (1u << 30), text)
                 .c_str(),
             stdout);
  std::fputs(disk > 0 ? fmt::format("  disk read {:.2f} GB/s ({})\n", disk, disk_note).c_str()
                      : fmt::format("  disk: {}\n", disk_note).c_str(),
             stdout);
  std::fputs(fmt::format("kernels for: {}\n{}optional parts:\n{}", isa_text, devices.text, optional_text).c_str(),
             stdout);
  return kExitOk;
}

}  // namespace vibee
