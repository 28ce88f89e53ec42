// SPDX-License-Identifier: Apache-2.0
// Who may ask for what: keys with scopes, names under which the server may be addressed, pages that may use it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/app/http/http_message.h"
#include "vibee/app/server/api_error.h"

namespace vibee {

/// What a key may do; a route needs one of them.
enum class Scope : uint8_t { infer = 1, embed = 2, metrics = 4, admin = 8 };

struct ApiKey {
  std::string name;
  std::string sha256;  ///< of the key, lower-case hex: the key itself is not kept
  uint8_t scopes = 0;
};

class Access {
 public:
  /// Lines of `NAME SCOPES KEY` or `NAME SCOPES sha256:HEX`, scopes by comma or `all`; `#` begins a comment.
  static Result<std::vector<ApiKey>> read_keys(const std::string& path);
  static ApiKey key_of(std::string name, std::string_view key, uint8_t scopes);

  std::vector<ApiKey> keys;          ///< none: everybody may do everything
  std::vector<std::string> hosts;    ///< names beside localhost and addresses, in lower case
  std::vector<std::string> origins;  ///< pages of elsewhere that may use the server, e.g. "https://app.example"

  /// The refusal, if any. `key` gets the name of the key that was given.
  std::optional<ApiError> check(const HttpRequest& request, Scope needed, std::string* key) const;
  /// The headers that let a page of elsewhere read the answer; empty for all others.
  HttpHeaders cors(const HttpRequest& request) const;

 private:
  std::optional<ApiError> check_host(const HttpRequest& request) const;
};

}  // namespace vibee
