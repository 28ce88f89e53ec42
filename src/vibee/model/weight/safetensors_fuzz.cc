// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: parse, and a read of every tensor.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/model/weight/safetensors.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const Result<Safetensors> f = parse_safetensors({data, size}, "fuzz.safetensors");
  if (!f.ok()) {
    require(f.status().message().find("fuzz.safetensors") != std::string::npos);
    require(f.status().message().find('\n') == std::string::npos);
    return 0;
  }
  uint64_t total = 0;
  for (const SafetensorsTensor& t : f->tensors()) {
    total += t.bytes;
    require(total <= size && t.offset + t.bytes <= size);
    std::vector<uint8_t> bytes(t.bytes);
    require(f->read(t, 0, bytes).ok());
    if (!t.format) continue;
    uint64_t elements = 1;
    for (uint64_t n : t.shape) elements *= n;
    require(t.bytes == info(*t.format).row_bytes(elements));
    std::vector<float> floats(elements);
    info(*t.format).decode(bytes.data(), elements, floats.data());
  }
  return 0;
}
