// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/torchao.h"

namespace vibee {

Result<std::vector<Format>> prepared_formats(std::string_view name) {
  VIBEE_ASSIGN(std::vector<Format> formats, parse_formats(name));
  if (formats[0] == Format::f32 || !info(formats[0]).encode)
    return error(Code::invalid, "weights are not stored in {}; name a format that `vibee quantize` writes", name);
  return formats;
}

}  // namespace vibee
