// SPDX-License-Identifier: Apache-2.0
// Answers a question from C++, printing it as it comes.
//
//   c++ -std=c++20 generate.cc $(pkg-config --cflags --libs vibee) -o generate
//   ./generate smollm2-135m "Why is the sky blue?"
#include <iostream>
#include <vibee/vibee.hpp>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " MODEL QUESTION\n";
    return 2;
  }
  auto model = vibee::Model::load(argv[1], {.context = 1024});
  if (!model) {
    std::cerr << model.error().message << '\n';
    return 1;
  }
  const vibee::Message question[] = {{"user", argv[2]}};
  vibee_stats stats;
  const auto answer = model->chat(
      question, {.max_tokens = 64, .temperature = 0.7f, .seed = 1},
      [](const vibee::Event& event) {
        std::cout << event.text << std::flush;
        return true;  // false stops
      },
      &stats);
  if (!answer) {
    std::cerr << answer.error().message << '\n';
    return 1;
  }
  std::cerr << "\n[" << answer->tokens.size() << " tokens at " << stats.decode_rate << " tokens/s]\n";
}
