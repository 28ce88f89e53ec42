// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: parse, every metadata value through every getter, the tokenizer, and a read of every
// tensor.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/model/weight/gguf.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const Result<Checkpoint> f = parse_gguf({data, size}, "fuzz.gguf");
  if (!f.ok()) {
    require(f.status().message().find("fuzz.gguf") != std::string::npos);
    require(f.status().message().find('\n') == std::string::npos);
    return 0;
  }
  for (const auto& [key, value] : f->metadata()) {
    require(f->describe(key).find('\n') == std::string::npos);
    (void)f->get_string(key).ok();
    (void)f->get_u64(key).ok();
    (void)f->get_i64(key).ok();
    (void)f->get_f64(key).ok();
    (void)f->get_bool(key).ok();
    (void)f->get_strings(key).ok();
    (void)f->get_floats(key).ok();
    (void)f->get_ints(key).ok();
  }
  const Result<TokenizerSpec> spec = read_tokenizer(*f);
  if (spec.ok()) {
    require(spec->bos < int64_t(spec->tokens.size()) && spec->eos < int64_t(spec->tokens.size()));
    require(spec->types.empty() || spec->types.size() == spec->tokens.size());
  }
  uint64_t total = 0;
  for (const TensorInfo& t : f->tensors()) {
    total += t.bytes;
    require(total <= size && t.offset + t.bytes <= size);  // inside the file, sharing nothing
    require(t.bytes == info(t.format).row_bytes(t.row_length()) * t.rows());
    std::vector<uint8_t> bytes(t.bytes);
    require(f->read(t, 0, bytes).ok());
    std::vector<float> floats(t.elements());
    info(t.format).decode(bytes.data(), floats.size(), floats.data());
  }
  return 0;
}
