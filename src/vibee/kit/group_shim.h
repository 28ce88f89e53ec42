// SPDX-License-Identifier: Apache-2.0
// What sm_90a adds to a block (core/device/block.h), for the shim: barriers that count arrivals and bytes, copies of
// tiles, products of groups of four warps. Copies and products are done as early as they may be or as late, so that who
// reads before a copy has arrived or gives a tile back before it was read gets other numbers, or unwritten ones.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "vibee/core/device/block.h"
#include "vibee/kit/shared_shadow.h"
#include "vibee/kit/warp_products.h"

namespace vibee {

class GroupShim {
 public:
  struct Memory {
    std::vector<unsigned char>& shared;
    SharedShadow& shadow;
    /// Where bytes of global memory lie; ends the thread where they are nobody's.
    std::function<const void*(uint32_t thread, uint64_t address, uint64_t bytes, Place)> global;
    std::function<void(uint32_t thread, const std::string& what)> fail;  ///< does not return
  };
  GroupShim(Memory memory, uint32_t threads) : memory_(std::move(memory)), products_(threads) {}

  void begin_block(bool early);
  /// What is left undone where all threads have ended; empty: nothing.
  std::string left() const;

  void init(uint32_t thread, uint32_t barrier, uint32_t arrivals, Place place);
  void publish(uint32_t thread);
  /// An arrival that promises bytes.
  void arrive(uint32_t thread, uint32_t barrier, uint32_t bytes, Place place);
  bool over(uint32_t thread, uint32_t barrier, uint32_t parity, Place place);

  void copy(uint32_t thread, uint32_t to, const TensorMap& map, uint32_t column, uint32_t row, uint32_t barrier,
            Place place);
  /// Ends the oldest copy; false: there is none.
  bool deliver();

  /// A thread's part of d = a * b^T, or d += it: 64 x columns sums of 16 products.
  struct Product {
    float* d;
    uint32_t columns;
    uint64_t a, b;
    bool add;
    WarpProduct kind;
    Place place;
  };
  void multiply(uint32_t thread, const Product& product);
  void commit(uint32_t thread);
  void wait(uint32_t thread, uint32_t groups);

 private:
  struct Phases {
    uint32_t arrivals = 0, missing = 0, thread = 0;
    int64_t bytes = 0;
    uint64_t phase = 0, interval = 0;
    bool published = false;
  };
  struct Copy {
    uint32_t thread, to, column, row, barrier;
    TensorMap map;
    Place place;
  };
  Phases& phases(uint32_t thread, uint32_t barrier, Place place);
  static void end_phase(Phases& p);
  void end_copy(const Copy& copy);
  void run(uint32_t thread, const Product& product);
  float element(uint32_t thread, uint64_t tile, uint32_t row, uint32_t k, const Product& product);

  Memory memory_;
  bool early_ = false;
  std::map<uint32_t, Phases> phases_;
  std::deque<Copy> copies_;
  struct Products {
    std::vector<Product> open;
    std::deque<std::vector<Product>> sent;
  };
  std::vector<Products> products_;
};

}  // namespace vibee
