// SPDX-License-Identifier: Apache-2.0
// Files over HTTP and HTTPS, by the program curl: it knows proxies, certificates and redirects, and a process of its
// own keeps the libraries for them out of ours.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

struct HttpFile {
  std::string url;
  std::string to;          ///< written there as it arrives
  std::string token = {};  ///< sent as a bearer token, to the host of `url` alone
  uint64_t most = ~0ull;   ///< a longer one is refused
  /// Whether what an interrupted fetch left at `to` surely begins the same file (it will be checked by hash). Otherwise
  /// it is gone on with only when the server's entity tag (kept in `to`.etag) is still the same.
  bool unchanging = false;
};

struct HttpOptions {
  std::string curl = "curl";
  double first_wait_s = 0.5;  ///< before trying again; doubled each time without progress
  int tries = 5;              ///< without progress
  int stall_s = 30;           ///< a connection that gives nothing for so long is dropped
};

/// Fetches one file, going on where `to` ends, and again after faults that may pass. `step` gets the bytes there and
/// cancels by returning false; what has arrived stays for the next time. Errors: not_found (404), invalid (401 and 403,
/// says what to do), io.
Status fetch_http(const HttpFile& file, const std::function<bool(uint64_t)>& step, const HttpOptions& options = {});

/// "host" of "https://user@host:1/x"; empty when `url` is not http or https.
std::string host_of(const std::string& url);

}  // namespace vibee
