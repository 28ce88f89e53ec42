// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/url.h"

#include <algorithm>
#include <charconv>

#include "vibee/base/text/quote.h"

namespace vibee {

std::string Url::authority() const {
  std::string out = host.find(':') == host.npos ? host : "[" + host + "]";
  if (port != (tls ? 443 : 80)) out += ":" + std::to_string(port);
  return out;
}

Result<Url> parse_url(std::string_view text) {
  const auto wrong = [&](std::string_view what) {
    return error(Code::invalid, "{} is no URL of a server: {}; write e.g. http://127.0.0.1:8080", quote(text), what);
  };
  Url out;
  std::string_view rest = text;
  if (const size_t scheme = rest.find("://"); scheme != rest.npos) {
    const std::string_view name = rest.substr(0, scheme);
    if (name != "http" && name != "https") return wrong("only http and https are spoken");
    out.tls = name == "https";
    rest.remove_prefix(scheme + 3);
  }
  out.port = out.tls ? 443 : 80;
  if (std::any_of(rest.begin(), rest.end(), [](char c) { return uint8_t(c) <= 0x20 || uint8_t(c) >= 0x7f; }))
    return wrong("it holds a space or a character that is not ASCII");
  if (rest.find_first_of("?#@\\") != rest.npos) return wrong("it holds one of ?, #, @ and \\");
  const size_t slash = std::min(rest.find('/'), rest.size());
  out.path = rest.substr(slash);
  while (out.path.ends_with('/')) out.path.pop_back();
  std::string_view authority = rest.substr(0, slash);
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == authority.npos) return wrong("the bracket of the address does not close");
    out.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
    if (!authority.empty() && authority[0] != ':') return wrong("behind the address stands something else than a port");
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    out.host = authority.substr(0, colon);
    authority.remove_prefix(colon);
  }
  if (out.host.empty() || out.host.size() > 253) return wrong("the host is missing or too long");
  if (!authority.empty()) {
    const std::string_view digits = authority.substr(1);
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
    if (failed != std::errc() || end != digits.data() + digits.size() || out.port == 0)
      return wrong("the port is no number from 1 to 65535");
  }
  return out;
}

}  // namespace vibee
