// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/host_cuda_driver.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "vibee/core/device/image_architectures.h"
#include "vibee/kit/tensor_tiles.h"

namespace vibee {
namespace {

using Id = HostStreams::Id;
constexpr CudaResult kOk = CudaResult::success, kInvalid = CudaResult::invalid_value;

template <class Handle>
Id id_of(Handle* handle) {
  return reinterpret_cast<Id>(handle);
}

template <class Handle>
Handle* handle_of(Id id) {
  return reinterpret_cast<Handle*>(id);
}

/// How a call behaves beside what it does.
enum class Kind {
  plain,
  describes,   // neither counted nor failed: errors are described by it
  gives_back,  // does so when it fails, too
  refuses,     // does nothing when it fails
};

constexpr Kind kind_of(std::string_view symbol) {
  for (std::string_view s : {"cuGetErrorName", "cuGetErrorString"})
    if (s == symbol) return Kind::describes;
  for (std::string_view s :
       {"cuDevicePrimaryCtxRelease_v2", "cuCtxPopCurrent_v2", "cuMemFree_v2", "cuMemFreeHost", "cuStreamDestroy_v2",
        "cuEventDestroy_v2", "cuModuleUnload", "cuGraphDestroy", "cuGraphExecDestroy"})
    if (s == symbol) return Kind::gives_back;
  return symbol == "cuCtxPushCurrent_v2" ? Kind::refuses : Kind::plain;
}

}  // namespace

struct HostCuda {
  explicit HostCuda(HostCudaOptions o) : options(std::move(o)), streams(options.seed), random(options.seed) {}

  HostCudaOptions options;
  std::mutex mutex;
  HostMemory device{"device"}, pinned{"pinned"};
  HostStreams streams;
  std::mt19937_64 random;
  bool initialised = false;
  int contexts = 0;
  std::map<std::thread::id, int> pushed;
  struct Function {
    const HostFunction* function = nullptr;
    std::string name;
    int dynamic_shared = 0;
  };
  struct Module {
    std::map<std::string, std::unique_ptr<Function>> functions;
  };
  std::map<Id, std::unique_ptr<Module>> modules;
  CudaResult lost = kOk;
  uint64_t calls = 0, fail_in = 0;
  std::map<std::string, uint64_t, std::less<>> calls_of;
  CudaResult fail_with = kOk;
  HostCudaDriver::Fault fault = HostCudaDriver::Fault::refused;
  std::string fail_symbol, failed;

  static inline HostCuda* current = nullptr;

  template <class F>
  CudaResult enter(const char* symbol, F&& work) {
    std::lock_guard lock(mutex);
    const Kind kind = kind_of(symbol);
    if (kind == Kind::describes) return work();
    ++calls, ++calls_of[symbol];
    const bool fails = fail_in > 0 && (fail_symbol.empty() || fail_symbol == symbol) && --fail_in == 0;
    if (fails) failed = symbol;
    const bool refused = fails && (kind == Kind::refuses || fault == HostCudaDriver::Fault::refused);
    const bool works = kind == Kind::gives_back || (lost == kOk && !refused);
    CudaResult r = works ? work() : lost;
    if (fails) r = fail_with;
    if (r == CudaResult::illegal_address || r == CudaResult::launch_failed || r == CudaResult::unknown) lost = r;
    return lost != kOk ? lost : r;
  }

  bool in_context(const char* what) {
    if (pushed[std::this_thread::get_id()] > 0) return true;
    streams.problem(fmt::format("{}: no context is current", what));
    return false;
  }

