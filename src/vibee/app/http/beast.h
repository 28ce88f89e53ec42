// SPDX-License-Identifier: Apache-2.0
// Boost.Asio and Beast as the client and the server of this folder write them. Heavy: for http_client.cc and
// http_server.cc alone.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>

namespace vibee::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;
/// Errors come back as values: `auto [e, n] = co_await stream.async_read_some(buffer, kTuple)`.
inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

inline std::chrono::steady_clock::duration seconds(double s) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(s));
}

}  // namespace vibee::net
