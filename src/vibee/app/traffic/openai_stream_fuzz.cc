// SPDX-License-Identifier: Apache-2.0
// Any bytes as a server's streamed answer: the record is well formed, and does not depend on how the bytes were cut.
// The first byte says where the cuts are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/app/traffic/measures.h"
#include "vibee/app/traffic/openai_stream.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

vibee::RequestRecord read(std::string_view bytes, size_t step) {
  vibee::RequestRecord r;
  vibee::OpenAiStream stream;
  for (size_t at = 0; at < bytes.size(); at += step) stream.feed(bytes.substr(at, step), double(at), &r);
  return r;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const RequestRecord whole = read(bytes, bytes.size() + 1), cut = read(bytes, 1 + data[0] % 7);
  require(whole.error == cut.error && whole.text == cut.text && whole.pieces.size() == cut.pieces.size());
  require(whole.output_tokens == cut.output_tokens && whole.finished == cut.finished);
  require(whole.error.find('\n') == std::string::npos);
  for (const StreamedPiece& p : whole.pieces) require(p.text_end <= whole.text.size());
  (void)measure({&cut, 1}, {});
  (void)OpenAiStream::error_text(bytes);
  return 0;
}
