// SPDX-License-Identifier: Apache-2.0
// A quantization_config, an anyprec, or the map of quanto in "quanto", on the first line, a safetensors file behind it:
// a message of one line, or linears that can be read.
#include <cstdlib>
#include <cstring>

#include "vibee/model/weight/quantized.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const auto* line = static_cast<const uint8_t*>(std::memchr(data, '\n', size));
  if (line == nullptr) return 0;
  const auto config = parse_json({reinterpret_cast<const char*>(data), size_t(line - data)});
  if (!config.ok()) return 0;
  auto file = parse_safetensors({line + 1, data + size}, "fuzz");
  if (!file.ok()) return 0;
  auto files = SafetensorsSet::of(std::move(*file));
  if (!files.ok()) return 0;
  const auto told = [](const Status& status) {
    if (status.message().find('\n') != std::string::npos) std::abort();
    return 0;
  };
  const JsonValue* quanto = config->find("quanto");
  const auto layout = quanto != nullptr ? quanto_layout(*quanto, [](std::string_view) { return 192; })
                      : config->find("seed_precision") != nullptr ? any_precision_layout(*config, size % 2 == 0 ? 4 : 0)
                                                                  : quantized_layout(*config);
  if (!layout.ok()) return told(layout.status());
  const auto set = unpack_quantized(std::move(*files), **layout);
  if (!set.ok()) return told(set.status());
  for (const auto& [name, place] : set->tensors()) {
    if (place.tensor->bytes > 1 << 20) continue;
    std::vector<uint8_t> raw(place.tensor->bytes);
    if (const Status read = place.file->read(*place.tensor, 0, raw); !read.ok()) return told(read);
  }
  return 0;
}
