// SPDX-License-Identifier: Apache-2.0
// The CPU's Block (core/device/block.h): runs a grid block by block, each thread of a block a fiber, and checks what a
// device leaves undefined. The first finding ends the launch with a Status that names kernel, block, thread, address or
// index, and the places; nothing is read or written out of bounds. Found are
//
//   barriers and warp operations that not all of their threads reach, or reach at another place
//   shared memory: indices beyond an array, two threads that touch a byte in one interval between barriers (one
//   writing,
//     not both atomically; sync_warp orders the lanes of its mask, shuffles order nothing), bytes read before they were
//     written, bytes under a cp.async that was not waited for
//   global memory outside of what the launch registered, or outside of the allocation that the pointer is of
//   barriers of phases that nobody has made ready, and waits at them that nobody ends (group_shim.h)
//   vectors at addresses that are no multiples of 16; shuffles from lanes that are not in the mask
//
// Races in global memory are not looked for: a seed permutes the order in which blocks and threads run, so that results
// that hang on it differ.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>

#include "vibee/base/math/half.h"
#include "vibee/base/status/status.h"
#include "vibee/core/device/block.h"
#include "vibee/kit/shared_shadow.h"
#include "vibee/kit/warp_products.h"

namespace vibee {

/// Global memory that a kernel may touch.
struct ShimMemory {
  const void* base = nullptr;
  uint64_t bytes = 0;
};

struct ShimLaunch {
  std::array<uint32_t, 3> grid{1, 1, 1}, block{1, 1, 1};
  uint32_t dynamic_shared = 0;  // bytes
  std::span<const ShimMemory> memory;
  /// 0: blocks and threads run in ascending order. Else a permutation, of threads another one each time they go on.
  uint64_t seed = 0;
};

/// What the row of a kernel says (core/device/block.h).
struct ShimKernel {
  const char* name = "";
  uint32_t threads = 1024;     // of a block, at most
  uint32_t static_shared = 0;  // bytes
};

class ShimBlock;
/// Runs `program` for every thread of the launch.
Status run_shim(const ShimKernel& kernel, const ShimLaunch& launch, const std::function<void(ShimBlock&)>& program);

class ShimRun;

/// A lane's part of an operation of its warp. The last lane to arrive runs `complete` for all: calls of one operation
/// have the same function, mask and place.
struct WarpCall {
  void (*complete)(ShimRun& run, uint32_t warp, WarpCall* const* lanes);  // lanes[l] is null where l is not in the mask
  const char* name;
  uint32_t mask;
  Place place;
  uint32_t in = 0, out = 0;       // a register
  uint32_t lane = 0;              // shuffle: whose register
  WarpProduct product{};          // mma
  uint32_t a[4] = {}, b[2] = {};  // mma
  uint32_t d[4] = {}, count = 0;  // mma, ldmatrix
  uint32_t address = 0;           // ldmatrix: of the row that this lane names
  bool transposed = false;        // ldmatrix
};

class ShimBlock {
 public:
  /// n elements of shared memory from `begin` bytes on.
  template <class T>
  struct Shared {
    uint32_t begin, count;
  };

  ShimBlock(ShimRun& run, uint32_t thread) : run_(run), thread_(thread) {}

  uint32_t thread() const { return thread_; }
  uint32_t threads() const;
  uint32_t lane() const { return thread_ % kWarp; }
  uint32_t warp() const { return thread_ / kWarp; }
  uint32_t warps() const { return threads() / kWarp; }
  uint32_t block_x() const { return block_index()[0]; }
  uint32_t block_y() const { return block_index()[1]; }
  uint32_t block_z() const { return block_index()[2]; }
  uint32_t grid_x() const { return grid_size()[0]; }
  uint32_t grid_y() const { return grid_size()[1]; }
  uint32_t grid_z() const { return grid_size()[2]; }

  template <class T>
  Shared<T> shared(uint32_t n, Place at = Place::here()) {
    return {take_shared(false, uint64_t(n) * sizeof(T), at), n};
  }
  template <class T>
  Shared<T> dynamic_shared(uint32_t n, Place at = Place::here()) {
    return {take_shared(true, uint64_t(n) * sizeof(T), at), n};
  }

