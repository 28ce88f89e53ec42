// SPDX-License-Identifier: Apache-2.0
// Ranks that are threads of one process: a message is copied once, from the sender's memory to the receiver's.
#pragma once

#include <memory>
#include <vector>

#include "vibee/dist/transport/transport.h"

namespace vibee {

/// The ends of a network of n ranks. They may go in any order.
std::vector<std::unique_ptr<Transport>> local_network(uint32_t n);

}  // namespace vibee
