// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/block_shim.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/kit/fiber.h"
#include "vibee/kit/group_shim.h"

namespace vibee {
namespace {

/// Ends the program of a thread behind a finding; caught where its fiber begins.
struct Stopped {};

std::string list(const std::array<uint32_t, 3>& v) { return fmt::format("({}, {}, {})", v[0], v[1], v[2]); }

}  // namespace

class ShimRun {
 public:
  ShimRun(const ShimKernel& kernel, const ShimLaunch& launch, const std::function<void(ShimBlock&)>& program)
      : launch_(launch),
        kernel_(kernel),
        dynamic_begin((kernel.static_shared + 127) / 128 * 128),
        shared(dynamic_begin + launch.dynamic_shared),
        shadow(uint32_t(shared.size()), launch.block[0]),
        groups({shared, shadow,
                [this](uint32_t thread, uint64_t address, uint64_t bytes, Place at) {
                  return copied(thread, address, bytes, at);
                },
                [this](uint32_t thread, const std::string& what) { fail(thread, what); }},
               launch.block[0]),
        program_(program),
        random_(launch.seed, Purpose::test),
        memory_(launch.memory.begin(), launch.memory.end()) {
    std::sort(memory_.begin(), memory_.end(), [](const auto& a, const auto& b) { return a.base < b.base; });
  }

  Status run();

  /// The first finding of a launch; what comes behind it is its consequence.
  [[noreturn]] void fail(uint32_t thread, const std::string& what) {
    report(fmt::format("thread {} {}", thread, what));
    throw Stopped{};
  }
  void report(const std::string& what) {
    if (finding_.ok())
      finding_ = error(Code::invalid, "kernel {}: block {}: {}", kernel_.name, list(block_index), what);
  }

  /// The thread waits until somebody sets its state to ready.
  enum class State { ready, at_barrier, at_warp_call, at_phase, done };
  struct Thread {
    std::unique_ptr<Fiber> fiber;
    State state = State::ready;
    Place place;  // of the barrier, or of that of phases:
    uint32_t barrier = 0, parity = 0;
    WarpCall* call = nullptr;  // of the warp's operation
    struct Copy {
      uint32_t to;
      const void* from;  // nullptr: zeros
      Place place;
    };
    std::vector<Copy> open;              // copies that no commit has closed yet
    std::deque<std::vector<Copy>> sent;  // groups under way, oldest first
  };
  void wait(uint32_t thread) {
    threads[thread].fiber->suspend();
    if (stopping_) throw Stopped{};
  }
  bool barrier_full() const { return waiting_ == threads.size(); }
  void reach_barrier(uint32_t thread, Place place);
  void arrive(uint32_t thread, WarpCall& call);
  const ShimMemory* memory_of(const void* p, bool end_counts) const;
  void check(uint32_t thread, const SharedShadow::Finding& finding, Touch how, Place place);
  const void* copied(uint32_t thread, uint64_t address, uint64_t bytes, Place place);

  const ShimLaunch& launch_;
  const ShimKernel& kernel_;
  const uint32_t dynamic_begin;
  std::vector<unsigned char> shared;
  SharedShadow shadow;
  GroupShim groups;
  std::vector<Thread> threads;
  std::array<uint32_t, 3> block_index{};

 private:
  void run_block();
  void run_thread(uint32_t thread);
  bool deliver();
  std::string standing(uint32_t thread) const;
  std::string stall() const;
  template <class T>
  void permute(std::vector<T>& order) {
    if (launch_.seed == 0) return;
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(uint32_t(i))]);
  }

  const std::function<void(ShimBlock&)>& program_;
  RandomStream random_;
  std::vector<ShimMemory> memory_;  // by address
  Status finding_;
  bool stopping_ = false;
  size_t waiting_ = 0;  // at the barrier
};

