// SPDX-License-Identifier: Apache-2.0
// A program as one rank executes it on floats.
#pragma once

#include "vibee/dist/collective/comm_program.h"
#include "vibee/dist/transport/transport.h"

namespace vibee {

class Reduction {
 public:
  /// `program` outlives it, and so do the rank's buffers of `count` floats, one a sum that it holds. Scratch is its
  /// own.
  Reduction(const CommProgram& program, uint32_t rank, uint64_t count, std::vector<float*> sums);

  /// Begins; messages go under `tag`, which no other reduction uses at the same time.
  void start(uint32_t tag);
  /// Goes on as far as it can. True: buffer 0 holds the sum, and no buffer is on its way.
  bool advance(Transport& transport);
  uint64_t bytes() const { return 4 * count_; }

 private:
  struct Cell {
    Transport::Ticket receive = 0;
    std::vector<Transport::Ticket> sends;
  };
  bool settled(Transport& transport, Cell& cell, bool sends);
  const CommProgram& program_;
  const std::vector<CommStep>& steps_;
  uint64_t count_;
  uint32_t tag_ = 0;
  size_t at_ = 0;
  std::vector<float> scratch_;
  std::vector<float*> buffers_;
  std::vector<uint64_t> first_;  ///< the element at which a buffer begins
  std::vector<Cell> cells_;
};

}  // namespace vibee
