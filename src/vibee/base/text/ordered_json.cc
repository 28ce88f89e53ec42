// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/text/ordered_json.h"

#include <nlohmann/json.hpp>

vibee::OrderedJson* std::allocator<vibee::OrderedJson>::allocate(size_t n) {
  void* p = nullptr;
  vibee::until_memory([&] { p = ::operator new(n * sizeof(vibee::OrderedJson)); });
  return static_cast<vibee::OrderedJson*>(p);
}