Status ShimRun::run() {
  std::vector<uint64_t> blocks(uint64_t(launch_.grid[0]) * launch_.grid[1] * launch_.grid[2]);
  std::iota(blocks.begin(), blocks.end(), 0);
  permute(blocks);
  threads = std::vector<Thread>(launch_.block[0]);
  for (uint32_t t = 0; t < threads.size(); ++t) {
    threads[t].fiber = take_fiber();
    threads[t].fiber->start([this, t] { run_thread(t); });
  }
  for (const uint64_t i : blocks) {
    block_index = {uint32_t(i % launch_.grid[0]), uint32_t(i / launch_.grid[0] % launch_.grid[1]),
                   uint32_t(i / launch_.grid[0] / launch_.grid[1])};
    run_block();
    if (!finding_.ok()) break;
  }
  stopping_ = true;
  for (Thread& thread : threads) {
    if (!thread.fiber->idle()) thread.fiber->resume();
    give_fiber(std::move(thread.fiber));
  }
  return finding_;
}

/// A fiber serves its thread in every block.
void ShimRun::run_thread(uint32_t thread) {
  try {
    while (!stopping_) {
      ShimBlock block(*this, thread);
      program_(block);
      threads[thread].state = State::done;
      threads[thread].fiber->suspend();
    }
  } catch (const Stopped&) {
  }
}

void ShimRun::run_block() {
  shadow.begin_block();
  groups.begin_block(launch_.seed % 2 == 1);
  waiting_ = 0;
  for (Thread& thread : threads) {
    thread.state = State::ready;
    thread.open.clear();
    thread.sent.clear();
  }
  std::vector<uint32_t> order(threads.size());
  std::iota(order.begin(), order.end(), 0);
  for (bool moved = true; moved && finding_.ok();) {
    moved = false;
    permute(order);
    for (const uint32_t t : order) {
      const bool waits = threads[t].state == State::at_phase;
      if (threads[t].state != State::ready &&
          !(waits && groups.over(t, threads[t].barrier, threads[t].parity, threads[t].place)))
        continue;
      threads[t].fiber->resume();
      moved = true;
      if (!finding_.ok()) return;
    }
    if (!moved) moved = deliver();
  }
  if (!finding_.ok()) return;
  for (const Thread& thread : threads)
    if (thread.state != State::done) return report(stall());
  if (const std::string left = groups.left(); !left.empty()) report(left);
}

/// Nobody goes on without a copy that is under way.
bool ShimRun::deliver() {
  try {
    return groups.deliver();
  } catch (const Stopped&) {
    return false;
  }
}

/// Where a thread stands, as in "thread 3 ...".
std::string ShimRun::standing(uint32_t t) const {
  const Thread& thread = threads[t];
  switch (thread.state) {
    case State::at_barrier: return fmt::format("thread {} waits at the barrier of {}", t, thread.place.text());
    case State::at_warp_call:
      return fmt::format("thread {} waits at {} of {} for lanes {:#010x}", t, thread.call->name,
                         thread.call->place.text(), thread.call->mask);
    case State::at_phase:
      return fmt::format("thread {} waits at {} for the barrier at shared byte {} to end a phase of parity {}", t,
                         thread.place.text(), thread.barrier, thread.parity);
    case State::ready:
    case State::done: break;
  }
  return fmt::format("thread {} has ended", t);
}

/// Why nobody goes on: a thread that waits, and one that it waits for.
std::string ShimRun::stall() const {
  for (uint32_t t = 0; t < threads.size(); ++t) {  // a warp's operation first: barriers may only wait for it
    if (threads[t].state != State::at_warp_call) continue;
    const WarpCall& call = *threads[t].call;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const uint32_t other = t / kWarp * kWarp + lane;
      if (!(call.mask >> lane & 1)) continue;
      const WarpCall* theirs = threads[other].state == State::at_warp_call ? threads[other].call : nullptr;
      if (!theirs || theirs->complete != call.complete || theirs->mask != call.mask || !(theirs->place == call.place))
        return standing(t) + ", but " + standing(other);
    }
  }
  for (uint32_t t = 0; t < threads.size(); ++t)
    if (threads[t].state == State::at_phase) return standing(t) + ", which nobody will";
  const auto waits = [](const Thread& t) { return t.state == State::at_barrier; };
  const size_t first = size_t(std::find_if(threads.begin(), threads.end(), waits) - threads.begin());
  for (uint32_t t = 0; t < threads.size(); ++t)
    if (!waits(threads[t]) || !(threads[t].place == threads[first].place))
      return standing(uint32_t(first)) + ", but " + standing(t);
  return standing(uint32_t(first));
}

