// SPDX-License-Identifier: Apache-2.0
// An address of a server as a user writes it: http://127.0.0.1:8080, https://host/prefix. RFC 3986, the parts that a
// client of an API needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

struct Url {
  bool tls = false;
  std::string host;  ///< a name or an address, that of IPv6 without its brackets
  uint16_t port = 80;
  std::string path;  ///< begins with "/" and ends without one; empty for the root

  /// What stands in the Host header: with brackets where they belong, without the scheme's own port.
  std::string authority() const;
  std::string origin() const { return (tls ? "https://" : "http://") + authority(); }
};

/// "host:port" alone counts as http. User names, queries and fragments are refused.
Result<Url> parse_url(std::string_view text);

}  // namespace vibee
