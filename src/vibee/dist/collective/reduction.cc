// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/collective/reduction.h"

#include <algorithm>

namespace vibee {

Reduction::Reduction(const CommProgram& program, uint32_t rank, uint64_t count, std::vector<float*> sums)
    : program_(program), steps_(program.ranks[rank]), count_(count), buffers_(std::move(sums)) {
  VIBEE_CHECK(buffers_.size() == whole_nodes(program.shares, program.ranges[rank]).size(), "{} buffers",
              buffers_.size());
  // Scratch holds the rank's own part alone: that is the one which it adds.
  const auto [begin, end] = part_of(count, program.parts, rank);
  const size_t sums_held = buffers_.size();
  first_.assign(sums_held, 0);
  scratch_.resize((program.buffers[rank] - sums_held) * (end - begin));
  for (size_t b = sums_held; b < program.buffers[rank]; ++b) {
    buffers_.push_back(scratch_.data() + (b - sums_held) * (end - begin));
    first_.push_back(begin);
  }
  for (const CommStep& step : steps_)
    VIBEE_CHECK(step.part == rank || (step.buffer < sums_held && step.op != CommOp::add),
                "rank {} has scratch for its own part alone", rank);
  cells_.resize(buffers_.size() * program.parts);
}

void Reduction::start(uint32_t tag) {
  tag_ = tag;
  at_ = 0;
}

bool Reduction::settled(Transport& transport, Cell& cell, bool sends) {
  if (cell.receive != 0 && transport.done(cell.receive)) cell.receive = 0;
  if (sends) std::erase_if(cell.sends, [&](Transport::Ticket t) { return transport.done(t); });
  return cell.receive == 0 && (!sends || cell.sends.empty());
}

bool Reduction::advance(Transport& transport) {
  for (; at_ < steps_.size(); ++at_) {
    const CommStep& s = steps_[at_];
    const ElementRange part = part_of(count_, program_.parts, s.part);
    if (part.begin == part.end) continue;
    const auto at = [&](uint32_t buffer) { return buffers_[buffer] + (part.begin - first_[buffer]); };
    const auto cell = [&](uint32_t buffer) -> Cell& { return cells_[size_t(buffer) * program_.parts + s.part]; };
    const size_t bytes = 4 * (part.end - part.begin);
    if (!settled(transport, cell(s.buffer), s.op != CommOp::send)) return false;
    switch (s.op) {
      case CommOp::send:
        cell(s.buffer).sends.push_back(
            transport.send(s.peer, tag_, {reinterpret_cast<const uint8_t*>(at(s.buffer)), bytes}));
        break;
      case CommOp::receive:
        cell(s.buffer).receive = transport.receive(s.peer, tag_, {reinterpret_cast<uint8_t*>(at(s.buffer)), bytes});
        break;
      case CommOp::add: {
        if (!settled(transport, cell(s.left), false) || !settled(transport, cell(s.right), false)) return false;
        float* const to = at(s.buffer);
        const float *const left = at(s.left), *const right = at(s.right);
        for (uint64_t e = 0; e < part.end - part.begin; ++e) to[e] = left[e] + right[e];
        break;
      }
    }
  }
  bool over = true;
  for (Cell& cell : cells_) over = settled(transport, cell, true) && over;
  return over;
}

}  // namespace vibee
