// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/transport/local.h"

#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_set>

namespace vibee {
namespace {

struct Sent {
  uint32_t from, tag;
  std::span<const uint8_t> bytes;
  std::shared_ptr<std::atomic<bool>> taken;
};
struct Inbox {
  std::mutex mutex;
  std::deque<Sent> messages;
};
struct Network {
  explicit Network(uint32_t n) : inboxes(n) {}
  std::vector<Inbox> inboxes;
  std::mutex mutex;
  std::atomic<bool> aborted{false};
  std::string why;
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(std::shared_ptr<Network> network, uint32_t rank) : network_(std::move(network)), rank_(rank) {}
  ~LocalTransport() override { withdraw(); }
  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return uint32_t(network_->inboxes.size()); }

  Ticket send(uint32_t peer, uint32_t tag, std::span<const uint8_t> bytes) override {
    auto taken = std::make_shared<std::atomic<bool>>(false);
    Inbox& inbox = network_->inboxes[peer];
    {
      const std::lock_guard lock(inbox.mutex);
      inbox.messages.push_back({rank_, tag, bytes, taken});
    }
    sends_.push_back({++last_, std::move(taken)});
    return last_;
  }
  Ticket receive(uint32_t peer, uint32_t tag, std::span<uint8_t> bytes) override {
    receives_.push_back({++last_, peer, tag, bytes});
    return last_;
  }
  bool done(Ticket ticket) override { return over_.erase(ticket) > 0; }

  Status poll() override {
    if (network_->aborted.load(std::memory_order_acquire)) {
      withdraw();
      const std::lock_guard lock(network_->mutex);
      return error(Code::io, "{}", network_->why);
    }
    std::erase_if(sends_, [&](const auto& send) {
      if (!send.second->load(std::memory_order_acquire)) return false;
      over_.insert(send.first);
      return true;
    });
    if (receives_.empty()) return {};
    Inbox& inbox = network_->inboxes[rank_];
    const std::lock_guard lock(inbox.mutex);
    Status status;
    std::erase_if(receives_, [&](const Receive& want) {
      for (auto it = inbox.messages.begin(); it != inbox.messages.end() && status.ok(); ++it) {
        if (it->from != want.peer || it->tag != want.tag) continue;
        if (it->bytes.size() != want.bytes.size()) {
          status = error(Code::invalid, "rank {} sent {} bytes, rank {} waits for {}", want.peer, it->bytes.size(),
                         rank_, want.bytes.size());
          return false;
        }
        std::memcpy(want.bytes.data(), it->bytes.data(), want.bytes.size());
        it->taken->store(true, std::memory_order_release);
        inbox.messages.erase(it);
        over_.insert(want.ticket);
        return true;
      }
      return false;
    });
    return status;
  }

  void abort(const std::string& why) override {
    withdraw();
    const std::lock_guard lock(network_->mutex);
    if (network_->aborted.load(std::memory_order_relaxed)) return;
    network_->why = fmt::format("rank {}: {}", rank_, why);
    network_->aborted.store(true, std::memory_order_release);
  }

 private:
  /// What was sent and not taken: its memory may go, for nobody copies it behind this.
  void withdraw() {
    for (Inbox& inbox : network_->inboxes) {
      const std::lock_guard lock(inbox.mutex);
      std::erase_if(inbox.messages, [&](const Sent& s) { return s.from == rank_; });
    }
  }
  struct Receive {
    Ticket ticket;
    uint32_t peer, tag;
    std::span<uint8_t> bytes;
  };
  std::shared_ptr<Network> network_;
  uint32_t rank_;
  Ticket last_ = 0;
  std::vector<std::pair<Ticket, std::shared_ptr<std::atomic<bool>>>> sends_;
  std::vector<Receive> receives_;
  std::unordered_set<Ticket> over_;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> local_network(uint32_t n) {
  auto network = std::make_shared<Network>(n);
  std::vector<std::unique_ptr<Transport>> ends;
  for (uint32_t r = 0; r < n; ++r) ends.push_back(std::make_unique<LocalTransport>(network, r));
  return ends;
}

}  // namespace vibee
