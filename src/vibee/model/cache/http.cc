// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/http.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/run_process.h"

namespace vibee {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kStatusMark = "vibee-status ";

uint64_t size_of(const std::string& path) {
  std::error_code none;
  const auto size = fs::file_size(path, none);
  return none ? 0 : size;
}

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line.size() > 512 ? "" : line;
}

/// A line of curl's configuration: NAME = "VALUE".
std::string setting(std::string_view name, std::string_view value) {
  std::string out = fmt::format("{} = \"", name);
  for (const char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"\n";
}

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

/// What curl said in its own words: its last line that is not ours.
std::string last_words(const std::string& errors) {
  std::string last;
  for (size_t at = 0; at < errors.size();) {
    const size_t end = std::min(errors.find('\n', at), errors.size());
    const std::string line = errors.substr(at, end - at);
    if (line.size() > 1 && !line.starts_with(kStatusMark)) last = line;
    at = end + 1;
  }
  return quote(last, 300);
}

int status_of(const std::string& errors) {
  const size_t at = errors.rfind(kStatusMark);
  int status = 0;
  if (at != std::string::npos) {
    const char* begin = errors.data() + at + kStatusMark.size();
    std::from_chars(begin, errors.data() + errors.size(), status);
  }
  return status;
}

/// What one run of curl came to.
struct Outcome {
  enum Kind { done, again, from_start, failed };
  Kind kind = failed;
  Status status;
};

// Exit codes: "EXIT CODES" of curl(1).
Outcome judge(const HttpFile& file, const ProcessEnd& end) {
  const std::string what = quote(file.url, 400);
  const int http = status_of(end.errors);
  switch (end.exit_code) {
    case 0: return {Outcome::done, {}};
    case 33: return {Outcome::from_start, error(Code::io, "{}: the server cannot go on in the middle of a file", what)};
    case 22:
      if (http == 416)
        return {Outcome::from_start, error(Code::io, "{}: the server has no such part of the file", what)};
      if (http == 404 || http == 410)
        return {Outcome::failed, error(Code::not_found, "{}: there is no such file", what)};
      if (http == 401 || http == 403) {
        return {Outcome::failed,
                error(Code::invalid, "{}: the server refuses ({}): {}", what, http,
                      file.token.empty()
                          ? "private or gated; set HF_TOKEN to a token that may read it"
                          : "the token is wrong or may not read it (gated models are asked for on their page)")};
      }
      if (http == 408 || http == 429 || http >= 500)
        return {Outcome::again, error(Code::io, "{}: the server answers {}; try again later", what, http)};
      return {Outcome::failed, error(Code::io, "{}: the server answers {}", what, http)};
    case 5:
    case 6:
    case 7:
      return {Outcome::again,
              error(Code::io, "{}: no network: {} cannot be reached; pull again when it can", what, host_of(file.url))};
    case 1:
    case 3: return {Outcome::failed, error(Code::invalid, "{}: not an http or https address", what)};
    case 23:
      return {Outcome::failed,
              error(Code::io, "{}: cannot be written (disk full?); free space and pull again", quote(file.to, 400))};
    case 47: return {Outcome::failed, error(Code::io, "{}: the server redirects in a circle", what)};
    case 51:
    case 60:
    case 77:
      return {Outcome::failed,
              error(Code::io, "{}: the certificate of {} is not trusted: {}; name yours in SSL_CERT_FILE", what,
                    host_of(file.url), last_words(end.errors))};
    case 63:
      return {Outcome::failed, error(Code::corrupt, "{}: has more than the {} bytes it may have", what, file.most)};
    case 126:
    case 127: return {Outcome::failed, error(Code::unsupported, "{}: curl cannot be started; install curl", what)};
    case 16:
    case 18:
    case 28:
    case 35:
    case 52:
    case 55:
    case 56:
    case 92:
      return {Outcome::again,
              error(Code::io, "{}: the connection broke: {}; pull again to go on", what, last_words(end.errors))};
    default:
      return {Outcome::failed,
              error(Code::io, "{}: curl failed with exit code {}: {}", what, end.exit_code, last_words(end.errors))};
  }
}

}  // namespace

