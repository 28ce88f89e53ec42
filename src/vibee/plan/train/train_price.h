// SPDX-License-Identifier: Apache-2.0
// What a joint graph's step takes, priced node by node with rates that were measured on a machine (hw/cost): the graph
// is the one that runs, so what recomputation adds and frozen weights save is in it. Nothing here reads a clock.
#pragma once

#include <array>
#include <string_view>

#include "vibee/graph/cost/cost.h"
#include "vibee/hw/cost/machine_rates.h"

namespace vibee {

/// What time is spent on. `decode`: floats of frozen weights in other formats; `sums`: gradients of parts and shares.
enum class Reason : uint8_t { products, attention, loss, elementwise, decode, sums, optimiser, communication };
inline constexpr size_t kReasons = 8;
std::string_view name(Reason reason);

/// Seconds by reason.
struct TimeStack {
  std::array<double, kReasons> seconds{};
  double& operator[](Reason r) { return seconds[size_t(r)]; }
  double operator[](Reason r) const { return seconds[size_t(r)]; }
  TimeStack& operator+=(const TimeStack& other);
  double sum() const;
};

/// Prices of a joint graph's nodes. The graph and the rates outlive it.
class TrainPrice {
 public:
  TrainPrice(const Graph& joint, const MachineRates& rates);
  /// A node in a part of a step; of a loss with the gradients that it makes, unless `loss_only`. `moving`: seconds that
  /// attention or elementwise work waits for what is not in its threads' own caches.
  TimeStack node(size_t n, const TrainedRows& part, bool loss_only = false, double moving = 0) const;
  /// Loss and gradients of a part. `ready`: where given, one time an output: seconds from the part's begin to when it
  /// is final.
  TimeStack part(const TrainedRows& part, std::vector<double>* ready = nullptr) const;
  /// The loss alone, as an evaluation computes it.
  TimeStack loss_only(const TrainedRows& part) const;
  /// Operations of a part, as graph/cost counts them.
  double flops(const TrainedRows& part) const;

 private:
  double product(std::string_view kind, double m, double n, double k) const;
  double decode(const Type& weight) const;
  double attention(const Node& node, const TrainedRows& part) const;
  double loss(const Node& node, const TrainedRows& part, bool dx, bool dw) const;
  /// f(node, seconds that its values take from memory or the shared cache) for the first nodes.
  template <class F>
  void each_node(size_t nodes, const TrainedRows& part, F&& f) const;

  const Graph& g_;
  const MachineRates& rates_;
  struct Loss {
    bool dx = false, dw = false;
  };
  std::vector<Loss> makes_;         ///< one a node: the gradients that a loss makes with its own
  std::vector<bool> made_by_loss_;  ///< one a node
};

/// The name under which elementwise work is measured: the op's, with the function that it computes.
std::string element_kind(const Node& node);
/// Its units: the largest of what a node reads and writes, but for tables of which it reads rows.
double element_units(const Graph& graph, const Node& node, double rows);

}  // namespace vibee
