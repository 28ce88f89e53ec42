// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

bool by_service(const WaitingView& a, const WaitingView& b) { return a.service < b.service; }
bool by_reused(const WaitingView& a, const WaitingView& b) { return a.reused > b.reused; }

constexpr const RequestOrder* kOrders[] = {&kFirstCome, &kVirtualTokenCounter, &kLongestPrefix};

}  // namespace

const RequestOrder kFirstCome = {"fcfs", false, nullptr};
const RequestOrder kVirtualTokenCounter = {"vtc", false, by_service};
const RequestOrder kLongestPrefix = {"lpm", true, by_reused};

std::span<const RequestOrder* const> request_orders() { return kOrders; }

Result<const RequestOrder*> find_order(std::string_view id) {
  std::string known;
  for (const RequestOrder* order : kOrders) {
    if (order->id == id) return order;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", order->id);
  }
  return error(Code::invalid, "--order {}: unknown; use {}", quote(id), known);
}

void order_waiting(const RequestOrder& order, double aging_s, std::span<const WaitingView> waiting,
                   std::span<uint32_t> out) {
  std::iota(out.begin(), out.end(), 0u);
  const auto rank = [&](const WaitingView& w) {
    return w.priority + (aging_s > 0 ? std::floor(w.wait_s / aging_s) : 0.0);
  };
  std::stable_sort(out.begin(), out.end(), [&](uint32_t a, uint32_t b) {
    const double x = rank(waiting[a]), y = rank(waiting[b]);
    if (x != y) return x > y;
    return order.before != nullptr && order.before(waiting[a], waiting[b]);
  });
}

}  // namespace vibee