void ShimRun::reach_barrier(uint32_t t, Place place) {
  threads[t].place = place;
  threads[t].state = State::at_barrier;
  ++waiting_;
  const auto here = [&](const Thread& thread) { return thread.place == place; };
  if (waiting_ < threads.size() || !std::all_of(threads.begin(), threads.end(), here)) return wait(t);
  waiting_ = 0;
  shadow.order.sync_block();
  for (Thread& thread : threads) thread.state = State::ready;
}

void ShimRun::arrive(uint32_t t, WarpCall& call) {
  if (!(call.mask >> t % kWarp & 1))
    fail(t, fmt::format("is not in the mask {:#010x} of its {}: {}", call.mask, call.name, call.place.text()));
  threads[t].call = &call;
  threads[t].state = State::at_warp_call;
  WarpCall* lanes[kWarp] = {};
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const Thread& thread = threads[t / kWarp * kWarp + lane];
    if (!(call.mask >> lane & 1)) continue;
    if (thread.state != State::at_warp_call || thread.call->complete != call.complete ||
        thread.call->mask != call.mask || !(thread.call->place == call.place))
      return wait(t);
    lanes[lane] = thread.call;
  }
  for (uint32_t lane = 0; lane < kWarp; ++lane)
    if (lanes[lane]) threads[t / kWarp * kWarp + lane].state = State::ready;
  call.complete(*this, t / kWarp, lanes);
}

const ShimMemory* ShimRun::memory_of(const void* p, bool end_counts) const {
  const auto address = [](const void* q) { return reinterpret_cast<uintptr_t>(q); };
  auto at = std::upper_bound(memory_.begin(), memory_.end(), address(p),
                             [&](uintptr_t a, const ShimMemory& m) { return a < address(m.base); });
  if (at == memory_.begin()) return nullptr;
  --at;
  const uint64_t offset = address(p) - address(at->base);
  return offset < at->bytes || (end_counts && offset == at->bytes) ? &*at : nullptr;
}

const void* ShimRun::copied(uint32_t thread, uint64_t address, uint64_t bytes, Place place) {
  const void* const p = reinterpret_cast<const void*>(address);
  const ShimMemory* const memory = memory_of(p, false);
  if (!memory || memory->bytes - (address - reinterpret_cast<uintptr_t>(memory->base)) < bytes)
    fail(thread, fmt::format("copies {} bytes at {:#x}, which no allocation has: {}", bytes, address, place.text()));
  return p;
}

void ShimRun::check(uint32_t thread, const SharedShadow::Finding& found, Touch how, Place place) {
  const auto verb = [](Touch t) { return t == Touch::read ? "reads" : t == Touch::write ? "writes" : "updates"; };
  switch (found.kind) {
    case SharedShadow::Finding::none: return;
    case SharedShadow::Finding::unwritten:
      fail(thread,
           fmt::format("{} shared byte {} at {}, which nobody has written", verb(how), found.byte, place.text()));
    case SharedShadow::Finding::race:
      fail(thread, fmt::format("{} shared byte {} at {}, which thread {} {} at {} with no barrier between", verb(how),
                               found.byte, place.text(), found.thread, verb(found.touch), found.place.text()));
    case SharedShadow::Finding::in_flight:
      fail(thread, fmt::format("{} shared byte {} at {} while the cp.async of thread {} at {} is not waited for",
                               verb(how), found.byte, place.text(), found.thread, found.place.text()));
  }
}