  template <class T>
  T load(const T* p, uint64_t i, Place at = Place::here()) {
    return read<T>(global(p, i, sizeof(T), sizeof(T), "reads", at));
  }
  template <class T>
  void store(T* p, uint64_t i, std::type_identity_t<T> v, Place at = Place::here()) {
    std::memcpy(const_cast<void*>(global(p, i, sizeof(T), sizeof(T), "writes", at)), &v, sizeof(T));
  }
  template <class T>
  Vector16<T> load16(const T* p, uint64_t i, Place at = Place::here()) {
    return read<Vector16<T>>(global(p, i, sizeof(T), 16, "reads", at));
  }
  template <class T>
  void store16(T* p, uint64_t i, const Vector16<T>& v, Place at = Place::here()) {
    std::memcpy(const_cast<void*>(global(p, i, sizeof(T), 16, "writes", at)), &v, 16);
  }
  template <class T>
  T load(Shared<T> s, uint64_t i, Place at = Place::here()) {
    return read<T>(shared_bytes(s.begin, s.count, i, sizeof(T), sizeof(T), Touch::read, at));
  }
  template <class T>
  void store(Shared<T> s, uint64_t i, std::type_identity_t<T> v, Place at = Place::here()) {
    std::memcpy(shared_bytes(s.begin, s.count, i, sizeof(T), sizeof(T), Touch::write, at), &v, sizeof(T));
  }
  template <class T>
  Vector16<T> load16(Shared<T> s, uint64_t i, Place at = Place::here()) {
    return read<Vector16<T>>(shared_bytes(s.begin, s.count, i, sizeof(T), 16, Touch::read, at));
  }
  template <class T>
  void store16(Shared<T> s, uint64_t i, const Vector16<T>& v, Place at = Place::here()) {
    std::memcpy(shared_bytes(s.begin, s.count, i, sizeof(T), 16, Touch::write, at), &v, 16);
  }

  void sync(Place at = Place::here());
  void sync_warp(uint32_t mask = kAllLanes, Place at = Place::here());
  template <class T>
  T shuffle(T v, uint32_t lane, uint32_t mask = kAllLanes, Place at = Place::here()) {
    return from_word<T>(shuffle_word(to_word(v), lane % kWarp, mask, at));
  }
  template <class T>
  T shuffle_xor(T v, uint32_t bits, uint32_t mask = kAllLanes, Place at = Place::here()) {
    return from_word<T>(shuffle_word(to_word(v), (lane() ^ bits) < kWarp ? lane() ^ bits : lane(), mask, at));
  }
  template <class T>
  T shuffle_down(T v, uint32_t by, uint32_t mask = kAllLanes, Place at = Place::here()) {
    return from_word<T>(shuffle_word(to_word(v), by < kWarp - lane() ? lane() + by : lane(), mask, at));
  }
  uint32_t ballot(bool p, uint32_t mask = kAllLanes, Place at = Place::here());

  // P is a T* or a Shared<T>.
  template <class P, class T>
  T atomic_add(P p, uint64_t i, T v, Place at = Place::here()) {
    return update<T>(
        p, i, [v](T was) { return plus(was, v); }, at);
  }
  template <class P, class T>
  T atomic_max(P p, uint64_t i, T v, Place at = Place::here()) {
    return update<T>(
        p, i, [v](T was) { return was > v ? was : v; }, at);
  }
  template <class P, class T>
  T atomic_compare_swap(P p, uint64_t i, T from, T to, Place at = Place::here()) {
    return update<T>(
        p, i, [from, to](T was) { return was == from ? to : was; }, at);
  }
  void fence() {}  // fibers of one thread see each other's writes

  template <class T>
  void copy_async16(Shared<T> s, uint64_t i, const T* p, uint64_t j, bool in = true, Place at = Place::here()) {
    copy_async(s.begin, s.count, i, sizeof(T), in ? global(p, j, sizeof(T), 16, "copies", at) : nullptr, at);
  }
  void commit_async();
  template <uint32_t N>
  void wait_async(Groups<N>, Place at = Place::here()) {
    wait_async(N, at);
  }

