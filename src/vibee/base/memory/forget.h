// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace vibee {

/// Empties a container and gives its memory back. `c = {}` and `c.clear()` keep the room of a vector.
template <class Container>
void forget(Container& c) {
  Container().swap(c);
}

}  // namespace vibee
