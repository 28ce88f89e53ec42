// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/manifest.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace fs = std::filesystem;

uint64_t Manifest::bytes() const {
  uint64_t sum = 0;
  for (const ModelFile& f : files) sum += f.bytes;
  return sum;
}

std::string Manifest::json() const {
  std::vector<std::string> items;
  for (const ModelFile& f : files) {
    JsonObject item;
    item.text("path", f.path).integer("bytes", f.bytes);
    if (!f.sha256.empty()) item.text("sha256", f.sha256);
    if (!f.git_sha1.empty()) item.text("git_sha1", f.git_sha1);
    items.push_back(item.str());
  }
  return JsonObject()
             .text("name", name)
             .text("source", source)
             .text("revision", revision)
             .raw("files", json_array(items))
             .str() +
         "\n";
}

Result<Manifest> read_manifest(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  std::error_code none;
  constexpr uint64_t kMost = 8 << 20;
  if (const auto size = fs::file_size(path, none); none || size > kMost)
    return error(Code::corrupt, "{}: not readable as the list of a pulled model", quote(path, 400));
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  Result<JsonValue> json = parse_json(text);
  if (!json.ok()) return json.take_status().within(quote(path, 400));
  const auto string = [](const JsonValue& v, const char* name) {
    const JsonValue* m = v.find(name);
    return m && m->is(JsonValue::Kind::text) ? m->text : std::string();
  };
  Manifest out{string(*json, "name"), string(*json, "source"), string(*json, "revision"), {}};
  const JsonValue* files = json->find("files");
  if (out.name.empty() || !files || !files->is(JsonValue::Kind::array) || files->items.empty())
    return error(Code::corrupt, "{}: fields \"name\" and \"files\" are missing", quote(path, 400));
  for (const JsonValue& item : files->items) {
    const JsonValue* bytes = item.find("bytes");
    ModelFile file{string(item, "path"), 0, string(item, "sha256"), string(item, "git_sha1")};
    if (!is_safe_path(file.path) || !bytes || !bytes->is(JsonValue::Kind::integer) || bytes->integer < 0 ||
        (file.sha256.empty() && file.git_sha1.empty()))
      return error(Code::corrupt, "{}: file {} has no path, size or hash that can be", quote(path, 400),
                   out.files.size());
    file.bytes = uint64_t(bytes->integer);
    out.files.push_back(std::move(file));
  }
  return out;
}

Status check_file(const std::string& path, ModelFile* file, const std::function<bool(uint64_t)>& step) {
  std::error_code why;
  const auto size = fs::file_size(path, why);
  if (why) return error(Code::io, "{}: cannot be read: {}", quote(path, 400), why.message());
  if (size != file->bytes)
    return error(Code::corrupt, "{}: has {} bytes, {} are right", quote(path, 400), size, file->bytes);
  const bool git = file->sha256.empty() && !file->git_sha1.empty();
  Digest digest(git ? Digest::Kind::sha1 : Digest::Kind::sha256);
  if (git) digest.update(fmt::format("blob {}", size) + '\0');
  VIBEE_TRY(digest_file(path, &digest, step));
  const std::string is = digest.finish();
  std::string& expected = git ? file->git_sha1 : file->sha256;
  if (expected.empty()) expected = is;
  if (is == expected) return {};
  return error(Code::corrupt, "{}: has the {} {}, {} is right", quote(path, 400), git ? "git SHA-1" : "SHA-256", is,
               expected);
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 400 || path.back() == '/') return false;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == ".." || part.size() > 200) return false;
    at = end + 1;
  }
  return std::all_of(path.begin(), path.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("-_./+@=,()[] ").find(c) != std::string_view::npos;
  });
}

}  // namespace vibee
