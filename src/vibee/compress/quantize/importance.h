// SPDX-License-Identifier: Apache-2.0
// How much each column of a model's matrices matters: the mean square of what it is multiplied by over a text. Read and
// written as llama.cpp's importance matrices in GGUF: general.type "imatrix", and for each tensor NAME the tensors
// NAME.in_sum2 [columns, matrices] (sums of squares) and NAME.counts [1, matrices] (rows that were summed).
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

class Importance {
 public:
  /// Sums of squares of the columns of a tensor, matrix after matrix (experts), and the rows behind each matrix.
  struct Sums {
    std::vector<float> squares, counts;
    uint64_t columns() const { return counts.empty() ? 0 : squares.size() / counts.size(); }
  };
  static Result<Importance> read(const std::string& path);
  Status write(const std::string& path, const std::string& text, uint32_t chunks, uint32_t chunk) const;

  void add(std::string tensor, Sums sums);
  bool empty() const { return tensors_.empty(); }
  /// What RecastOptions::importance asks for: means of squares; a matrix that no row met has ones. Empty for a tensor
  /// that is not known.
  std::span<const float> of(const TensorInfo& tensor) const;
  /// Refuses sizes that are not those of the file's tensors, and an importance none of whose tensors the file has.
  Status check(const Checkpoint& file) const;
  /// SHA-256 over names and numbers.
  std::string hash() const;

 private:
  struct Entry {
    Sums sums;
    std::vector<float> means;
  };
  std::map<std::string, Entry, std::less<>> tensors_;
  std::string path_;
};

}  // namespace vibee
