// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/metrics.h"

#include <fmt/format.h>

#include <cmath>

namespace vibee {
namespace {

struct Row {
  std::string_view kind, name, labels, help;
};
constexpr Row kRows[] = {
#define VIBEE_METRIC(kind, name, labels, help) {#kind, #name, labels, help},
#include "vibee/app/server/metrics.inc"
#undef VIBEE_METRIC
};

constexpr double kFirst = 1e-4, kRatio = 1.25;

/// {model="a",state="free"} from names and values; `more` is one label behind them.
std::string label_text(std::string_view names, std::string_view values, const std::string& more = {}) {
  std::string out;
  while (!names.empty()) {
    const size_t n = std::min(names.find(','), names.size()), v = std::min(values.find(','), values.size());
    std::string escaped;
    for (const char c : values.substr(0, v)) {
      if (c == '\\' || c == '"') escaped += '\\';
      if (c == '\n')
        escaped += "\\n";
      else
        escaped += c;
    }
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", names.substr(0, n), escaped);
    names.remove_prefix(std::min(n + 1, names.size()));
    values.remove_prefix(std::min(v + 1, values.size()));
  }
  if (!more.empty()) out += (out.empty() ? "" : ",") + more;
  return out.empty() ? out : "{" + out + "}";
}

std::string bound(size_t bucket) { return fmt::format("{:.4g}", kFirst * std::pow(kRatio, double(bucket))); }

}  // namespace

void Metrics::observe(Metric metric, std::string_view labels, double seconds) {
  Histogram& h = histograms_[{metric, std::string(labels)}];
  size_t bucket = 0;
  if (seconds > kFirst) bucket = size_t(std::ceil(std::log(seconds / kFirst) / std::log(kRatio) - 1e-9));
  ++h.counts[std::min(bucket, kBuckets)];
  h.sum += seconds;
  ++h.count;
}

double Metrics::value(Metric metric, std::string_view labels) const {
  const auto at = values_.find({metric, std::string(labels)});
  return at == values_.end() ? 0 : at->second;
}

double Metrics::quantile(Metric metric, std::string_view labels, double q) const {
  const auto at = histograms_.find({metric, std::string(labels)});
  if (at == histograms_.end()) return 0;
  const Histogram& h = at->second;
  double below = 0;
  for (size_t b = 0; b <= kBuckets; ++b) {
    const auto here = double(h.counts[b]);
    if (here > 0 && below + here >= q * double(h.count)) {
      const double low = b == 0 ? 0 : kFirst * std::pow(kRatio, double(b) - 1),
                   high = kFirst * std::pow(kRatio, double(b));
      return low + (high - low) * (q * double(h.count) - below) / here;
    }
    below += here;
  }
  return 0;
}

std::string Metrics::text() const {
  std::string out;
  for (size_t i = 0; i < std::size(kRows); ++i) {
    const Row& row = kRows[i];
    const bool counts = row.kind == "counter";
    const std::string name = fmt::format("vibee_{}{}", row.name, counts ? "_total" : "");
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, row.help, name, row.kind);
    const auto mine = [&](const Key& key) { return key.first == Metric(i); };
    for (const auto& [key, value] : values_)
      if (mine(key)) out += fmt::format("{}{} {}\n", name, label_text(row.labels, key.second), value);
    for (const auto& [key, h] : histograms_) {
      if (!mine(key)) continue;
      uint64_t sum = 0;
      for (size_t b = 0; b <= kBuckets; ++b) {
        sum += h.counts[b];
        const std::string le = fmt::format("le=\"{}\"", b == kBuckets ? "+Inf" : bound(b));
        out += fmt::format("{}_bucket{} {}\n", name, label_text(row.labels, key.second, le), sum);
      }
      out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, label_text(row.labels, key.second), h.sum, name,
                         label_text(row.labels, key.second), h.count);
    }
  }
  return out;
}

}  // namespace vibee
