// SPDX-License-Identifier: Apache-2.0
// Any bytes as a grammar of stories (first byte 0), as text (1) or as JSON lines (2): reading ends, with a message of
// one line or with documents; of a text nothing is lost.
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "vibee/train/data/documents.h"
#include "vibee/train/data/stories.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void one_line(const vibee::Status& status) { require(status.message().find('\n') == std::string::npos); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 0) {
    const auto teller = Storyteller::make(text, "fuzz");
    if (!teller.ok()) one_line(teller.status());
    for (uint64_t i = 0; teller.ok() && i < 3; ++i) {
      const auto story = teller->tell(1, i);
      if (!story.ok()) one_line(story.status());
    }
    return 0;
  }
  char path[] = "/tmp/vibee-documents-fuzz-XXXXXX";
  const int file = ::mkstemp(path);
  require(file >= 0 && ::write(file, text.data(), text.size()) == ssize_t(text.size()) && ::close(file) == 0);
  DocumentOptions options;
  options.kind = data[0] % 3 == 1 ? DocumentOptions::Kind::text : DocumentOptions::Kind::lines;
  options.piece = 16;
  auto reader = DocumentReader::open(path, options);
  require(reader.ok());
  std::string joined;
  bool failed = false;
  for (TextDocument document;;) {
    const auto more = reader->next(&document);
    failed = !more.ok();
    if (failed) one_line(more.status());
    if (failed || !*more) break;
    joined += document.text;
  }
  ::unlink(path);
  require(failed || options.kind == DocumentOptions::Kind::lines || joined == text);
  return 0;
}
