// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/pointwise.h"

#include <iterator>

namespace vibee {
namespace {

constexpr std::string_view kPoolings[] = {"mean", "max", "cls", "last"};

}  // namespace

std::string_view name(Pooling pooling) { return kPoolings[size_t(pooling)]; }

std::optional<Pooling> find_pooling(std::string_view name) {
  for (size_t i = 0; i < std::size(kPoolings); ++i)
    if (kPoolings[i] == name) return Pooling(i);
  return std::nullopt;
}

const PointwiseKernels& pointwise(Isa isa) {
  return isa >= Isa::avx512 ? pointwise_avx512 : isa == Isa::avx2 ? pointwise_avx2 : pointwise_scalar;
}

}  // namespace vibee
