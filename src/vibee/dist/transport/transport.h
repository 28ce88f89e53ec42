// SPDX-License-Identifier: Apache-2.0
// Bytes between the ranks of a job. Everything is two-sided: the k-th message of a sender to a receiver under a tag
// meets the k-th receive of that tag. One thread of a rank uses its end.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

class Transport {
 public:
  using Ticket = uint64_t;
  virtual ~Transport() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t size() const = 0;

  /// Begins to send or to receive. The bytes are the transport's until done() says so.
  virtual Ticket send(uint32_t peer, uint32_t tag, std::span<const uint8_t> bytes) = 0;
  virtual Ticket receive(uint32_t peer, uint32_t tag, std::span<uint8_t> bytes) = 0;
  /// Whether it is over, as of the last poll(). A ticket that was over is forgotten.
  virtual bool done(Ticket ticket) = 0;
  /// Moves what can be moved; to be called again and again, also while nothing is asked for. An error ends the job: it
  /// names the rank that was lost or gave up.
  virtual Status poll() = 0;
  /// Tells every other rank that this one gives up.
  virtual void abort(const std::string& why) = 0;
};

}  // namespace vibee