  CudaResult init(unsigned) {
    initialised = true;
    return options.devices > 0 ? kOk : CudaResult::no_device;
  }
  CudaResult driver_version(int* version) { return *version = options.version, kOk; }
  CudaResult error_name(CudaResult result, const char** name) {
    switch (result) {
      case CudaResult::out_of_memory: return *name = "CUDA_ERROR_OUT_OF_MEMORY", kOk;
      case CudaResult::no_device: return *name = "CUDA_ERROR_NO_DEVICE", kOk;
      case CudaResult::no_binary_for_gpu: return *name = "CUDA_ERROR_NO_BINARY_FOR_GPU", kOk;
      case CudaResult::illegal_address: return *name = "CUDA_ERROR_ILLEGAL_ADDRESS", kOk;
      case CudaResult::not_found: return *name = "CUDA_ERROR_NOT_FOUND", kOk;
      default: return kInvalid;  // as a driver that does not know it
    }
  }
  CudaResult error_text(CudaResult result, const char** text) { return *text = "text of the host's driver", kOk; }
  CudaResult device_count(int* count) {
    if (!initialised) return CudaResult(3);
    return *count = options.devices, kOk;
  }
  bool there(int ordinal) const { return ordinal >= 0 && ordinal < options.devices; }
  CudaResult device_get(int* out, int ordinal) {
    if (!there(ordinal)) return CudaResult::invalid_device;
    return *out = ordinal, kOk;
  }
  CudaResult device_name(char* out, int bytes, int d) {
    std::strncpy(out, options.name.c_str(), size_t(bytes) - 1);
    return kOk;
  }
  CudaResult device_memory(size_t* bytes, int) { return *bytes = options.memory, kOk; }
  CudaResult device_uuid(CudaUuid* uuid, int d) {
    for (int i = 0; i < 16; ++i) uuid->bytes[i] = static_cast<unsigned char>(16 * d + i);
    return kOk;
  }
  CudaResult device_pci(char* out, int bytes, int d) {
    const std::string text = fmt::format("0000:{:02x}:00.0", d + 1);
    std::strncpy(out, text.c_str(), size_t(bytes) - 1);
    return kOk;
  }
  CudaResult device_attribute(int* value, CudaAttribute which, int) {
    switch (which) {
      case CudaAttribute::major: return *value = options.major, kOk;
      case CudaAttribute::minor: return *value = options.minor, kOk;
      case CudaAttribute::multiprocessors: return *value = options.multiprocessors, kOk;
      case CudaAttribute::shared_per_block:
      case CudaAttribute::shared_per_multiprocessor: return *value = options.shared_per_block, kOk;
      case CudaAttribute::clock_khz:
      case CudaAttribute::memory_clock_khz: return *value = 1000000, kOk;
      default: return *value = 0, kOk;
    }
  }

  CudaResult context_retain(CUctx_st** out, int) {
    ++contexts;
    return *out = handle_of<CUctx_st>(1), kOk;
  }
  CudaResult context_release(int) {
    if (--contexts < 0) streams.problem("a context is released that nobody retained");
    return kOk;
  }
  CudaResult context_push(CUctx_st* context) {
    if (!context || contexts < 1) return CudaResult::invalid_context;
    ++pushed[std::this_thread::get_id()];
    return kOk;
  }
  CudaResult context_pop(CUctx_st** context) {
    if (!in_context("cuCtxPopCurrent")) return CudaResult::invalid_context;
    --pushed[std::this_thread::get_id()];
    return *context = handle_of<CUctx_st>(1), kOk;
  }

  CudaResult memory_info(size_t* free, size_t* total) {
    if (!in_context("cuMemGetInfo")) return CudaResult::invalid_context;
    return *free = options.memory - device.used(), *total = options.memory, kOk;
  }
  CudaResult memory_alloc(CudaAddress* out, size_t bytes) {
    if (!in_context("cuMemAlloc")) return CudaResult::invalid_context;
    if (streams.capturing()) return CudaResult::capture_unsupported;
    if (bytes == 0) return kInvalid;
    if (bytes > options.memory - device.used()) return CudaResult::out_of_memory;
    return *out = reinterpret_cast<uintptr_t>(device.allocate(bytes)), kOk;
  }
  CudaResult memory_free(CudaAddress address) { return device.free(reinterpret_cast<void*>(address)) ? kOk : kInvalid; }
  CudaResult host_alloc(void** out, size_t bytes, unsigned) {
    if (!in_context("cuMemHostAlloc")) return CudaResult::invalid_context;
    return *out = pinned.allocate(bytes), kOk;
  }
  CudaResult host_free(void* address) { return pinned.free(address) ? kOk : kInvalid; }

