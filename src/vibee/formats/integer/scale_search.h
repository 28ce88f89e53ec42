// SPDX-License-Identifier: Apache-2.0
// Scales of blocks for least weighted squared error, sixteen sub-blocks at once: lane l of every number is of sub-block
// l, so nothing is summed across lanes and every instruction set gives the same bytes. Encoders ask for codes and
// scales and pack them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vibee {

constexpr int kSearchLanes = 16, kMostSubBlock = 32, kTableValues = 16;

/// x ~ scale * u + low for codes u of 0..top.
struct AffineSearch {
  int elements;  ///< of a sub-block
  int group;     ///< sub-blocks that share a superblock: 16 or 8; 1: scale and low are halves of their own
  float top;
  float top_scale, top_low;  ///< a sub-block's scale is d * (0..top_scale), its low -dmin * (0..top_low)
};

/// x ~ scale * q for codes q of -middle..middle-1.
struct SymmetricSearch {
  int elements, group;
  float middle;
  float least_scale, most_scale;  ///< a sub-block's scale is d * (least..most)
  int steps;                      ///< scales that are tried below and above the one of the largest magnitude,
  float step;                     ///< so far apart, in codes
};

/// x ~ scale * v for values v of a table.
struct TableSearch {
  int elements, group;
  const float* values;  ///< kTableValues of them, ascending
  float least_scale, most_scale;
  int steps;  ///< as above, in values
  float step;
};

/// x ~ scale * v for E2M1 values v, with a scale of an ascending list near the largest magnitude over 6.
struct ListedSearch {
  int elements;
  int group;            ///< sub-blocks of a block, which has no scale of its own
  const float* scales;  ///< `count` of them
  int count;
  int below, above;  ///< neighbours of the scale at largest magnitude / 6 that are tried
};

/// What the sub-blocks of a call became: codes of sub-block l at l * elements.
struct Searched {
  uint8_t codes[kSearchLanes * kMostSubBlock];  ///< u, q + middle, indices of the table, or E2M1
  float d[kSearchLanes], dmin[kSearchLanes];    ///< of the superblock of each lane, on the grid of halves
  int16_t scales[kSearchLanes];                 ///< or index of the list
  uint8_t lows[kSearchLanes];
};

/// `x`: `count` sub-blocks one behind the other, 16 at most; importance one a number, or null.
struct SearchKernels {
  void (*affine)(const AffineSearch&, const float* x, const float* importance, int count, Searched*);
  void (*symmetric)(const SymmetricSearch&, const float* x, const float* importance, int count, Searched*);
  void (*table)(const TableSearch&, const float* x, const float* importance, int count, Searched*);
  void (*listed)(const ListedSearch&, const float* x, const float* importance, int count, Searched*);
};
extern const SearchKernels search_scalar, search_avx2, search_avx512;
/// Those of this machine.
const SearchKernels& search_kernels();

/// Encodes `n` numbers in blocks of `bytes` bytes, how.group sub-blocks each, with one of the kernels:
/// pack(first lane, codes of the block, result, out) writes one.
template <class Search, class Kernel, class Pack>
void encode_searched(const Search& how, Kernel kernel, const float* in, uint64_t n, const float* importance,
                     uint64_t bytes, uint8_t* out, Pack pack) {
  const auto at_once = uint64_t(kSearchLanes) * uint64_t(how.elements);
  Searched found;
  for (uint64_t first = 0; first < n; first += at_once) {
    const int count = int(std::min(at_once, n - first)) / how.elements;
    kernel(how, in + first, importance ? importance + first : nullptr, count, &found);
    for (int lane = 0; lane < count; lane += how.group, out += bytes)
      pack(lane, found.codes + lane * how.elements, found, out);
  }
}

}  // namespace vibee
