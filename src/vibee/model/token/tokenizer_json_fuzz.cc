// SPDX-License-Identifier: Apache-2.0
// Any bytes as tokenizer.json, and after a zero byte a text: reading, making, encoding and decoding must end and leave
// ids in range and text that is UTF-8; what is written of it must give the same ids when read back.
#include <cstdlib>

#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/gguf_spec.h"
#include "vibee/model/token/tokenizer_json.h"
#include "vibee/model/token/tokenizer_json_write.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(all.find('\0'), all.size());
  auto spec = vibee::read_tokenizer_json(all.substr(0, end), "fuzz");
  if (!spec.ok()) return 0;
  const auto made = vibee::make_tokenizer(*spec);
  if (!made.ok()) return 0;
  std::unique_ptr<vibee::Tokenizer> again;
  if (const auto files = vibee::write_tokenizer_files(*spec); files.ok()) {
    auto read = vibee::read_tokenizer_json(files->at(0).text, "written");
    if (!read.ok()) std::abort();
    auto remade = vibee::make_tokenizer(std::move(*read));
    if (!remade.ok()) std::abort();
    again = std::move(*remade);
  }
  if (const auto said = vibee::gguf_tokenizer(*spec, 0); said.ok() && said->spec.tokens.size() != spec->tokens.size())
    std::abort();
  for (const std::string_view text : {all.substr(end).substr(0, 4096), std::string_view("Hello, w\xc3\xb6rld 123")}) {
    std::vector<int32_t> ids, same;
    if (!(*made)->encode(text, true, &ids).ok()) continue;
    for (const int32_t id : (*made)->wrap(ids)) {
      if (id < 0 || id >= (*made)->size()) std::abort();
    }
    if (again != nullptr && (!again->encode(text, true, &same).ok() || ids != same)) std::abort();
    const std::string back = vibee::decode(**made, ids);
    if (vibee::valid_utf8(back) != back) std::abort();
  }
  return 0;
}