  /// Both ends are checked when it is submitted and, because they may be freed until then, when it runs.
  CudaResult copy(const char* name, HostMemory& to, uintptr_t at, HostMemory& from, uintptr_t source, size_t bytes,
                  CUstream_st* stream) {
    if (!in_context(name)) return CudaResult::invalid_context;
    const auto inside = [name, &to, at, &from, source, bytes] {
      return to.check(fmt::format("{} to", name), at, bytes) && from.check(fmt::format("{} from", name), source, bytes);
    };
    if (!inside()) return kInvalid;
    return streams.submit(id_of(stream), fmt::format("{} of {}", name, bytes), [=] {
      if (!inside()) return CudaResult::illegal_address;
      std::memmove(reinterpret_cast<void*>(at), reinterpret_cast<const void*>(source), bytes);
      return kOk;
    });
  }
  CudaResult copy_in(CudaAddress to, const void* from, size_t bytes, CUstream_st* stream) {
    return copy("cuMemcpyHtoDAsync", device, to, pinned, reinterpret_cast<uintptr_t>(from), bytes, stream);
  }
  CudaResult copy_out(void* to, CudaAddress from, size_t bytes, CUstream_st* stream) {
    return copy("cuMemcpyDtoHAsync", pinned, reinterpret_cast<uintptr_t>(to), device, from, bytes, stream);
  }
  CudaResult copy_within(CudaAddress to, CudaAddress from, size_t bytes, CUstream_st* stream) {
    return copy("cuMemcpyDtoDAsync", device, to, device, from, bytes, stream);
  }
  CudaResult fill(CudaAddress to, unsigned char value, size_t bytes, CUstream_st* stream) {
    if (!in_context("cuMemsetD8Async")) return CudaResult::invalid_context;
    if (!device.check("cuMemsetD8Async", to, bytes)) return kInvalid;
    return streams.submit(id_of(stream), fmt::format("fill of {}", bytes), [=, this] {
      if (!device.check("cuMemsetD8Async", to, bytes)) return CudaResult::illegal_address;
      std::memset(reinterpret_cast<void*>(to), value, bytes);
      return kOk;
    });
  }

  /// Takes what a device takes of matrices of 16-bit elements with 128B swizzle (CUDA Driver API,
  /// cuTensorMapEncodeTiled).
  CudaResult tensor_map_encode(TensorMap* out, int type, unsigned rank, void* base, const uint64_t* sizes,
                               const uint64_t* strides, const uint32_t* box, const uint32_t* steps, int interleave,
                               int swizzle, int promotion, int fill) {
    if (!in_context("cuTensorMapEncodeTiled")) return CudaResult::invalid_context;
    const bool known = (type == 6 || type == 9) && rank == 2 && interleave == 0 && swizzle == 3 && promotion <= 3;
    const bool sized = sizes[0] > 0 && sizes[1] > 0 && std::max(sizes[0], sizes[1]) <= uint64_t(1) << 32 &&
                       strides[0] % 16 == 0 && strides[0] >= sizes[0] * 2 && strides[0] < uint64_t(1) << 40;
    const bool boxed = box[0] == kBoxColumns && box[1] > 0 && box[1] <= 256 && steps[0] == 1 && steps[1] == 1;
    const auto at = reinterpret_cast<uintptr_t>(base);
    if (!known || !sized || !boxed || fill != 0 || at % 16 != 0) return kInvalid;
    const TensorTiles tiles{
        .base = at, .columns = sizes[0], .rows = sizes[1], .row_bytes = strides[0], .box_rows = box[1]};
    std::memcpy(out, &tiles, sizeof tiles);
    return kOk;
  }

  CudaResult stream_create(CUstream_st** out, unsigned) {
    if (!in_context("cuStreamCreate")) return CudaResult::invalid_context;
    return *out = handle_of<CUstream_st>(streams.create_stream()), kOk;
  }
  CudaResult stream_destroy(CUstream_st* s) { return streams.destroy_stream(id_of(s)); }
  CudaResult stream_synchronize(CUstream_st* s) { return streams.synchronize_stream(id_of(s)); }
  CudaResult stream_query(CUstream_st* s) { return streams.query_stream(id_of(s)); }
  CudaResult stream_wait(CUstream_st* s, CUevent_st* e, unsigned) { return streams.wait(id_of(s), id_of(e)); }
  CudaResult event_create(CUevent_st** out, unsigned flags) {
    if (!in_context("cuEventCreate")) return CudaResult::invalid_context;
    return *out = handle_of<CUevent_st>(streams.create_event(!(flags & kCudaEventDisableTiming))), kOk;
  }
  CudaResult event_destroy(CUevent_st* e) { return streams.destroy_event(id_of(e)); }
  CudaResult event_record(CUevent_st* e, CUstream_st* s) { return streams.record(id_of(e), id_of(s)); }
  CudaResult event_synchronize(CUevent_st* e) { return streams.synchronize_event(id_of(e)); }
  CudaResult event_query(CUevent_st* e) { return streams.query_event(id_of(e)); }
  CudaResult event_elapsed(float* ms, CUevent_st* b, CUevent_st* e) { return streams.elapsed(ms, id_of(b), id_of(e)); }

