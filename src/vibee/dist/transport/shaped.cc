// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/transport/shaped.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <vector>

#include "vibee/core/measure/measure.h"

namespace vibee {
namespace {

class ShapedTransport final : public Transport {
 public:
  ShapedTransport(std::unique_ptr<Transport> inner, LinkShape shape)
      : inner_(std::move(inner)), shape_(shape), links_(inner_->size()) {}
  uint32_t rank() const override { return inner_->rank(); }
  uint32_t size() const override { return inner_->size(); }

  Ticket send(uint32_t peer, uint32_t tag, std::span<const uint8_t> bytes) override {
    Link& link = links_[peer];
    link.free = std::max(link.free, monotonic_seconds());
    if (shape_.bytes_per_second > 0) link.free += double(bytes.size()) / shape_.bytes_per_second;
    link.waiting.push_back({++last_, link.free + shape_.latency, tag, bytes});
    return last_;
  }
  Ticket receive(uint32_t peer, uint32_t tag, std::span<uint8_t> bytes) override {
    inner_of_[++last_] = inner_->receive(peer, tag, bytes);
    return last_;
  }
  bool done(Ticket ticket) override {
    const auto it = inner_of_.find(ticket);
    if (it == inner_of_.end() || !inner_->done(it->second)) return false;
    inner_of_.erase(it);
    return true;
  }
  /// A message reaches the inner transport when it would have arrived.
  Status poll() override {
    const double time = monotonic_seconds();
    for (uint32_t peer = 0; peer < links_.size(); ++peer)
      for (auto& waiting = links_[peer].waiting; !waiting.empty() && waiting.front().arrives <= time;
           waiting.pop_front())
        inner_of_[waiting.front().ticket] = inner_->send(peer, waiting.front().tag, waiting.front().bytes);
    return inner_->poll();
  }
  void abort(const std::string& why) override { inner_->abort(why); }

 private:
  struct Waiting {
    Ticket ticket;
    double arrives;
    uint32_t tag;
    std::span<const uint8_t> bytes;
  };
  struct Link {
    double free = 0;
    std::deque<Waiting> waiting;
  };
  std::unique_ptr<Transport> inner_;
  LinkShape shape_;
  std::vector<Link> links_;
  std::unordered_map<Ticket, Ticket> inner_of_;
  Ticket last_ = 0;
};

}  // namespace

std::unique_ptr<Transport> shaped(std::unique_ptr<Transport> inner, LinkShape shape) {
  return std::make_unique<ShapedTransport>(std::move(inner), shape);
}

}  // namespace vibee
