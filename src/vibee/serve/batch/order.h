// SPDX-License-Identifier: Apache-2.0
// Which of those that wait is looked at first. Classes come first, whatever the order: a larger priority before a
// smaller one, and whoever waits long enough gains classes, so that nobody waits for ever.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

/// A request that waits.
struct WaitingView {
  int priority = 0;     ///< its class
  double wait_s = 0;    ///< since it came
  double service = 0;   ///< what its key got lately, see kVirtualTokenCounter
  uint32_t reused = 0;  ///< tokens of it that are stored; only where the order asks
};

/// A row of `--order`.
struct RequestOrder {
  std::string_view id;  ///< as the user writes it
  bool asks_reused;
  /// Whether `a` goes before `b`, of one class; of equals the earlier one.
  bool (*before)(const WaitingView& a, const WaitingView& b);
};

/// Arrival.
extern const RequestOrder kFirstCome;
/// Virtual token counter (Sheng et al., OSDI 2024, arXiv:2401.00588): the key that got least. A prompt token that was
/// computed counts 1, a generated one 2; a key that comes back is lifted to the least of those that are active.
extern const RequestOrder kVirtualTokenCounter;
/// Longest prefix match (Zheng et al., SGLang, NeurIPS 2024): what is stored already, before it is given up.
extern const RequestOrder kLongestPrefix;

std::span<const RequestOrder* const> request_orders();
Result<const RequestOrder*> find_order(std::string_view id);

/// Indices of `waiting`, which are in order of arrival, into `out`: the order in which they are looked at. A class is
/// gained every `aging_s` seconds; 0: none ever is.
void order_waiting(const RequestOrder& order, double aging_s, std::span<const WaitingView> waiting,
                   std::span<uint32_t> out);

}  // namespace vibee
