// SPDX-License-Identifier: Apache-2.0
// What a tensor of a checkpoint says, as floats.
#pragma once

#include <string_view>
#include <vector>

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

inline Result<std::vector<float>> tensor_values(const Checkpoint& file, std::string_view name) {
  VIBEE_ASSIGN(const TensorInfo* t, file.tensor(name));
  std::vector<uint8_t> raw(t->bytes);
  VIBEE_TRY(file.read(*t, 0, raw));
  std::vector<float> out(t->elements());
  info(t->format).decode_rows(raw.data(), t->rows(), t->row_length(), out.data());
  return out;
}

}  // namespace vibee