std::string host_of(const std::string& url) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (!url.starts_with(scheme)) continue;
    std::string rest = url.substr(scheme.size(), url.find_first_of("/?#", scheme.size()) - scheme.size());
    if (const size_t user = rest.rfind('@'); user != std::string::npos) rest.erase(0, user + 1);
    if (rest.starts_with("[")) return rest.substr(0, rest.find(']') + 1);
    return rest.substr(0, rest.find(':'));
  }
  return "";
}

Status fetch_http(const HttpFile& file, const std::function<bool(uint64_t)>& step, const HttpOptions& options) {
  const std::string host = host_of(file.url);
  if (host.empty() || !is_plain(file.url) || file.url.size() > 2000)
    return error(Code::invalid, "{}: not an http or https address", quote(file.url, 400));
  if (!is_plain(file.token) || file.token.size() > 1000)
    return error(Code::invalid, "the access token (HF_TOKEN) has characters that no token has");
  const bool local = host == "localhost" || host == "127.0.0.1" || host == "[::1]";
  if (!file.token.empty() && !file.url.starts_with("https://") && !local)
    return error(Code::invalid, "{}: the access token is not sent over plain http; use https or unset HF_TOKEN",
                 quote(file.url, 400));

  const std::string tag_path = file.to + ".etag";
  std::error_code none;
  int without_progress = 0;
  bool restarted = false;
  for (;;) {
    const uint64_t before = size_of(file.to);
    const std::string tag = first_line(tag_path);
    std::string secret = setting("url", file.url);
    if (!file.token.empty()) secret += setting("header", "Authorization: Bearer " + file.token);
    std::vector<std::string> args = {options.curl,
                                     "-q",
                                     "--config",
                                     "-",
                                     "--silent",
                                     "--show-error",
                                     "--fail",
                                     "--location",
                                     "--max-redirs",
                                     "10",
                                     "--proto",
                                     "=http,https",
                                     "--proto-redir",
                                     file.url.starts_with("https://") ? "=https" : "=http,https",
                                     "--connect-timeout",
                                     "20",
                                     "--speed-limit",
                                     "1",
                                     "--speed-time",
                                     std::to_string(options.stall_s),
                                     "--max-filesize",
                                     std::to_string(std::min<uint64_t>(file.most, INT64_MAX)),
                                     "--write-out",
                                     fmt::format("%{{stderr}}\n{}%{{http_code}}\n", kStatusMark),
                                     "--output",
                                     file.to};
    const bool same =
        !tag.empty() && tag.starts_with('"') && is_plain(tag);  // a weak tag does not promise the same bytes
    if (before > 0 && (file.unchanging || same)) {
      args.insert(args.end(), {"--continue-at", std::to_string(before)});
      if (!file.unchanging) secret += setting("header", "If-Range: " + tag);
    } else {
      fs::remove(file.to, none);
      fs::remove(tag_path, none);
    }
    if (!file.unchanging) args.insert(args.end(), {"--etag-save", tag_path});
    bool too_long = false;
    Result<ProcessEnd> end = run_process(
        args, {},
        [&] {
          const uint64_t now = size_of(file.to);
          too_long = now > file.most;
          return !too_long && (!step || step(now));
        },
        secret);
    if (too_long || size_of(file.to) > file.most)
      return error(Code::corrupt, "{}: has more than the {} bytes it may have", quote(file.url, 400), file.most);
    if (!end.ok()) return end.take_status();
    Outcome outcome = judge(file, *end);
    if (outcome.kind == Outcome::done) {
      if (size_of(file.to) == 0 && !fs::exists(file.to, none)) std::ofstream(file.to).flush();  // an empty file
      return {};
    }
    if (outcome.kind == Outcome::failed) return outcome.status;
    if (outcome.kind == Outcome::from_start) {
      if (std::exchange(restarted, true)) return outcome.status;
      fs::remove(file.to, none);
      continue;
    }
    without_progress = size_of(file.to) > before ? 1 : without_progress + 1;
    if (without_progress >= options.tries) return outcome.status;
    const auto wait = std::chrono::duration<double>(options.first_wait_s * double(1 << (without_progress - 1)));
    const auto until = std::chrono::steady_clock::now() + wait;
    while (std::chrono::steady_clock::now() < until) {
      if (step && !step(size_of(file.to))) return error(Code::cancelled, "cancelled");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

}  // namespace vibee
