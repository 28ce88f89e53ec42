// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms (metrics.inc) in the text format of Prometheus 0.0.4. Of one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace vibee {

enum class Metric : uint8_t {
#define VIBEE_METRIC(kind, name, labels, help) name,
#include "vibee/app/server/metrics.inc"
#undef VIBEE_METRIC
};

class Metrics {
 public:
  /// `labels`: values of the row's labels, separated by commas, none of which has a comma.
  void add(Metric metric, std::string_view labels, double value = 1) {
    values_[{metric, std::string(labels)}] += value;
  }
  void set(Metric metric, std::string_view labels, double value) { values_[{metric, std::string(labels)}] = value; }
  void observe(Metric metric, std::string_view labels, double seconds);
  double value(Metric metric, std::string_view labels) const;
  /// Of a histogram, interpolated inside a bucket; 0 of none.
  double quantile(Metric metric, std::string_view labels, double q) const;
  std::string text() const;

 private:
  static constexpr size_t kBuckets = 68;
  struct Histogram {
    std::array<uint64_t, kBuckets + 1> counts{};
    double sum = 0;
    uint64_t count = 0;
  };
  using Key = std::pair<Metric, std::string>;
  std::map<Key, double> values_;
  std::map<Key, Histogram> histograms_;
};

}  // namespace vibee