Status run_shim(const ShimKernel& kernel, const ShimLaunch& launch, const std::function<void(ShimBlock&)>& program) {
  const auto refuse = [&](const std::string& why) { return error(Code::invalid, "kernel {}: {}", kernel.name, why); };
  if (launch.block[1] != 1 || launch.block[2] != 1 || launch.block[0] == 0 || launch.block[0] % kWarp != 0)
    return refuse(fmt::format("a block of {} threads; block programs have one dimension and whole warps of 32",
                              list(launch.block)));
  if (launch.block[0] > kernel.threads || launch.block[0] > 1024)
    return refuse(fmt::format("a block of {} threads; the kernel is made for at most {}", launch.block[0],
                              std::min(kernel.threads, 1024u)));
  if (launch.grid[0] == 0 || launch.grid[1] == 0 || launch.grid[2] == 0 || launch.grid[1] > 65535 ||
      launch.grid[2] > 65535 || launch.grid[0] > 0x7fffffffu)
    return refuse(fmt::format("a grid of {} blocks; from 1 to 2147483647, 65535 and 65535", list(launch.grid)));
  if (kernel.static_shared > kMostSharedBytes ||
      (kernel.static_shared + 127) / 128 * 128 + uint64_t(launch.dynamic_shared) > kMostSharedBytes)
    return refuse(fmt::format("{} and {} bytes of shared memory; a block has at most {}", kernel.static_shared,
                              launch.dynamic_shared, kMostSharedBytes));
  return ShimRun(kernel, launch, program).run();
}

uint32_t ShimBlock::threads() const { return run_.launch_.block[0]; }
const std::array<uint32_t, 3>& ShimBlock::block_index() const { return run_.block_index; }
const std::array<uint32_t, 3>& ShimBlock::grid_size() const { return run_.launch_.grid; }

uint32_t ShimBlock::take_shared(bool dynamic, uint64_t bytes, Place at) {
  const uint32_t most = dynamic ? run_.launch_.dynamic_shared : run_.kernel_.static_shared;
  uint32_t& taken = taken_[dynamic];
  if (bytes > most - taken)
    run_.fail(thread_, fmt::format("takes {} bytes of {} shared memory, {} of {} are taken: {}", bytes,
                                   dynamic ? "dynamic" : "static", taken, most, at.text()));
  const uint32_t begin = (dynamic ? run_.dynamic_begin : 0) + taken;
  taken = uint32_t(std::min<uint64_t>(most, (taken + bytes + 15) / 16 * 16));
  return begin;
}

const void* ShimBlock::global(const void* p, uint64_t i, uint32_t size, uint32_t bytes, const char* verb, Place at) {
  const auto whole = [](const void* q) { return reinterpret_cast<uintptr_t>(q); };
  const ShimMemory* memory = run_.memory_of(p, true);
  if (!memory)
    run_.fail(thread_, fmt::format("{} element {} of {:#x}, which is in no allocation: {}", verb, int64_t(i), whole(p),
                                   at.text()));
  // An end of one allocation may be the begin of the next: then the pointer is of the next.
  const uint64_t from = whole(p) - whole(memory->base) + i * size;  // wraps for negative i, and is too large then
  if (from > memory->bytes || memory->bytes - from < bytes)
    run_.fail(thread_, fmt::format("{} {} bytes at element {} of {:#x}, beyond the allocation of {} bytes at {:#x}: {}",
                                   verb, bytes, int64_t(i), whole(p), memory->bytes, whole(memory->base), at.text()));
  if ((whole(memory->base) + from) % bytes != 0)
    run_.fail(thread_, fmt::format("{} {} bytes at {:#x}, which is no multiple of {}: {}", verb, bytes,
                                   whole(memory->base) + from, bytes, at.text()));
  return static_cast<const unsigned char*>(memory->base) + from;
}

uint32_t ShimBlock::shared_address(uint32_t begin, uint32_t count, uint64_t i, uint32_t size, uint32_t bytes,
                                   const char* verb, Place at) {
  if (i > count || uint64_t(count - i) * size < bytes)
    run_.fail(thread_, fmt::format("{} {} bytes at element {} of a shared array of {}: {}", verb, bytes, int64_t(i),
                                   count, at.text()));
  const uint32_t address = begin + uint32_t(i) * size;
  if (address % bytes != 0)
    run_.fail(thread_, fmt::format("{} {} bytes at shared byte {}, which is no multiple of {}: {}", verb, bytes,
                                   address, bytes, at.text()));
  return address;
}

