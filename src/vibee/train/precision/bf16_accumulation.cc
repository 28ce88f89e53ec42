// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/bf16_accumulation.h"

#include <cstring>

namespace vibee {

void add_to(const FormElements& sum, Isa isa, const float* x, uint64_t n, bool first, const RoundingKey& key) {
  const WeightFormInfo& f = info(sum.form);
  if (f.in_place()) {
    float* const to = reinterpret_cast<float*>(sum.copy);
    for (uint64_t i = 0; i < n; ++i) to[i] = first ? x[i] : to[i] + x[i];
    return;
  }
  if (first) {
    std::memset(sum.copy, 0, n * f.copy_bytes());
    std::memset(sum.rest, 0, n * f.rest_bytes);
  }
  float block[kUpdateBlock];
  sum.load(isa, n, block);
  for (uint64_t i = 0; i < n; ++i) block[i] += x[i];
  sum.store(isa, block, n, key);
}

}  // namespace vibee
