// SPDX-License-Identifier: Apache-2.0
// The page (ui/): chat, live view, techniques.
#include "vibee/app/server/api_server.h"

namespace vibee {
namespace {

struct PageFile {
  std::string_view name, text;
};
constexpr PageFile kFiles[] = {
#include "vibee/ui_files.inc"
};

std::string_view type_of(std::string_view name) {
  return name.ends_with(".js") ? "text/javascript" : name.ends_with(".css") ? "text/css" : "text/html";
}

HttpResponse file_response(const PageFile& file) {
  return {
      200,
      {{"Content-Type", std::string(type_of(file.name)) + "; charset=utf-8"},
       {"Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
       {"X-Content-Type-Options", "nosniff"},
       {"Referrer-Policy", "no-referrer"},
       {"Cache-Control", "no-cache"}},
      std::string(file.text)};
}

}  // namespace

void ApiServer::to_page(Call call) { call.exchange->respond({302, {{"Location", "/ui"}}, {}}); }

void ApiServer::page(Call call) { call.exchange->respond(file_response(kFiles[0])); }

void ApiServer::page_file(Call call) {
  for (const PageFile& file : kFiles)
    if (file.name == call.rest) return call.exchange->respond(file_response(file));
  refuse(call, {404, "unknown_route", "the page has no such file", {}});
}

}  // namespace vibee