void* ShimBlock::shared_bytes(uint32_t begin, uint32_t count, uint64_t i, uint32_t size, uint32_t bytes, Touch how,
                              Place at) {
  const uint32_t address = shared_address(begin, count, i, size, bytes, how == Touch::read ? "reads" : "writes", at);
  run_.check(thread_, run_.shadow.touch(thread_, address, bytes, how, at), how, at);
  return run_.shared.data() + address;
}

void ShimBlock::sync(Place at) { run_.reach_barrier(thread_, at); }

void ShimBlock::arrive(WarpCall& call) { run_.arrive(thread_, call); }

void ShimBlock::sync_warp(uint32_t mask, Place at) {
  WarpCall call{[](ShimRun& run, uint32_t warp, WarpCall* const* lanes) {
                  uint32_t mask = 0;
                  for (uint32_t lane = 0; lane < kWarp; ++lane) mask |= uint32_t(lanes[lane] != nullptr) << lane;
                  run.shadow.order.sync_lanes(warp, mask);
                },
                "sync_warp", mask, at};
  arrive(call);
}

uint32_t ShimBlock::ballot(bool p, uint32_t mask, Place at) {
  WarpCall call{[](ShimRun&, uint32_t, WarpCall* const* lanes) {
                  uint32_t votes = 0;
                  for (uint32_t lane = 0; lane < kWarp; ++lane) votes |= (lanes[lane] ? lanes[lane]->in : 0) << lane;
                  for (uint32_t lane = 0; lane < kWarp; ++lane)
                    if (lanes[lane]) lanes[lane]->out = votes;
                },
                "ballot", mask, at};
  call.in = p;
  arrive(call);
  return call.out;
}

uint32_t ShimBlock::shuffle_word(uint32_t word, uint32_t lane, uint32_t mask, Place at) {
  WarpCall call{[](ShimRun& run, uint32_t warp, WarpCall* const* lanes) {
                  for (uint32_t l = 0; l < kWarp; ++l) {
                    WarpCall* const mine = lanes[l];
                    if (!mine) continue;
                    if (!lanes[mine->lane])
                      run.fail(warp * kWarp + l,
                               fmt::format("shuffles from lane {}, which is not in the mask {:#010x}: {}", mine->lane,
                                           mine->mask, mine->place.text()));
                    mine->out = lanes[mine->lane]->in;
                  }
                },
                "shuffle", mask, at};
  call.in = word;
  call.lane = lane;
  arrive(call);
  return call.out;
}

void ShimBlock::copy_async(uint32_t begin, uint32_t count, uint64_t i, uint32_t size, const void* from, Place at) {
  const uint32_t to = shared_address(begin, count, i, size, 16, "copies", at);
  run_.check(thread_, run_.shadow.begin_copy(thread_, to, 16, at), Touch::write, at);
  run_.threads[thread_].open.push_back({to, from, at});
}

void ShimBlock::commit_async() {
  ShimRun::Thread& mine = run_.threads[thread_];
  mine.sent.push_back(std::move(mine.open));
  mine.open.clear();
}

/// The bytes arrive as late as they may.
void ShimBlock::wait_async(uint32_t groups, Place at) {
  for (ShimRun::Thread& mine = run_.threads[thread_]; mine.sent.size() > groups; mine.sent.pop_front())
    for (const ShimRun::Thread::Copy& copy : mine.sent.front()) {
      run_.check(thread_, run_.shadow.end_copy(thread_, copy.to, 16, copy.place), Touch::write, copy.place);
      if (copy.from)
        std::memcpy(run_.shared.data() + copy.to, copy.from, 16);
      else
        std::memset(run_.shared.data() + copy.to, 0, 16);
    }
}

