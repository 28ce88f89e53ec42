// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/collective/comm_program.h"

#include <fmt/format.h>

#include <iterator>

namespace vibee {
namespace {

std::string to_string(const CommStep& s) {
  switch (s.op) {
    case CommOp::send: return fmt::format("send {} b{}.{}", s.peer, s.buffer, s.part);
    case CommOp::receive: return fmt::format("recv {} b{}.{}", s.peer, s.buffer, s.part);
    case CommOp::add: return fmt::format("add b{}.{} = b{} + b{}", s.buffer, s.part, s.left, s.right);
  }
  return "?";
}

/// The part of one owner, as the owner adds it up.
class Owner {
 public:
  Owner(CommProgram* program, uint32_t rank) : p_(*program), rank_(rank) {
    for (uint32_t r = 0; r < p_.ranges.size(); ++r) {
      const std::vector<ShareRange> nodes = whole_nodes(p_.shares, p_.ranges[r]);
      for (uint32_t k = 0; k < nodes.size(); ++k)
        places_.push_back({nodes[k], r, r == rank_ ? k : p_.buffers[rank_]++});
    }
  }
  /// The steps that bring the others' sums here, in an order in which no owner is everybody's first.
  void gather() {
    const auto n = uint32_t(p_.ranges.size());
    for (uint32_t d = 1; d < n; ++d)
      for (const Place& place : places_)
        if (place.rank == (rank_ + d) % n)
          p_.ranks[rank_].push_back({CommOp::receive, rank_, place.buffer, place.rank});
  }
  void add() { add({0, p_.shares}, 0); }

 private:
  struct Place {
    ShareRange node;
    uint32_t rank, buffer;
  };
  /// The buffer that holds the node: sums go into their left part's, the last one into `last`.
  uint32_t add(ShareRange node, uint32_t last) {
    for (const Place& place : places_)
      if (place.node == node) return place.buffer;
    const uint32_t left = add({node.first, split(node)}, UINT32_MAX);
    const uint32_t right = add({split(node), node.end}, UINT32_MAX);
    const uint32_t to = last == UINT32_MAX ? left : last;
    p_.ranks[rank_].push_back({CommOp::add, rank_, to, 0, left, right});
    return to;
  }
  CommProgram& p_;
  uint32_t rank_;
  std::vector<Place> places_;
};

}  // namespace

std::vector<ShareRange> deal_shares(uint32_t shares, uint32_t ranks) {
  std::vector<ShareRange> ranges;
  for (uint32_t r = 0; r < ranks; ++r)
    ranges.push_back({uint32_t(uint64_t(shares) * r / ranks), uint32_t(uint64_t(shares) * (uint64_t(r) + 1) / ranks)});
  return ranges;
}

CommProgram direct_all_reduce(uint32_t shares, uint32_t ranks) {
  VIBEE_CHECK(ranks >= 1 && ranks <= shares, "{} ranks of {} shares", ranks, shares);
  CommProgram p;
  p.shares = shares;
  p.parts = ranks;
  p.ranges = deal_shares(shares, ranks);
  p.ranks.resize(ranks);
  std::vector<uint32_t> held;
  for (const ShareRange range : p.ranges) held.push_back(uint32_t(whole_nodes(shares, range).size()));
  p.buffers = held;
  std::vector<Owner> owners;
  for (uint32_t r = 0; r < ranks; ++r) owners.emplace_back(&p, r);
  for (uint32_t r = 0; r < ranks; ++r) {
    for (uint32_t d = 1; d < ranks; ++d)
      for (uint32_t k = 0; k < held[r]; ++k) {
        const uint32_t owner = (r + d) % ranks;
        p.ranks[r].push_back({CommOp::send, owner, k, owner});
      }
    owners[r].gather();
    owners[r].add();
    for (uint32_t d = 1; d < ranks; ++d) p.ranks[r].push_back({CommOp::send, r, 0, (r + d) % ranks});
    for (uint32_t d = 1; d < ranks; ++d) {
      const uint32_t owner = (r + d) % ranks;
      p.ranks[r].push_back({CommOp::receive, owner, 0, owner});
    }
  }
  return p;
}

std::string to_string(const CommProgram& program) {
  std::string text;
  for (size_t r = 0; r < program.ranks.size(); ++r)
    for (const CommStep& step : program.ranks[r])
      fmt::format_to(std::back_inserter(text), "r{}: {}\n", r, to_string(step));
  return text;
}

}  // namespace vibee
