// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "vibee/app/http/base64.h"
#include "vibee/model/cache/digest.h"

namespace vibee {
namespace {

std::string sha256(std::string_view text) {
  Digest digest;
  digest.update(text);
  return digest.finish();
}

/// Compares in a time that says nothing about where two digests differ.
bool same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= unsigned(a[i] ^ b[i]);
  return difference == 0;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
  return out;
}

/// "example.com:8080" without its port, "[::1]:80" without port and brackets.
std::string host_name(std::string_view host) {
  if (!host.empty() && host[0] == '[') return lower(host.substr(1, std::min(host.find(']'), host.size()) - 1));
  return lower(host.substr(0, host.find(':')));
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 || inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

Result<uint8_t> parse_scopes(const std::string& text) {
  constexpr std::pair<std::string_view, uint8_t> kNames[] = {{"infer", uint8_t(Scope::infer)},
                                                             {"embed", uint8_t(Scope::embed)},
                                                             {"metrics", uint8_t(Scope::metrics)},
                                                             {"admin", uint8_t(Scope::admin)},
                                                             {"all", 15}};
  uint8_t out = 0;
  std::stringstream list(text);
  for (std::string one; std::getline(list, one, ',');) {
    const auto at = std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& n) { return n.first == one; });
    if (at == std::end(kNames))
      return error(Code::invalid, "scope '{}' is unknown; use infer, embed, metrics, admin or all", one);
    out |= at->second;
  }
  return out;
}

}  // namespace

ApiKey Access::key_of(std::string name, std::string_view key, uint8_t scopes) {
  return {std::move(name), sha256(key), scopes};
}

Result<std::vector<ApiKey>> Access::read_keys(const std::string& path) {
  std::ifstream file(path);
  if (!file) return error(Code::io, "{}: cannot be read", path);
  std::vector<ApiKey> out;
  size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    std::stringstream words(line);
    std::string name, scopes, key, more;
    if (!(words >> name) || name[0] == '#') continue;
    const auto wrong = [&](std::string_view what) { return error(Code::invalid, "{}:{}: {}", path, number, what); };
    if (!(words >> scopes >> key) || (words >> more)) return wrong("expected NAME SCOPES KEY");
    auto parsed = parse_scopes(scopes);
    if (!parsed.ok()) return wrong(parsed.status().message());
    constexpr std::string_view kHash = "sha256:";
    if (key.starts_with(kHash)) {
      const std::string hex = lower(key.substr(kHash.size()));
      if (hex.size() != 64 || hex.find_first_not_of("0123456789abcdef") != hex.npos)
        return wrong("sha256: is not followed by 64 hex digits");
      out.push_back({name, hex, *parsed});
    } else {
      out.push_back(key_of(name, key, *parsed));
    }
  }
  if (out.empty()) return error(Code::invalid, "{}: has no keys", path);
  return out;
}

/// A name that somebody else points at this machine (DNS rebinding), and pages of elsewhere.
std::optional<ApiError> Access::check_host(const HttpRequest& request) const {
  const std::string host = host_name(request.header("host"));
  const bool known =
      host == "localhost" || is_address(host) || std::find(hosts.begin(), hosts.end(), host) != hosts.end();
  if (!known)
    return ApiError{403,
                    "host_not_allowed",
                    fmt::format("this server does not go by the name '{}'; allow it with --allow-host", host),
                    {}};
  const std::string origin(request.header("origin"));
  if (origin.empty()) return {};
  const size_t scheme = origin.find("://");
  const bool own = scheme != origin.npos && lower(origin.substr(scheme + 3)) == lower(request.header("host"));
  if (own || std::find(origins.begin(), origins.end(), origin) != origins.end()) return {};
  return ApiError{403,
                  "origin_not_allowed",
                  fmt::format("pages of {} may not use this server; allow them with --allow-origin", origin),
                  {}};
}

std::optional<ApiError> Access::check(const HttpRequest& request, Scope needed, std::string* key) const {
  if (auto refused = check_host(request)) return refused;
  if (keys.empty()) return {};
  std::string_view given = request.header("authorization");
  constexpr std::string_view kBearer = "bearer ", kBasic = "basic ";
  std::string password;
  if (lower(given).starts_with(kBearer)) {
    given = given.substr(kBearer.size());
  } else if (lower(given).starts_with(kBasic)) {  // what browsers ask for: any name, the key for a password
    const std::string pair = base64_decode(given.substr(kBasic.size())).value_or("");
    const size_t colon = pair.find(':');
    if (colon != pair.npos) password = pair.substr(colon + 1);
    given = password;
  } else {
    given = request.header("x-api-key");
  }
  if (given.empty()) return ApiError{401, "missing_api_key", "a key is needed: send `Authorization: Bearer KEY`", {}};
  const std::string hash = sha256(given);
  const ApiKey* found = nullptr;
  for (const ApiKey& k : keys)
    if (same(k.sha256, hash)) found = &k;
  if (found == nullptr) return ApiError{401, "invalid_api_key", "the key is not known here", {}};
  *key = found->name;
  if ((found->scopes & uint8_t(needed)) == 0)
    return ApiError{403, "insufficient_scope", fmt::format("the key '{}' may not use this route", found->name), {}};
  return {};
}

HttpHeaders Access::cors(const HttpRequest& request) const {
  const std::string origin(request.header("origin"));
  if (origin.empty() || std::find(origins.begin(), origins.end(), origin) == origins.end()) return {};
  return {{"Access-Control-Allow-Origin", origin}, {"Vary", "Origin"}};
}

}  // namespace vibee
