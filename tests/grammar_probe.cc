// SPDX-License-Identifier: Apache-2.0
// Whether texts are of grammars, on a model's own vocabulary, and what masks cost: for tests/json_schema_suite.py and for
// measurements by hand. Standard input holds requests: a letter (s schema, r regex, g GBNF), the bytes of the source and
// of the text as 32-bit numbers, source, text. A line is printed for each: "refused MESSAGE", "yes", or "no BYTE", the
// byte at which the text left the grammar; with --times "COMPILE_US MASK_US,MASK_US,...", one a token.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "vibee/app/jobs/load.h"
#include "vibee/serve/grammar/grammar.h"

namespace {

bool read_bytes(void* to, size_t n) { return std::fread(to, 1, n, stdin) == n; }

double microseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace vibee;
  if (argc < 2) {
    std::fputs("usage: grammar_probe MODEL [--times]\n", stderr);
    return 2;
  }
  const bool times = argc > 2 && std::strcmp(argv[2], "--times") == 0;
  LoadConfig config;
  config.model = argv[1];
  config.context = 64;
  auto loaded = load(config);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", loaded.status().message().c_str());
    return 1;
  }
  const Tokenizer& tokenizer = loaded->model->tokenizer();
  const auto trie = std::make_shared<const TokenTrie>(tokenizer);
  char kind = 0;
  uint32_t sizes[2];
  while (read_bytes(&kind, 1) && read_bytes(sizes, 8)) {
    std::string source(sizes[0], 0), text(sizes[1], 0);
    if (!read_bytes(source.data(), source.size()) || !read_bytes(text.data(), text.size())) return 1;
    const auto begin = std::chrono::steady_clock::now();
    const auto grammar = Grammar::compile({kind == 's'   ? GrammarSource::json_schema
                                           : kind == 'r' ? GrammarSource::regex
                                                         : GrammarSource::gbnf,
                                           source},
                                          trie);
    const double compile_us = microseconds_since(begin);
    if (!grammar.ok()) {
      std::printf("refused %s\n", grammar.status().message().c_str());
      continue;
    }
    std::vector<int32_t> ids;
    const Status encoded = tokenizer.encode(text, false, &ids);
    if (!encoded.ok()) {
      std::printf("refused %s\n", encoded.message().c_str());
      continue;
    }
    GrammarState state(*grammar);
    size_t bytes = 0;
    bool read = true;
    std::string line = fmt::format("{:.1f} ", compile_us);
    for (const int32_t id : ids) {
      const auto asked = std::chrono::steady_clock::now();
      (void)state.mask();
      line += fmt::format("{:.2f},", microseconds_since(asked));
      read = state.accept(id);
      if (!read) break;
      bytes += tokenizer.piece(id).size();
    }
    if (times) {
      std::printf("%s\n", line.c_str());
    } else if (read && state.complete()) {
      std::puts("yes");
    } else {
      std::printf("no %zu\n", bytes);
    }
  }
  return 0;
}