  /// A device runs machine code of its own major version and a smaller or the same minor one, and PTX of any before.
  bool runs(const std::string& architectures) const {
    for (size_t at = 0; (at = architectures.find('_', at)) != std::string::npos; ++at) {
      const int sm = std::atoi(architectures.c_str() + at + 1), mine = options.major * 10 + options.minor;
      const bool ptx = at >= 7 && architectures.compare(at - 7, 7, "compute") == 0;
      if (sm <= mine && (ptx || sm / 10 == options.major)) return true;
    }
    return false;
  }
  CudaResult module_load(CUmod_st** out, const void* image) {
    if (!in_context("cuModuleLoadData")) return CudaResult::invalid_context;
    uint64_t stated = 0;
    std::memcpy(&stated, static_cast<const char*>(image) + 8, sizeof stated);
    const std::string has = image_architectures({static_cast<const std::byte*>(image), size_t(stated) + 16});
    if (has == "unknown") return CudaResult::invalid_image;
    if (!runs(has)) return CudaResult::no_binary_for_gpu;
    auto module = std::make_unique<Module>();
    *out = reinterpret_cast<CUmod_st*>(module.get());
    modules[id_of(*out)] = std::move(module);
    return kOk;
  }
  CudaResult module_unload(CUmod_st* module) {
    if (modules.erase(id_of(module))) return kOk;
    streams.problem("a module is unloaded that is not there");
    return CudaResult::invalid_handle;
  }
  CudaResult module_function(CUfunc_st** out, CUmod_st* module, const char* name) {
    const auto found = modules.find(id_of(module));
    if (found == modules.end()) return CudaResult::invalid_handle;
    const HostFunction* const function = options.find ? options.find(name) : nullptr;
    if (!function) return CudaResult::not_found;
    auto& place = found->second->functions[name];
    if (!place) place = std::make_unique<Function>(Function{function, name, 0});
    return *out = reinterpret_cast<CUfunc_st*>(place.get()), kOk;
  }
  Function* function(CUfunc_st* handle) {
    for (auto& [id, module] : modules)
      for (auto& [name, f] : module->functions)
        if (reinterpret_cast<CUfunc_st*>(f.get()) == handle) return f.get();
    streams.problem("a kernel is used whose module is not loaded");
    return nullptr;
  }
  CudaResult function_attribute(int* value, CudaFunctionAttribute which, CUfunc_st* handle) {
    const Function* const f = function(handle);
    if (!f) return CudaResult::invalid_handle;
    switch (which) {
      case CudaFunctionAttribute::max_threads: return *value = f->function->max_threads, kOk;
      case CudaFunctionAttribute::static_shared: return *value = f->function->static_shared, kOk;
      case CudaFunctionAttribute::local_bytes: return *value = f->function->local_bytes, kOk;
      case CudaFunctionAttribute::registers: return *value = f->function->registers, kOk;
      case CudaFunctionAttribute::max_dynamic_shared: return *value = f->dynamic_shared, kOk;
    }
    return kInvalid;
  }
  CudaResult set_function_attribute(CUfunc_st* handle, CudaFunctionAttribute which, int value) {
    Function* const f = function(handle);
    if (!f) return CudaResult::invalid_handle;
    if (which != CudaFunctionAttribute::max_dynamic_shared || value < 0 ||
        value + f->function->static_shared > options.shared_per_block)
      return kInvalid;
    return f->dynamic_shared = value, kOk;
  }
  CudaResult launch(CUfunc_st* handle, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                    unsigned threads_z, unsigned shared, CUstream_st* stream, void** args, void** extra) {
    if (!in_context("cuLaunchKernel")) return CudaResult::invalid_context;
    const Function* const f = function(handle);
    if (!f) return CudaResult::invalid_handle;
    const HostFunction& function = *f->function;
    const int allowed = std::max(f->dynamic_shared, (48 << 10) - function.static_shared);
    if (x < 1 || y < 1 || z < 1 || y > 65535 || z > 65535 || threads < 1 || threads_y != 1 || threads_z != 1 ||
        int(threads) > function.max_threads || int(shared) > allowed || extra)
      return kInvalid;
    std::vector<std::vector<std::byte>> copies;
    for (size_t i = 0; i < function.parameter_bytes.size(); ++i) {
      const auto* begin = static_cast<const std::byte*>(args[i]);
      copies.emplace_back(begin, begin + function.parameter_bytes[i]);
    }
    const LaunchShape shape{{x, y, z}, threads, shared};
    return streams.submit(id_of(stream), f->name, [this, &function, name = f->name, shape, copies]() mutable {
      std::vector<void*> pointers;
      pointers.reserve(copies.size());
      for (auto& copy : copies) pointers.push_back(copy.data());
      std::vector<std::span<std::byte>> memory = device.live();
      if (options.unified)
        for (const std::span<std::byte>& block : pinned.live()) memory.push_back(block);
      Status status = function.run({name, shape, options.seed ? random() : 0, std::move(memory)}, pointers.data());
      if (status.ok()) return kOk;
      streams.problem(fmt::format("kernel {}: {}", name, status.message()));
      return CudaResult::illegal_address;
    });
  }

