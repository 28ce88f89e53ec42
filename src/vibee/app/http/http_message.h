// SPDX-License-Identifier: Apache-2.0
// A request and an answer of HTTP/1.1 as the rest of the program sees them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vibee {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method, path, query;  ///< "GET", "/v1/models", "a=1" (no "?")
  HttpHeaders headers;              ///< names in lower case
  std::string body;
  std::string peer;  ///< address of the client

  /// The value of a header, its name given in lower case; empty when it is absent.
  std::string_view header(std::string_view name) const {
    for (const auto& [n, v] : headers)
      if (n == name) return v;
    return {};
  }
};

struct HttpResponse {
  int status = 200;
  HttpHeaders headers;  ///< without Content-Length, Date and Connection
  std::string body;
};

}  // namespace vibee
