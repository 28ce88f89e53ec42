// SPDX-License-Identifier: Apache-2.0
// Writes a tiny random model with a tokenizer and a chat template, for tests that need a file and no network.
#include <cstdio>
#include <fstream>

#include "vibee/kit/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_tiny_model FILE\n", stderr);
    return 2;
  }
  vibee::TinyModel m;
  m.vocab = 320;
  m.tokenizer = true;
  m.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
  const std::vector<uint8_t> bytes = vibee::TinyModelWriter(m).build();
  std::ofstream file(argv[1], std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  return file.flush() ? 0 : 1;
}