  template <uint32_t N, class T>
  void load_matrices(uint32_t (&r)[N], Shared<T> s, uint64_t i, Place at = Place::here()) {
    load_matrix_words(r, N, s.begin, s.count, i, sizeof(T), false, at);
  }
  template <uint32_t N, class T>
  void load_matrices_transposed(uint32_t (&r)[N], Shared<T> s, uint64_t i, Place at = Place::here()) {
    load_matrix_words(r, N, s.begin, s.count, i, sizeof(T), true, at);
  }
  template <class Sum, class Tag>
  void mma(Sum (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Tag, Place at = Place::here()) {
    static_assert(std::is_same_v<Sum, std::conditional_t<std::is_same_v<Tag, int8_t>, int32_t, float>>);
    constexpr WarpProduct kKind = std::is_same_v<Tag, Bf16>   ? WarpProduct::bf16
                                  : std::is_same_v<Tag, Half> ? WarpProduct::f16
                                                              : WarpProduct::s8;
    multiply(kKind, d, a, b, at);
  }

  void barrier_init(Shared<PhaseBarrier> s, uint64_t i, uint32_t arrivals, Place at = Place::here());
  void barrier_publish();
  void barrier_arrive(Shared<PhaseBarrier> s, uint64_t i, Place at = Place::here()) { barrier_expect(s, i, 0, at); }
  void barrier_expect(Shared<PhaseBarrier> s, uint64_t i, uint32_t bytes, Place at = Place::here());
  void barrier_wait(Shared<PhaseBarrier> s, uint64_t i, uint32_t parity, Place at = Place::here());
  template <class T>
  void copy_tile(Shared<T> to, uint64_t i, const TensorMap& map, uint32_t column, uint32_t row, Shared<PhaseBarrier> s,
                 uint64_t j, Place at = Place::here()) {
    copy_tile_to(shared_address(to.begin, to.count, i, sizeof(T), 16, "copies", at), map, column, row, s, j, at);
  }
  template <class T>
  uint64_t tile_rows(Shared<T> s, uint64_t i, Place at = Place::here()) {
    return shared_address(s.begin, s.count, i, sizeof(T), 16, "multiplies", at);
  }
  // Instructions of groups are aligned: a warp's lanes execute them together.
  void group_fence(Place at = Place::here()) { align_warp("group_fence", at); }
  void group_commit(Place at = Place::here());
  template <uint32_t N>
  void group_wait(Groups<N>, Place at = Place::here()) {
    group_wait(N, at);
  }
  template <uint32_t N, class Tag>
  void group_mma(float (&d)[N], uint64_t a, uint64_t b, bool add, Tag, Place at = Place::here()) {
    static_assert(std::is_same_v<Tag, Bf16> || std::is_same_v<Tag, Half>);
    group_product(d, 2 * N, a, b, add, std::is_same_v<Tag, Half> ? WarpProduct::f16 : WarpProduct::bf16, at);
  }
  template <uint32_t N>
  void give_registers(Groups<N>) {}
  template <uint32_t N>
  void take_registers(Groups<N>) {}
  template <class T>
  uint32_t offset(Shared<T> s) const {
    return s.begin;
  }

  float to_float(float v) const { return v; }
  float to_float(Half v) const { return half_to_float(v.bits); }
  float to_float(Bf16 v) const { return bf16_to_float(v.bits); }
  float from_float(float v, float) const { return v; }
  Half from_float(float v, Half) const { return {float_to_half(v)}; }
  Bf16 from_float(float v, Bf16) const { return {float_to_bf16(v)}; }

  float fma(float a, float b, float c) const { return std::fma(a, b, c); }
  float sqrt(float x) const { return std::sqrt(x); }
  float exp(float x) const { return std::exp(x); }
  float log(float x) const { return std::log(x); }
  float tanh(float x) const { return std::tanh(x); }
  float erfc(float x) const { return std::erfc(x); }
  float rsqrt(float x) const { return 1.0f / std::sqrt(x); }
  void sincos(double x, double* s, double* c) const {
    *s = std::sin(x);
    *c = std::cos(x);
  }

 private:
  template <class T>
  static T read(const void* p) {
    T v;
    std::memcpy(&v, p, sizeof(T));
    return v;
  }
  template <class T>
  static uint32_t to_word(T v) {
    static_assert(sizeof(T) == 4, "registers are exchanged in 32 bits");
    return std::bit_cast<uint32_t>(v);
  }
  template <class T>
  static T from_word(uint32_t word) {
    return std::bit_cast<T>(word);
  }
  /// Whole numbers wrap as on a device.
  template <class T>
  static T plus(T a, T b) {
    if constexpr (std::is_integral_v<T>)
      return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    else
      return a + b;
  }
  template <class T, class F>
  T update(T* p, uint64_t i, F&& next, Place at) {
    void* const bytes = const_cast<void*>(global(p, i, sizeof(T), sizeof(T), "updates", at));
    return updated<T>(bytes, next);
  }
  template <class T, class F>
  T update(Shared<T> s, uint64_t i, F&& next, Place at) {
    return updated<T>(shared_bytes(s.begin, s.count, i, sizeof(T), sizeof(T), Touch::atomic, at), next);
  }
  template <class T, class F>
  static T updated(void* bytes, F&& next) {
    const T was = read<T>(bytes), now = next(was);
    std::memcpy(bytes, &now, sizeof(T));
    return was;
  }

  const std::array<uint32_t, 3>& block_index() const;
  const std::array<uint32_t, 3>& grid_size() const;
  uint32_t take_shared(bool dynamic, uint64_t bytes, Place at);
  /// Where `bytes` bytes from element i of p on lie, checked.
  const void* global(const void* p, uint64_t i, uint32_t size, uint32_t bytes, const char* verb, Place at);
  uint32_t shared_address(uint32_t begin, uint32_t count, uint64_t i, uint32_t size, uint32_t bytes, const char* verb,
                          Place at);
  void* shared_bytes(uint32_t begin, uint32_t count, uint64_t i, uint32_t size, uint32_t bytes, Touch how, Place at);
  uint32_t shuffle_word(uint32_t word, uint32_t lane, uint32_t mask, Place at);
  void copy_async(uint32_t begin, uint32_t count, uint64_t i, uint32_t size, const void* from, Place at);
  void wait_async(uint32_t groups, Place at);
  void load_matrix_words(uint32_t* r, uint32_t n, uint32_t begin, uint32_t count, uint64_t i, uint32_t size,
                         bool transposed, Place at);
  template <class Sum>
  void multiply(WarpProduct kind, Sum (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place at) {
    WarpCall call = product_call(kind, a, b, at);
    for (int i = 0; i < 4; ++i) call.d[i] = to_word(d[i]);
    arrive(call);
    for (int i = 0; i < 4; ++i) d[i] = from_word<Sum>(call.d[i]);
  }
  static WarpCall product_call(WarpProduct kind, const uint32_t (&a)[4], const uint32_t (&b)[2], Place at);
  void arrive(WarpCall& call);
  uint32_t barrier_address(Shared<PhaseBarrier> s, uint64_t i, Place at) {
    return shared_address(s.begin, s.count, i, sizeof(PhaseBarrier), sizeof(PhaseBarrier), "waits at", at);
  }
  void copy_tile_to(uint32_t to, const TensorMap& map, uint32_t column, uint32_t row, Shared<PhaseBarrier> s,
                    uint64_t j, Place at);
  void group_wait(uint32_t groups, Place at);
  void align_warp(const char* name, Place at);
  void group_product(float* d, uint32_t columns, uint64_t a, uint64_t b, bool add, WarpProduct kind, Place at);

  ShimRun& run_;
  uint32_t thread_;
  uint32_t taken_[2] = {0, 0};  // bytes of static and of dynamic shared memory handed out
};

}  // namespace vibee
