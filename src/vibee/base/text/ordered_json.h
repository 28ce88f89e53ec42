// SPDX-License-Identifier: Apache-2.0
// JSON whose objects keep the order of their members, for what clients send: templates and schemas print it.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "vibee/base/memory/until_memory.h"

namespace vibee {

/// That of nlohmann's containers; a type of our own, so that std::allocator can be told what follows below.
template <class T>
struct JsonAllocator {
  using value_type = T;
  JsonAllocator() = default;
  template <class U>
  JsonAllocator(const JsonAllocator<U>&) {}  // NOLINT: rebinding
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T))); }
  void deallocate(T* p, size_t) { ::operator delete(p); }
  bool operator==(const JsonAllocator&) const { return true; }
};
using OrderedJson = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t, uint64_t, double,
                                         JsonAllocator>;

}  // namespace vibee

/// The destructor of nlohmann's values takes memory from here (a stack in place of recursion), where an exception would
/// end the process: it waits for it instead.
template <>
struct std::allocator<vibee::OrderedJson> {
  using value_type = vibee::OrderedJson;
  allocator() = default;
  template <class U>
  allocator(const allocator<U>&) {}  // NOLINT: rebinding
  value_type* allocate(size_t n);
  void deallocate(value_type* p, size_t) { ::operator delete(p); }
  bool operator==(const allocator&) const { return true; }
};
