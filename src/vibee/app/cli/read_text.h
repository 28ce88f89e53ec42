// SPDX-License-Identifier: Apache-2.0
// A whole file that an option names; "-" is standard input.
#pragma once

#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

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

}  // namespace vibee
