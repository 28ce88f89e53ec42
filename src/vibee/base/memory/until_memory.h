// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <new>
#include <thread>

namespace vibee {

/// Does what has to happen, such as telling another thread that its work is done, where it finds no memory again when
/// there may be some. `what` must leave everything as it was when it throws.
template <class F>
void until_memory(F&& what) {
  for (;;) {
    try {
      return what();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
}

}  // namespace vibee
