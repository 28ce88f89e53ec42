// SPDX-License-Identifier: Apache-2.0
// Clusters of weighted numbers on a line. In one dimension the clusters of least squared error are neighbours, so the
// best k of them are found exactly (Wang and Song, "Ckmeans.1d.dp", R Journal 2011), and so is the best split of one.
#pragma once

#include <cstdint>
#include <vector>

namespace vibee {

class LinePoints {
 public:
  /// Takes n numbers, of which those that are not finite count as zero, with weights of zero or more, or null: all
  /// alike. A weight below a millionth of their mean counts as that, so that no number is forgotten.
  LinePoints(const float* x, uint64_t n, const float* weights);

  /// Numbers that are equal are one point; points ascend.
  uint32_t size() const { return uint32_t(values_.size()); }
  uint32_t point_of(uint64_t i) const { return point_[i]; }
  /// Of the points [begin, end), which are not none: their mean, and the sum of their weights times squared distances
  /// to it, and to any value.
  double mean(uint32_t begin, uint32_t end) const;
  double error(uint32_t begin, uint32_t end) const;
  double error_to(uint32_t begin, uint32_t end, double value) const;

  /// The k + 1 borders of k clusters of least error: cluster j has the points [out[j], out[j + 1]). Where there are
  /// fewer points than clusters, each has its own and the last ones are empty.
  std::vector<uint32_t> clusters(uint32_t k) const;
  /// The point from which on [begin, end) is best cut in two; `end`, where it has one point or none.
  uint32_t split(uint32_t begin, uint32_t end) const;

 private:
  double centre_ = 0;                            ///< taken away before sums, which would cancel
  std::vector<double> values_;                   ///< of points, without the centre
  std::vector<double> weight_, first_, second_;  ///< sums of w, w x and w x^2 of the points before one
  std::vector<uint32_t> point_;
};

}  // namespace vibee
