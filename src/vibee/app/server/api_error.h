// SPDX-License-Identifier: Apache-2.0
// What a client is told when a request is refused: the body of OpenAI's interface, all four members always there.
#pragma once

#include <string>

#include "vibee/app/http/http_message.h"
#include "vibee/base/status/status.h"
#include "vibee/base/text/json_object.h"

namespace vibee {

struct ApiError {
  int status = 400;
  std::string code, message;
  std::string param;  ///< the field, as a path; empty: none
  double retry_after_s = 0;

  std::string_view type() const {
    switch (status) {
      case 401: return "authentication_error";
      case 403: return "permission_error";
      case 404: return "not_found_error";
      case 429: return "rate_limit_error";
      default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
  }
  std::string body() const {
    return JsonObject()
        .raw("error", JsonObject()
                          .text("message", message)
                          .text("type", type())
                          .raw("param", param.empty() ? "null" : json_quote(param))
                          .text("code", code)
                          .str())
        .str();
  }
  HttpResponse response() const {
    HttpResponse r{status, {{"Content-Type", "application/json"}}, body()};
    if (status == 401) r.headers.emplace_back("WWW-Authenticate", "Bearer");
    if (retry_after_s > 0) r.headers.emplace_back("Retry-After", std::to_string(int64_t(retry_after_s + 0.999)));
    return r;
  }
};

/// A Status of the layers below, as a client should see it.
inline ApiError api_error(const Status& status) {
  switch (status.code()) {
    case Code::invalid: return {400, "invalid_value", status.message(), {}};
    case Code::not_found: return {404, "not_found", status.message(), {}};
    case Code::unsupported: return {400, "unsupported", status.message(), {}};
    case Code::no_memory: return {503, "out_of_memory", status.message(), {}};
    case Code::cancelled: return {503, "cancelled", status.message(), {}};
    default: return {500, "internal_error", status.message(), {}};
  }
}

}  // namespace vibee