  CudaResult capture_begin(CUstream_st* s, CudaCaptureMode) { return streams.begin_capture(id_of(s)); }
  CudaResult capture_end(CUstream_st* s, CUgraph_st** out) {
    Id id = 0;
    const CudaResult r = streams.end_capture(id_of(s), &id);
    if (r == kOk) *out = handle_of<CUgraph_st>(id);
    return r;
  }
  CudaResult graph_nodes(CUgraph_st* graph, CUgraphNode_st** nodes, size_t* count) {
    return nodes ? kInvalid : streams.nodes(id_of(graph), count);
  }
  CudaResult graph_destroy(CUgraph_st* graph) { return streams.destroy_graph(id_of(graph)); }
  CudaResult graph_instantiate(CUgraphExec_st** out, CUgraph_st* graph, unsigned long long) {
    if (!in_context("cuGraphInstantiate")) return CudaResult::invalid_context;
    Id id = 0;
    const CudaResult r = streams.instantiate(&id, id_of(graph));
    if (r == kOk) *out = handle_of<CUgraphExec_st>(id);
    return r;
  }
  CudaResult graph_update(CUgraphExec_st* exec, CUgraph_st* graph, CudaGraphUpdate* answer) {
    return streams.update(id_of(exec), id_of(graph), answer);
  }
  CudaResult graph_launch(CUgraphExec_st* exec, CUstream_st* s) { return streams.launch(id_of(exec), id_of(s)); }
  CudaResult graph_exec_destroy(CUgraphExec_st* exec) { return streams.destroy_executable(id_of(exec)); }
};

namespace {

/// The member function `Method` of HostCuda as a function without an object.
template <auto Method>
struct Entry;
template <class... P, CudaResult (HostCuda::*Method)(P...)>
struct Entry<Method> {
  static inline const char* symbol = "";
  static CudaResult call(P... parameters) {
    HostCuda* const cuda = HostCuda::current;
    if (!cuda) return CudaResult(4);  // CUDA_ERROR_DEINITIALIZED
    return cuda->enter(symbol, [&] { return (cuda->*Method)(parameters...); });
  }
};

}  // namespace

HostCudaDriver::HostCudaDriver(HostCudaOptions options) : cuda_(std::make_unique<HostCuda>(std::move(options))) {
  VIBEE_CHECK(!HostCuda::current, "two drivers of the host at a time");
  HostCuda::current = cuda_.get();
}

HostCudaDriver::~HostCudaDriver() { HostCuda::current = nullptr; }

Result<std::shared_ptr<const CudaDriver>> HostCudaDriver::load() {
  auto driver = std::make_shared<CudaDriver>();
  driver->path = "the host's driver";
#define VIBEE_CUDA_CALL(field, ...)                        \
  Entry<& HostCuda::field>::symbol = driver->field.symbol; \
  driver->field.function = &Entry<&HostCuda::field>::call;
#include "vibee/core/device/cuda_calls.inc"
#undef VIBEE_CUDA_CALL
  VIBEE_TRY(start_cuda_driver(*driver));
  return std::shared_ptr<const CudaDriver>(std::move(driver));
}

void HostCudaDriver::fail(uint64_t n, CudaResult result, Fault fault, std::string symbol) {
  std::lock_guard lock(cuda_->mutex);
  cuda_->fail_in = n, cuda_->fail_with = result, cuda_->fault = fault, cuda_->fail_symbol = std::move(symbol);
  cuda_->failed.clear();
}

std::string HostCudaDriver::failed() const { return cuda_->failed; }

uint64_t HostCudaDriver::calls() const { return cuda_->calls; }

uint64_t HostCudaDriver::calls_of(std::string_view symbol) const {
  const auto found = cuda_->calls_of.find(symbol);
  return found == cuda_->calls_of.end() ? 0 : found->second;
}

std::vector<std::string> HostCudaDriver::finish() {
  std::lock_guard lock(cuda_->mutex);
  std::vector<std::string> out = cuda_->streams.problems();
  for (HostMemory* memory : {&cuda_->device, &cuda_->pinned})
    for (std::string& problem : memory->problems()) out.push_back(std::move(problem));
  if (!cuda_->modules.empty()) out.push_back(fmt::format("{} modules never unloaded", cuda_->modules.size()));
  if (cuda_->contexts > 0) out.push_back(fmt::format("{} contexts never released", cuda_->contexts));
  for (const auto& [thread, count] : cuda_->pushed)
    if (count > 0) out.push_back("a context is left current");
  return out;
}

}  // namespace vibee
