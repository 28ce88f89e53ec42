// SPDX-License-Identifier: Apache-2.0
// A slower network in the place of the one that is there: each directed pair of ranks has a link of its own that takes
// `latency` a message and so many bytes a second. What is measured with it is called shaped.
#pragma once

#include <memory>

#include "vibee/dist/transport/transport.h"

namespace vibee {

struct LinkShape {
  double latency = 0;           ///< seconds
  double bytes_per_second = 0;  ///< 0: as fast as it is
};

std::unique_ptr<Transport> shaped(std::unique_ptr<Transport> inner, LinkShape shape);

}  // namespace vibee
