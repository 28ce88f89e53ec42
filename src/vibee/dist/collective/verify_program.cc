// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <map>

#include "vibee/dist/collective/comm_program.h"

namespace vibee {
namespace {

/// A value is a number: 0 nothing, else a leaf (a share) or a sum of two values, equal exactly for equal sums.
class Values {
 public:
  uint32_t leaf(uint32_t share) { return number({share, UINT32_MAX}); }
  uint32_t sum(uint32_t left, uint32_t right) { return number({left, right}); }
  uint32_t node(ShareRange n) {
    if (n.end - n.first == 1) return leaf(n.first);
    const uint32_t left = node({n.first, split(n)});
    return sum(left, node({split(n), n.end}));
  }

 private:
  uint32_t number(std::pair<uint32_t, uint32_t> key) {
    return numbers_.emplace(key, uint32_t(numbers_.size()) + 1).first->second;
  }
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> numbers_;
};

struct Cell {
  uint32_t value = 0;
  bool receiving = false;
  uint32_t sending = 0;
};

struct Post {
  uint32_t part, buffer, value;
};

class Machine {
 public:
  explicit Machine(const CommProgram& program) : p_(program), cells_(p_.ranks.size()), at_(p_.ranks.size()) {}

  Status run() {
    const auto n = uint32_t(p_.ranks.size());
    if (n == 0 || p_.parts == 0 || p_.buffers.size() != n || p_.ranges.size() != n)
      return error(Code::invalid, "a program of {} ranks, {} parts, buffers of {} and shares of {}", n, p_.parts,
                   p_.buffers.size(), p_.ranges.size());
    uint32_t next = 0;
    for (uint32_t r = 0; r < n; ++r) {
      if (p_.ranges[r].first != next || p_.ranges[r].end <= next)
        return error(Code::invalid, "rank {}: shares {} to {} do not follow those of the rank before", r,
                     p_.ranges[r].first, p_.ranges[r].end);
      next = p_.ranges[r].end;
      cells_[r].resize(size_t(p_.buffers[r]) * p_.parts);
      const std::vector<ShareRange> nodes = whole_nodes(p_.shares, p_.ranges[r]);
      if (nodes.size() > p_.buffers[r])
        return error(Code::invalid, "rank {}: {} buffers for {} sums", r, p_.buffers[r], nodes.size());
      for (uint32_t k = 0; k < nodes.size(); ++k)
        for (uint32_t part = 0; part < p_.parts; ++part) cell(r, k, part).value = values_.node(nodes[k]);
    }
    if (next != p_.shares) return error(Code::invalid, "ranks hold {} of {} shares", next, p_.shares);
    for (bool moved = true; moved;) {
      moved = false;
      for (uint32_t r = 0; r < n; ++r)
        while (at_[r] < p_.ranks[r].size()) {
          VIBEE_ASSIGN(const bool began, begin(r, p_.ranks[r][at_[r]]));
          if (!began) break;
          ++at_[r];
          moved = true;
        }
    }
    for (uint32_t r = 0; r < n; ++r)
      if (at_[r] < p_.ranks[r].size()) return error(Code::invalid, "rank {}, step {}: waits for ever", r, at_[r]);
    for (const auto& [pair, posts] : sent_)
      if (!posts.empty())
        return error(Code::invalid, "rank {}: part {} is sent to rank {}, which does not receive it", pair.first,
                     posts.front().part, pair.second);
    for (const auto& [pair, posts] : wanted_)
      if (!posts.empty())
        return error(Code::invalid, "rank {}: waits for part {} of rank {}, which does not send it", pair.second,
                     posts.front().part, pair.first);
    const uint32_t whole = values_.node({0, p_.shares});
    for (uint32_t r = 0; r < n; ++r)
      for (uint32_t part = 0; part < p_.parts; ++part)
        if (cell(r, 0, part).value != whole)
          return error(Code::invalid, "rank {}: part {} is not the sum of all {} shares in the order of the tree", r,
                       part, p_.shares);
    return {};
  }

 private:
  Cell& cell(uint32_t r, uint32_t buffer, uint32_t part) { return cells_[r][size_t(buffer) * p_.parts + part]; }

  /// False: the step has to wait.
  Result<bool> begin(uint32_t r, const CommStep& s) {
    const auto bad = [&](const char* what) { return error(Code::invalid, "rank {}, step {}: {}", r, at_[r], what); };
    if (s.part >= p_.parts || s.buffer >= p_.buffers[r]) return bad("no such buffer or part");
    Cell& to = cell(r, s.buffer, s.part);
    if (s.op == CommOp::add) {
      if (s.left >= p_.buffers[r] || s.right >= p_.buffers[r]) return bad("no such buffer");
      const Cell &left = cell(r, s.left, s.part), &right = cell(r, s.right, s.part);
      if (left.receiving || right.receiving || to.receiving || to.sending > 0) return false;
      if (left.value == 0 || right.value == 0) return bad("adds what is not there");
      to.value = values_.sum(left.value, right.value);
      return true;
    }
    if (s.peer == r || s.peer >= p_.ranks.size()) return bad("no such peer");
    if (s.op == CommOp::send) {
      if (to.receiving) return false;
      if (to.value == 0) return bad("sends what is not there");
      ++to.sending;
      sent_[{r, s.peer}].push_back({s.part, s.buffer, to.value});
      VIBEE_TRY(meet(r, s.peer));
    } else {
      if (to.receiving || to.sending > 0) return false;
      to.receiving = true;
      wanted_[{s.peer, r}].push_back({s.part, s.buffer, 0});
      VIBEE_TRY(meet(s.peer, r));
    }
    return true;
  }

  Status meet(uint32_t from, uint32_t to) {
    auto &sent = sent_[{from, to}], &wanted = wanted_[{from, to}];
    while (!sent.empty() && !wanted.empty()) {
      const Post s = sent.front(), w = wanted.front();
      if (s.part != w.part)
        return error(Code::invalid, "rank {} sends part {} where rank {} waits for part {}", from, s.part, to, w.part);
      --cell(from, s.buffer, s.part).sending;
      Cell& cell_to = cell(to, w.buffer, w.part);
      cell_to.receiving = false;
      cell_to.value = s.value;
      sent.pop_front();
      wanted.pop_front();
    }
    return {};
  }

  const CommProgram& p_;
  Values values_;
  std::vector<std::vector<Cell>> cells_;
  std::vector<size_t> at_;
  std::map<std::pair<uint32_t, uint32_t>, std::deque<Post>> sent_, wanted_;  ///< by (from, to)
};

}  // namespace

Status verify(const CommProgram& program) { return Machine(program).run(); }

}  // namespace vibee
