// SPDX-License-Identifier: Apache-2.0
// A collective as data: what each rank sends, receives and adds, part by part of its buffers. One program is verified,
// priced, printed and executed; nothing that runs it knows its name.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/dist/collective/sum_tree.h"

namespace vibee {

enum class CommOp : uint8_t { send, receive, add };

/// On one part of buffers. Steps of a rank begin in order; a send or receive goes on beside what follows, and a step
/// that reads or writes what is on its way waits for it.
struct CommStep {
  CommOp op;
  uint32_t part;
  uint32_t buffer;               ///< what is sent or received, or where the sum goes
  uint32_t peer = 0;             ///< of send and receive
  uint32_t left = 0, right = 0;  ///< buffers of add; `buffer` may be one of them
};

/// An all-reduce over ranks that hold shares [first, end) of a step each, in order. A rank's first buffers hold the
/// sums of whole_nodes(shares, its range); at the end buffer 0 of every rank is the sum over the whole tree.
struct CommProgram {
  uint32_t shares = 1;
  uint32_t parts = 1;              ///< that a buffer is cut into
  std::vector<ShareRange> ranges;  ///< of each rank
  std::vector<uint32_t> buffers;   ///< of each rank, those of its sums first, then scratch
  std::vector<std::vector<CommStep>> ranks;
};

/// Elements [begin, end) of part i of a buffer of `count`; parts differ by one element at most and may be empty.
struct ElementRange {
  uint64_t begin, end;
};
constexpr ElementRange part_of(uint64_t count, uint32_t parts, uint32_t i) {
  const uint64_t q = count / parts, r = count % parts;
  const uint64_t begin = i * q + std::min<uint64_t>(i, r);
  return {begin, begin + q + (i < r ? 1 : 0)};
}

/// The shares of each rank: contiguous, as even as can be.
std::vector<ShareRange> deal_shares(uint32_t shares, uint32_t ranks);

/// `direct`: rank k owns part k; the others send it theirs, it adds in the order of the tree and sends the sum to all.
/// Each byte crosses twice, as in a ring, in two steps. 1 <= ranks <= shares.
CommProgram direct_all_reduce(uint32_t shares, uint32_t ranks);

/// One line a step: "r2: recv 1 b0.3".
std::string to_string(const CommProgram& program);

/// Runs the program on values without numbers: every send meets a receive of its part, nothing waits for ever though no
/// message is buffered, nothing is read before it is there, and every rank ends with the tree's sum in buffer 0: each
/// share once, in its order. The error names the rank and the step.
Status verify(const CommProgram& program);

}  // namespace vibee