void ShimBlock::load_matrix_words(uint32_t* r, uint32_t n, uint32_t begin, uint32_t count, uint64_t i, uint32_t size,
                                  bool transposed, Place at) {
  WarpCall call{[](ShimRun& run, uint32_t warp, WarpCall* const* lanes) {
                  for (uint32_t lane = 0; lane < kWarp; ++lane)
                    for (uint32_t m = 0; m < lanes[lane]->count; ++m)
                      for (uint32_t half = 0; half < 2; ++half) {
                        const FragmentPlace place = matrix_place(lane, half, lanes[lane]->transposed);
                        const uint32_t address = lanes[m * 8 + place.row]->address + place.column * 2;
                        const uint32_t thread = warp * kWarp + lane;
                        // What the element's receiver does not see in order is a race, whoever named the row.
                        run.check(thread, run.shadow.touch(thread, address, 2, Touch::read, lanes[lane]->place),
                                  Touch::read, lanes[lane]->place);
                        uint16_t bits;
                        std::memcpy(&bits, run.shared.data() + address, 2);
                        lanes[lane]->d[m] |= uint32_t(bits) << (16 * half);
                      }
                },
                transposed ? "load_matrices_transposed" : "load_matrices", kAllLanes, at};
  call.count = n;
  call.transposed = transposed;
  if (lane() < 8 * n) call.address = shared_address(begin, count, i, size, 16, "reads", at);
  arrive(call);
  for (uint32_t m = 0; m < n; ++m) r[m] = call.d[m];
}

WarpCall ShimBlock::product_call(WarpProduct kind, const uint32_t (&a)[4], const uint32_t (&b)[2], Place at) {
  WarpCall call{[](ShimRun&, uint32_t, WarpCall* const* lanes) {
                  uint32_t left[kWarp][4], right[kWarp][2], sums[kWarp][4];
                  for (uint32_t lane = 0; lane < kWarp; ++lane) {
                    std::copy_n(lanes[lane]->a, 4, left[lane]);
                    std::copy_n(lanes[lane]->b, 2, right[lane]);
                    std::copy_n(lanes[lane]->d, 4, sums[lane]);
                  }
                  multiply_warp(lanes[0]->product, left, right, sums);
                  for (uint32_t lane = 0; lane < kWarp; ++lane) std::copy_n(sums[lane], 4, lanes[lane]->d);
                },
                "mma", kAllLanes, at};
  call.product = kind;
  std::copy_n(a, 4, call.a);
  std::copy_n(b, 2, call.b);
  return call;
}

void ShimBlock::barrier_init(Shared<PhaseBarrier> s, uint64_t i, uint32_t arrivals, Place at) {
  run_.groups.init(thread_, barrier_address(s, i, at), arrivals, at);
}

void ShimBlock::barrier_publish() { run_.groups.publish(thread_); }

void ShimBlock::barrier_expect(Shared<PhaseBarrier> s, uint64_t i, uint32_t bytes, Place at) {
  run_.groups.arrive(thread_, barrier_address(s, i, at), bytes, at);
}

void ShimBlock::barrier_wait(Shared<PhaseBarrier> s, uint64_t i, uint32_t parity, Place at) {
  ShimRun::Thread& mine = run_.threads[thread_];
  mine.barrier = barrier_address(s, i, at), mine.parity = parity, mine.place = at;
  while (!run_.groups.over(thread_, mine.barrier, parity, at)) {
    mine.state = ShimRun::State::at_phase;
    run_.wait(thread_);
  }
  mine.state = ShimRun::State::ready;
}

void ShimBlock::copy_tile_to(uint32_t to, const TensorMap& map, uint32_t column, uint32_t row, Shared<PhaseBarrier> s,
                             uint64_t j, Place at) {
  run_.groups.copy(thread_, to, map, column, row, barrier_address(s, j, at), at);
}

void ShimBlock::group_product(float* d, uint32_t columns, uint64_t a, uint64_t b, bool add, WarpProduct kind,
                              Place at) {
  run_.groups.multiply(thread_, {d, columns, a, b, add, kind, at});
}

void ShimBlock::align_warp(const char* name, Place at) {
  WarpCall call{[](ShimRun&, uint32_t, WarpCall* const*) {}, name, kAllLanes, at};
  arrive(call);
}

void ShimBlock::group_commit(Place at) {
  align_warp("group_commit", at);
  run_.groups.commit(thread_);
}

void ShimBlock::group_wait(uint32_t groups, Place at) {
  run_.groups.wait(thread_, groups);
  align_warp("group_wait", at);
}

}  // namespace vibee
