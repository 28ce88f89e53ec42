// SPDX-License-Identifier: Apache-2.0
// A file that an option names, whole or by lines; "-" is standard input.
#pragma once

#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

inline Result<std::string> read_text(const std::string& path) {
  std::stringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return error(Code::not_found, "{}: cannot be read; give the path of a file", path);
  text << file.rdbuf();
  return text.str();
}

/// Appends the lines of a file that are not empty; no path, no lines.
inline Status add_lines(const std::string& path, std::vector<std::string>* lines) {
  if (path.empty()) return {};
  VIBEE_ASSIGN(const std::string text, read_text(path));
  std::istringstream in(text);
  const size_t before = lines->size();
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines->push_back(std::move(line));
  }
  if (lines->size() == before) return error(Code::invalid, "{}: holds no text; one a line is read", path);
  return {};
}

}  // namespace vibee
